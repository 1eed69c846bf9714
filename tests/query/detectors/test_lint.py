"""What async code makes of traces: run with stock OpenTelemetry as people write it, and put right."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_bridge.batch import Batch
from otel_bridge.query.detectors import lint
from otel_bridge.store.writer import Writer
from otel_bridge.translate import traces_of
from tests.query.conftest import Opened
from tests.query.detectors.spans import REMOTE, at, beat, came, found, settle, span

Linted = Callable[[Callable[[trace.Tracer], Awaitable[Any]]], list[dict[str, Any]]]


@pytest.fixture
def linted(writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch) -> Linted:
    """Runs a program, and gives what is found in the traces of it."""
    monkeypatch.setattr(lint, "TOLERANCE_NS", 0)  # so that nobody has to wait
    monkeypatch.setattr(lint, "TOGETHER_NS", 30 * 10**6)  # however slow the machine

    def run(program: Callable[[trace.Tracer], Awaitable[Any]]) -> list[dict[str, Any]]:
        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with suppress(Exception, asyncio.CancelledError):
            asyncio.run(program(provider.get_tracer("mine")))  # type: ignore[arg-type]
        spans = exporter.get_finished_spans()
        batch = Batch.from_request(encode_spans(spans))
        writer.batch(batch)
        settle(writer, traces_of([batch]))
        last_s = max(each.end_time or 0 for each in spans) / 1e9 - at(0) / 1e9
        return found(reader(), "lint", now=last_s + 3600, last="3650d")

    return run


def says(findings: list[dict[str, Any]]) -> list[str]:
    return [one["says"] for one in findings]


def test_a_task_that_outlives_its_span(linted: Linted) -> None:
    async def outlives(tracer: trace.Tracer) -> None:
        go = asyncio.Event()

        async def later() -> None:
            await go.wait()
            tracer.start_span("write report").end()

        with tracer.start_as_current_span("plan"):
            task = asyncio.create_task(later())
            await asyncio.sleep(0)
        go.set()
        await task

    [one] = linted(outlives)
    assert one["says"] == "write report began after plan, which it stands below, had ended"
    assert "links=" in one["remedy"]
    assert (one["severity"], len(one["observationIds"]), one["numbers"]) == ("warning", 1, {"times": 1, "traces": 1})


def test_what_is_done_after_a_generator_was_left_early(linted: Linted) -> None:
    async def left(tracer: trace.Tracer) -> None:
        async def chunks() -> AsyncIterator[int]:
            with tracer.start_as_current_span("llm_stream"):
                for i in range(3):
                    yield i

        with tracer.start_as_current_span("consumer"):
            stream = chunks()
            async for _ in stream:
                break
            with suppress(Exception):
                await asyncio.create_task(stream.aclose())  # type: ignore[attr-defined]
            tracer.start_span("after").end()

    assert says(linted(left)) == ["after began after llm_stream, which it stands below, had ended"]


def test_the_same_closed_and_awaited_is_right(linted: Linted) -> None:
    async def right(tracer: trace.Tracer) -> None:
        async def chunks() -> AsyncIterator[int]:
            with tracer.start_as_current_span("llm_stream"):
                yield 1

        async def work() -> None:
            tracer.start_span("work").end()

        with tracer.start_as_current_span("consumer"):
            async with aclosing(chunks()) as stream:
                async for _ in stream:
                    break
            await asyncio.create_task(work())
            tracer.start_span("after").end()

    assert linted(right) == []


def test_what_goes_on_from_a_queue_or_in_another_program_is_right(writer: Writer, reader: Opened) -> None:
    """Messages are handled after they were sent; clocks of two programs differ, and those that count milliseconds."""
    came(
        writer, span(1), span(2, 1, 2, 3, kind=5), span(3, 1, 2, 3, messaging__operation__type="process"),
        span(4, 1, 2, 3, flags=REMOTE), span(5, 1, 1.009, 2), span(6, 6, 2, 3), span(7, 1, 0.1, 0.2, kind=4),
        span(8, 7, 2, 3),
    )  # fmt: skip
    came(writer, span(9, 1, 2, 3), service="other")
    assert found(reader(), "lint") == []

    came(writer, span(10, 1, 2, 3, name="late"))
    assert says(found(reader(), "lint")) == ["late began after span 1, which it stands below, had ended"]


def test_a_span_that_was_never_ended_takes_the_place_above_others_away(linted: Linted) -> None:
    async def unended(tracer: trace.Tracer) -> None:
        root = tracer.start_span("run")
        with trace.use_span(root), tracer.start_as_current_span("step"):
            pass

    [one] = linted(unended)
    assert one["says"] == "step stands below a span of its own program that has never come"
    assert "End every span" in one["remedy"]


def test_what_may_still_come_or_is_elsewhere_is_no_orphan(writer: Writer, reader: Opened) -> None:
    came(writer, span(2, 1))
    assert found(reader(), "lint", now=600) == []
    assert len(found(reader(), "lint", now=602)) == 1

    beat(writer, 1, told=601)
    assert found(reader(), "lint", now=602) == [], "heartbeats tell of it"
    came(writer, span(3, 4, trace=2, flags=REMOTE), span(5, 6, trace=3, flags=0), span(7, trace=4), span(8, 9, trace=4))
    assert found(reader(), "lint") == []


def test_a_run_in_several_traces(linted: Linted) -> None:
    """Executors and queues carry no context; who has waited for them in another trace is named."""

    async def apart(tracer: trace.Tracer, *, carried: bool) -> None:
        loop, run = asyncio.get_running_loop(), {"run.id": "r-1"}

        def look_up() -> None:
            tracer.start_span("look up", attributes=run).end()

        with tracer.start_as_current_span("research", attributes=run):
            if carried:
                await asyncio.to_thread(look_up)
                return
            await loop.run_in_executor(None, look_up)
            await asyncio.create_task(_nowhere(look_up), context=None)

    async def _nowhere(what: Callable[[], None]) -> None:
        token = context.attach(context.Context())  # as a worker that was started before
        what()
        context.detach(token)

    assert linted(lambda tracer: apart(tracer, carried=True)) == []
    [one] = linted(lambda tracer: apart(tracer, carried=False))
    assert one["says"] == (
        "look up is a trace of its own, and belongs into research: both are the run r-1 (in 2 traces)"
    )
    assert "to_thread" in one["remedy"]
    assert len(one["traceIds"]) == 2


def test_turns_experiments_and_linked_work_are_not_one_trace(writer: Writer, reader: Opened) -> None:
    run = {"run__id": "r"}
    came(
        writer, span(1, start=0, end=1, **run), span(2, trace=2, start=2, end=3, **run),  # one after the other
        span(3, trace=3, start=10, end=12, name="case", **run), span(4, trace=4, start=11, end=12, name="case", **run),
        span(5, trace=5, start=20, end=25, **run), span(6, trace=6, start=21, end=22, links=[(5, 5)], **run),
        span(7, trace=7, start=30, end=35, run__id="x"), span(8, trace=8, start=31, end=32, run__id="y"),
    )  # fmt: skip
    came(writer, span(9, trace=9, start=0.5, **run), tenant="acme")
    assert found(reader(), "lint") == []

    came(writer, span(10, trace=10, start=21, end=22, **run))
    assert says(found(reader(), "lint")) == [
        "span 10 is a trace of its own, and belongs into span 5: both are the run r"
    ]


def test_a_call_of_a_model_that_took_no_time_and_what_gave_a_coroutine_back(writer: Writer, reader: Opened) -> None:
    chat = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "m"}
    came(
        writer, span(1), span(2, 1, end=0.00005, name="chat m", **chat),
        span(3, 1, name="research", openinference__span__kind="AGENT", output__value="<coroutine object r at 0x7f00>"),
    )  # fmt: skip
    assert says(found(reader(), "lint")) == [
        "chat m ended before what it stands for had begun: it only made a coroutine",
        "research ended before what it stands for had begun: it only made a coroutine",
    ]


def test_short_calls_that_have_something_to_show_are_right(writer: Writer, reader: Opened) -> None:
    chat = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "m"}
    short = 0.00005
    came(
        writer, span(1, end=short), span(2, 1, end=short, gen_ai__usage__output_tokens=3, **chat),
        span(3, 1, end=short, status=2, **chat), span(4, 1, end=0.1, **chat), span(5, 1, end=short, **chat),
        span(6, 5, 0, 0.00001), span(7, 1, end=short, output__value="hello", **chat),
        span(8, 1, output__value="A <coroutine object f at 0x1> was never awaited: say await f().", **chat),
        span(9, 1, end=short, gen_ai__operation__name="create_agent"),
    )  # fmt: skip
    assert found(reader(), "lint") == []


async def _sleep(tracer: trace.Tracer, name: str) -> None:
    with tracer.start_as_current_span(name):
        await asyncio.Event().wait()


def test_a_call_that_a_timeout_cut_short(linted: Linted) -> None:
    async def timed(tracer: trace.Tracer) -> None:
        with tracer.start_as_current_span("agent"):
            tracer.start_span("done before").end()
            async with asyncio.timeout(0.1):
                await _sleep(tracer, "llm_call")

    [one] = linted(timed)
    assert one["says"] == "llm_call was cut short together with agent, and looks successful"
    assert "CancelledError" in one["remedy"]


def test_a_task_that_was_cancelled_as_another_of_its_group_failed(linted: Linted) -> None:
    async def grouped(tracer: trace.Tracer) -> None:
        async def fails() -> None:
            with tracer.start_as_current_span("tool"):
                await asyncio.sleep(0)
                raise RuntimeError("tool crashed")

        with tracer.start_as_current_span("agent"):
            async with asyncio.TaskGroup() as group:
                group.create_task(_sleep(tracer, "search"))
                group.create_task(fails())

    assert says(linted(grouped)) == ["search was cut short together with agent, and looks successful"]


def test_a_cancellation_that_is_known_and_said_to_be_well(writer: Writer, reader: Opened) -> None:
    came(
        writer, span(1, name="told", exception="asyncio.exceptions.CancelledError"),
        span(2, 1, name="said", otel_bridge__outcome="cancelled", status=1),
        span(3, 1, name="right", exception="CancelledError", status=2), span(4, 1, otel_bridge__outcome="abandoned"),
        span(5, 1, text="Cancelled, said the customer"),
    )  # fmt: skip
    assert says(found(reader(), "lint")) == [
        "told was cancelled, and its status says nothing of that",
        "said was cancelled, and its status says nothing of that",
    ]


def test_what_ends_before_a_failure_or_with_any_other_has_succeeded(linted: Linted) -> None:
    """An error that is raised at once after a call, and a timeout of somebody's own, cut nothing short."""

    async def fails(tracer: trace.Tracer) -> None:
        with tracer.start_as_current_span("agent"):
            tracer.start_span("call").end()
            raise TimeoutError("the budget is spent")

    assert linted(fails) == []
