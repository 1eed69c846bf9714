"""Generators under spans: nobody's spans get mixed up, and timeouts and cancel scopes go on working."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import sys
import types
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any, get_type_hints

import anyio
import anyio.lowlevel
import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otel_bridge.sdk import span, stream
from tests.sdk.conftest import Main, Spans

OUTCOME, CHUNKS, OUTPUT = "otel_bridge.outcome", "otel_bridge.stream.chunks", "output.value"
tracer = trace.get_tracer("user")


async def chunks(count: int = 3) -> AsyncIterator[str]:
    """As users write it: the plain way, which holds a context token over its yields."""
    with tracer.start_as_current_span("inside"):
        for at in range(count):
            with tracer.start_as_current_span(f"chunk {at}"):
                await anyio.lowlevel.checkpoint()
            yield f"{at} "


def attributes(spans: Spans, name: str) -> dict[str, Any]:
    return dict(spans[name].attributes or {})


@pytest.fixture
def spans(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> Spans:
    monkeypatch.setattr(f"{__name__}.tracer", trace.get_tracer("user"))
    return spans


def test_the_consumer_and_the_stream_are_siblings(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with span("consumer"):
            async for item in stream(chunks(), "llm_stream"):
                async with span(f"work {item}"):
                    pass

    run(main)
    assert {spans.parent(f"work {at} ") for at in range(3)} == {"consumer"}
    assert spans.parent("llm_stream") == "consumer"
    assert spans.parent("inside") == "llm_stream"
    assert {spans.parent(f"chunk {at}") for at in range(3)} == {"inside"}
    assert attributes(spans, "llm_stream") == {CHUNKS: 3, OUTPUT: "0 1 2 "}
    assert [event.name for event in spans["llm_stream"].events] == ["first_chunk"]


def test_after_a_break_the_consumer_is_itself_again(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with span("consumer"):
            given = stream(chunks(), "llm_stream")
            async for _ in given:
                break
            async with span("after"):
                pass
            await given.aclose()
            async with span("later"):
                pass

    run(main)
    assert spans.parent("after") == spans.parent("later") == "consumer"
    assert attributes(spans, "llm_stream")[OUTCOME] == "abandoned"
    assert spans["llm_stream"].status.status_code == StatusCode.UNSET


@pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")  # trio says so
def test_one_that_nobody_closes_ends_when_it_is_forgotten(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def consume() -> None:
        async for _ in stream(chunks(), "llm_stream"):
            break

    async def main() -> None:
        async with span("consumer"):
            await consume()
            gc.collect()
            while not any(found.name == "llm_stream" for found in spans.all):  # the loop closes it soon
                await anyio.lowlevel.checkpoint()
            async with span("after"):
                pass

    run(main)
    assert attributes(spans, "llm_stream")[OUTCOME] == "abandoned"
    assert spans.parent("after") == "consumer"


def test_closing_it_in_another_task_is_clean(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with span("consumer"):
            given = stream(chunks(), "llm_stream")
            await anext(given)
            async with anyio.create_task_group() as group:
                group.start_soon(given.aclose)
            async with span("after"):
                pass

    run(main)
    assert spans.parent("after") == "consumer"


def test_a_task_for_each_item_makes_one_trace(spans: Spans, run: Callable[[Main], Any]) -> None:
    """As servers of events do, each with a fresh context."""

    async def main() -> None:
        async with span("consumer"):
            given = stream(chunks(2), "llm_stream")

        async def step() -> None:
            assert trace.get_current_span() is trace.INVALID_SPAN
            items.append(await anext(given, "over"))

        items: list[str] = []
        while items[-1:] != ["over"]:
            async with anyio.create_task_group() as group:
                contextvars.Context().run(group.start_soon, step)
        assert items == ["0 ", "1 ", "over"]

    run(main)
    assert len(spans.traces()) == 1
    assert {spans.parent(f"chunk {at}") for at in range(2)} == {"inside"}
    assert attributes(spans, "llm_stream")["otel_bridge.parent_ended"] is True


async def test_so_does_wait_for_around_each_item(spans: Spans) -> None:
    """It makes a task for each before Python 3.12."""
    async with span("consumer"):
        given = stream(chunks(2), "llm_stream")
        assert [await asyncio.wait_for(anext(given, "over"), 5) for _ in range(3)] == ["0 ", "1 ", "over"]

    assert spans.parent("llm_stream") == "consumer"
    assert {spans.parent(f"chunk {at}") for at in range(2)} == {"inside"}


def test_a_time_limit_for_each_item_is_no_matter_of_the_streams(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with span("consumer"):
            given = stream(chunks(1), "llm_stream")
            for expected in ("0 ", "over"):
                with anyio.fail_after(5):
                    assert await anext(given, "over") == expected

    run(main)
    assert spans.parent("chunk 0") == "inside"
    assert OUTCOME not in attributes(spans, "llm_stream")


async def test_so_it_does_for_a_decorated_generator(spans: Spans) -> None:
    """Its context is that of the call: the first step may be made in another."""

    @span("decorated")
    async def decorated() -> AsyncIterator[int]:
        for at in range(2):
            with span(f"chunk {at}"):
                pass
            yield at

    @span("plain")
    def plain() -> Iterator[int]:
        yield 1

    async with span("consumer"):
        given, not_async = decorated(), plain()
    for _ in range(2):
        await asyncio.create_task(anext(given), context=contextvars.Context())  # type: ignore[arg-type]
    with contextlib.suppress(StopAsyncIteration):
        await anext(given)
    assert contextvars.Context().run(list, not_async) == [1]

    assert len(spans.traces()) == 1
    assert {spans.parent(name) for name in ("decorated", "plain")} == {"consumer"}
    assert {spans.parent(f"chunk {at}") for at in range(2)} == {"decorated"}


class Holder:
    @span
    async def words(self, count: int = 1) -> AsyncIterator[int]:
        """Words."""
        for at in range(count):
            yield at

    @staticmethod
    @span
    def numbers() -> Iterator[int]:
        yield 1


async def test_a_decorated_generator_looks_as_before(spans: Spans) -> None:
    assert inspect.isasyncgenfunction(Holder.words)
    assert inspect.isasyncgenfunction(Holder().words)
    assert inspect.isgeneratorfunction(Holder.numbers)
    assert str(inspect.signature(Holder().words)) == "(count: int = 1) -> collections.abc.AsyncIterator[int]"
    assert (Holder.words.__name__, Holder.words.__doc__) == ("words", "Words.")
    assert get_type_hints(Holder.words) == {"count": int, "return": AsyncIterator[int]}
    assert weakref.ref(Holder.words)() is Holder.words
    assert inspect.isasyncgen(given := Holder().words(2))
    assert [at async for at in given] == [0, 1]
    assert list(Holder.numbers()) == [1]
    assert {span.name for span in spans.all} == {"Holder.words", "Holder.numbers"}


def test_a_decorated_generator_can_be_given_other_annotations() -> None:
    """As frameworks do that build a function's parameters; those of what it goes around stay."""

    def words(count: int) -> Iterator[int]:
        yield count

    decorated = span(words)
    given = {"count": float, "return": Iterator[float]}
    decorated.__annotations__ = given
    assert decorated.__annotations__ is given
    assert get_type_hints(decorated) == given
    assert words.__annotations__ == {"count": int, "return": Iterator[int]}


