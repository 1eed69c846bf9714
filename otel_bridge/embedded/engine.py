"""A plan that runs on a thread of the agent's process: journal, assembly and delivery, and no server."""

import asyncio
import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from opentelemetry import context as otel
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_bridge.embedded import handed
from otel_bridge.sdk.saying import Log, ToldError

if TYPE_CHECKING:
    from otel_bridge.pipeline import RunningBridge
    from otel_bridge.plan import Plan
    from otel_bridge.receivers.in_process import InProcess

log = Log(logging.getLogger("otel_bridge.embedded"))

START_S = 20.0
FORK_WAITS_S = 10.0  # for an engine that is starting, which takes it a second or two
TAKE_S = 10.0  # until the journal has what it was handed
DRAIN_S = 1.5  # where nobody closes it
STOP_S = 0.5  # of the time that `close` has, after delivering
MOST_PROCESSES = 256
NOWHERE = "its configuration does not say where to keep anything"
TOO_LATE = "there was no time to deliver all"
NEXT = "and the next run delivers it"
NO_THREADS = "this Python starts no thread at a program's end"
HANDED = "handed"  # the folder of what came before the engine was up
Kind: TypeAlias = Literal["traces", "logs"]


class Engine:
    """Runs a plan, or the configuration in a file, from `start` to `close`. All may be called from any thread.

    The plan needs a receiver `in_process`. Its `data_dir` belongs to one process: a second one that runs at the same
    time takes `data_dir/process-1`, and so on; what one of them leaves is delivered by the next that has its place.
    While the engine is not up, which takes it a second or two, what it is handed goes to files, which it takes then;
    and where it can not run, as with a mistake in its configuration, the next that can.

    most_drain_s: what delivering takes at the end, however much time `close` has.
    spans, logs: exporters for OpenTelemetry's processors. What they say was exported is on disk.
    """

    def __init__(self, plan: "Plan | Path", *, most_drain_s: float = math.inf) -> None:
        self._plan = plan
        self._most_drain_s = most_drain_s
        self.spans = EngineSpanExporter(self)
        self.logs = EngineLogExporter(self)
        self._begin()
        there = weakref.ref(self)

        def before() -> None:
            if (found := there()) is not None:
                found._before_fork()  # noqa: SLF001 - its own

        def in_child() -> None:
            if (found := there()) is not None:
                found._begin()  # noqa: SLF001 - its own

        os.register_at_fork(before=before, after_in_child=in_child)

    def _begin(self) -> None:
        """As it is at first, and in a forked child: the parent goes on with what it has."""
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._placed, self._up = threading.Event(), threading.Event()
        self._handed: Path | None = None
        self._door: InProcess | None = None
        self._failed: BaseException | None = None
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._closed = self._is_left = self._has_taken = False
        self._place: Path | None = None  # where its files are
        self._until_s: float | None = None  # monotonic: of closing

    def start(self) -> None:
        """Begin, if it has not begun; returns at once. What has ended by itself, which is told, stays so."""
        with self._changing:
            if self._closed or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="otel-bridge-engine", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float = START_S) -> bool:
        """Whether the engine came up in this time."""
        return self._up.wait(timeout_s) and self._door is not None

    def take(self, kind: Kind, wire: bytes) -> None:
        """Take the bytes of an OTLP request; they are on disk when this returns. Blocks until then.

        Raises:
            OSError: they were not taken; says why.
        """
        self.start()
        if not self._placed.wait(TAKE_S):
            raise TimeoutError("the bridge in this process does not come up")
        with self._changing:
            door = self._door
            if door is None:
                self._keep(kind, wire)
                return
        from otel_bridge.batch import Batch, Signal
        from otel_bridge.errors import BridgeError

        try:
            door.send(Batch.from_wire(Signal(kind), wire)).result(TAKE_S)
            self._has_taken = True
        except BridgeError as error:
            raise OSError(f"the bridge in this process refuses: {error}") from error

    def _keep(self, kind: Kind, wire: bytes) -> None:
        """For the engine that comes up, here or in the next run."""
        try:
            if self._handed is None:
                raise ToldError(NOWHERE)
            handed.put(self._handed, kind, wire)
        except OSError as error:
            raise error if self._failed is None else ToldError(f"no bridge runs there: {error}") from error
        self._has_taken = True

    def close(self, timeout_s: float) -> bool:
        """Settle and deliver what was taken, and stop; whether it stopped in this time. What is left stays on disk, and
        is told of. Where it is not up, it comes up for that.

        Where Python starts no thread any more, nothing can be delivered: 3.12.0 to 3.12.2 forbid it as soon as the
        program ends.
        """
        if self._is_running() and not _can_start_threads():
            self._leave_it(NO_THREADS)
            return False
        with self._changing:
            is_first, self._closed = not self._closed, True
            if is_first:
                self._until_s = time.monotonic() + timeout_s
            thread, stop = self._thread, self._stop
        if thread is None:
            return True
        if stop is not None:
            loop, event = stop
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(event.set)
        thread.join(timeout_s)
        if thread.is_alive():
            self._leave_it(TOO_LATE)
        return not thread.is_alive()

    def _is_running(self) -> bool:
        with self._changing:
            return self._thread is not None and self._thread.is_alive()

    def _leave_it(self, why: str) -> None:
        """To the next run: the program ends over it, which the engine would complain about."""
        with self._changing:
            is_said, self._is_left, self._closed = self._is_left or not self._has_taken, True, True
        if not is_said:
            log.warning("otel-bridge: %s: what waits %s", why, self._lies())
        logging.getLogger("otel_bridge.engine").disabled = True

    def _before_fork(self) -> None:
        """An import that a fork cuts off never ends in the child: Python's locks of modules stay held there."""
        if self._thread is not None and self._thread.is_alive():
            self._up.wait(FORK_WAITS_S)

    # On the thread.

    def _run(self) -> None:
        otel.attach(otel.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, Context()))
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - the agent goes on without; who sends is told
            self._failed = error
            if not self._is_left:
                log.error("otel-bridge: %s; %s", self._what_failed(error), self._what_becomes())  # noqa: TRY400
        finally:
            with self._changing:
                self._door = None
            self._placed.set()
            self._up.set()

    def _what_failed(self, error: BaseException) -> str:
        while isinstance(error, BaseExceptionGroup):  # what a task raised comes in a group, however deep
            error = error.exceptions[0]
        from otel_bridge.errors import BridgeError, PlanError

        if isinstance(error, PlanError):
            named = f" {self._plan.absolute()}" if isinstance(self._plan, Path) else ""
            return f"no bridge runs in this process, as its configuration{named} is wrong: {'; '.join(error.mistakes)}"
        why = str(error) if isinstance(error, BridgeError) else f"{type(error).__name__}: {error}"
        begun = "the bridge in this process has ended" if self._up.is_set() else "no bridge runs in this process"
        return f"{begun}: {why}"

    def _what_becomes(self) -> str:
        """Of what ends from now on, and of what it took before."""
        if self._handed is None or not handed.takes(self._handed):
            return "what ends is dropped until that is mended and the program started again"
        taken = f"what it took lies in {self._place}, " if self._up.is_set() else ""
        return f"{taken}what ends goes to files in {self._handed}, {NEXT}, once that is mended"

    def _lies(self) -> str:
        """Where what was not delivered does, and who delivers it."""
        return f"lies in {self._place}, {NEXT}, as does `otel-bridge serve` with this configuration and that data_dir"

    async def _serve(self) -> None:
        self._place = _data_dir(self._plan)
        self._handed = self._place / HANDED
        self._placed.set()
        from otel_bridge import telemetry
        from otel_bridge.plan import load
        from otel_bridge.receivers.in_process import door

        telemetry.join_logs()
        plan = load(self._plan, environ=os.environ) if isinstance(self._plan, Path) else self._plan
        for warning in plan.warnings:
            log.warning("otel-bridge: %s", warning)
        receiver = _receiver(plan)
        stopped = asyncio.Event()
        with self._changing:
            self._stop = (asyncio.get_running_loop(), stopped)
            if self._closed:
                if not self._has_taken:
                    return
                stopped.set()
        async with AsyncExitStack() as stack:
            bridge = await self._open(plan, stack)
            with self._changing:
                self._door = door(receiver)
            self._up.set()
            await handed.take_in(self._handed, self._door)
            await stopped.wait()
        self._tell(bridge)

    def _tell(self, bridge: "RunningBridge") -> None:
        """What was not delivered."""
        from otel_bridge.undelivered import last_words, waiting

        said = last_words(bridge.left(), bridge.status())
        if said["waiting"] and not self._is_left:
            log.warning("otel-bridge: %s; it %s", waiting(said), self._lies())

    def _drain_s(self) -> float:
        """For delivering at the end: what is left of the time for closing, but for what comes after."""
        left_s = DRAIN_S if self._until_s is None else self._until_s - time.monotonic() - STOP_S
        return min(self._most_drain_s, max(0.0, left_s))

    async def _open(self, plan: "Plan", stack: AsyncExitStack) -> "RunningBridge":
        """In the first place that no other process has."""
        from otel_bridge.errors import InUseError
        from otel_bridge.pipeline import running

        for number in range(MOST_PROCESSES):
            place = plan.data_dir / f"process-{number}" if number else plan.data_dir
            service = plan.service.model_copy(update={"data_dir": str(place)})
            bridge = running(replace(plan, service=service), drain_s=self._drain_s, settle=True)
            try:
                opened = await stack.enter_async_context(bridge)
            except InUseError:
                continue
            self._place = place
            return opened
        raise InUseError(f"{plan.data_dir} is in use by {MOST_PROCESSES} processes: name another data_dir")


