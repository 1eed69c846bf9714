"""`instrument`: somebody's code has spans, and is otherwise as it was."""

import asyncio
import copy
import inspect
import logging
import pickle
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from otel_bridge.sdk import instrument, tool, uninstrument
from otel_bridge.sdk.instrumenting import kind_of, when_imported
from tests.sdk.conftest import Spans
from tests.sdk.programs import INSTRUMENT, finished
from tests.sdk.sink import sink


class Base(ABC):
    def inherited(self) -> str:
        return "inherited"

    @abstractmethod
    def left_open(self) -> str: ...


class ResearchAgent(Base):
    """Of somebody who knows nothing of spans."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def run(self, topic: str, *, depth: int = 1) -> str:
        """Run."""
        self._private()
        return f"{self.name} {topic} {depth} {self.plain()}"

    def plain(self) -> int:
        return 1

    async def words(self) -> AsyncIterator[str]:
        yield "a"
        yield "b"

    def numbers(self) -> Iterator[int]:
        yield 1

    @classmethod
    def made(cls, name: str) -> "ResearchAgent":
        return cls(name)

    @staticmethod
    def helped(value: int) -> int:
        return value + 1

    @property
    def seen(self) -> int:
        return 7

    @tool("search")
    def search(self) -> int:
        return 3

    def left_open(self) -> str:
        return "done"

    def _private(self) -> None:
        """Nobody's business."""


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1

    def run(self) -> int:
        return self.value

    def __call__(self) -> int:
        return self.value


@pytest.fixture
def instrumented() -> Iterator[type[ResearchAgent]]:
    yield instrument(ResearchAgent)
    uninstrument(ResearchAgent)


def names(spans: Spans) -> list[str]:
    return [span.name for span in spans.all]


async def test_all_that_is_public_has_a_span(spans: Spans, instrumented: type[ResearchAgent]) -> None:
    agent = instrumented.made("ada")
    assert await agent.run("oslo", depth=2) == "ada oslo 2 1"
    assert [word async for word in agent.words()] == ["a", "b"]
    assert list(agent.numbers()) == [1]
    assert (agent.helped(1), agent.seen, agent.search(), agent.left_open()) == (2, 7, 3, "done")
    prefix = "ResearchAgent."
    assert sorted(names(spans)) == sorted(
        [
            *(f"{prefix}{name}" for name in ("made", "plain", "words", "numbers", "helped", "left_open")),
            "invoke_agent ResearchAgent",
            "execute_tool search",
        ]
    )
    assert spans.parent("ResearchAgent.plain") == "invoke_agent ResearchAgent"
    assert dict(spans["invoke_agent ResearchAgent"].attributes or {})["gen_ai.operation.name"] == "invoke_agent"