NOT_THERE = """
async def words(planner: OnlyForTypeCheckers):
    yield 1
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated when the function is defined")
async def test_annotations_are_not_evaluated_before_somebody_asks() -> None:
    program: dict[str, Any] = {}
    exec(NOT_THERE, program)
    decorated = span(program["words"])
    assert [at async for at in decorated(None)] == [1]
    with pytest.raises(NameError):
        _ = decorated.__annotations__


async def test_a_timeout_in_the_generator_fires(spans: Spans) -> None:
    async def slow() -> AsyncIterator[int]:
        async with asyncio.timeout(0.01):
            for at in range(3):
                yield at
                await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        async for _ in stream(slow()):
            pass
    assert attributes(spans, spans.all[0].name)[OUTCOME] == "timeout"


def test_so_does_a_time_limit_of_anyio(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def slow() -> AsyncIterator[int]:
        with anyio.fail_after(0.01):
            yield 1
            await anyio.sleep(60)

    async def main() -> None:
        async for _ in stream(slow(), "llm_stream"):
            pass

    with pytest.raises(TimeoutError):
        run(main)
    assert attributes(spans, "llm_stream")[OUTCOME] == "timeout"


def test_cancel_scopes_in_the_generator_work(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def patient() -> AsyncIterator[int]:
        with anyio.fail_after(60):
            yield 1
            await anyio.lowlevel.checkpoint()
            yield 2

    async def main() -> list[int]:
        return [item async for item in stream(patient(), "llm_stream")]

    assert run(main) == [1, 2]
    assert OUTCOME not in attributes(spans, "llm_stream")


async def test_cancelled_and_abandoned_are_told_apart(spans: Spans) -> None:
    async def endless() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(60)

    async def consume() -> None:
        async for _ in stream(endless(), "llm_stream"):
            first.set()

    first = asyncio.Event()
    task = asyncio.create_task(consume())
    await first.wait()
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert attributes(spans, "llm_stream")[OUTCOME] == "cancelled"


class Large:
    """What somebody's generator has in hand."""


