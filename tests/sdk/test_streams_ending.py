"""How a stream ends: by a break, a timeout, a cancel scope, or when nobody has it any more."""

import asyncio
import contextlib
import gc
import types
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from opentelemetry.trace import StatusCode

from otel_bridge.sdk import span, stream
from tests.sdk.conftest import Main, Spans
from tests.sdk.streaming import OUTCOME, attributes, chunks


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


async def answering() -> AsyncIterator[str]:
    with span("over its yields"):
        for word in ("Lisbon", "Oslo"):
            yield word
            await anyio.lowlevel.checkpoint()


@pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")  # trio says so
@pytest.mark.parametrize("begin", [span("llm_stream")(answering), lambda: stream(answering(), "llm_stream")])
def test_one_that_is_broken_off_as_the_last_thing_of_a_program_is_abandoned(
    spans: Spans, run: Callable[[Main], Any], begin: Callable[[], AsyncIterator[str]]
) -> None:
    """A loop that ends cancels what it has begun to close, which is no cancellation of the agent's."""

    async def main() -> None:
        async for _ in begin():
            break

    run(main)
    gc.collect()
    assert attributes(spans, "llm_stream")[OUTCOME] == "abandoned"
    assert {found.status.status_code for found in spans.all} == {StatusCode.UNSET}


async def test_a_cancellation_that_its_user_raises_in_it_is_one(spans: Spans) -> None:
    @contextlib.asynccontextmanager
    @span("session")
    async def session() -> AsyncIterator[int]:
        yield 1

    async def use() -> None:
        async with session():
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert attributes(spans, "session")[OUTCOME] == "cancelled"


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


def test_a_time_limit_of_anyio_in_the_generator_fires(spans: Spans, run: Callable[[Main], Any]) -> None:
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
