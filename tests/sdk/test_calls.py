"""What a function with a span of a kind is given and gives is on that span, within bounds and whatever it is."""

import dataclasses
import functools
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import date
from enum import Enum
from typing import Any

import pytest
from opentelemetry import trace
from pydantic import BaseModel, Field, SecretStr

from otel_bridge.sdk import agent_run, instrument, llm_call, reasoning, retrieval, span, task, tool, workflow
from otel_bridge.sdk.contents import MOST_NODES
from otel_bridge.sdk.spans import SpanBlock
from tests.sdk.conftest import Spans
from tests.sdk.streaming import CHUNKS

ARGUMENTS, RESULT = "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"
INPUT, OUTPUT = "input.value", "output.value"
CUT_IN, BYTES_IN = "otel_bridge.input.truncated", "otel_bridge.input.bytes"
CUT, BYTES, ITEMS = "otel_bridge.output.truncated", "otel_bridge.output.bytes", "otel_bridge.output.items"
MAX = 64 << 10


def content(spans: Spans) -> dict[str, Any]:
    """Of the one span: its input and output, and what was left out of them."""
    [found] = spans.all
    kept = (ARGUMENTS, RESULT, INPUT, OUTPUT, CUT_IN, BYTES_IN, CUT, BYTES, ITEMS)
    return {key: value for key, value in (found.attributes or {}).items() if key in kept}


async def test_of_a_large_result_the_beginning_is_told_and_its_size(spans: Spans) -> None:
    @tool("big")
    async def big(x: int, y: int = 2) -> str:
        return "z" * 500_000

    await big(5)
    told = {ARGUMENTS: '{"x": 5}', RESULT: "z" * MAX, CUT: True, BYTES: 500_000}
    assert content(spans) == told


@pytest.mark.parametrize(
    "block",
    [agent_run("a"), llm_call("m"), retrieval("docs"), workflow("w"), task("t"), reasoning()],
    ids=lambda block: str(block._name),
)
def test_each_kind_tells_what_its_function_was_given_and_gave(spans: Spans, block: SpanBlock) -> None:
    @block
    def ask(question: str, *more: int, loud: bool = False, **options: object) -> dict[str, object]:
        return {"answer": [question, None]}

    ask("Où?", 1, 2, loud=True, top=0.5)
    assert content(spans) == {
        INPUT: '{"question": "Où?", "more": [1, 2], "loud": true, "top": 0.5}',
        OUTPUT: '{"answer": ["Où?", null]}',
    }


def test_a_plain_span_tells_nothing_of_its_function(spans: Spans) -> None:
    @span
    def secret(key: str) -> str:
        return key

    secret("s3cr3t")
    assert content(spans) == {}


class Desk:
    @tool("method")
    def method(self, topic: str) -> int:
        return 7

    @tool("of the class")
    @classmethod
    def of_class(cls, topic: str) -> int:
        return 7

    @staticmethod
    @tool("static")
    def static(topic: str) -> int:
        return 7

    def __call__(self, topic: str) -> int:
        return 7

    def plain(self, topic: str) -> int:
        return 7


def add(one: int, topic: str) -> int:
    return 7


@functools.wraps(Desk.of_class)
def wrapped(*args: Any, **kwargs: Any) -> int:
    return 7


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (Desk().method, {"topic": "Oslo"}),
        (Desk.of_class, {"topic": "Oslo"}),
        (Desk.static, {"topic": "Oslo"}),
        (tool("object")(Desk()), {"topic": "Oslo"}),
        (tool("bound")(Desk().plain), {"topic": "Oslo"}),
        (tool("partial")(functools.partial(add, 1)), {"one": 1, "topic": "Oslo"}),
        (tool("wrapped")(wrapped), {"topic": "Oslo"}),
        (tool("in C")(len), {"args": ["Oslo"]}),
    ],
)
def test_arguments_have_their_names_and_an_object_is_none_of_its_own_methods(
    spans: Spans, call: Callable[[str], int], told: dict[str, Any]
) -> None:
    call("Oslo")
    assert json.loads(content(spans)[ARGUMENTS]) == told
    assert content(spans)[RESULT] in (4, 7)


