"""LangGraph: a run that was interrupted, or died with its process, goes on in its trace, in another process too.

LangGraph keeps the metadata of a run's config with every checkpoint that the run writes: there the ids of its trace
wait until the thread goes on. Nothing of LangGraph is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel
from opentelemetry.context import Context

from otel_bridge.sdk.correlation import DOWNSTREAM, correlated, correlation
from otel_bridge.sdk.leaving import INTERRUPTED, OUTCOME
from otel_bridge.sdk.saying import log
from otel_bridge.sdk.spans import ActiveSpan, Entered, Parent, span, span_context_of

SAME_TRACE_S = 3600.0  # as long as a bridge remembers a trace whose spans come late
UNREAD = "otel-bridge: where the thread of a graph stands can not be read, its run stands for itself: %r"
MOST_EDITS = 8  # each is one more read of the checkpointer
KEPT = ("traceparent", "tracestate", "baggage")


class GraphRun(ActiveSpan):
    """The span of a run, and the config to give to the graph."""

    __slots__ = ("config",)

    def __init__(self, active: ActiveSpan, config: dict[str, Any]) -> None:
        self.otel = active.otel
        self.tags = active.tags
        self.config = config


class graph_run:  # noqa: N801 - used like a function, as contextlib's own
    """A run of a graph: `async with graph_run(graph, config) as run: await graph.ainvoke(…, run.config)`; or `with`.

    The thread's id is the session, unless `correlation` has named one. Where the thread is not at its end, as it was
    interrupted, failed, or its process died, the run goes on in the trace that began it, under that first run; after
    `same_trace_s` it has a trace of its own that is linked to it. User and other ids come back, too.

    The thread's state is read twice: before, and after, to tell whether the graph waits (`otel_bridge.outcome` is
    `interrupted`); and once more for each edit by `update_state` since its last run, of which there may be 8: after
    more, the run begins a trace of its own. Where it can not be read, that is logged, and the run stands for itself.

    graph: compiled. config: LangGraph's, with `configurable.thread_id`; without it nothing is kept.
    name: of the workflow, else the graph's.
    """

    __slots__ = ("_attributes", "_config", "_entered", "_graph", "_name", "_same_trace", "_thread")

    def __init__(
        self,
        graph: Any,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        *,
        same_trace_s: float = SAME_TRACE_S,
    ) -> None:
        self._graph = graph
        self._config = dict(config or {})
        self._name = name or str(getattr(graph, "name", None) or "graph")
        self._attributes = attributes or {}
        self._same_trace = timedelta(seconds=same_trace_s)
        has_checkpoints = bool(getattr(graph, "checkpointer", True))
        self._thread = (self._config.get("configurable") or {}).get("thread_id") if has_checkpoints else None
        self._entered: Entered | None = None

    def __enter__(self) -> GraphRun:
        return self._enter(self._state())

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._tell(self._state())
        finally:
            self._leave(error)

    async def __aenter__(self) -> GraphRun:
        return self._enter(await self._astate())

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._tell(await self._astate())
        except BaseException as cancelled:
            error = cancelled
            raise
        finally:
            self._leave(error)

    def _state(self) -> "_State | None":
        """None without a thread."""
        if self._thread is None:
            return None
        try:
            newest = state = self._graph.get_state(self._config)
            for _ in range(MOST_EDITS):
                if (before := _before_edit(state)) is None:
                    break
                state = self._graph.get_state(before)
            return _State.of(newest, state.metadata)
        except Exception as error:  # noqa: BLE001 - the graph itself will tell the agent of it
            log.warning(UNREAD, error)
            return None

    async def _astate(self) -> "_State | None":
        if self._thread is None:
            return None
        try:
            newest = state = await self._graph.aget_state(self._config)
            for _ in range(MOST_EDITS):
                if (before := _before_edit(state)) is None:
                    break
                state = await self._graph.aget_state(before)
            return _State.of(newest, state.metadata)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning(UNREAD, error)
            return None

    def _enter(self, state: "_State | None") -> GraphRun:
        outer = otel.get_current()
        parent, links, carrier = self._before(state, outer)
        outer = self._with_ids(outer, carrier)
        given = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": self._name,
            "gen_ai.conversation.id": None if self._thread is None else str(self._thread),
        }
        block = span(f"invoke_workflow {self._name}", {**given, **self._attributes}, parent=parent, links=links)
        active, mine = block.start(outer)
        self._entered = Entered(active, mine)
        said: dict[str, str] = {}
        propagate.inject(said)
        if parent is not None:  # the run that began the trace is the parent of all that go on in it
            said |= {key: carrier[key] for key in ("traceparent", "tracestate") if key in carrier}
        metadata = {**(self._config.get("metadata") or {}), **{key: said[key] for key in KEPT if key in said}}
        return GraphRun(active, {**self._config, "metadata": metadata})

    def _before(self, state: "_State | None", outer: Context) -> tuple[Parent | None, list[Parent], Mapping[str, str]]:
        """The parent and the links of a run, and what its thread kept of the one that it goes on with."""
        carrier = state.carrier if state is not None and state.is_unfinished else {}
        began, current = span_context_of(carrier), trace.get_current_span(outer).get_span_context()
        if state is None or not began.is_valid or began.trace_id == current.trace_id:
            return None, [], carrier
        if state.age <= self._same_trace:
            return began, [current], carrier
        return None, [began], carrier

    def _with_ids(self, context: Context, carrier: Mapping[str, str]) -> Context:
        """Those of the surroundings, over those that came with the thread."""
        known = correlated(context, DOWNSTREAM)
        for key, value in baggage.get_all(propagate.extract(carrier, Context())).items():
            if key not in known:
                context = baggage.set_baggage(key, value, context)
        if self._thread is None:
            return context
        session = None if "session.id" in correlated(context, DOWNSTREAM) else str(self._thread)
        return correlation(session=session, thread__id=str(self._thread)).apply(context)

    def _tell(self, state: "_State | None") -> None:
        if self._entered is not None and state is not None and state.is_unfinished:
            self._entered.span.tags[OUTCOME] = INTERRUPTED

    def _leave(self, error: BaseException | None) -> None:
        entered, self._entered = self._entered, None
        if entered is not None:
            entered.leave(error)


@dataclass(slots=True, frozen=True)
class _State:
    """Where a thread stands: what was kept with its checkpoint, and how long ago that was written."""

    is_unfinished: bool
    carrier: Mapping[str, str]
    age: timedelta

    @classmethod
    def of(cls, newest: Any, kept: Mapping[str, Any] | None) -> "_State":
        """Of LangGraph's StateSnapshot and the metadata that its last run wrote."""
        carrier = {key: said for key in KEPT if isinstance(said := (kept or {}).get(key), str)}
        age = datetime.now(UTC) - datetime.fromisoformat(newest.created_at) if newest.created_at else timedelta.max
        return cls(bool(newest.next), carrier, age)


def _before_edit(state: Any) -> Any:
    """The config of the checkpoint before this one, which somebody wrote by `update_state`, and not a run."""
    said = state.metadata or {}
    return state.parent_config if said.get("source") == "update" and "traceparent" not in said else None
