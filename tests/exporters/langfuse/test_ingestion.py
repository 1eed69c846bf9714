"""Events for server 2, and what a 207 says item by item."""

import json
from typing import Any

import pytest

from otel_bridge.errors import BusyError, ParkedError, RefusedError, RetryableError
from otel_bridge.exporters.langfuse.ingestion import batch, events, outcome, score_events
from otel_bridge.model import Observation, ObservationType, TraceAttributes, Translation
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.exporters.langfuse.conftest import INGESTION, Build, Make, MakeScore, Opened


def bodies(*observations: Observation, **kwargs: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(e["type"], e["body"]) for e in events(Translation(observations=list(observations)), **kwargs)]


def test_a_generation_keeps_its_counts_in_the_words_of_server_2(observation: Make) -> None:
    generation = observation(
        type=ObservationType.GENERATION,
        model="m",
        usage={"input": 40, "input_cached_tokens": 60, "output": 5, "output_reasoning_tokens": 2, "total": 107},
        cost={"input": 0.5, "output": 0.25, "total": 0.75},
        completion_start_ns=1_795_000_001_000_000_000,
    )
    kind, body = bodies(generation)[1]
    assert kind == "generation-create"
    assert body["usage"] == {
        "input": 100,
        "output": 7,
        "total": 107,
        "unit": "TOKENS",
        "inputCost": 0.5,
        "outputCost": 0.25,
        "totalCost": 0.75,
    }
    assert body["metadata"]["usage_details"]["input_cached_tokens"] == 60
    assert body["completionStartTime"] == "2026-11-18T11:06:41.000Z"


@pytest.mark.parametrize(
    ("kind", "usage", "event"),
    [
        (ObservationType.SPAN, None, "span-create"),
        (ObservationType.EVENT, None, "event-create"),
        (ObservationType.TOOL, None, "span-create"),
        (ObservationType.AGENT, None, "span-create"),
        (ObservationType.AGENT, {"input": 1, "total": 1}, "generation-create"),
        (ObservationType.EMBEDDING, {"input": 1, "total": 1}, "generation-create"),
    ],
)
def test_types_that_server_2_does_not_know_keep_their_name(
    observation: Make, kind: ObservationType, usage: dict[str, int] | None, event: str
) -> None:
    made, body = bodies(observation(type=kind, usage=usage))[1]
    assert made == event
    assert (body["metadata"].get("type") == kind) is (kind not in (ObservationType.SPAN, ObservationType.EVENT))


def test_a_trace_is_written_once_from_its_root(observation: Make) -> None:
    trace = TraceAttributes(trace_id="a" * 32, name="t", environment="prod")
    made = bodies(observation(2, trace=trace), observation(1, trace=trace, input="q", output="a"))
    traces = [body for kind, body in made if kind == "trace-create"]
    assert len(traces) == 1
    assert (traces[0]["input"], traces[0]["output"]) == ("q", "a")
    assert traces[0]["timestamp"] == "2026-11-18T11:06:40.123Z"
    assert traces[0]["metadata"]["environment"] == "prod"


def test_a_part_without_root_leaves_the_time_of_the_trace_alone(observation: Make) -> None:
    assert "timestamp" not in bodies(observation(2))[0][1]


def test_ids_of_events_come_from_what_they_say(observation: Make) -> None:
    first = [e["id"] for e in events(Translation(observations=[observation(1)]))]
    assert first == [e["id"] for e in events(Translation(observations=[observation(1)]))]
    assert first != [e["id"] for e in events(Translation(observations=[observation(1, output="more")]))]


SENT = [{"id": name, "type": "span-create", "timestamp": "", "body": {}} for name in ("a", "b", "c")]


@pytest.mark.parametrize(
    ("items", "kind"),
    [
        ({}, None),
        ({"b": 400}, RefusedError),
        ({"b": 404}, RefusedError),
        ({"b": 401}, ParkedError),
        ({"b": 429}, BusyError),
        ({"b": 500}, RetryableError),
        ({"b": 400, "c": 500}, RetryableError),
        ({"a": 400, "b": 401, "c": 500}, ParkedError),
        ({"b": "odd"}, RetryableError),
    ],
)
def test_each_item_of_a_207_by_its_own_status(items: dict[str, Any], kind: type[Exception] | None) -> None:
    answer = {
        "successes": [{"id": name, "status": 201} for name in "abc" if name not in items],
        "errors": [{"id": name, "status": status, "message": "no"} for name, status in items.items()],
    }
    taken, error = outcome(SENT, json.dumps(answer).encode())
    assert taken == set("abc") - items.keys()
    assert type(error) is (kind or type(None))


