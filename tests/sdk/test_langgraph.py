"""LangGraph itself under `span` and `graph_run`: nodes in one trace, interrupts that are none, threads that go on."""

import asyncio
import operator
import os
import signal
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from otel_bridge.sdk import correlation, span, stream
from otel_bridge.sdk.context import ContextProcessor
from otel_bridge.sdk.langgraph import MOST_EDITS, graph_run
from tests.sdk.conftest import Spans

OUTCOME = "otel_bridge.outcome"


class State(TypedDict, total=False):
    said: Annotated[list[str], operator.add]


@span("plan")
async def plan(_state: State) -> State:
    async with span("think"):
        await asyncio.sleep(0)
    return {"said": ["plan"]}


@span("left")
async def left(_state: State) -> State:
    await asyncio.sleep(0)
    with span("in left"):
        return {"said": ["left"]}


@span("right")
def right(_state: State) -> State:
    """Sync: LangGraph runs it in a thread."""
    with span("in right"):
        return {"said": ["right"]}


@span("plan")
def plan_at_once(_state: State) -> State:
    with span("think"):
        return {"said": ["plan"]}


@span("left")
def left_at_once(_state: State) -> State:
    with span("in left"):
        return {"said": ["left"]}


@span("approve")
def approve(_state: State) -> State:
    return {"said": [interrupt("may I?")]}


def compiled(saver: InMemorySaver, plan: Any = plan, left: Any = left) -> Any:
    graph = StateGraph(State)
    for name, node in {"plan": plan, "left": left, "right": right, "approve": approve}.items():
        graph.add_node(name, node)
    graph.add_edge(START, "plan")
    for branch in ("left", "right"):
        graph.add_edge("plan", branch)
    graph.add_edge(["left", "right"], "approve")
    graph.add_edge("approve", END)
    return graph.compile(checkpointer=saver, name="trip")


@pytest.fixture
def graph(spans: Spans) -> Any:
    spans.provider.add_span_processor(ContextProcessor())
    return compiled(InMemorySaver())


def config(thread: str = "t-1") -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}, "metadata": {"mine": "kept"}}


def attributes(spans: Spans, name: str) -> dict[str, Any]:
    return dict(spans[name].attributes or {})


NODES = {
    "invoke_workflow trip": None,
    "plan": "invoke_workflow trip",
    "think": "plan",
    "left": "invoke_workflow trip",
    "in left": "left",
    "right": "invoke_workflow trip",
    "in right": "right",
    "approve": "invoke_workflow trip",
}


@pytest.mark.parametrize("how", ["ainvoke", "astream", "astream_events", "in tasks of a server", "invoke", "stream"])
async def test_all_nodes_are_in_one_trace_and_an_interrupt_is_no_error(graph: Any, spans: Spans, how: str) -> None:
    """Sync and async nodes, branches at the same time, and however the graph is run."""

    def sync() -> None:
        at_once = compiled(InMemorySaver(), plan_at_once, left_at_once)
        with graph_run(at_once, config()) as run:
            if how == "stream":
                list(at_once.stream({"said": []}, run.config))
            else:
                at_once.invoke({"said": []}, run.config)

    if how == "in tasks of a server":
        async with graph_run(graph, config()) as run:
            chunks = stream(graph.astream({"said": []}, run.config), "answer")
            while await asyncio.create_task(anext(chunks, None)) is not None:
                pass
    elif how.startswith("a"):
        async with graph_run(graph, config()) as run:
            if how == "ainvoke":
                await graph.ainvoke({"said": []}, run.config)
            else:
                more = {"version": "v2"} if how == "astream_events" else {}
                async for _ in getattr(graph, how)({"said": []}, run.config, **more):
                    pass
    else:
        await asyncio.to_thread(sync)

    parent = "answer" if how == "in tasks of a server" else "invoke_workflow trip"
    whole = {name: parent if above == "invoke_workflow trip" else above for name, above in NODES.items()}
    assert {name: spans.parent(name) for name in whole} == whole
    assert len(spans.traces()) == 1
    assert all(found.status.status_code is StatusCode.UNSET for found in spans.all)
    told = {found.name: found.attributes[OUTCOME] for found in spans.all if OUTCOME in (found.attributes or {})}
    assert told == {"invoke_workflow trip": "interrupted", "approve": "interrupted"}
    assert {(found.attributes or {})["session.id"] for found in spans.all} == {"t-1"}
    assert not trace.get_current_span().get_span_context().is_valid


