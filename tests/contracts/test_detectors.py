"""What holds for every detector, by being registered: silent over what is well, total, deterministic, bounded."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import Batch, Signal
from otel_bridge.query.detect import detect, detectors, window
from otel_bridge.query.detector import MAX_FINDINGS, Detector, Severity
from otel_bridge.store.reader import Reader, SlowQuestionError, reading
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from otel_bridge.translate import traces_of, translate
from tests.query.conftest import START
from tests.query.detectors.spans import pairs
from tests.values import pairs as any_pairs

CORPUS = Path(__file__).parents[1] / "corpus"
HOUR = 3600 * 10**9
NAMES = [detector.name for detector in detectors()]
EACH = pytest.mark.parametrize("detector", detectors(), ids=NAMES)


@contextmanager
def stored(*batches: Batch) -> Iterator[Reader]:
    """Reads a store in which all that came has settled."""
    with settled(*batches) as path, reading(path, 30) as reader:
        yield reader


@contextmanager
def settled(*batches: Batch) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        writer = Writer(path, max_age_s=1e10, max_bytes=1 << 30, counters=Counters())
        for batch in batches:
            writer.batch(batch)
        for trace in traces_of(list(batches)):
            writer.settled(translate(trace))
        writer.close()
        yield path


@pytest.mark.parametrize("folder", sorted(CORPUS.iterdir()), ids=lambda folder: folder.name)
def test_nothing_is_wrong_with_what_real_instrumentations_send(folder: Path) -> None:
    batches = [
        Batch.from_wire(Signal(file.name.split(".")[1]), file.read_bytes()) for file in sorted(folder.glob("*.pb"))
    ]
    with stored(*batches) as reader:
        last = reader.rows("SELECT max(end_ns) AS end_ns FROM spans")[0]["end_ns"]
        for now_ns in (last + 10**9, last + HOUR):
            findings = detect(reader, NAMES, "3650d", now_ns=now_ns)["findings"]
            assert [one for one in findings if one["severity"] != Severity.INFO] == []


TIMES = st.sampled_from([0, 1, START, START + 1, START + 10**9, START + 2 * 10**9, START + HOUR, 2**63 - 1, 2**64 - 1])
NUMBERS = st.integers(0, 5)
KEYS = (
    "messaging.message.id", "messaging.operation.type", "messaging.operation", "messaging.destination.name",
    "messaging.system", "event.name", "run.id", "session.id", "server.address", "gen_ai.operation.name",
    "exception.type", "otel_bridge.outcome", "otel_bridge.span.name", "otel_bridge.span.parent_id", "input.value",
    "output.value",
)  # fmt: skip
WORDS = st.sampled_from(
    [
        "send",
        "publish",
        "receive",
        "process",
        "a:b",
        "a.b",
        "",
        "\x1b[2J",
        "{",
        "[[",
        "chat",
        "execute_tool",
        "cancelled",
    ]
)
VALUES = (
    WORDS | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans() | st.none() | st.lists(WORDS, max_size=2)
)
ATTRIBUTES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)
SPANS = st.fixed_dictionaries(
    {
        "trace": st.integers(1, 2), "id": st.integers(1, 5), "parent": NUMBERS, "start": TIMES, "end": TIMES,
        "name": WORDS, "attributes": ATTRIBUTES, "kind": NUMBERS, "status": st.integers(-1, 3),
        "is_open": st.booleans(), "link": NUMBERS, "event": WORDS, "flags": st.sampled_from([0, 0x100, 0x300]),
    }
)  # fmt: skip


def batch_of(spans: list[dict[str, Any]]) -> list[Batch]:
    traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    scoped = traces.resource_spans.add().scope_spans.add()
    records = logs.resource_logs.add().scope_logs.add().log_records
    for said in spans:
        ids = {"trace_id": said["trace"].to_bytes(16), "span_id": said["id"].to_bytes(8)}
        if said["is_open"]:
            record = records.add(**ids, time_unix_nano=said["end"], event_name="otel_bridge.span.heartbeat")
            record.attributes.extend([*pairs({"otel_bridge.span.name": said["name"]}), *any_pairs(said["attributes"])])
            continue
        made = scoped.spans.add(
            **ids, parent_span_id=said["parent"].to_bytes(8) if said["parent"] else b"", name=said["name"],
            start_time_unix_nano=said["start"], end_time_unix_nano=said["end"], kind=said["kind"], flags=said["flags"],
            attributes=any_pairs(said["attributes"]),
            links=[Span.Link(trace_id=b"\1" * 16, span_id=said["link"].to_bytes(8))] if said["link"] else [],
        )  # fmt: skip
        made.status.code = said["status"]
        made.events.add(name=said["event"], attributes=any_pairs(said["attributes"]))
    return [Batch.from_request(traces), Batch.from_request(logs)]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SPANS, max_size=8), TIMES)
def test_whatever_came_each_answers_the_same_twice_with_evidence_that_is_there(
    spans: list[dict[str, Any]], now_ns: int
) -> None:
    with settled(*batch_of(spans)) as path, reading(path, 30) as reader, reading(path, 30) as other:
        seen = window(reader, "3650d", now_ns=min(now_ns, 2**63 - 1))
        traces = {row["trace_id"] for row in reader.rows("SELECT trace_id FROM spans")}
        ids = {row["id"] for row in reader.rows("SELECT id FROM spans UNION SELECT id FROM observations")}
        for detector in detectors():
            found = detector.find(reader, seen)
            assert found == detector.find(other, seen)  # a reader remembers what it has read
            for one in found:
                told = json.loads(orjson.dumps(one.answer()))
                assert (told["kind"], told["severity"]) == (detector.name, one.severity)
                assert told["says"]
                assert told["remedy"]
                assert told["traceIds"]
                assert set(told["traceIds"]) <= traces
                assert set(told["observationIds"]) <= ids
                assert (one.severity == Severity.INFO) == detector.is_advice


@EACH
def test_the_readers_time_is_its_limit(detector: Detector) -> None:
    with stored(*batch_of([])) as reader:
        seen = window(reader, "3650d", now_ns=START)
        reader._deadline = 0
        reader._connection.set_progress_handler(lambda: True, 1)
        with pytest.raises(SlowQuestionError):
            detector.find(reader, seen)


def large(shape: str) -> list[Batch]:
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    for number in range(1, 5001):
        parent = {"chain": number - 1, "star": min(number - 1, 1), "apart": 0, "orphans": number + 10_000}[shape]
        scoped.spans.add(
            trace_id=b"t" * 16, span_id=number.to_bytes(8), name="same", flags=0x100,
            parent_span_id=parent.to_bytes(8) if parent else b"",
            start_time_unix_nano=START + number * 10**6, end_time_unix_nano=START + number * 10**6 + 10**5,
            attributes=pairs({"messaging.operation.type": "send", "messaging.message.id": f"m{number}",
                              "messaging.destination.name": f"d{number}", "gen_ai.operation.name": "execute_tool"}),
        )  # fmt: skip
    return [Batch.from_request(request)]


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["chain", "star", "apart", "orphans"])
def test_a_large_trace_of_any_shape_is_looked_at_in_time(shape: str) -> None:
    """What is quadratic in 5,000 spans takes minutes."""
    with stored(*large(shape)) as reader:
        findings = detect(reader, NAMES, "3650d", now_ns=START + HOUR)["findings"]
        assert len(findings) <= MAX_FINDINGS * len(NAMES)
        assert len(orjson.dumps(findings)) < 2_000_000
