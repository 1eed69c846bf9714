"""Whether an exporter is delivered to: not while it is paused."""

import asyncio

from otel_bridge.tasks import first


class Gate:
    """Stands before all lanes of one exporter."""

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


def side_of(exporter: str) -> str:
    """The exporter as it is configured; one that takes both kinds has its settled side under an id of its own."""
    return exporter.removesuffix(".settled")
