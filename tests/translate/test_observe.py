"""What becomes metadata: all that is not shown elsewhere, and that once."""

import json
from typing import Any

import orjson
import pytest

from otel_bridge.translate import to_json, translate

LONG = "Autumn leaves fall. " * 20


def metadata_of(otlp: Any, attrs: dict[str, Any], events: list[tuple[str, dict[str, Any]]] | None = None) -> Any:
    trace = otlp.trace(otlp.span(attrs=attrs, events=events))
    return to_json(translate(trace))["observations"][0]["metadata"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (LONG, False),
        (json.dumps([{"role": "user", "content": LONG}]), False),
        (json.dumps({"question": LONG, "top_k": 4}), True),
        (LONG + "Spring comes.", True),
    ],
)
def test_long_content_is_not_told_a_second_time_unless_it_says_more(otlp: Any, said: str, kept: bool) -> None:
    assert ("app.prompt" in metadata_of(otlp, {"input": LONG, "app.prompt": said})) is kept


def test_what_a_user_filters_by_stays_even_if_it_is_in_the_content(otlp: Any) -> None:
    assert metadata_of(otlp, {"input": "weather", "topic": "weather"})["topic"] == "weather"


def pieces(texts: list[str]) -> list[tuple[str, dict[str, Any]]]:
    return [("llm.content.completion.chunk", {"text": text, "index": at, "kind": "x"}) for at, text in enumerate(texts)]


def test_a_flood_of_pieces_of_the_output_is_one_entry(otlp: Any) -> None:
    events = [("began", {}), *pieces(list(LONG)), ("done", {})]

    found = metadata_of(otlp, {"output": LONG}, events)["otel.events"]

    assert [(event["name"], event.get("count")) for event in found] == [
        ("began", None),
        ("llm.content.completion.chunk", len(LONG)),
        ("done", None),
    ]
    assert found[1]["time_ns"] <= found[1]["last_time_ns"]
    assert found[1]["attributes"] == {"kind": "x"}


@pytest.mark.parametrize(
    ("output", "events"),
    [
        ("something else", pieces(list(LONG))),
        (LONG, pieces(list(LONG[:10]))),
        (LONG, [("retry", {"attempt": at}) for at in range(30)]),
    ],
)
def test_other_events_stay_as_they_are(otlp: Any, output: str, events: list[tuple[str, dict[str, Any]]]) -> None:
    assert len(metadata_of(otlp, {"output": output}, events)["otel.events"]) == len(events)


def test_json_in_strings_in_json_without_end_is_no_harm(otlp: Any) -> None:
    def nest(leaf: str) -> str:
        for _ in range(9):
            inner: Any = leaf
            for _ in range(60):
                inner = {"a": inner}
            leaf = json.dumps(inner)
        return leaf

    metadata = metadata_of(otlp, {"input": nest("x"), "input.value": nest("y"), "app.prompt": nest("z")})

    assert "app.prompt" in metadata


MOST = 2**63 - 1


@pytest.mark.parametrize(
    ("attrs", "key", "parts"),
    [
        (
            {"langfuse.observation.usage_details": json.dumps({"input": MOST, "output": MOST})},
            "usage_details",
            {"input": MOST, "output": MOST},
        ),
        (
            {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": MOST, "gen_ai.usage.output_tokens": 1},
            "usage_details",
            {"input": MOST, "output": 1},
        ),
        (
            {"langfuse.observation.cost_details": '{"input": 1e308, "output": 1e308}'},
            "cost_details",
            {"input": 1e308, "output": 1e308},
        ),
        (
            {"gen_ai.usage.input_cost": 1e308, "gen_ai.usage.output_cost": 1e308, "gen_ai.operation.name": "chat"},
            "cost_details",
            {"input": 1e308, "output": 1e308},
        ),
    ],
)
def test_a_sum_that_nobody_can_count_stays_in_its_parts(
    otlp: Any, attrs: dict[str, Any], key: str, parts: dict[str, Any]
) -> None:
    [seen] = json.loads(orjson.dumps(to_json(translate(otlp.trace(otlp.span(attrs=attrs))))))["observations"]

    assert (seen["usageDetails"], seen["costDetails"]) == (None, None)
    assert seen["metadata"][key] == parts


def test_a_span_without_a_name_has_one_and_gives_it_to_its_trace(otlp: Any) -> None:
    made = translate(otlp.trace(otlp.span(name="")))

    assert (made.observations[0].name, made.traces[0].name) == ("unnamed", "unnamed")
