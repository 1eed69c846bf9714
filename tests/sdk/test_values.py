"""Anything is taken as an attribute, in bounded time, whatever it does."""

import logging
import uuid
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Integral
from typing import Annotated, Any, Optional

import pydantic
import pytest
from opentelemetry import baggage
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.propagate import inject
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, field_serializer, model_serializer

from otel_bridge.sdk import correlation, event, span, stream
from otel_bridge.sdk.values import MOST_NODES, attribute, attributes_of
from tests.sdk.conftest import Spans


@dataclass
class Agent:
    name: str
    peers: list["Agent"] = field(default_factory=list)


def test_agents_that_know_one_another_are_told_in_bounded_time() -> None:
    agents = [Agent(str(number)) for number in range(12)]
    for agent in agents:
        agent.peers = [other for other in agents if other is not agent]
    told = attribute(agents[0])
    assert told["name"] == "0"
    assert told["peers"][0]["peers"][0] == "<Agent>"
    assert len(repr(told)) < MOST_NODES * 20


def test_a_list_that_holds_itself_is_told() -> None:
    endless: list[Any] = []
    endless.extend([endless, 1])
    assert attribute(endless) == ["<list>", 1]
    assert len(attribute(list(range(MOST_NODES * 2)))) < MOST_NODES


class BrokenMapping(dict[str, Any]):
    def items(self) -> ItemsView[str, Any]:
        raise RuntimeError("closed")


class BrokenObject:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("detached")

    def __str__(self) -> str:
        return "odd"


class BrokenKey:
    def __str__(self) -> str:
        raise RuntimeError("no")


@dataclass
class BrokenField:
    a: int = 1

    def __getattribute__(self, name: str) -> Any:
        if name == "a":
            raise RuntimeError("detached")
        return super().__getattribute__(name)

    def __repr__(self) -> str:
        return "broken"


def test_what_is_broken_is_put_into_words() -> None:
    """Not as parameters: pytest itself looks into those."""
    assert attribute(BrokenMapping(a=1)) == "{'a': 1}"
    assert attribute(BrokenObject()) == "odd"
    assert attribute({BrokenKey(): 1}) == {"<BrokenKey>": 1}
    assert attribute(BrokenField()) == "broken"
    assert attribute([BrokenField(), 1]) == ["broken", 1]


@Integral.register
class Count:
    """A number of tokens, as numpy has them."""

    def item(self) -> int:
        return 12


def test_the_numbers_of_others_are_numbers() -> None:
    assert attribute({"tokens": Count(), "share": Fraction(1, 4)}) == {"tokens": 12, "share": 0.25}


class Proxy:
    """Says that it is of another class, as werkzeug's and wrapt's do."""

    def __init__(self, held: Any) -> None:
        self._held = held

    @property
    def __class__(self) -> type:
        return type(self._held)

    @__class__.setter
    def __class__(self, _kind: type) -> None: ...

    def __str__(self) -> str:
        return str(self._held)


class Unbound(Proxy):
    @property
    def __class__(self) -> type:
        raise RuntimeError("outside of a request")

    @__class__.setter
    def __class__(self, _kind: type) -> None: ...


HALF, HUGE = "whole answer \ud83d", uuid.UUID(int=(1 << 128) - 1).int


def test_what_otlp_can_not_hold_is_sent_as_well_as_it_can_be(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    given = {
        "half": HALF,
        "answer": {"text": HALF, HALF: [HALF, 1]},
        f"key {HALF}": "a",
        "huge": HUGE,
        "least": -(1 << 63) - 1,
        "counts": [HUGE, 1 << 63, (1 << 63) - 1, True],
        "endless": 1 << 100_000,
    }
    with caplog.at_level(logging.WARNING), span("given", given), span("set") as found:
        found.tags.update(given)
    encoded = encode_spans(spans.all).resource_spans[0].scope_spans[0].spans

    assert not caplog.records
    assert [{pair.key for pair in each.attributes} for each in encoded] == [
        {"half", "answer", "key whole answer ?", "huge", "least", "counts", "endless"}
    ] * 2
    said = spans["set"].attributes or {}
    assert said["half"] == "whole answer ?"
    assert said["answer"] == {"text": "whole answer ?", "whole answer ?": ("whole answer ?", 1)}
    assert (said["huge"], said["least"]) == (str(HUGE), str(-(1 << 63) - 1))
    assert said["counts"] == (str(HUGE), str(1 << 63), (1 << 63) - 1, True)


def test_a_stream_that_is_cut_within_a_character_has_it_whole(spans: Spans) -> None:
    list(stream(iter(["well \ud83d", "\ude00 \ud83d"]), "answer"))
    assert (spans["answer"].attributes or {})["output.value"] == "well \U0001f600 ?"


def test_half_a_character_does_not_stop_the_requests_of_the_agent() -> None:
    with correlation(session=HALF):
        carrier: dict[str, str] = {}
        inject(carrier)
        assert baggage.get_baggage("session.id") == "whole answer ?"
    assert carrier["baggage"] == "session.id=whole+answer+%3F"


def test_half_a_character_in_the_name_of_an_event(logs: Any) -> None:
    event(HALF, {HALF: 1})
    [told] = [found.log_record for found in logs.get_finished_logs()]
    assert (told.event_name, dict(told.attributes)) == ("whole answer ?", {"whole answer ?": 1})


def test_what_only_says_what_it_is_is_put_into_words() -> None:
    assert attributes_of({"user": Proxy("ada"), "count": Proxy(3)}) == {"user": "ada", "count": "3"}
    assert attribute([Proxy("ada")]) == ["ada"]
    assert attributes_of({"user": Unbound("ada"), "n": [Unbound("b")]}) == {"user": "ada", "n": ["b"]}


def first_of_many() -> Iterator[int]:
    yield from range(2 * MOST_NODES)
    raise AssertionError("more than can be told")


class Long(Sequence[int], AbstractSet[int]):
    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, _at: Any) -> Any:
        raise AssertionError("nobody asks for one")

    def __iter__(self) -> Iterator[int]:
        return first_of_many()

    def __contains__(self, _item: object) -> bool:
        return True


