"""What was set up for an agent: flushed and shut down as one, in the time that the end of a program may take."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.trace.export import SpanExporter

from otel_bridge.sdk.batch import BatchLogRecordProcessor, BatchSpanProcessor, exit_seconds, shut_down
from otel_bridge.sdk.open_spans import OpenSpans
from otel_bridge.sdk.sending import in_trio


class Engine(Protocol):
    """A bridge in this process."""

    spans: SpanExporter
    logs: LogRecordExporter

    def start(self) -> None:
        """Begin, if it does not run; returns at once."""

    def close(self, timeout_s: float) -> bool:
        """Deliver what was taken, and stop; whether it stopped in this time."""


class Provider(Protocol):
    """One of OpenTelemetry's SDK."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether all was sent in this time."""

    def shutdown(self) -> None:
        """Send what waits."""


@dataclass(slots=True)
class Installed:
    """What `install` set up; nothing at all where telemetry is off."""

    spans: Sequence[BatchSpanProcessor] = ()
    logs: Sequence[BatchLogRecordProcessor] = ()
    open_spans: OpenSpans | None = None
    engine: Engine | None = None
    providers: Sequence[Provider] = ()
    _ending: threading.RLock = field(default_factory=threading.RLock, repr=False)

    async def aflush(self, timeout_s: float = 30.0) -> bool:
        """Whether all that ended and was emitted before was sent in this time; the loop goes on meanwhile.

        With a bridge in this process: whether it is on disk, from where it will be delivered.
        """
        until_s = time.monotonic() + timeout_s
        sent = [await each.aflush(max(0.0, until_s - time.monotonic())) for each in self._processors]
        if self.providers:
            sent.append(await _in_thread(partial(self._flush_providers, until_s)))
        return all(sent)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """The same for sync code."""
        until_s = time.monotonic() + timeout_s
        sent = [each.force_flush(_left_ms(until_s)) for each in self._processors]
        return self._flush_providers(until_s) and all(sent)

    def _flush_providers(self, until_s: float) -> bool:
        """What stands in them may know nothing of our time."""

        def flush_all() -> None:
            sent.extend(each.force_flush(_left_ms(until_s)) for each in self.providers)

        sent: list[bool] = []
        if self.providers:
            _do_within(_left_ms(until_s) / 1000, flush_all)
        return len(sent) == len(self.providers) and all(sent)

    @property
    def _processors(self) -> list[BatchSpanProcessor | BatchLogRecordProcessor]:
        return [*self.spans, *self.logs]

    def shutdown(self, interrupted: str | None = None) -> None:
        """Send what waits, spans and logs in the time of one (`OTEL_BRIDGE_EXIT_SECONDS`); a second call waits for the
        first: SIGTERM and the end of the program may come together.

        interrupted: what is open is ended first, as interrupted by that.
        """
        until_s = time.monotonic() + exit_seconds()
        is_alone = self._ending.acquire(timeout=exit_seconds())
        try:
            if self.open_spans is not None:
                self.open_spans.shutdown()  # else what it tells of meanwhile comes too late, and that is said
                if interrupted:
                    self.open_spans.interrupt(interrupted)
        finally:
            shut_down(self._processors)
            self._shut_down_providers(max(0.0, until_s - time.monotonic()))
            if self.engine is not None:
                self.engine.close(max(0.0, until_s - time.monotonic()))
            if is_alone:
                self._ending.release()

    def _shut_down_providers(self, timeout_s: float) -> None:
        """As above."""

        def shut_down_all() -> None:
            for each in self.providers:
                each.shutdown()

        if self.providers:
            _do_within(timeout_s, shut_down_all)


def _left_ms(until_s: float) -> int:
    return max(0, int((until_s - time.monotonic()) * 1000))


def _do_within(timeout_s: float, work: Callable[[], None]) -> None:
    """Do it on a thread that is waited for so long, and goes on then."""
    thread = threading.Thread(target=work, name="otel-bridge-providers", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # Python is ending, and starts no thread any more
        work()
    else:
        thread.join(timeout_s)


async def _in_thread(work: Callable[[], bool]) -> bool:
    trio: Any = sys.modules.get("trio")
    if trio is not None and in_trio(trio):
        return bool(await trio.to_thread.run_sync(work, abandon_on_cancel=True))
    return await asyncio.to_thread(work)