def test_who_inherits_finds_what_he_found_before(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    """Of a class what it defines itself: a copy of what it inherits would stand before what a sibling defines."""

    class First:
        def run(self) -> str:
            return "first"

    class Sibling(First):
        def run(self) -> str:
            return "sibling"

    class Heir(First):
        pass

    class Diamond(Heir, Sibling):
        pass

    instrument(Heir)
    assert (Diamond().run(), spans.all) == ("sibling", ())
    assert "Heir'> defines nothing of that name" in caplog.text
    instrument(First)
    assert (Heir().run(), names(spans)) == ("first", ["First"])


def test_one_object_alone_keeps_what_a_class_of_somebody_else_puts_before_its_own(spans: Spans) -> None:
    class Own:
        def run(self) -> str:
            return "own"

        def inherited(self) -> str:
            return "inherited"

    class Before(Own):
        def run(self) -> str:
            return "before"

    class Agent(Before):
        pass

    Before.__module__ = "somebodys"
    one = instrument(Agent())
    assert (one.run(), one.inherited()) == ("before", "inherited")
    assert names(spans) == ["Agent.inherited"]


@dataclass
class Settings:
    depth: int = 1

    def deepened(self) -> "Settings":
        return replace(self, depth=self.depth + 1)


def test_one_object_alone_is_equal_to_what_it_was_equal_to(spans: Spans) -> None:
    one = instrument(Settings())
    assert one == Settings()
    assert Settings() == one
    assert (one != Settings(2), one.deepened() == Settings(2)) == (True, True)
    assert names(spans) == ["Settings.deepened"]
    for copied in (copy.copy(one), copy.deepcopy(one), *(pickle.loads(pickle.dumps(one, how)) for how in range(6))):
        assert (copied, type(copied)) == (one, Settings)
    assert type(uninstrument(one)) is Settings


def test_one_object_alone_never_enters_a_register_of_classes(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    register: dict[str, type] = {}

    class Tool:
        def __init_subclass__(cls) -> None:
            register[cls.__name__] = cls

        def run(self) -> int:
            return 1

    class Search(Tool):
        pass

    class Model(BaseModel):
        def run(self) -> int:
            return 2

    for target in (Search(), Model()):
        kind = type(target)
        assert type(instrument(target)) is kind
        assert f"instrument {kind.__qualname__} itself" in caplog.text
    assert register == {"Search": Search}
    instrument(Tool), instrument(Model)
    assert (Search().run(), Model().run(), Model() == Model()) == (1, 2, True)
    assert names(spans) == ["execute_tool Tool", "Model"]


async def test_a_failure_is_told_and_goes_on(spans: Spans) -> None:
    class Broken:
        async def run(self) -> None:
            raise ValueError("broken")

    instrument(Broken)
    with pytest.raises(ValueError, match="broken"):
        await Broken().run()
    assert spans["Broken"].status.description == "ValueError: broken"


def test_it_looks_as_before(spans: Spans) -> None:
    before = {name: inspect.signature(getattr(ResearchAgent, name)) for name in ("run", "made", "helped", "words")}
    own = dict(vars(ResearchAgent))
    instrument(instrument(ResearchAgent))
    try:
        assert {name: inspect.signature(getattr(ResearchAgent, name)) for name in before} == before
        assert inspect.iscoroutinefunction(ResearchAgent.run)
        assert inspect.isasyncgenfunction(ResearchAgent.words)
        assert ResearchAgent.run.__doc__ == "Run."
        agent = ResearchAgent("ada")
        again = pickle.loads(pickle.dumps(agent))
        assert (type(again), again.name) == (ResearchAgent, "ada")
        assert pickle.loads(pickle.dumps(agent.plain))() == 1
        assert names(spans) == ["ResearchAgent.plain"]  # once, though it was asked for twice
    finally:
        uninstrument(ResearchAgent)
    uninstrument(ResearchAgent)
    assert {name: value for name, value in vars(ResearchAgent).items() if name != "__slotnames__"} == own


def test_one_object_alone(spans: Spans) -> None:
    one, other = ResearchAgent("one"), ResearchAgent("other")
    assert instrument(one) is one
    instrument(one)
    assert (one.plain(), other.plain()) == (1, 1)
    assert names(spans) == ["ResearchAgent.plain"]
    assert isinstance(one, ResearchAgent)
    for copied in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert type(copied) is ResearchAgent
        copied.name = "copied"
    assert one.name == "one"
    uninstrument(one)
    assert type(one) is ResearchAgent
    assert asyncio.run(one.run("oslo")) == "one oslo 1 1"
    assert names(spans) == ["ResearchAgent.plain"]


def test_an_object_with_slots_that_can_be_called(spans: Spans) -> None:
    one = instrument(Slotted(), kind="tool")
    assert (one(), one.run()) == (1, 1)
    assert names(spans) == ["execute_tool Slotted", "execute_tool Slotted"]
    assert pickle.loads(pickle.dumps(one)).value == 1


def test_names_and_kinds_can_be_chosen(spans: Spans) -> None:
    class Team:
        def plan(self) -> None: ...
        def look_up(self) -> None: ...
        def other(self) -> None: ...

    instrument(Team, only=["plan", "look_*"], kinds={"plan": "reasoning", "look_*": "tool"})
    team = Team()
    team.plan(), team.look_up(), team.other()  # type: ignore[func-returns-value]
    assert names(spans) == ["Team.plan", "execute_tool Team.look_up"]


@pytest.fixture
def module() -> Iterator[ModuleType]:
    made = ModuleType("somebodys")
    code = """
from os.path import join
def tool_search(query): return query
async def greet(): return helper()
def _helper(): return 1
def helper(): return 2
class ScoutAgent:
    def run(self): return 3
"""
    exec(code, vars(made))
    sys.modules["somebodys"] = made
    yield made
    del sys.modules["somebodys"]


def test_a_module(spans: Spans, module: Any) -> None:
    before = dict(vars(module))
    instrument(module)
    assert module.join is before["join"]  # somebody else's
    assert (module.tool_search("q"), asyncio.run(module.greet()), module.ScoutAgent().run()) == ("q", 2, 3)
    assert names(spans) == ["execute_tool tool_search", "helper", "greet", "invoke_agent ScoutAgent"]
    assert pickle.loads(pickle.dumps(module.helper)) is module.helper
    uninstrument(module)
    assert dict(vars(module)) == before
    module.ScoutAgent().run()
    assert len(spans.all) == 4


def test_a_name_that_is_nowhere_is_said(module: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Once for each call, with the patterns that find nothing; what has its spans already is found."""
    for _ in range(2):
        instrument(module)
        instrument(ResearchAgent("a"), only=["words"])
    assert caplog.text == ""
    instrument(module, only=["help*", "hlper", "nothing_*"])
    instrument(ResearchAgent("a"), only=["wrds"])
    said = "defines nothing of that name ({}), instrument the class or module that does"
    assert [record.message.partition(" defines ")[2] for record in caplog.records] == [
        said.format(names).partition("defines ")[2] for names in ("hlper, nothing_*", "wrds")
    ]


def test_what_the_environment_names_and_nobody_imports_is_said_at_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ending: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", lambda call, *given: ending.append(partial(call, *given)))
    when_imported("no_such.agents:Planner.*, json")
    assert caplog.text == ""
    [end] = ending
    end()
    assert [record.message for record in caplog.records] == [
        "otel-bridge: OTEL_BRIDGE_AUTO: the program has never imported no_such.agents"
    ]


def test_what_somebody_put_around_it_since_stays(spans: Spans, module: Any) -> None:
    instrument(module)
    ours = module.helper

    @wraps(ours)
    def theirs() -> Any:
        return ours() + 1

    module.helper = theirs
    uninstrument(module)
    assert module.helper is theirs


def test_what_can_not_be_changed_is_left_and_told(caplog: pytest.LogCaptureFixture) -> None:
    class Fixed:
        __slots__ = ()

        def run(self) -> int:
            return 1

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    with caplog.at_level(logging.WARNING, "otel_bridge"):
        assert instrument(3) == 3
        assert instrument(Fixed()).run() == 1
        instrument(Fixed, kind="robot")
    assert "an object of <class 'int'> is not instrumented" in caplog.text
    assert "robot is no kind, there are: agent," in caplog.text


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ResearchAgent.arun", "agent"),
        ("Agent.run_stream", "agent"),
        ("SearchTool.__call__", "tool"),
        ("tool_search", "tool"),
        ("VectorRetriever.invoke", "retrieval"),
        ("OpenAIProvider.generate_json", "llm"),
        ("PlannerAgent.plan", "reasoning"),
        ("CrewPipeline.kickoff", "workflow"),
        ("Agent.name_of", "span"),
        ("running", "span"),
    ],
)
def test_kinds_go_by_names(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("somebodys:ScoutAgent.*", ["invoke_agent ScoutAgent"]),
        ("somebodys:ScoutAgent", ["invoke_agent ScoutAgent"]),
        ("somebodys:ScoutAgent.walk", []),
        ("somebodys:helper", ["helper"]),
        ("somebodys, other", ["helper", "invoke_agent ScoutAgent"]),
    ],
)
def test_what_the_environment_names(
    spans: Spans, module: Any, named: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in `sys.modules` already; else it is done when it is imported."""
    monkeypatch.setattr("atexit.register", lambda *_: None)
    when_imported(named)
    module.helper()
    module.ScoutAgent().run()
    assert names(spans) == expected


@pytest.mark.slow
def test_a_program_that_nobody_changed(tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text("class ScoutAgent:\n    async def run(self):\n        return 1\n")
    program = tmp_path / "program.py"
    program.write_text("import asyncio, agents\nprint(asyncio.run(agents.ScoutAgent().run()))\n")
    with sink() as arrived:
        more = {"OTEL_BRIDGE_AUTO": "agents:ScoutAgent.*"}
        done = finished(INSTRUMENT, sys.executable, str(program), url=arrived.url, **more)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert arrived.names == ["invoke_agent ScoutAgent"]
