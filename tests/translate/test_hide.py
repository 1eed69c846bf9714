"""Noise is left out of generated trees: nobody is orphaned, nothing counts otherwise, and order does not matter."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_bridge.model import Translation
from otel_bridge.trace import BY_DIALECT, WITHOUT_LLM, Known, LogEntry, Settled, SpanRecord
from otel_bridge.translate import translate

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.provider.name": "openai"}
KINDS = {
    "chat": CHAT,
    "agent": {"gen_ai.operation.name": "invoke_agent"},
    "tool": {"gen_ai.operation.name": "execute_tool"},
    "plain": {},
    "noise": {"http.request.method": "GET"},
}


@dataclass
class Place:
    """A span of a tree: its number, its parent's, its kind, its tokens, and the part in which it comes."""

    number: int
    parent: int
    kind: str
    tokens: int
    part: int


@st.composite
def trees(draw: st.DrawFn) -> list[Place]:
    places: list[Place] = []
    for number in range(1, draw(st.integers(1, 14)) + 1):
        kind = draw(st.sampled_from(["noise", "noise", *KINDS]))
        parent = draw(st.integers(0 if number == 1 else 1, number - 1)) if number > 1 else 0
        tokens = draw(st.integers(0, 9)) if kind in ("chat", "agent") else 0
        places.append(Place(number, parent, kind, tokens, draw(st.integers(0, 2))))
    return places


def spans(otlp: Any, places: Sequence[Place]) -> list[SpanRecord]:
    return [
        otlp.span(
            place.number,
            place.parent,
            name=f"{place.kind} {place.number}",
            at_ms=(place.number, 100),
            attrs=KINDS[place.kind] | ({"gen_ai.usage.input_tokens": place.tokens} if place.tokens else {}),
        )
        for place in places
    ]


def noise_of(places: Sequence[Place]) -> dict[str, str]:
    return {f"{place.number:016x}": "http" for place in places if place.kind == "noise"}


def settle(
    otlp: Any,
    *parts: Sequence[SpanRecord | LogEntry],
    noise: dict[str, str],
    settled: Settled = Settled.HELD,
) -> list[Translation]:
    """The parts of one trace, one after the other; what is known in between has been on disk."""
    known, made = None, []
    for number, items in enumerate(parts):
        trace = otlp.trace(*items, settled=settled, part=number, known=known)
        here = {record.span.span_id.hex() for record in trace.spans}
        trace.noise = {one: reason for one, reason in noise.items() if one in here}
        made.append(translate(trace))
        known = Known.of(orjson.loads(orjson.dumps(made[-1].known)))
    return made


def tree(made: Sequence[Translation]) -> dict[str, str | None]:
    return {seen.id: seen.parent_id for each in made for seen in each.observations}


def tokens(made: Sequence[Translation]) -> int:
    return sum(seen.usage["total"] for each in made for seen in each.observations if seen.usage)


def assert_sound(parents: dict[str, str | None]) -> None:
    """No orphan, no circle."""
    for one in parents:
        seen, at = set(), one
        while at is not None:
            assert at in parents, f"{one} is an orphan below {at}"
            assert at not in seen, f"{one} is in a circle"
            seen.add(at)
            at = parents[at]  # type: ignore[assignment]


PROPERTY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PROPERTY
@given(places=trees(), chance=st.randoms(use_true_random=False))
def test_nobody_is_orphaned_and_tokens_stay(otlp: Any, places: list[Place], chance: random.Random) -> None:
    """In whatever order they come; all but noise is there as it was, and of noise at most what holds the rest."""
    whole = spans(otlp, places)
    [before] = settle(otlp, whole, noise={}, settled=Settled.ROOT)
    [after] = settle(otlp, whole, noise=noise_of(places), settled=Settled.ROOT)
    chance.shuffle(whole)
    [shuffled] = settle(otlp, whole, noise=noise_of(places), settled=Settled.ROOT)

    parents = tree([after])
    assert_sound(parents)
    assert parents == tree([shuffled])
    assert sum(parent is None for parent in parents.values()) == 1
    assert tokens([after]) == tokens([before])
    kept = {f"{place.number:016x}" for place in places if place.kind != "noise"}
    assert kept <= parents.keys()
    assert len(parents.keys() - kept) <= 1
    assert {seen.id: seen.usage for seen in after.observations} == {
        seen.id: seen.usage for seen in before.observations if seen.id in parents
    }
    assert len(after.dropped) == len(places) - len(parents)