def test_what_the_block_says_itself_stays(spans: Spans) -> None:
    @llm_call("m", messages="mine")
    def given(prompt: str) -> str:
        trace.get_current_span().set_attribute("gen_ai.output.messages", "mine too")
        return "theirs"

    given("theirs")
    assert content(spans) == {INPUT: "mine"}


def test_of_what_fails_there_is_the_input_as_it_was(spans: Spans) -> None:
    @tool("fails")
    def fails(topics: list[str]) -> None:
        topics.clear()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails(["Oslo"])
    assert content(spans) == {ARGUMENTS: '{"topics": ["Oslo"]}'}


@pytest.mark.parametrize("said", ["false", "NO_CONTENT", "no_content", "EVENT_ONLY", "event_only"])
def test_the_variable_of_the_conventions_switches_it_off(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    @tool("small")
    def small(topic: str) -> Iterator[str]:
        yield topic

    @tool("whole")
    def whole(topic: str) -> str:
        return topic

    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", said)
    assert [*small("Oslo"), whole("Oslo")] == ["Oslo", "Oslo"]
    told = [(found.attributes or {}).keys() & {ARGUMENTS, RESULT, INPUT, OUTPUT} for found in spans.all]
    assert told == [set(), set()]


async def test_generators_of_both_kinds_tell_what_they_gave(spans: Spans) -> None:
    @tool("words")
    def words(topic: str) -> Iterator[str]:
        yield from (topic, " it is")

    @agent_run("rows")
    async def rows(count: int) -> AsyncIterator[dict[str, int]]:
        for at in range(count):
            yield {"at": at}

    @tool("own")
    def own() -> Iterator[str]:
        trace.get_current_span().set_attribute(RESULT, "mine")
        yield "theirs"

    _ = list(words("Oslo")), list(own()), [row async for row in rows(2)]
    told = spans["execute_tool words"].attributes or {}
    assert (told[ARGUMENTS], told[RESULT], told[CHUNKS]) == ('{"topic": "Oslo"}', "Oslo it is", 2)
    assert (spans["execute_tool own"].attributes or {})[RESULT] == "mine"
    told = spans["invoke_agent rows"].attributes or {}
    assert (told[INPUT], told[OUTPUT]) == ('{"count": 2}', '[{"at": 0}, {"at": 1}]')

    _ = [row async for row in rows(MOST_NODES)]
    told = spans.all[-1].attributes or {}
    assert len(json.loads(str(told[OUTPUT]))) < MOST_NODES
    assert (told[CUT], told[ITEMS]) == (True, MOST_NODES)


def test_what_is_instrumented_by_its_name_tells_it_too(spans: Spans) -> None:
    class SearchTool:
        def run(self, query: str) -> str:
            return f"found {query}"

    instrument(SearchTool)
    SearchTool().run("Oslo")
    assert content(spans) == {ARGUMENTS: '{"query": "Oslo"}', RESULT: "found Oslo"}


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        ([{"id": at, "text": "é" * 50} for at in range(50_000)], {ITEMS: 50_000}),
        (dict.fromkeys(range(50_000)), {ITEMS: 50_000}),
        (range(1 << 40), {ITEMS: 1 << 40}),
        ([[[at] * 60 for at in range(60)]] * 60, {}),
        (["x" * MAX, "y" * MAX, ["z" * MAX]], {BYTES: len(json.dumps(["x" * MAX, "y" * MAX, ["z" * MAX]]))}),
        ({"k" * 90_000: "v"}, {BYTES: 90_000 + len('{"": "v"}')}),
        ("é" * 3 * MAX, {BYTES: 6 * MAX}),
        ("é" * (2 << 20), {}),
    ],
    ids=["rows", "keys", "a range", "nested", "texts", "a key", "no ascii", "very long"],
)
def test_what_is_too_much_is_cut_and_how_much_it_was_is_told(
    spans: Spans, given: object, left_out: dict[str, int]
) -> None:
    @tool("huge")
    def huge() -> object:
        return given

    assert huge() is given
    told = content(spans)
    if not isinstance(given, str):
        json.loads(told[RESULT])
    assert len(told.pop(RESULT)) < 4 * MAX
    assert told == {CUT: True} | left_out | (
        {BYTES: pytest.approx(left_out[BYTES], abs=8)} if BYTES in left_out else {}
    )


