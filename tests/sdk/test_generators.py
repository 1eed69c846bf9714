"""Generators stay generators, whether `span` decorates them or `stream` goes around them."""

import asyncio
import contextlib
import contextvars
import inspect
import sys
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any, get_type_hints

import pytest

from otel_bridge.sdk import span, stream
from tests.sdk.conftest import Main, Spans
from tests.sdk.streaming import CHUNKS, attributes


async def test_a_decorated_one_goes_on_in_the_context_of_its_call(spans: Spans) -> None:
    """The first step may be made in another."""

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
