"""The door for an agent in this very process: batches are handed over from any thread, with no network between."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

from otel_bridge.batch import Batch
from otel_bridge.component import Consume, Host, receiver
from otel_bridge.config import Config
from otel_bridge.errors import RetryableError, UnreachableError
from otel_bridge.model import Omitted
from otel_bridge.validate import admit

CLOSE_S = 2.0  # for what is being taken when the bridge stops

_doors: dict[str, "InProcess"] = {}


def door(receiver_id: str) -> "InProcess":
    """The open door of a receiver, by the id that the configuration gives it.

    Raises:
        UnreachableError: no such receiver is running in this process.
    """
    try:
        return _doors[receiver_id]
    except KeyError:
        raise UnreachableError(f"no receiver {receiver_id} is running in this process") from None


class InProcess:
    """An open door; `send` may be called from any thread."""

    def __init__(self, consume: Consume, host: Host) -> None:
        self._consume = consume
        self._counters = host.counters
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def send(self, batch: Batch) -> "Future[list[Omitted]]":
        """Hand a batch over; the future ends when it is taken, with what was rejected, or with the consumer's error.

        Wait for it with a timeout: a loop that is stopped in between never answers.

        Raises:
            RetryableError: the door is closed.
        """
        if self._closed:
            raise RetryableError("the bridge in this process has stopped")
        return asyncio.run_coroutine_threadsafe(self._take(batch), self._loop)

    async def close(self) -> None:
        """Take no more, and let what is being taken end."""
        self._closed = True
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_S)

    async def _take(self, batch: Batch) -> list[Omitted]:
        if self._closed:
            raise RetryableError("the bridge in this process has stopped")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - run_coroutine_threadsafe makes one
        self._running.add(task)
        try:
            return await admit(batch, "in_process", self._consume, self._counters)
        finally:
            self._running.discard(task)


class InProcessConfig(Config):
    """Nothing to choose."""


@receiver(InProcessConfig)
async def in_process(_config: InProcessConfig, consume: Consume, host: Host) -> AsyncIterator[None]:
    """Batches of an agent in this process."""
    opened = InProcess(consume, host)
    _doors[host.id] = opened
    try:
        yield
    finally:
        del _doors[host.id]
        await opened.close()
