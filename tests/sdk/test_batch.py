"""Spans are sent by a thread, and what is said about that is true."""

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode, Tracer

from otel_bridge.sdk.batch import BatchSpanProcessor
from otel_bridge.sdk.context import ContextProcessor
from otel_bridge.sdk.installing import quiet
from otel_bridge.sdk.open_spans import OpenSpans
from tests.sdk.conftest import Main
from tests.sdk.sink import sink


class Destination(SpanExporter):
    """Takes spans, refuses them, or lets them wait until it is released."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.open = threading.Event()
        self.open.set()
        self.called = threading.Event()
        self.is_shut_down = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.called.set()
        self.open.wait(30)
        if isinstance(self.result, Exception):
            raise self.result
        if self.result is SpanExportResult.SUCCESS:
            self.names += [span.name for span in spans]
        return self.result

    def shutdown(self) -> None:
        self.is_shut_down = True
        self.open.set()


@pytest.fixture
def destination() -> Iterator[Destination]:
    made = Destination()
    yield made
    made.open.set()


def tracing(processor: BatchSpanProcessor) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider.get_tracer("test")


async def flushed(processor: BatchSpanProcessor, timeout_s: float) -> tuple[bool, int]:
    """What `aflush` said, and how often the loop came round meanwhile."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(turn)
        sent = await processor.aflush(timeout_s)
        group.cancel_scope.cancel()
    return sent, turns


def test_a_flush_that_says_true_has_sent_everything(destination: Destination) -> None:
    processor = BatchSpanProcessor(destination, delay_s=60, max_batch=2)
    tracer = tracing(processor)
    for number in range(5):
        tracer.start_span(str(number)).end()
    assert processor.force_flush(5000) is True
    assert destination.names == ["0", "1", "2", "3", "4"]
    assert processor.force_flush(5000) is True
    processor.shutdown()
    assert destination.is_shut_down


def test_it_sends_by_itself_after_the_delay(destination: Destination) -> None:
    processor = BatchSpanProcessor(destination, delay_s=0.01)
    tracing(processor).start_span("a").end()
    assert destination.called.wait(5)
    processor.shutdown()
    assert destination.names == ["a"]


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, ConnectionError("refused")])
def test_a_refused_flush_says_so_at_once_and_loses_nothing(
    destination: Destination, result: Any, run: Callable[[Main], Any]
) -> None:
    processor = BatchSpanProcessor(destination, delay_s=60)
    tracing(processor).start_span("a").end()
    destination.result = result
    assert processor.force_flush(30_000) is False
    assert run(lambda: processor.aflush(30)) is False
    destination.result = SpanExportResult.SUCCESS
    assert processor.force_flush(30_000) is True
    assert destination.names == ["a"]
    processor.shutdown()
    assert processor.dropped == {}


def test_a_hung_destination_blocks_nobody(destination: Destination, run: Callable[[Main], Any]) -> None:
    """Neither who ends spans, nor the loop while it waits for a flush that does not come."""
    processor = BatchSpanProcessor(destination, delay_s=60)
    tracer = tracing(processor)
    destination.open.clear()
    tracer.start_span("a").end()
    sent, turns = run(lambda: flushed(processor, 0.1))
    assert sent is False
    assert turns > 10
    assert processor.force_flush(10) is False
    destination.open.set()
    assert run(lambda: processor.aflush(5)) is True
    processor.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(("status", "least_turns"), [(503, 10), (None, 0)], ids=["busy", "nobody there: at once"])
def test_opentelemetrys_own_exporter_holds_up_no_loop_and_is_not_believed(
    status: int | None, least_turns: int, run: Callable[[Main], Any]
) -> None:
    """Which tries for ten seconds, and by its own processor says True then."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    with sink() as bridge:
        bridge.status = status or 200
        processor = BatchSpanProcessor(
            OTLPSpanExporter(f"{bridge.url}/v1/traces" if status else "http://127.0.0.1:9"), delay_s=60, exit_s=0
        )
        tracing(processor).start_span("a").end()
        sent, turns = run(lambda: flushed(processor, 0.2))
        assert sent is False
        assert turns > least_turns
        processor.shutdown()
    assert processor.dropped == {"exit": 1}


@pytest.mark.slow
def test_a_bridge_that_is_busy_once_has_what_is_flushed(caplog: pytest.LogCaptureFixture) -> None:
    """The exporter asks again by itself, which is nothing to warn of."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    quiet()
    with sink() as bridge:
        bridge.busy = 1
        processor = BatchSpanProcessor(OTLPSpanExporter(f"{bridge.url}/v1/traces"), delay_s=60)
        tracing(processor).start_span("a").end()
        assert processor.force_flush(20_000) is True
        processor.shutdown()
        assert bridge.names == ["a"]
    assert not caplog.records


