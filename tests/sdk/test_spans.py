"""A span around a block, a function or a call: attributes, parents and links, and what it leaves behind."""

import asyncio
import contextlib
import contextvars
import copy
import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from opentelemetry import baggage, trace

from otel_bridge.sdk import correlation, llm_call, span
from otel_bridge.sdk.spans import Entered
from otel_bridge.sdk.web import outgoing
from tests.sdk.conftest import Main, Spans


def test_it_is_a_with_an_async_with_and_a_decorator(spans: Spans, run: Callable[[Main], Any]) -> None:
    @span("decorated")
    async def decorated() -> int:
        return 7

    @span
    def named_itself() -> str:
        return "x"

    async def main() -> int:
        async with span("outer"):
            with span("inner"):
                named_itself()
                return await decorated()

    assert run(main) == 7
    assert spans.parent("inner") == "outer"
    assert spans.parent("decorated") == "inner"
    assert spans.parent(next(found.name for found in spans.all if found.name.endswith("named_itself"))) == "inner"
    assert len(spans.traces()) == 1


def test_attributes_are_a_mapping_and_take_anything(spans: Spans) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError("no")

    with span("work", {"given": 1, "nothing": None}) as work:
        work.tags["found"] = 3
        work.tags["nested"] = {"a": [1, Odd()]}
        work.tags.update(more=True)
        assert work.tags["found"] == 3
        work.set_attribute("plain", "x")

    attributes = dict(spans["work"].attributes or {})
    nested = attributes.pop("nested")
    assert attributes == {"given": 1, "found": 3, "more": True, "plain": "x"}
    assert list(nested["a"]) == [1, "<test_attributes_are_a_mapping_and_take_anything.<locals>.Odd>"]  # type: ignore[index,call-overload]


def test_concurrent_runs_have_their_own_spans(spans: Spans, run: Callable[[Main], Any]) -> None:
    one = span("agent")  # also when all enter the same object
    seen = []

    async def agent() -> None:
        async with one as mine:
            await anyio.lowlevel.checkpoint()
            seen.append(trace.get_current_span() is mine.otel)
            await anyio.lowlevel.checkpoint()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(agent)

    run(main)
    assert seen == [True] * 3
    assert len(spans.all) == len(spans.traces()) == 3


def test_blocks_left_out_of_turn_leave_nobody_behind(spans: Spans) -> None:
    first, second = span("first"), span("second")
    with span("around"):
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        with span("after"):
            pass

    assert spans.parent("after") == "around"


def test_a_parent_can_be_named(spans: Spans) -> None:
    with span("elsewhere") as elsewhere:
        pass
    with span("elsewhere again") as open_one, span("by span", parent=open_one):
        pass
    with span("by header", parent=f"00-{elsewhere.trace_id}-{elsewhere.span_id}-01"):
        pass
    with span("by trace", parent=elsewhere.trace_id):
        pass
    with span("by nonsense", parent="nonsense"):
        pass

    assert spans.parent("by span") == "elsewhere again"
    assert spans.parent("by header") == "elsewhere"
    assert spans["by trace"].context.trace_id == spans["elsewhere"].context.trace_id  # type: ignore[union-attr]
    assert spans["by nonsense"].parent is None


def test_what_outlives_its_parent_is_linked_to_it(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        ended = anyio.Event()

        async def background() -> None:
            await ended.wait()
            async with span("background"):
                pass

        async with anyio.create_task_group() as group:
            async with span("request"):
                group.start_soon(background)
            ended.set()

    run(main)
    found = spans["background"]
    assert found.parent is None
    assert [link.context for link in found.links] == [spans["request"].context]
    assert (found.attributes or {})["otel_bridge.parent_ended"] is True


async def test_without_a_provider_nothing_is_recorded_and_everything_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())

    @span
    async def decorated() -> int:
        async with span("block") as block:
            block.tags["x"] = 1
            return 7

    assert await decorated() == 7


class Looked:
    def __init__(self) -> None:
        self.at = 0

    def __str__(self) -> str:
        self.at += 1
        return "all that was said"