def test_an_event_that_the_answer_does_not_name_is_sent_again() -> None:
    taken, error = outcome(SENT, b'{"successes":[{"id":"a","status":201}],"errors":[]}')
    assert taken == {"a"}
    assert isinstance(error, RetryableError)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"successes":5}', b'{"successes":[{}],"errors":[]}', b"<html>"]
)
def test_an_answer_that_says_nothing_parks(body: bytes) -> None:
    taken, error = outcome(SENT, body)
    assert taken == set()
    assert isinstance(error, ParkedError)


async def test_only_what_was_not_taken_is_sent_again(opened: Opened, translation: Build) -> None:
    sent = translation(observations=3)
    refused = events(sent)[2]["id"]
    successes = [{"id": event["id"], "status": 201} for event in events(sent) if event["id"] != refused]
    busy = {"successes": successes, "errors": [{"id": refused, "status": 503, "message": "busy"}]}
    async with FakeLangfuse("2.95.12").running() as fake, opened(fake) as settle:
        fake.script("ingestion", Fault(207, json.dumps(busy)))
        with pytest.raises(RetryableError):
            await settle(sent)
        await settle(sent)
        again = json.loads(fake.sent_to("/ingestion")[1].body)["batch"]
        assert [event["id"] for event in again] == [refused]


async def test_the_refused_item_is_found_by_halving(opened: Opened, translation: Build, score: MakeScore) -> None:
    async with FakeLangfuse("2.95.12").running() as fake, opened(fake) as settle:
        whole = translation(observations=4)
        whole.scores.append(score(1, name=""))
        with pytest.raises(RefusedError, match="400"):
            await settle(whole)
        await settle(Translation(observations=whole.observations))
        with pytest.raises(RefusedError):
            await settle(Translation(scores=whole.scores))
        assert len(fake.observations) == 4
        assert fake.duplicates == 0


def test_what_json_has_no_word_for_is_written_as_something_else(observation: Make) -> None:
    """Servers refuse a whole batch for a NaN, or for half a surrogate."""
    odd = observation(1, input={"n": float("nan"), "s": "\ud800"})
    sent = batch(events(Translation(observations=[odd])))
    assert json.loads(sent)["batch"][1]["body"]["input"] == {"n": None, "s": "?"}


async def test_of_a_mixed_207_each_event_is_treated_by_its_own_code(opened: Opened, score: MakeScore) -> None:
    """The one that failed is sent again alone; the refused one is refused; the taken one never comes twice."""
    async with FakeLangfuse("4.16.0").running() as fake, opened(fake) as settle:
        sent = Translation(scores=[score(1), score(2), score(3)])
        first, second, third = (event["id"] for event in score_events(sent.scores, version=(4, 16, 0)))
        answer = {
            "successes": [{"id": first, "status": 201}],
            "errors": [
                {"id": second, "status": 400, "message": "bad value"},
                {"id": third, "status": 500, "message": "try again"},
            ],
        }
        fake.script("ingestion", Fault(207, json.dumps(answer)))
        with pytest.raises(RetryableError, match="500"):
            await settle(sent)
        answer = {"successes": [{"id": third, "status": 201}], "errors": answer["errors"][:1]}
        fake.script("ingestion", Fault(207, json.dumps(answer)))
        with pytest.raises(RefusedError, match="bad value"):
            await settle(sent)
        batches = [json.loads(request.body)["batch"] for request in fake.sent_to(INGESTION)]
        assert [[event["id"] for event in batch] for batch in batches] == [[first, second, third], [second, third]]
        for one in (sent.scores[0], sent.scores[2]):
            await settle(Translation(scores=[one]))
        assert len(fake.sent_to(INGESTION)) == 2


async def test_an_event_that_is_unauthorized_parks(opened: Opened, score: MakeScore) -> None:
    async with FakeLangfuse("4.16.0").running() as fake, opened(fake) as settle:
        [event] = score_events([score(1)], version=(4, 16, 0))
        answer = {"successes": [], "errors": [{"id": event["id"], "status": 401, "message": "no"}]}
        fake.script("ingestion", Fault(207, json.dumps(answer)))
        with pytest.raises(ParkedError) as parked:
            await settle(Translation(scores=[score(1)]))
        assert parked.value.reason == "unauthorized"