@PROPERTY
@given(places=trees())
def test_parts_orphan_nobody_and_count_the_same(otlp: Any, places: list[Place]) -> None:
    """However a trace is cut, also where children come before what they hang on."""
    whole = spans(otlp, places)
    numbers = [[place.number for place in places if place.part == part] for part in range(3)]
    parts = [[record for record in whole if int.from_bytes(record.span.span_id) in part] for part in numbers]
    before = settle(otlp, *parts, noise={})
    after = settle(otlp, *parts, noise=noise_of(places))

    assert tokens(after) == tokens(before)
    parents = tree(after)
    assert_sound(parents)
    assert {f"{place.number:016x}" for place in places if place.kind != "noise"} <= parents.keys()
    assert sum(len(each.observations) for each in after) == len(parents), "each was sent once"


HTTP = {"http.request.method": "POST", "http.route": "/chat", "session.id": "s1", "user.id": "ada"}


def request(otlp: Any, *below: SpanRecord, **fields: Any) -> list[SpanRecord]:
    return [otlp.span(1, name="POST /chat", attrs=HTTP, **fields), *below]


def test_one_branch_takes_the_place_of_its_request(otlp: Any, id_of: Any) -> None:
    """The trace is called as the request, and knows its session, user and route; an error of it is not lost."""
    agent = otlp.span(3, 2, name="agent", attrs=KINDS["agent"] | {"input.value": "hi", "output.value": "ho"})
    middleware = otlp.span(2, 1, name="middleware")
    whole = request(otlp, middleware, agent, status=(2, "HTTP 500"))
    [made] = settle(otlp, whole, noise={id_of(1): "fastapi", id_of(2): "drop[0]"}, settled=Settled.ROOT)

    [root] = made.observations
    [said] = made.traces
    assert (root.id, root.parent_id, root.level, root.status_message) == (id_of(3), None, "ERROR", "HTTP 500")
    assert (said.name, said.session_id, said.user_id) == ("POST /chat", "s1", "ada")
    assert said.metadata == {"http.request.method": "POST", "http.route": "/chat"}
    assert (said.input, said.output) == (root.input, root.output) == ("hi", "ho")
    assert [(left.span_id, left.reason) for left in made.dropped] == [
        (id_of(1), "noise:fastapi"),
        (id_of(2), "noise:drop[0]"),
    ]


def test_several_branches_keep_what_holds_them_together(otlp: Any, id_of: Any) -> None:
    """With the input of the first and the output of the last, as Langfuse shows a trace by its root."""
    calls = [
        otlp.span(number, 2, name=f"chat {number}", at_ms=(number, number + 1),
                  attrs=CHAT | {"input.value": f"in {number}", "output.value": f"out {number}"})
        for number in (3, 4)
    ]  # fmt: skip
    whole = request(otlp, otlp.span(2, 1, name="middleware"), *calls)
    [made] = settle(otlp, whole, noise={id_of(1): "fastapi", id_of(2): "fastapi"}, settled=Settled.ROOT)

    assert tree([made]) == {id_of(1): None, id_of(3): id_of(1), id_of(4): id_of(1)}
    assert (made.traces[0].input, made.traces[0].output) == ("in 3", "out 4")


def test_a_trace_of_noise_alone_shows_its_root(otlp: Any, id_of: Any) -> None:
    whole = request(otlp, otlp.span(2, 1), otlp.span(3, 2))
    [made] = settle(otlp, whole, noise={id_of(n): "fastapi" for n in (1, 2, 3)}, settled=Settled.ROOT)

    assert tree([made]) == {id_of(1): None}


@pytest.mark.parametrize("reason", ["http_client", "drop[0]", BY_DIALECT])
def test_work_is_no_noise(otlp: Any, id_of: Any, reason: str) -> None:
    """Whatever a dialect reads as a call, an agent, a tool, or that counts tokens."""
    whole = request(otlp, otlp.span(2, 1, attrs=CHAT), otlp.span(3, 2, attrs=KINDS["tool"] | HTTP))
    [made] = settle(otlp, whole, noise={id_of(n): reason for n in (1, 2, 3)}, settled=Settled.ROOT)

    assert {id_of(2), id_of(3)} <= tree([made]).keys()


