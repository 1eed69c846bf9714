"""Whether an exporter is delivered to, and for whom: not while it is paused."""

import asyncio

from otel_bridge.tasks import first


class Gate:
    """Stands before the lanes of one tenant."""

    def __init__(self) -> None:
        self._opened, self._closed = asyncio.Event(), asyncio.Event()
        self._opened.set()

    @property
    def is_open(self) -> bool:
        """Whether lanes may lease and send."""
        return self._opened.is_set()

    def open(self) -> None:
        """Let lanes go on."""
        self._closed.clear()
        self._opened.set()

    def close(self) -> None:
        """Let no lane send any more, when what is in the air has been answered."""
        self._opened.clear()
        self._closed.set()

    async def closed(self) -> None:
        """Return when it is closed."""
        await self._closed.wait()

    async def passed(self, stopping: asyncio.Event) -> bool:
        """Return True when it is open; False when the bridge stops before that."""
        while not self.is_open and not stopping.is_set():
            await first(self._opened.wait(), stopping.wait())
        return self.is_open


class Gates:
    """Those of one exporter, both its sides where it takes both kinds: paused for all, or for single tenants.

    paused: for all; tenants: those for whom it is paused besides.
    """

    def __init__(self) -> None:
        self.paused = False
        self.tenants: set[str] = set()
        self._gates: dict[str, Gate] = {}

    def of(self, tenant: str) -> Gate:
        """The gate of a tenant, who may be new."""
        if tenant not in self._gates:
            self._gates[tenant] = Gate()
            self._turn(tenant)
        return self._gates[tenant]

    def pause(self, tenant: str | None, *, paused: bool) -> None:
        """Pause it or let it go on, for a tenant, or for all but those who are paused alone (None)."""
        if tenant is None:
            self.paused = paused
        else:
            (self.tenants.add if paused else self.tenants.discard)(tenant)
        for of in self._gates:
            self._turn(of)

    def is_open(self, tenant: str) -> bool:
        """Whether it is delivered to for a tenant."""
        return not (self.paused or tenant in self.tenants)

    def _turn(self, tenant: str) -> None:
        gate = self._gates[tenant]
        (gate.open if self.is_open(tenant) else gate.close)()