def test_plain_spans_are_sent_with_all_that_is_around_them(destination: Destination) -> None:
    """Nobody asks whether one is about a model, so none loses its parents."""
    processor = BatchSpanProcessor(destination, delay_s=60)
    tracer = tracing(processor)
    with (
        tracer.start_as_current_span("run", attributes={"agent.name": "planner"}),
        tracer.start_as_current_span("tool"),
        tracer.start_as_current_span("chat", attributes={"gen_ai.system": "x"}),
    ):
        pass
    processor.shutdown()
    assert sorted(destination.names) == ["chat", "run", "tool"]


@pytest.mark.slow
def test_of_spans_that_were_sent_nothing_stays_in_memory(destination: Destination) -> None:
    """With all that `install` puts around what sends; a single object for each span would be seen."""
    processor, open_spans = BatchSpanProcessor(destination, delay_s=0.01), OpenSpans(beat_s=None)
    provider = TracerProvider(shutdown_on_exit=False)
    for each in (ContextProcessor(), open_spans, processor):
        provider.add_span_processor(each)
    tracer = provider.get_tracer("test")

    def blocks_after(spans: int) -> int:
        for _ in range(spans // 4):
            with tracer.start_as_current_span("run", attributes={"input.value": "x" * 100}):
                for _ in range(3):
                    tracer.start_span("call").end()
        assert processor.force_flush(20_000)
        tracer.start_span("last").end()
        assert processor.force_flush(20_000)  # what was sent last is held until the next is
        open_spans._forget_the_ended()  # as it does by itself, at some thousand
        destination.names.clear()
        gc.collect()
        return sys.getallocatedblocks()

    before = blocks_after(1_000)
    assert blocks_after(4_000) - before < 500
    processor.shutdown()
    assert not processor.dropped


@pytest.mark.parametrize("came", [("old", "failed", "new", "newest"), ("failed", "old", "new", "newest")])
def test_without_room_the_oldest_without_an_error_go(destination: Destination, came: tuple[str, ...]) -> None:
    processor = BatchSpanProcessor(destination, delay_s=60, max_queue_bytes=3 * 1100)
    tracer = tracing(processor)
    for name in came:
        span = tracer.start_span(name, attributes={"text": "x" * 600})
        if name == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end()
    processor.shutdown()
    assert sorted(destination.names) == ["failed", "new", "newest"]
    assert processor.dropped == {"full": 1}


def test_exit_takes_no_longer_than_it_may_and_counts_what_is_left(
    destination: Destination, caplog: pytest.LogCaptureFixture
) -> None:
    processor = BatchSpanProcessor(destination, delay_s=60, exit_s=0.1)
    tracer = tracing(processor)
    destination.open.clear()
    for number in range(3):
        tracer.start_span(str(number)).end()
    began = time.monotonic()
    processor.shutdown()
    assert time.monotonic() - began < 5
    tracer.start_span("late").end()
    processor.shutdown()
    assert processor.dropped == {"exit": 3, "after_shutdown": 1}
    assert len([record for record in caplog.records if record.name == "otel_bridge.sdk"]) == 2


def test_a_forked_child_sends_its_own_and_not_its_parents(destination: Destination) -> None:
    processor = BatchSpanProcessor(destination, delay_s=60)
    tracer = tracing(processor)
    tracer.start_span("parent").end()
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        tracer.start_span("child").end()
        processor.force_flush(5000)
        os.write(write, ",".join(destination.names).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"child"
    assert processor.force_flush(5000)
    assert destination.names == ["parent"]
    processor.shutdown()


async def test_flushes_of_many_tasks_are_all_answered(destination: Destination) -> None:
    processor = BatchSpanProcessor(destination, delay_s=60)
    tracer = tracing(processor)

    async def work(number: int) -> bool:
        tracer.start_span(str(number)).end()
        return await processor.aflush(5)

    assert all(await asyncio.gather(*(work(number) for number in range(20))))
    assert len(destination.names) == 20
    processor.shutdown()


def test_nothing_keeps_a_forgotten_one(destination: Destination) -> None:
    processor = BatchSpanProcessor(destination)
    processor.shutdown()
    again = [processor]
    import weakref

    gone = weakref.ref(again.pop())
    del processor
    gc.collect()
    assert gone() is None