def test_what_points_at_noise_points_at_what_stands_for_it(otlp: Any, id_of: Any) -> None:
    """Scores, links and log records; of a root, at what took its place."""
    agent = otlp.span(2, 1, name="agent", attrs=KINDS["agent"])
    agent.span.links.add(trace_id=bytes.fromhex(otlp.trace_id), span_id=(3).to_bytes(8))
    judged = {"gen_ai.evaluation.name": "good", "gen_ai.evaluation.score.value": 1.0}
    whole = [
        *request(otlp, agent, otlp.span(3, 2, name="SELECT"), events=[("gen_ai.evaluation.result", judged)]),
        otlp.log(3, name="gen_ai.evaluation.result", attrs=judged),
        otlp.log(3, body="slow query"),
        otlp.log(1, body="request began", at_ms=0),
    ]
    [made] = settle(otlp, whole, noise={id_of(1): "fastapi", id_of(3): "sqlalchemy"}, settled=Settled.ROOT)

    [seen] = made.observations
    assert [score.observation_id for score in made.scores] == [id_of(2)] * 2
    assert [link["span_id"] for link in seen.metadata["otel.links"]] == [id_of(2)]
    assert [log["body"] for log in seen.metadata["otel.logs"]] == ["request began", "slow query"]


@pytest.mark.parametrize("said", [7, "text", [1]])
def test_attributes_that_are_called_like_links_and_logs_are_none(otlp: Any, id_of: Any, said: object) -> None:
    """They come from outside, and hold anything."""
    said_so = {"otel.links": said, "otel.logs": said}
    whole = [otlp.span(1, attrs=CHAT | said_so), otlp.span(2, 1, attrs=KINDS["noise"] | said_so)]
    [made] = settle(otlp, [*whole, otlp.log(2, body="a note")], noise={id_of(2): "http"})

    [seen] = made.observations
    assert [log["body"] for log in seen.metadata["otel.logs"]] == ["a note"]


def test_what_comes_late_finds_what_stands_for_noise(otlp: Any, id_of: Any) -> None:
    """Children of noise that came before, noise that hangs on it, and what judges it."""
    agent = otlp.span(2, 1, name="agent", attrs=KINDS["agent"])
    judged = {"gen_ai.evaluation.name": "good", "gen_ai.evaluation.score.value": 1.0}
    first = request(otlp, agent, otlp.span(3, 2, name="SELECT"))
    late = [
        otlp.span(4, 3, name="tool", attrs=KINDS["tool"]),
        otlp.span(5, 1, name="chat", attrs=CHAT | {"gen_ai.usage.input_tokens": 5}),
        otlp.span(6, 3, name="FETCH"),
        otlp.log(6, body="fetched"),
        otlp.log(3, name="gen_ai.evaluation.result", attrs=judged),
        otlp.log(1, body="request ended"),
    ]
    noise = {id_of(1): "fastapi", id_of(3): "sqlalchemy", id_of(6): "sqlalchemy"}
    made = settle(otlp, first, late, first, noise=noise, settled=Settled.ROOT)

    parents = {seen.name: seen.parent_id for seen in made[1].observations}
    assert parents == {"tool": id_of(2), "chat": id_of(2), "log": id_of(2)}
    assert [seen.metadata["otel.logs"][0]["body"] for seen in made[1].observations if seen.name == "log"] == [
        "fetched",
        "request ended",
    ]
    assert [score.observation_id for score in made[1].scores] == [id_of(2)]
    assert {seen.trace.session_id for seen in made[1].observations} == {"s1"}
    assert tokens(made) == 5
    assert made[2].observations == []
    assert {left.reason for left in made[2].dropped} == {"duplicate_span_id"}


def test_after_a_trace_of_noise_an_agent_begins_its_own_tree(otlp: Any, id_of: Any) -> None:
    """As a background task does, after the request that began it was dropped whole."""
    first = request(otlp, otlp.span(2, 1, name="SELECT"))
    late = [otlp.span(3, 2, name="agent", attrs=KINDS["agent"]), otlp.span(4, 3, name="chat", attrs=CHAT)]
    made = settle(otlp, first, late, noise={id_of(1): WITHOUT_LLM, id_of(2): WITHOUT_LLM}, settled=Settled.ROOT)

    assert (made[0].observations, made[0].traces) == ([], [])
    assert tree(made[1:]) == {id_of(3): None, id_of(4): id_of(3)}
    assert made[1].traces[0].session_id == "s1"
    assert made[1].known.root_id == id_of(3)
