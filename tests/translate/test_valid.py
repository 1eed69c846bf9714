"""What is sent for the recorded payloads is valid in all three forms, seen with the eyes of each server."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from otel_bridge.exporters.langfuse.ingestion import events
from otel_bridge.exporters.langfuse.otlp import encode
from otel_bridge.model import Level, ObservationType, Translation
from otel_bridge.otlp_files import read_batches
from otel_bridge.testing import langfuse_rules as rules
from otel_bridge.translate import to_json, traces_of, translate

CORPUS = Path(__file__).parents[1] / "corpus"
EMITTERS = [folder.name for folder in sorted(CORPUS.iterdir())]
V3, V4 = (3, 160, 0), (4, 61, 0)
SPAN_ID, TRACE_ID = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{32}")


@pytest.fixture(scope="module", params=EMITTERS)
def translation(request: pytest.FixtureRequest) -> Translation:
    paths = sorted((CORPUS / request.param).glob("*.pb"))
    batches = [batch for path in paths if ".metrics." not in path.name for batch in read_batches(path)]
    return Translation.merge([translate(trace) for trace in traces_of(batches)])


def of_trace(row: rules.SpanRow) -> dict[str, Any]:
    return {key: row.attributes.get(key) for key in rules.TRACE_ATTRIBUTES}


def test_server_4_has_nothing_to_guess(translation: Translation) -> None:
    rows = list(rules.rows(encode(translation, version=V4)))

    assert {row.id: faults for row in rows if (faults := rules.contract_faults(row))} == {}
    traces = defaultdict(list)
    for row in rows:
        traces[row.trace_id].append(row)
    for spans in traces.values():
        assert all(of_trace(row) == of_trace(spans[0]) for row in spans)
        assert {row.parent_id for row in spans} <= {row.id for row in spans} | {""}


def test_server_4_shows_what_was_translated(translation: Translation) -> None:
    shown = {row.id: rules.show(row, direct=True) for row in rules.rows(encode(translation, version=V4))}

    assert len(shown) == len(translation.observations)
    for wanted in to_json(translation)["observations"]:
        seen = shown[wanted["id"]]
        for field in ("traceId", "parentObservationId", "type", "name", "level", "statusMessage", "model", "userId"):
            assert seen[field] == wanted[field], field
        for field in ("sessionId", "traceName", "tags", "promptName", "promptVersion", "version"):
            assert seen[field] == wanted[field], field
        assert seen["usageDetails"] == (wanted["usageDetails"] or {})
        assert seen["costDetails"] == (wanted["costDetails"] or {})


def test_server_3_drops_none_of_it(translation: Translation) -> None:
    rows = list(rules.rows(encode(translation, version=V3)))

    assert len(rows) == len(translation.observations)
    assert {row.id: shown.dropped for row in rows if (shown := rules.show(row, direct=False)).dropped} == {}
    assert {row.trace_id for row in rows if rules.bears_trace(row)} == {row.trace_id for row in rows}


def test_server_2_refuses_none_of_it(translation: Translation) -> None:
    sent = orjson.loads(orjson.dumps(events(translation)))

    assert {event["id"]: faults for event in sent if (faults := rules.event_faults(event))} == {}
    ids = [event["id"] for event in sent]
    assert len(set(ids)) == len(ids)
    bodies = {event["body"]["id"] for event in sent if event["type"] != "score-create"}
    assert bodies == {seen.id for seen in translation.observations} | {trace.trace_id for trace in translation.traces}


def test_the_json_form_keeps_its_own_rules(translation: Translation) -> None:
    said = to_json(translation)

    assert orjson.loads(orjson.dumps(said)) == said
    for seen in said["observations"]:
        assert SPAN_ID.fullmatch(seen["id"])
        assert TRACE_ID.fullmatch(seen["traceId"])
        assert seen["type"] in list(ObservationType)
        assert seen["level"] in list(Level)
        assert seen["startTime"] <= (seen["completionStartTime"] or seen["startTime"]) <= seen["endTime"]
        assert all(rules.ISO_WITH_ZONE.fullmatch(seen[edge]) for edge in ("startTime", "endTime"))
        counted = {bucket: n for bucket, n in (seen["usageDetails"] or {}).items() if bucket != "total"}
        assert all("input" in bucket or "output" in bucket for bucket in counted)
        assert sum(counted.values()) == (seen["usageDetails"] or {}).get("total", 0)
        for edge in (seen["input"], seen["output"]):
            assert not (isinstance(edge, str) and edge.startswith(("[{", '{"')) and is_json(edge))
    assert {seen["traceId"] for seen in said["observations"]} == {trace["id"] for trace in said["traces"]}


def is_json(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict | list)
    except orjson.JSONDecodeError:
        return False