async def interrupted(graph: Any, **ids: str) -> None:
    async with correlation(**ids), graph_run(graph, config()) as run:
        assert "__interrupt__" in await graph.ainvoke({"said": []}, run.config)


async def resumed(graph: Any, **more: float) -> list[str]:
    async with graph_run(graph, config(), **more) as run:
        assert run.config["metadata"]["mine"] == "kept"
        return list((await graph.ainvoke(Command(resume="yes"), run.config))["said"])


def runs(spans: Spans) -> list[ReadableSpan]:
    return [found for found in spans.all if found.name == "invoke_workflow trip"]


async def test_what_was_interrupted_goes_on_in_its_trace_under_its_first_run(graph: Any, spans: Spans) -> None:
    """Also a third time; whoever answers in a request of his own is linked, and the first user is still known."""
    await interrupted(graph, user="ada")
    async with graph_run(graph, config()) as run:
        await graph.ainvoke(None, run.config)
    async with span("request"):
        assert (await resumed(graph))[-1] == "yes"

    first, again, answered = runs(spans)
    for later in (again, answered):
        assert later.parent is not None
        assert later.parent.span_id == first.context.span_id
        assert later.context.trace_id == first.context.trace_id
    assert [link.context.span_id for link in answered.links] == [spans["request"].context.span_id]
    assert OUTCOME not in (answered.attributes or {})
    approved = [(found.attributes or {}).get(OUTCOME) for found in spans.all if found.name == "approve"]
    assert approved == ["interrupted", "interrupted", None]
    told = [found.attributes or {} for found in spans.all if found.name != "request"]
    assert {(found["session.id"], found["user.id"], found["thread.id"]) for found in told} == {("t-1", "ada", "t-1")}


@pytest.mark.parametrize(("edits", "traces"), [(1, 1), (MOST_EDITS, 1), (MOST_EDITS + 3, 2)])
@pytest.mark.parametrize("how", ["async", "sync"])
async def test_a_state_that_somebody_edited_goes_on_all_the_same(
    graph: Any, spans: Spans, monkeypatch: pytest.MonkeyPatch, edits: int, traces: int, how: str
) -> None:
    """Edits without end are not read to their end: such a run begins a trace of its own."""
    await interrupted(graph)
    for _ in range(edits):
        await graph.aupdate_state(config(), {"said": ["by hand"]}, as_node="left")
    read = []

    def get_state(at: Any) -> Any:
        read.append(at)
        return type(graph).get_state(graph, at)

    async def aget_state(at: Any) -> Any:
        return get_state(at)

    monkeypatch.setattr(graph, "get_state", get_state)
    monkeypatch.setattr(graph, "aget_state", aget_state)
    block = graph_run(graph, config())
    if how == "async":
        await block.__aenter__()
        await block.__aexit__(ValueError, ValueError("as if"), None)
    else:
        block.__enter__()
        block.__exit__(ValueError, ValueError("as if"), None)
    assert len(read) == 1 + min(edits, MOST_EDITS)
    assert len(spans.traces()) == traces


async def test_after_a_long_time_the_answer_has_a_trace_of_its_own_with_a_link(graph: Any, spans: Spans) -> None:
    await interrupted(graph)
    await resumed(graph, same_trace_s=0)
    first, second = runs(spans)
    assert first.context.trace_id != second.context.trace_id
    assert second.parent is None
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert (second.attributes or {})["session.id"] == "t-1"


async def test_a_thread_at_its_end_begins_a_new_trace_in_its_session(graph: Any, spans: Spans) -> None:
    await interrupted(graph)
    await resumed(graph)
    await interrupted(graph)
    assert [found.parent is None for found in runs(spans)] == [True, False, True]
    assert len(spans.traces()) == 2
    assert not runs(spans)[-1].links


