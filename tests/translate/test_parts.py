"""A trace that settles in parts counts what it would have counted in one, and no span counts in two of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_bridge.model import ObservationType, Translation
from otel_bridge.trace import Known, LogEntry, Settled, SpanRecord
from otel_bridge.translate import Prices, sent, translate, tree

KINDS = {
    "chat": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"},
    "agent": {"gen_ai.operation.name": "invoke_agent"},
    "tool": {"gen_ai.operation.name": "execute_tool"},
    "span": {},
}
CHAT, AGENT, TOOL = KINDS["chat"], KINDS["agent"], KINDS["tool"]


def used(tokens: int) -> dict[str, int]:
    return {"gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 0}


def cost(dollars: float) -> dict[str, float]:
    return {"gen_ai.usage.cost": dollars}


def settle(
    otlp: Any, *parts: Iterable[SpanRecord | LogEntry], prices: Prices | None = None, settled: Settled = Settled.HELD
) -> list[Translation]:
    """The parts of one trace, one after the other; what is known in between has been on disk."""
    known, made = None, []
    for number, items in enumerate(parts):
        trace = otlp.trace(*items, settled=settled, part=number, known=known)
        made.append(translate(trace, prices))
        known = Known(**orjson.loads(orjson.dumps(made[-1].known)))
    return made


def tokens(made: Iterable[Translation]) -> int:
    return sum(seen.usage["total"] for each in made for seen in each.observations if seen.usage)


def dollars(made: Iterable[Translation]) -> float:
    return round(sum(seen.cost["total"] for each in made for seen in each.observations if seen.cost), 6)


@dataclass
class Place:
    """A span of a tree: its number, its parent's, the part in which it comes, and how many tokens it says."""

    number: int
    parent: int
    kind: str
    part: int
    tokens: int = 0
    counted: int = 0
    calls: list[int] = field(default_factory=list)


@st.composite
def trees(draw: st.DrawFn) -> list[Place]:
    """Trees whose agents say what all below them add up to, or nothing, and whose calls may be told twice.

    Nobody can tell what stands between two spans of which one is above the other before it comes: none comes last.
    """
    size = draw(st.integers(1, 9))
    places = [
        Place(
            number,
            draw(st.integers(1, number - 1)) if number > 1 else 0,
            draw(st.sampled_from(sorted(KINDS))),
            draw(st.integers(0, 3)),
        )
        for number in range(1, size + 1)
    ]
    for place in reversed(places):
        below = [other for other in places if other.parent == place.number]
        calls = [call for other in below for call in other.calls]
        place.counted = sum(other.counted for other in below)
        if place.kind == "chat" and len(calls) > 1:
            place.kind = "span"
        if place.kind == "chat":
            place.tokens = calls[0] if calls else draw(st.integers(1, 1000))
            place.counted += 0 if calls else place.tokens
            calls = [place.tokens]
        elif place.kind == "agent":
            place.tokens = draw(st.sampled_from((0, place.counted or 7)))
            place.counted = place.counted or place.tokens
        place.calls = [] if place.kind in ("agent", "tool") else calls
    _none_last(places)
    return places


def _none_last(places: Sequence[Place]) -> None:
    above = {place.number: _above(place, places) for place in places}
    changed = True
    while changed:
        changed = False
        for place in places:
            under = [other.part for other in places if place.number in above[other.number]]
            over = [places[number - 1].part for number in above[place.number]]
            if under and over and place.part > (latest := max(min(under), min(over))):
                place.part, changed = latest, True


def _above(place: Place, places: Sequence[Place]) -> set[int]:
    found = set()
    while place.parent:
        found.add(place.parent)
        place = places[place.parent - 1]
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(trees())
def test_any_parts_count_what_the_whole_counts(otlp: Any, places: list[Place]) -> None:
    spans = {
        place.number: otlp.span(
            place.number,
            place.parent,
            at_ms=(place.number, 1000 - place.number),
            attrs=KINDS[place.kind] | (used(place.tokens) | cost(place.tokens / 1000) if place.tokens else {}),
        )
        for place in places
    }
    parts = [[spans[place.number] for place in places if place.part == part] for part in range(4)]

    whole = settle(otlp, spans.values())
    made = settle(otlp, *parts)

    assert tokens(whole) == places[0].counted
    assert tokens(made) == tokens(whole)
    assert dollars(made) == dollars(whole)


class TestUsageAndCost:
    def test_a_late_call_within_a_tool_of_a_call_is_another_call(self, otlp: Any) -> None:
        made = settle(
            otlp,
            [otlp.span(1, attrs=CHAT | used(110)), otlp.span(2, 1, attrs=TOOL)],
            [otlp.span(3, 2, attrs=CHAT | used(55))],
        )

        assert tokens(made) == 165

    def test_a_late_agents_cost_gives_way_to_what_calls_cost_before(self, otlp: Any) -> None:
        call = otlp.span(2, 1, attrs=CHAT | used(5) | cost(0.5))

        made = settle(otlp, [call], [otlp.span(1, attrs=AGENT | cost(0.5))])

        assert dollars(made) == 0.5
        assert made[1].observations[0].metadata["uncounted_cost"] == {"total": 0.5}

    def test_a_late_call_has_no_price_where_its_agents_cost_was_said(self, otlp: Any) -> None:
        agent, call = otlp.span(1, attrs=AGENT | cost(0.5)), otlp.span(2, 1, attrs=CHAT | used(100_000))

        made = settle(otlp, [agent], [call], prices=Prices())

        assert (tokens(made), dollars(made)) == (100_000, 0.5)

    def test_a_late_agents_cost_gives_way_to_prices_that_went_out(self, otlp: Any) -> None:
        agent, call = otlp.span(1, attrs=AGENT | cost(0.5)), otlp.span(2, 1, attrs=CHAT | used(100_000))

        made = settle(otlp, [call], [agent], prices=Prices())

        assert dollars(made[:1]) == dollars(made) > 0

    def test_a_sum_stands_through_spans_that_come_between(self, otlp: Any) -> None:
        made = settle(
            otlp,
            [otlp.span(1, attrs=AGENT | used(5))],
            [otlp.span(2, 1)],
            [otlp.span(3, 2, attrs=TOOL)],
            [otlp.span(4, 3, attrs=CHAT | used(5))],
        )

        assert tokens(made) == 5