class LongMapping(Mapping[int, int]):
    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, key: int) -> int:
        return key

    def __iter__(self) -> Iterator[int]:
        return first_of_many()


class Request(BaseModel):
    prompt: str
    stream: Any = None
    key: str = Field(default="secret", exclude=True)
    inner: "Request | None" = None


def test_of_what_is_long_no_more_is_read_than_is_told() -> None:
    assert attribute(Long())[:3] == [0, 1, 2]
    assert attribute({"within": Long()})["within"][:2] == [0, 1]
    assert attribute(LongMapping())["1"] == 1
    told = attribute(Request(prompt="a", stream=range(1 << 40)))
    assert (told["prompt"], told["stream"][:2], set(told)) == ("a", [0, 1], {"prompt", "stream", "inner"})


def test_nothing_is_taken_out_of_an_iterator() -> None:
    answer = iter(["a", "b"])
    assert attribute(answer).startswith("<list_iterator")
    assert attribute([answer, {"of": answer}])[0].startswith("<list_iterator")
    told = attribute(Request(prompt="a", inner=Request(prompt="b", stream={"chunks": [answer]})))
    assert told["inner"]["stream"]["chunks"][0].startswith("<list_iterator")
    assert set(told["inner"]) == {"prompt", "stream", "inner"}
    assert list(answer) == ["a", "b"]
    assert attribute(Request(prompt="a", stream=[1])) == {"prompt": "a", "stream": [1], "inner": None}


def masked(_value: Any) -> str:
    return "***"


Masked = Annotated[str, PlainSerializer(masked)]


class Team(BaseModel):
    name: str = "t"
    members: list["Member"] = []


class Member(BaseModel):
    key: str
    team: Team | None = Field(default=None, exclude=True)
    mask = field_serializer("key")(masked)


class Public(BaseModel):
    name: str


class Private(Public):
    key: str = "sk-live"


class Call(BaseModel):
    model_config = ConfigDict(extra="allow", serialize_by_alias=True)
    key: Masked
    keys: list[Masked] = []
    password: SecretStr = SecretStr("sk-live")
    by_name: str = "sk-live"
    user: Public = Private(name="ada")
    users: list[Public] = []
    held: Any = None
    caller: Optional["Call"] = None
    count: int = Field(default=1, serialization_alias="Count")
    mask = field_serializer("by_name")(masked)


@pydantic.dataclasses.dataclass
class Holder:
    key: Masked
    held: Any = None


class Whole(BaseModel):
    key: str = "sk-live"
    held: Any = None

    @model_serializer
    def mask(self) -> dict[str, str]:
        return {"key": "***"}


class Broken(BaseModel):
    key: str = "sk-live"

    @field_serializer("key")
    def mask(self, value: str) -> str:
        raise ValueError(value)


def test_what_is_never_serialized_does_not_keep_a_model_from_its_own_serialization() -> None:
    team = Team()
    team.members = [Member.model_construct(key="sk-live", team=team) for _ in range(3)]
    assert attribute(team.members) == [{"key": "***"}] * 3


def test_what_a_model_masks_is_masked_also_where_it_can_not_be_dumped() -> None:
    answer, endless = iter(["a"]), Call(key="sk-live")
    endless.caller = endless
    told = attribute(Call(key="sk-live", keys=["sk-live"], held=answer, more=answer))  # type: ignore[call-arg]
    assert {name: told[name] for name in ("key", "keys", "password", "by_name", "user", "Count", "more")} == {
        "key": "***",
        "keys": ["***"],
        "password": "**********",
        "by_name": "***",
        "user": {"name": "ada"},
        "Count": 1,
        "more": "<list_iterator>",
    }
    assert told["held"].startswith("<list_iterator object")
    assert list(answer) == ["a"]

    users = [Private(name="a"), *[Public(name="a")] * MOST_NODES]
    many = attribute(Call(key="sk-live", keys=["sk-live"] * (MOST_NODES + 1), users=users))
    assert (many["key"], many["keys"], many["users"][:2]) == ("***", "<list>", ["<Private>", {"name": "a"}])
    assert attribute(endless)["caller"] == "<Call>"
    assert attribute(Holder("sk-live", iter("a")))["key"] == "***"
    assert attribute([Holder("sk-live"), Whole(), Whole(held=iter("a")), Broken()]) == [
        {"key": "***", "held": None},
        {"key": "***"},
        "<Whole>",
        {"key": "<str>"},
    ]
    assert "sk-live" not in repr([told, many, attribute(endless)])


class Reads(list[int]):
    """Counts what is read of it."""

    count = 0

    def __iter__(self) -> Iterator[int]:
        for item in super().__iter__():
            Reads.count += 1
            yield item


class Step(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    memory: Any = None
    unsaid: Any = Field(default=None, exclude=True)


def test_many_models_are_looked_through_as_one() -> None:
    shared = Reads(range(MOST_NODES - 1000))
    assert attribute([Step.model_construct(unsaid=shared)] * 1000) == [{"memory": None}] * 1000
    assert Reads.count == 0
    told = attribute([Step.model_construct(memory=shared)] * 1000)
    assert told[0]["memory"][:2] == [0, 1]
    assert Reads.count < 4 * MOST_NODES
