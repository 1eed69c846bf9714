"""Streams under spans: nobody's spans get mixed up, and each tells what came of it."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from opentelemetry import trace

from otel_bridge.sdk import span, stream, tool
from tests.sdk.conftest import Main, Spans
from tests.sdk.streaming import CHUNKS, OUTCOME, OUTPUT, attributes, chunks


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

    assert attributes(spans, "cut") == {
        CHUNKS: 3,
        OUTPUT: "0 1",
        "otel_bridge.output.truncated": True,
        "otel_bridge.output.bytes": 6,
    }
    assert attributes(spans, "silent") == {CHUNKS: 3}


@pytest.mark.parametrize("word", ["é 🙂 ", "word "])
async def test_of_a_long_answer_its_whole_size_is_told(spans: Spans, word: str) -> None:
    """Of one that just fits nothing is."""

    async def answer(count: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield word

    fits = (64 << 10) // len(word)
    for name, count in (("long", 3 * fits), ("fits", fits)):
        _ = [item async for item in stream(answer(count), name)]
    said = attributes(spans, "long")
    assert len(said[OUTPUT]) == 64 << 10
    assert (said["otel_bridge.output.truncated"], said["otel_bridge.output.bytes"]) == (
        True,
        3 * fits * len(word.encode()),
    )
    assert attributes(spans, "fits").keys() == {CHUNKS, OUTPUT}


class Unbound:
    """A proxy with nothing behind it, as outside of a request."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("outside of a request")

    @__class__.setter
    def __class__(self, _kind: type) -> None: ...


class Text(str):
    """Somebody's own text, which does as it likes."""

    __slots__ = ()

    def isascii(self) -> bool:
        raise RuntimeError("own")

    __len__ = __getitem__ = __str__ = isascii  # type: ignore[assignment]


async def test_what_a_stream_gives_is_asked_for_nothing(spans: Spans) -> None:
    given = [Unbound(), Text("word"), "s"]

    async def items() -> AsyncIterator[Any]:
        for item in given:
            yield item

    @tool("async_tool")
    async def async_tool() -> AsyncIterator[Any]:
        for item in given:
            yield item

    @tool("sync_tool")
    def sync_tool() -> Iterator[Any]:
        yield from given

    came = [
        [item async for item in stream(items(), "async")],
        list(stream(iter(given), "sync")),
        [item async for item in stream(items(), "read", text=lambda item: item)],
        [item async for item in async_tool()],
        list(sync_tool()),
    ]
    assert [[id(item) for item in each] for each in came] == [[id(item) for item in given]] * 5
    for name in ("async", "sync", "read"):
        assert attributes(spans, name) == {CHUNKS: 3, OUTPUT: "words"}
    for name in ("execute_tool async_tool", "execute_tool sync_tool"):
        assert attributes(spans, name)["gen_ai.tool.call.result"] == "words"


async def test_a_span_that_takes_no_event_does_not_stop_the_stream(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("full")

    monkeypatch.setattr("opentelemetry.sdk.trace.Span.add_event", full)
    assert [item async for item in stream(chunks(2), "llm_stream")] == ["0 ", "1 "]
    assert attributes(spans, "llm_stream")[CHUNKS] == 2