class EngineSpanExporter(SpanExporter):
    """Spans into the engine."""

    where = "the bridge in this process"
    helps = "What otel_bridge.embedded and otel_bridge.engine say in the log tells more"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def prepare(self) -> None:
        """Import what encodes."""
        import_module("opentelemetry.exporter.otlp.proto.common.trace_encoder")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        self._engine.take("traces", encode_spans(spans).SerializePartialToString())
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """The engine is closed by whoever has it."""


class EngineLogExporter(LogRecordExporter):
    """The same for log records."""

    where, helps = EngineSpanExporter.where, EngineSpanExporter.helps

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def prepare(self) -> None:
        """Import what encodes."""
        import_module("opentelemetry.exporter.otlp.proto.common._log_encoder")

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

        self._engine.take("logs", encode_logs(batch).SerializePartialToString())
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return True

    def shutdown(self) -> None:
        """The engine is closed by whoever has it."""


def _can_start_threads() -> bool:
    try:
        threading.Thread(target=_is_nothing, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _is_nothing() -> None:
    """To be tried."""


def _data_dir(plan: "Plan | Path") -> Path:
    """Known long before the engine is up."""
    if not isinstance(plan, Path):
        return plan.data_dir
    from otel_bridge.announcement import DATA_DIR
    from otel_bridge.written import path_at, read_text, read_yaml

    written = read_yaml(read_text(plan), plan.name)
    return path_at(written, ("service", "data_dir"), DATA_DIR, plan, os.environ).absolute()


def _receiver(plan: "Plan") -> str:
    from otel_bridge.errors import PlanError

    used: set[Any] = {key for pipeline in plan.service.pipelines.values() for key in pipeline.receivers}
    found = next((key for key in plan.receivers if key.partition("/")[0] == "in_process" and key in used), None)
    if found is None:
        raise PlanError([f"{plan.origin}: has no receiver in_process in a pipeline, by which this process could send"])
    return found