def test_of_a_cancelled_one_nothing_is_kept(spans: Spans) -> None:
    """Not even until Python looks for rings, which may be long after many clients have gone."""

    async def endless() -> AsyncIterator[int]:
        large = Large()
        held.append(weakref.ref(large))
        yield 1
        await asyncio.sleep(60)

    async def consume(first: asyncio.Event) -> None:
        async for _ in stream(endless()):
            first.set()

    async def cancel() -> None:
        first = asyncio.Event()
        task = asyncio.create_task(consume(first))
        await first.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    held: list[weakref.ref[Large]] = []
    gc.disable()
    try:
        asyncio.run(cancel())
        assert held[0]() is None
    finally:
        gc.enable()


async def test_an_error_is_told_and_goes_on(spans: Spans) -> None:
    async def fails() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken pipe")

    with pytest.raises(ValueError, match="broken pipe"):
        async for _ in stream(fails(), "llm_stream"):
            pass
    assert spans["llm_stream"].status.description == "ValueError: broken pipe"


async def echo() -> AsyncGenerator[Any, Any]:
    """Gives back what it is sent, and the names of what is raised in it."""
    said: Any = "ready"
    while True:
        try:
            said = yield said
        except ValueError as error:
            said = str(error)


def test_it_is_an_async_generator_in_every_way(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        given = stream(echo(), "echo")
        assert inspect.isasyncgen(given)
        assert await anext(given) == "ready"
        assert await given.asend("hello") == "hello"
        assert await given.athrow(ValueError("thrown")) == "thrown"
        await given.aclose()

    run(main)
    assert attributes(spans, "echo")[CHUNKS] == 3


def test_decorated_functions_stay_what_they_are(spans: Spans, run: Callable[[Main], Any]) -> None:
    @span("numbers")
    async def numbers() -> AsyncIterator[int]:
        yield 1
        async with span("inner"):
            yield 2

    @span("letters")
    def letters() -> Iterator[str]:
        yield "a"
        with span("between"):
            yield "b"

    async def main() -> list[int]:
        return [item async for item in numbers()]

    assert inspect.isasyncgenfunction(numbers)
    assert inspect.isgeneratorfunction(letters)
    assert run(main) == [1, 2]
    given = list(letters())
    assert given == ["a", "b"]
    assert spans.parent("inner") == "numbers"
    assert spans.parent("between") == "letters"


def test_sync_generators_send_throw_return(spans: Spans) -> None:
    def talk() -> Generator[Any, Any, str]:
        said = yield 1
        try:
            yield said
        except ValueError:
            yield "caught"
        return "over"

    def outer() -> Generator[Any, Any, None]:
        result.append((yield from stream(talk(), "talk")))

    result: list[str] = []
    given = outer()
    assert [next(given), given.send("x"), given.throw(ValueError()), list(given)] == [1, "x", "caught", []]
    assert result == ["over"]
    with span("after"):
        pass
    assert spans.parent("after") is None
    assert attributes(spans, "talk")[CHUNKS] == 3


async def test_what_is_no_generator_is_taken_too(spans: Spans) -> None:
    """As the streams of providers' clients are: with items of their own, and a `close`."""

    class Answer:
        def __init__(self) -> None:
            self.left = ["Hel", "lo", None]
            self.closed = False

        def __aiter__(self) -> "Answer":
            return self

        async def __anext__(self) -> dict[str, str | None]:
            if not self.left:
                raise StopAsyncIteration
            return {"delta": self.left.pop(0)}

        async def close(self) -> None:
            self.closed = True

    whole = [item async for item in stream(Answer(), "whole", text=lambda item: item["delta"])]
    assert len(whole) == 3
    assert attributes(spans, "whole")[OUTPUT] == "Hello"

    half = Answer()
    given = stream(half, "half", text=lambda item: item["no such"])
    await anext(given)
    await given.aclose()
    assert half.closed
    assert OUTPUT not in attributes(spans, "half")


async def test_the_output_is_cut_and_can_be_left_out(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    _ = [item async for item in stream(chunks(3), "cut", max_output_chars=3)]
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "false")
    _ = [item async for item in stream(chunks(3), "silent")]

    assert attributes(spans, "cut") == {CHUNKS: 3, OUTPUT: "0 1"}
    assert attributes(spans, "silent") == {CHUNKS: 3}


def test_one_whose_loop_is_gone_ends_when_it_is_forgotten(spans: Spans) -> None:
    async def begin() -> AsyncGenerator[str, Any]:
        given = stream(chunks(), "llm_stream")
        await anext(given)
        return given

    loop = asyncio.new_event_loop()
    given = [loop.run_until_complete(begin())]
    loop.close()
    given.clear()
    gc.collect()
    assert attributes(spans, "llm_stream")[OUTCOME] == "abandoned"


def test_a_loop_that_ends_has_each_closed_once(spans: Spans) -> None:
    """By the stream, whose source the loop would close at the same time: to each that is refused a line in the log."""

    async def patient() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0.001)
            closed.append(True)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, said: failed.append(said))
        for number in range(8):  # they are closed in an order that is nobody's
            kept.append(stream(patient(), f"llm_stream {number}"))
            await anext(kept[-1])

    kept: list[AsyncGenerator[int, Any]] = []
    failed: list[object] = []
    closed: list[bool] = []
    asyncio.run(main())
    assert (len(closed), failed) == (8, [])
    assert {(found.attributes or {})[OUTCOME] for found in spans.all} == {"abandoned"}


def test_one_that_is_dropped_in_a_step_is_abandoned_quietly(spans: Spans) -> None:
    @types.coroutine
    def never() -> Generator[None, None, None]:
        yield

    async def waits() -> AsyncIterator[int]:
        await never()
        yield 1

    given = stream(waits(), "llm_stream")
    step = given.__anext__().__await__()
    next(step)
    with pytest.raises(GeneratorExit):
        step.throw(GeneratorExit())
    assert attributes(spans, "llm_stream")[OUTCOME] == "abandoned"
