"""Anything is taken as an attribute, in bounded time, whatever it does."""

from collections.abc import ItemsView
from dataclasses import dataclass, field
from typing import Any

from otel_bridge.sdk.values import MOST_NODES, attribute


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
