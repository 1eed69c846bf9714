"""What a lane takes from its source: leased, cut to what may be sent at once, and read ahead."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence

from otel_bridge.delivery.cursor import OPEN, Lease, Source, Stretch
from otel_bridge.delivery.limit import SizeLimit
from otel_bridge.delivery.piece import Piece, cut
from otel_bridge.delivery.sending import Parcel, Sending
from otel_bridge.delivery.surroundings import Surroundings


class Leasing:
    """Leases for one lane."""

    def __init__(
        self, pipeline: str, exporter: str, tenant: str, source: Source, around: Surroundings, limit: SizeLimit
    ) -> None:
        self._pipeline = pipeline
        self._exporter = exporter
        self._tenant = tenant
        self._source = source
        self._around = around
        self._limit = limit
        self._ahead: tuple[int, asyncio.Task[Sending | None]] | None = None  # what follows that position, being read
        self._revoked = asyncio.Event()  # of all that is leased until it is set

    def stretches(self) -> list[Stretch]:
        """What is to be done, in order; all but the last one are postponed."""
        return self._source.stretches(self._tenant)

    def revoke(self) -> None:
        """All that is leased is revoked; what is leased from now on is not."""
        self._revoked.set()
        self._revoked = asyncio.Event()

    async def lease(self, stretch: Stretch, position: int | None = None) -> Lease | None:
        """The next of a stretch, or what follows a position in it; nothing of it was revoked meanwhile."""
        max_items = self._around.config.max_batch_items
        while True:
            revoked = self._revoked
            start = stretch.position if position is None else position
            lease = await self._source.lease(self._tenant, start, stretch.high, self._limit.bytes, max_items)
            if not revoked.is_set():
                return lease

    async def opened(self, lease: Lease) -> Sending:
        """Cut to what may be sent at once."""
        revoked = self._revoked
        pieces = await asyncio.to_thread(self._cut, lease.pieces, self._limit.bytes)
        return Sending(lease, deque(map(Parcel, pieces)), Counter(lease.losses), revoked)

    async def next(self, stretch: Stretch) -> Sending | None:
        """What a stretch begins with, read already while what was before it was sent, where all of that went well."""
        if self._ahead is not None and self._ahead[0] == stretch.position:
            _, reading = self._ahead
            self._ahead = None
            sending = await reading
            if sending is not None and not sending.revoked.is_set():
                return sending
        self.forget_ahead()
        return await self._read(stretch)

    def read_ahead(self, stretch: Stretch, position: int, tasks: asyncio.TaskGroup) -> None:
        """Begin to read what follows a position of a stretch, for `next`."""
        self.forget_ahead()
        self._ahead = position, tasks.create_task(self._read_early(stretch, position))

    def forget_ahead(self) -> None:
        """It will not be wanted soon, or not as it was read."""
        if self._ahead is not None:
            self._ahead[1].cancel()
            self._ahead = None

    async def _read(self, stretch: Stretch, position: int | None = None) -> Sending | None:
        lease = await self.lease(stretch, position)
        if lease is None and stretch.high < OPEN:
            lease = Lease(stretch.high, None)
        return None if lease is None else await self.opened(lease)

    async def _read_early(self, stretch: Stretch, position: int) -> Sending | None:
        try:
            return await self._read(stretch, position)
        except Exception:  # noqa: BLE001 - it is read again when it is its turn, and fails then: what is being sent goes on
            self._around.counters.add("read_ahead_failures", pipeline=self._pipeline, exporter=self._exporter)
            return None

    def _cut(self, pieces: Sequence[Piece], max_bytes: int) -> list[Piece]:
        max_items = self._around.config.max_batch_items
        return [piece for whole in pieces for piece in cut(whole, max_bytes, max_items)]