def test_behind_a_large_argument_there_is_room_for_the_others(spans: Spans) -> None:
    @tool("ask")
    def ask(rows: list[str], texts: list[int], question: str, options: list[str]) -> None: ...

    ask(["x" * MAX] * 2, list(range(9000)), "Lisbon or Oslo?", ["a", "b"])
    told = content(spans)
    said = json.loads(told.pop(ARGUMENTS))
    assert (said["question"], said["options"]) == ("Lisbon or Oslo?", ["a", "b"])
    assert told == {CUT_IN: True}


class Place(Enum):
    OSLO = "oslo"


@dataclasses.dataclass
class Trip:
    to: Place
    on: date
    number: uuid.UUID
    seen: frozenset[int]
    raw: bytes
    share: float


class Login(BaseModel):
    user: str
    password: SecretStr
    token: str = Field(exclude=True)


def test_models_and_what_is_usual_are_told_as_json(spans: Spans) -> None:
    @tool("book")
    def book(trip: Trip, login: Login) -> tuple[int, float]:
        return 1 << 80, float("inf")

    trip = Trip(Place.OSLO, date(2026, 5, 1), uuid.UUID(int=1), frozenset({1}), b"abc", 0.5)
    book(trip, Login(user="ada", password=SecretStr("p"), token="t"))
    assert json.loads(content(spans)[ARGUMENTS]) == {
        "trip": {
            "to": "oslo",
            "on": "2026-05-01",
            "number": "00000000-0000-0000-0000-000000000001",
            "seen": [1],
            "raw": "<3 bytes>",
            "share": 0.5,
        },
        "login": {"user": "ada", "password": "**********"},
    }
    assert json.loads(content(spans)[RESULT]) == [str(1 << 80), "inf"]


class Asked(Sequence[int]):
    """What asks a database for each thing that somebody wants to know of it, as lazy queries do."""

    def ask(self, *_: object) -> Any:
        raise AssertionError("somebody waits for a database")

    __len__ = __getitem__ = __iter__ = __str__ = __repr__ = __format__ = __hash__ = __eq__ = ask
    __class__ = property(ask)  # type: ignore[assignment]


def test_objects_that_nobody_knows_are_asked_for_nothing(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    """Nor are items taken out of what others wait for."""

    @tool("look")
    def look(rows: object, found: dict[Any, Any], stream: Iterator[int]) -> object:
        return rows

    found: dict[Any, Any] = {(1, 2): [Asked()], "itself": None}
    found["itself"] = found
    waiting = iter([1])
    with caplog.at_level(logging.WARNING):
        look(Asked(), found, waiting)
    assert list(waiting) == [1]
    assert json.loads(content(spans)[ARGUMENTS]) == {
        "rows": "<Asked>",
        "found": {"[1, 2]": ["<Asked>"], "itself": "<dict>"},
        "stream": "<list_iterator>",
    }
    assert content(spans).keys() == {ARGUMENTS, RESULT}
    assert content(spans)[RESULT] == "<Asked>"
    assert caplog.messages == []


def test_what_gives_its_items_later_is_no_result(spans: Spans) -> None:
    @llm_call("m")
    def begin() -> Iterator[int]:
        return iter([1])

    assert list(begin()) == [1]
    assert content(spans) == {}