async def test_a_run_that_failed_goes_on_as_well(spans: Spans) -> None:
    tries = []

    @span("fragile")
    async def fragile(_state: State) -> State:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("no")
        return {"said": ["at last"]}

    builder = StateGraph(State)
    builder.add_node("fragile", fragile)
    builder.add_edge(START, "fragile")
    graph = builder.compile(checkpointer=InMemorySaver(), name="trip")
    with pytest.raises(ValueError, match="no"):
        async with graph_run(graph, config()) as run:
            await graph.ainvoke({"said": []}, run.config)
    with graph_run(graph, config()) as run:
        await graph.ainvoke(None, run.config)

    failed, mended = runs(spans)
    assert failed.status.description == "ValueError: no"
    assert OUTCOME not in (failed.attributes or {})
    assert (mended.status.status_code, len(spans.traces())) == (StatusCode.UNSET, 1)


def test_what_was_killed_goes_on_in_another_process(spans: Spans, tmp_path: Path) -> None:
    """Its spans are lost with it; what its checkpoint kept is where the next ones hang."""
    is_child = []

    @span("deadly")
    def deadly(_state: State) -> State:
        if is_child:
            (tmp_path / "trace").write_text(f"{trace.get_current_span().get_span_context().trace_id:x}")
            os.kill(os.getpid(), signal.SIGKILL)
        return {"said": ["alive"]}

    builder = StateGraph(State)
    builder.add_node("deadly", deadly)
    builder.add_edge(START, "deadly")

    def run(given: State | None) -> State:
        with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
            graph: Any = builder.compile(checkpointer=saver, name="trip")
            with graph_run(graph, config()) as run:
                return dict(graph.invoke(given, run.config, durability="sync"))  # type: ignore[return-value]

    if (child := os.fork()) == 0:
        is_child.append(True)
        run({"said": []})
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert run(None) == {"said": ["alive"]}
    [again] = runs(spans)
    assert f"{again.context.trace_id:x}" == (tmp_path / "trace").read_text()
    assert again.parent is not None


async def test_a_hand_over_to_the_parent_graph_is_no_interrupt(spans: Spans) -> None:
    @span("inner")
    async def inner(_state: State) -> Command[Any]:
        return Command(graph=Command.PARENT, goto="after", update={"said": ["inner"]})

    within = StateGraph(State)
    within.add_node("inner", inner)
    within.add_edge(START, "inner")
    subgraph = within.compile()

    @span("outer")
    async def outer(state: State) -> Any:
        return await subgraph.ainvoke(state)

    builder = StateGraph(State)
    builder.add_node("outer", outer, destinations=("after",))
    builder.add_node("after", span("after")(lambda _state: {"said": ["after"]}))
    builder.add_edge(START, "outer")
    graph = builder.compile()
    async with graph_run(graph) as run:
        assert await graph.ainvoke({"said": []}, run.config) == {"said": ["inner", "after"]}

    assert spans.parent("after") == "invoke_workflow LangGraph"
    assert all(OUTCOME not in (found.attributes or {}) for found in spans.all)
    assert all(found.status.status_code is StatusCode.UNSET for found in spans.all)


async def test_a_state_that_can_not_be_read_is_said_and_the_run_stands_for_itself(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(InMemorySaver):
        broken = True

        async def aget_tuple(self, config: Any) -> Any:
            if self.broken:
                raise OSError("disk gone")
            return await super().aget_tuple(config)

    graph = compiled(saver := Broken())
    async with graph_run(graph, config()) as run:
        saver.broken = False
        await graph.ainvoke({"said": []}, run.config)
    assert "can not be read, its run stands for itself: OSError('disk gone')" in caplog.text
    assert [found.parent for found in runs(spans)] == [None]


async def test_an_outer_session_stays(graph: Any, spans: Spans) -> None:
    """Also when the thread goes on, where nobody names it again."""
    await interrupted(graph, session="mine")
    await resumed(graph)
    told = [found.attributes or {} for found in runs(spans)]
    ids = [(found["session.id"], found["thread.id"], found["gen_ai.conversation.id"]) for found in told]
    assert ids == [("mine", "t-1", "t-1")] * 2
