"""What a span tells of how its block ended: exceptions, cancellation, timeouts, groups of them, or nothing wrong."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otel_bridge.sdk import asynchronous, span
from tests.sdk.conftest import Main, Spans

OUTCOME = "otel_bridge.outcome"


def test_an_exception_is_told_and_goes_on(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with span("fails"):
            raise KeyError("x")

    with pytest.raises(KeyError):
        run(main)
    status = spans["fails"].status
    assert (status.status_code, status.description) == (StatusCode.ERROR, "KeyError: 'x'")
    assert [event.name for event in spans["fails"].events] == ["exception"]


async def test_somebodys_own_manager_is_told_of_exceptions_too(spans: Spans) -> None:
    """Plain OpenTelemetry's can not be used with `async with`, and is told nothing by `__exit__(None, None, None)`."""
    with pytest.raises(KeyError):
        async with asynchronous(trace.get_tracer("user").start_as_current_span("theirs")), span("inner"):
            raise KeyError("x")

    assert spans.parent("inner") == "theirs"
    assert spans["theirs"].status.status_code == StatusCode.ERROR
    assert [event.name for event in spans["theirs"].events] == ["exception"]


async def test_a_cancelled_task_says_so(spans: Spans) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with span("outer"), span("inner"):
            started.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    for name in ("inner", "outer"):
        assert spans[name].status.status_code == StatusCode.ERROR
        assert (spans[name].attributes or {})[OUTCOME] == "cancelled"


def test_a_cancel_scope_says_so(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with span("work"):
                scope.cancel()
                await anyio.sleep(60)

    run(main)
    assert (spans["work"].attributes or {})[OUTCOME] == "cancelled"
    assert spans["work"].status.description.startswith("cancelled")  # type: ignore[union-attr]


async def test_a_timeout_is_told_where_it_struck_and_where_it_came_out(spans: Spans) -> None:
    async def call() -> None:
        async with span("outer"), asyncio.timeout(0), span("llm_call"):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await call()

    assert (spans["llm_call"].attributes or {})[OUTCOME] == "cancelled"
    assert (spans["outer"].attributes or {})[OUTCOME] == "timeout"
    assert spans["outer"].status.description == "TimeoutError"


def test_so_is_a_time_limit_of_anyio(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with span("outer"):
            with anyio.fail_after(0.001):
                async with span("llm_call"):
                    await anyio.sleep(60)

    with pytest.raises(TimeoutError):
        run(main)
    assert (spans["llm_call"].attributes or {})[OUTCOME] == "cancelled"
    assert (spans["outer"].attributes or {})[OUTCOME] == "timeout"


def test_a_task_group_of_anyio_tells_its_leaves(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def crash() -> None:
        async with span("tool"):
            raise RuntimeError("tool crashed")

    async def sibling() -> None:
        async with span("sibling"):
            await anyio.sleep(60)

    async def main() -> None:
        async with span("parent"), anyio.create_task_group() as group:
            group.start_soon(sibling)
            await anyio.lowlevel.checkpoint()
            group.start_soon(crash)

    with pytest.raises(ExceptionGroup):
        run(main)
    assert spans["parent"].status.description == "RuntimeError: tool crashed"
    assert (spans["sibling"].attributes or {})[OUTCOME] == "cancelled"
    assert spans.parent("tool") == spans.parent("sibling") == "parent"


async def test_a_group_tells_its_leaves(spans: Spans) -> None:
    async def crash() -> None:
        async with span("tool"):
            raise RuntimeError("tool crashed")

    async def sibling() -> None:
        async with span("sibling"):
            await asyncio.sleep(60)

    async def both() -> None:
        async with span("parent"), asyncio.TaskGroup() as group:
            group.create_task(sibling())
            group.create_task(crash())

    with pytest.raises(ExceptionGroup):
        await both()

    assert spans["parent"].status.description == "RuntimeError: tool crashed"
    assert [(event.attributes or {})["exception.type"] for event in spans["parent"].events] == ["RuntimeError"]
    assert (spans["sibling"].attributes or {})[OUTCOME] == "cancelled"
    assert spans.parent("tool") == spans.parent("sibling") == "parent"


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_a_text_goes_on_as_it_is(spans: Spans) -> None:
    with pytest.raises(MuteError), span("fails"):
        raise MuteError
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert spans["fails"].status.description == "MuteError: <MuteError>"
    assert (spans["fails"].events[0].attributes or {})["exception.message"] == "<MuteError>"


def test_half_a_character_is_cleaned(spans: Spans) -> None:
    with pytest.raises(ValueError), span("bad \ud800"):  # noqa: PT011 - whatever it says
        raise ValueError("model said \ud83d")
    [found] = spans.all
    assert (found.name, found.status.description) == ("bad ?", "ValueError: model said ?")


@pytest.mark.parametrize("code", [None, 0])
def test_a_good_exit_is_no_failure(spans: Spans, code: int | None) -> None:
    with pytest.raises(SystemExit), span("main"):
        raise SystemExit(code)

    assert spans["main"].status.status_code == StatusCode.UNSET


@pytest.mark.parametrize("name", ["RerunException", "StopException"])
@pytest.mark.parametrize(
    ("raised_in", "outcome"),
    [("streamlit.runtime.scriptrunner.script_runner", "abandoned"), ("streamlit.commands.execution_control", None)],
    ids=["by a click", "by the page itself"],
)
def test_a_page_of_streamlit_that_is_left_has_not_failed(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, name: str, raised_in: str, outcome: str | None
) -> None:
    kind = type(name, (BaseException,), {})
    monkeypatch.setitem(sys.modules, "streamlit.runtime.scriptrunner", SimpleNamespace(**{name: kind}))
    page: dict[str, Any] = {"__name__": raised_in, "kind": kind}
    exec("def leave(): raise kind", page)
    with pytest.raises(kind), span("turn"):
        page["leave"]()
    assert spans["turn"].status.status_code is StatusCode.UNSET
    assert (spans["turn"].attributes or {}).get(OUTCOME) == outcome
    assert not spans["turn"].events


def test_a_generator_that_is_closed_was_abandoned(spans: Spans) -> None:
    def numbers() -> Iterator[int]:
        with span("raw"):
            yield 1
            yield 2

    given = numbers()
    next(given)
    given.close()  # type: ignore[attr-defined]
    with span("after"):
        pass

    assert (spans["raw"].attributes or {})[OUTCOME] == "abandoned"
    assert spans.parent("after") is None


class UnequalError(Exception):
    def __eq__(self, other: object) -> bool:
        raise TypeError("compare its fields")

    __hash__ = Exception.__hash__


def test_an_exception_that_can_not_be_compared_is_told(spans: Spans) -> None:
    with pytest.raises(BaseExceptionGroup), span("fails"):
        raise BaseExceptionGroup("", [asyncio.CancelledError(), UnequalError("one")])
    assert spans["fails"].status.description == "UnequalError: one"