def test_where_it_is_switched_off_no_value_is_looked_at(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be long: a conversation, with its files."""

    def work() -> None:
        with contextlib.suppress(ValueError), llm_call("m", messages=value) as call:
            call.tags["output.value"] = value
            raise ValueError(value)

    value = Looked()
    work()
    assert value.at > 0
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    value = Looked()
    work()
    assert value.at == 0


def test_what_a_forgotten_generator_left_current_is_over_with_the_block_around(spans: Spans) -> None:
    def numbers() -> Iterator[int]:
        with trace.get_tracer("user").start_as_current_span("theirs"), span("inner"):
            yield 1

    def consume() -> None:
        with span("outer"):
            next(kept)
        with span("after"):
            pass

    kept = numbers()
    theirs = contextvars.copy_context()
    theirs.run(consume)
    theirs.run(kept.close)  # type: ignore[attr-defined]
    assert spans.parent("after") is None


async def test_work_that_begins_the_next_does_not_keep_all_that_was() -> None:
    """As a callback that calls itself again: each inherits the context of the one before."""

    def step() -> None:
        with span("step"):
            left.append(None)
            if len(left) < 100:
                asyncio.get_running_loop().call_soon(step)
            else:
                gc.collect()
                alive.append(sum(isinstance(found, Entered) for found in gc.get_objects()))
                over.set()

    left: list[None] = []
    alive: list[int] = []
    over = asyncio.Event()
    step()
    await over.wait()
    assert alive[0] < 20


def test_a_span_can_be_copied_and_no_link_is_none(spans: Spans) -> None:
    with span("work", links=[None]) as work:
        assert copy.copy(work).span_id == work.span_id
    assert not spans["work"].links


def test_the_headers_of_a_message_are_a_parent_or_a_link(spans: Spans) -> None:
    """With the ids that travel in them; what says nothing is no link."""
    with span("sender"), correlation(session="s-1"):
        headers = outgoing()
    with span("child", parent=headers):
        assert baggage.get_baggage("session.id") == "s-1"
    with span("linked", links=[headers, {}, "nonsense"]):
        pass

    assert spans.parent("child") == "sender"
    assert spans.parent("linked") is None
    assert [link.context.span_id for link in spans["linked"].links] == [spans["sender"].context.span_id]


class Asked:
    async def __call__(self, number: int) -> int:
        with span("inner"):
            return number

    @span
    @staticmethod
    def fixed(number: int) -> int:
        return number

    @span("of the class")
    @classmethod
    def made(cls, number: int) -> tuple[str, int]:
        return cls.__name__, number

    @span
    @classmethod
    async def awaited(cls) -> str:
        return cls.__name__


def test_it_goes_around_whatever_can_be_called(spans: Spans, run: Callable[[Main], Any]) -> None:
    """With arguments bound to it, as a method of a class, or an object."""

    async def main() -> list[object]:
        return [await span(partial(Asked(), 1))(), await span("asked")(Asked())(2), await Asked.awaited()]

    assert run(main) == [1, 2, "Asked"]
    assert [Asked.fixed(3), Asked().fixed(4), Asked.made(5), Asked().made(6)] == [3, 4, ("Asked", 5), ("Asked", 6)]
    assert span(partial(int, base=2))("11") == 3
    names = ["Asked", "asked", "Asked.awaited", "Asked.fixed", "Asked.fixed", "of the class", "of the class", "int"]
    assert [found.name for found in spans.all] == ["inner", "Asked", "inner", *names[1:]]
    parents = {found.parent.span_id for found in spans.all if found.name == "inner" and found.parent}
    assert parents == {found.context.span_id for found in spans.all[1:4:2] if found.context}


def test_it_goes_around_nothing_else() -> None:
    with pytest.raises(TypeError, match="a span goes around what can be called"):
        span("read")(property(lambda _: 1))  # type: ignore[type-var]


def test_the_span_of_a_block_can_be_made_current_by_opentelemetry(spans: Spans) -> None:
    run, _ = span("run").start()
    with trace.use_span(run), span("child"):  # type: ignore[arg-type]  # who has types is told of `run.otel`
        pass
    run.end()
    assert spans.parent("child") == "run"
