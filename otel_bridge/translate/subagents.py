"""Which subagent did what, where records tell of requests and tools side by side, and of times alone.

A subagent is a tool that asks models: what was asked for it lies within its time. A tool that was called while one
agent alone was asking is that agent's. Where several may have done it, it stays where it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from otel_bridge.translate.span import SpanView

MAX_OPEN = 64  # subagents, or requests, at one time; with more of them nothing is told apart


@dataclass(slots=True)
class Step:
    """A request or a tool.

    at_ns: when it began, of a tool when it was called for.
    asks: a request, of the kind of agent that `kind` names; None is the main thread.
    kind: of a tool, the kind of subagent that it is; of either, "" is one that was not told.
    """

    span: SpanView
    at_ns: int
    asks: bool
    kind: str | None


def nest(steps: Iterable[Step], root: SpanView) -> None:
    """Put what subagents did below the tools that they are."""
    flow = _Flow(root)
    for step in sorted(steps, key=lambda step: (step.at_ns, -step.span.end_ns, step.span.id)):
        flow.take(step)


class _Flow:
    """Who is at work, step by step in order of time."""

    def __init__(self, root: SpanView) -> None:
        self._root = root.id
        self._numbers = count()
        self._agents: list[tuple[int, int, Step]] = []  # what ends first comes first; the number tells equals apart
        self._asking: list[tuple[int, str, int, str | None]] = []  # end, id, number, and for whom, None if not known
        self._asked: tuple[int, str | None] | None = None  # when the last of those that have ended did, for whom

    def take(self, step: Step) -> None:
        """Find whose a step is, and remember what tells whose the next ones are."""
        self._end(step.at_ns)
        owner = self._asker(step) if step.asks else self._caller(step)
        if owner is not None:
            step.span.parent_id = owner
        if step.asks:
            heappush(self._asking, (step.span.end_ns, step.span.id, next(self._numbers), owner))
        elif step.kind is not None:
            heappush(self._agents, (step.span.end_ns, next(self._numbers), step))

    def _end(self, at_ns: int) -> None:
        while self._agents and self._agents[0][0] < at_ns:
            heappop(self._agents)
        while self._asking and self._asking[0][0] < at_ns:
            end_ns, _, _, owner = heappop(self._asking)
            if self._asked is None or self._asked[0] <= end_ns:
                self._asked = end_ns, owner

    def _asker(self, step: Step) -> str | None:
        if step.kind is None:
            return self._root
        found = [
            agent.span.id
            for agent in self._working(step.at_ns, step.span.end_ns)
            if not step.kind or not agent.kind or agent.kind == step.kind
        ]
        return found[0] if len(found) == 1 else None

    def _caller(self, step: Step) -> str | None:
        if len(self._asking) > MAX_OPEN:
            return None
        asking = {owner for *_, owner in self._asking} or ({self._asked[1]} if self._asked else {self._root})
        owner = asking.pop()
        if asking or owner is None or owner == self._root:
            return None if asking else owner
        working = self._working(step.at_ns, step.span.end_ns)
        return owner if [agent.span.id for agent in working] == [owner] else None

    def _working(self, start_ns: int, end_ns: int) -> list[Step]:
        """The subagents in whose time this lies and who wait for none of the others."""
        if len(self._agents) > MAX_OPEN:
            return []
        agents = [agent for *_, agent in self._agents]
        around = [agent for agent in agents if agent.span.start_ns <= start_ns and end_ns <= agent.span.end_ns]
        waiting = {agent.span.parent_id for agent in around}
        return [agent for agent in around if agent.span.id not in waiting]
