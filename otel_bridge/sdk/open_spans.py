"""What has not ended yet: known, told of by heartbeats as OTLP log records, and ended when the process is."""

import os
import threading
import time
import weakref
from typing import Any

from opentelemetry import _logs, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import Status, StatusCode

from otel_bridge.sdk.leaving import INTERRUPTED, OUTCOME
from otel_bridge.sdk.saying import is_time_to_say, log
from otel_bridge.sdk.spans import SCOPE

STARTED, HEARTBEAT = "otel_bridge.span.started", "otel_bridge.span.heartbeat"
BEAT_S = 10.0
MOST_REFERENCES = 1000  # before those to spans that are gone are looked for
TOLD_FROM_S = 5.0  # what is over sooner is told when it is


class OpenSpans(SpanProcessor):
    """Stands before what exports.

    beat_s: between two heartbeats of a span that is open for longer than `told_from_s`; None: no heartbeats.
    """

    def __init__(self, beat_s: float | None = BEAT_S, told_from_s: float = TOLD_FROM_S) -> None:
        self._beat_s = beat_s
        self._told_from_s = told_from_s
        self._begin()
        again = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: (begin := again()) and begin())

    def _begin(self) -> None:
        # What nobody can reach any more nobody can end: it is not kept here, but for its reference. That of a span that
        # has ended stays until there are many: to look for it at each end costs more than all the rest.
        self._started: list[weakref.ref[Span]] = []
        self._forgetting = threading.Lock()
        self._most = MOST_REFERENCES
        self._told: dict[int, float] = {}  # when last, monotonic
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def all(self) -> list[Span]:
        """The spans that are open, oldest first."""
        return [span for found in list(self._started) if (span := found()) is not None and span.end_time is None]

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember it."""
        self._started.append(weakref.ref(span))
        if len(self._started) > self._most:
            self._forget_the_ended()
        if self._thread is None and self._beat_s is not None and not self._ended.is_set():
            self._begin_thread()

    def _begin_thread(self) -> None:
        # If not, another thread is at it, or this one, below a signal's handler.
        if self._starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    thread = threading.Thread(target=self._beat, name="otel-bridge-heartbeat", daemon=True)
                    thread.start()
                    self._thread = thread
            except RuntimeError:  # there are too many, or Python is ending: the next span tries again
                pass
            finally:
                self._starting.release()

    def _forget_the_ended(self) -> None:
        if self._forgetting.acquire(blocking=False):  # else another thread is at it
            try:
                before = len(self._started)  # others go on adding to it
                self._started[:before] = [
                    found for found in self._started[:before] if (span := found()) is not None and span.end_time is None
                ]
                self._most = max(MOST_REFERENCES, 2 * len(self._started))
            finally:
                self._forgetting.release()

    def shutdown(self) -> None:
        """No more heartbeats."""
        self._ended.set()

    def force_flush(self, timeout_millis: int | None = 30_000) -> bool:
        return True

    def interrupt(self, why: str) -> None:
        """End all that is open, the innermost first, as interrupted by `why`."""
        for span in reversed(self.all):
            try:
                span.set_attribute(OUTCOME, INTERRUPTED)
                span.set_status(Status(StatusCode.ERROR, f"interrupted: {why}"))
                span.end()
            except Exception:  # somebody's processor; the others are ended all the same
                log.exception("otel-bridge: a span could not be ended")

    def _beat(self) -> None:
        tick_s = min(self._told_from_s, self._beat_s or BEAT_S) / 2
        while not self._ended.wait(tick_s):
            self.tell()

    def tell(self) -> None:
        """Tell of each span that is due."""
        now_s, now_ns = time.monotonic(), time.time_ns()
        told, self._told = self._told, {}
        for span in self.all:
            if span.context is None or span.end_time is not None:  # it has ended meanwhile
                continue
            span_id = span.context.span_id
            last_s = told.get(span_id)
            if last_s is None:
                is_due = now_ns - (span.start_time or now_ns) >= self._told_from_s * 1e9
            else:
                is_due = now_s - last_s >= (self._beat_s or BEAT_S)
                self._told[span_id] = last_s
            if is_due:
                try:
                    self._emit(STARTED if last_s is None else HEARTBEAT, span, now_ns)
                except Exception:  # somebody's processor, say, or the span has changed meanwhile: it is tried again
                    if is_time_to_say("heartbeats"):
                        log.exception("otel-bridge: a span that is open could not be told of")
                else:
                    self._told[span_id] = now_s

    def _emit(self, name: str, span: Span, now_ns: int) -> None:
        said: dict[str, Any] = {
            "otel_bridge.span.name": span.name,
            "otel_bridge.span.kind": span.kind.value,
            "otel_bridge.span.start_time_unix_nano": span.start_time or 0,
        }
        if span.parent is not None:
            said["otel_bridge.span.parent_id"] = trace.format_span_id(span.parent.span_id)
        if name == STARTED:
            said |= dict(span.attributes or {})
        _logs.get_logger(SCOPE).emit(
            LogRecord(
                timestamp=now_ns,
                context=trace.set_span_in_context(span, Context()),
                severity_number=SeverityNumber.DEBUG,
                event_name=name,
                attributes=said,
            )
        )