class TestTheSameSpanAgain:
    """Senders try again when they have no answer, and what they sent may have settled by then."""

    @pytest.mark.parametrize("more", [{}, {"gen_ai.response.id": "resp_1"}])
    def test_it_is_dropped_with_a_reason(self, otlp: Any, more: dict[str, str]) -> None:
        call = otlp.span(2, 1, attrs=CHAT | used(110) | more)

        first, again = settle(otlp, [otlp.span(1, attrs=AGENT), call], [call])

        assert (again.observations, again.traces) == ([], [])
        assert [(omitted.span_id, omitted.reason) for omitted in again.dropped] == [(f"{2:016x}", "duplicate_span_id")]
        assert tokens([first]) == 110

    def test_a_root_with_a_sum_does_not_count_it_after_all(self, otlp: Any) -> None:
        root, call = otlp.span(1, attrs=AGENT | used(110)), otlp.span(2, 1, attrs=CHAT | used(110))

        made = settle(otlp, [root, call], [root], [call], [root, call])

        assert tokens(made) == 110
        assert sum(len(each.observations) for each in made) == 2

    def test_what_else_it_says_stands_below_it_and_counts_nothing(self, otlp: Any, id_of: Any) -> None:
        call, changed = (otlp.span(1, attrs=CHAT | used(110) | {"n": n}) for n in (1, 2))

        made = settle(otlp, [call], [changed], [changed], [call])

        [event] = made[1].observations
        assert (event.type, event.parent_id, event.usage) == (ObservationType.EVENT, id_of(1), None)
        assert event.id != id_of(1)
        assert (event.metadata["n"], event.metadata["uncounted_usage"]["total"]) == (2, 110)
        assert [len(each.observations) for each in made] == [1, 1, 0, 0]
        assert tokens(made) == 110

    def test_what_comes_below_it_stays_below_what_was_sent(self, otlp: Any, id_of: Any) -> None:
        made = settle(otlp, [otlp.span(1)], [otlp.span(1, name="other"), otlp.span(2, 1)], settled=Settled.ROOT)

        assert {seen.parent_id for seen in made[1].observations} == {id_of(1)}

    def test_a_log_record_is_one_event(self, otlp: Any) -> None:
        record = otlp.log(7, body="hello")

        made = settle(otlp, [otlp.span(1), record], [record])

        assert [len(each.observations) for each in made] == [2, 0]


class TestRoots:
    def test_a_late_span_that_is_its_own_parent_is_a_root(self, otlp: Any) -> None:
        made = settle(otlp, [otlp.span(1)], [otlp.span(9, 9), otlp.span(3, 4), otlp.span(4, 3)])

        parents = {seen.id: seen.parent_id for seen in made[1].observations}
        assert None in parents.values()
        assert all(id_ != parent for id_, parent in parents.items())
        assert sum(parent is None for parent in parents.values()) == 2


class TestNames:
    def test_the_root_names_the_trace_when_it_comes(self, otlp: Any) -> None:
        made = settle(
            otlp,
            [otlp.span(3, 2, name="chat gpt-4o")],
            [otlp.span(4, 2, name="chat again")],
            [otlp.span(1, name="root")],
            [otlp.span(5, 1, name="late")],
        )

        assert [each.traces[0].name for each in made] == ["chat gpt-4o", "chat gpt-4o", "root", "root"]

    def test_a_name_that_was_said_is_heard_later_too(self, otlp: Any) -> None:
        made = settle(
            otlp,
            [otlp.span(1, name="root")],
            [otlp.span(2, 1, attrs={"langfuse.trace.name": "mine"})],
            [otlp.span(3, 1)],
        )

        assert [each.traces[0].name for each in made] == ["root", "mine", "mine"]


def test_what_is_known_of_a_large_trace_is_bounded() -> None:
    packed = sent.pack((f"{n:016x}", "", 0, sent.NO_DIGEST) for n in range(1, sent.MAX_SENT + 11))

    assert len(packed) < 600_000
    found = sent.unpack(packed)
    assert (len(found), next(iter(found))) == (sent.MAX_SENT, f"{11:016x}")


def test_ids_of_responses_are_known_later_if_they_are_some(otlp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part has them written again: what is too long for an id is none, and of many the newest are known."""
    monkeypatch.setattr(tree, "MAX_CALLS", 4)
    said = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 1}
    ids = ["r" * 201, "a", "b", "c", "d", "e"]
    first, second = settle(
        otlp,
        [otlp.span(1 + at, at_ms=(at, 9), attrs=said | {"gen_ai.response.id": one}) for at, one in enumerate(ids[:4])],
        [otlp.span(11 + at, at_ms=(at, 9), attrs=said | {"gen_ai.response.id": one}) for at, one in enumerate(ids[4:])],
    )

    assert first.known.calls == ["a", "b", "c"]
    assert second.known.calls == ["b", "c", "d", "e"]
