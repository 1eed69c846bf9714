"""What is handed to an exporter in one call, and how it is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import BLOCKS, Batch, Request
from otel_bridge.delivery.piece import COPIED_BYTES, Piece, batches_of, count, cut, is_single, size, split
from otel_bridge.model import Observation, ObservationType, Score, TraceAttributes, Translation
from otel_bridge.trace import LogEntry, SpanRecord, Trace

ITEMS = st.lists(st.text("xé", max_size=300), max_size=6)
BLOCKS_OF_ITEMS = st.lists(st.tuples(st.text("ré", max_size=200), st.lists(ITEMS, max_size=3)), max_size=4)
LIMITS = {"max_bytes": st.integers(1, 2000), "max_items": st.integers(1, 8)}


def batch(blocks: list[tuple[str, list[list[str]]]], kind: type[Request] = ExportTraceServiceRequest) -> Batch:
    """Each block is a resource and, for each of its scopes, what its items are called."""
    resources, scopes, items = BLOCKS[Batch.from_request(kind()).signal]
    request = kind()
    for resource, of_scopes in blocks:
        block = getattr(request, resources).add(schema_url="https://schema")
        block.resource.attributes.add(key="r").value.string_value = resource
        for number, names in enumerate(of_scopes):
            scoped = getattr(block, scopes).add(schema_url="https://other")
            scoped.scope.name = f"scope {number}"
            for name in names:
                item = getattr(scoped, items).add()
                setattr(item, "event_name" if kind is ExportLogsServiceRequest else "name", name)
    return Batch.from_request(request, tenant="t")


def contents(batch: Batch) -> list[tuple[bytes, ...]]:
    """All items, each with what it came under."""
    resources, scopes, items = BLOCKS[batch.signal]
    return [
        (
            block.resource.SerializeToString(),
            block.schema_url.encode(),
            scoped.scope.SerializeToString(),
            scoped.schema_url.encode(),
            item.SerializeToString(),
        )
        for block in getattr(batch.request, resources)
        for scoped in getattr(block, scopes)
        for item in getattr(scoped, items)
    ]


@pytest.mark.parametrize(
    "kind",
    [ExportTraceServiceRequest, ExportLogsServiceRequest, ExportMetricsServiceRequest],
    ids=lambda kind: kind.__name__,
)
@settings(max_examples=60)
@given(blocks=BLOCKS_OF_ITEMS, **LIMITS)
def test_a_batch_is_cut_into_pieces_within_the_limits(
    kind: type[Request], blocks: list[tuple[str, list[list[str]]]], max_bytes: int, max_items: int
) -> None:
    whole = batch(blocks, kind)
    pieces = [piece for piece in cut(whole, max_bytes, max_items) if isinstance(piece, Batch)]
    assert [item for piece in pieces for item in contents(piece)] == contents(whole)
    for piece in pieces:
        assert piece.tenant == "t"
        assert piece.item_count == len(contents(piece)) <= max_items
        assert len(piece.wire) <= max_bytes or is_single(piece)


@pytest.mark.parametrize("scopes", [[["x"] * 300], [["x"]] * 300], ids=["one scope", "a scope for each"])
def test_a_large_resource_is_not_multiplied(scopes: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or four megabytes of attributes over some hundred spans would take all the memory."""
    monkeypatch.setattr("otel_bridge.delivery.piece.COPIED_BYTES", 200_000)
    whole = batch([("r" * 200_000, [["a", "b"]]), ("r" * 50_000, scopes)])
    for pieces in (cut(whole, 10_000, 512), cut(whole, 10_000, 1)):
        assert sum(map(count, pieces)) == 302
        assert sum(map(size, pieces)) <= 3 * size(whole)
    halves = split(whole)
    assert [count(half) for half in halves] == [151, 151]
    assert sum(map(size, halves)) < 1.5 * size(whole)


def test_of_many_small_pieces_none_is_larger_than_asked() -> None:
    whole = batch([("r" * 1000, [["x"] * 500])])
    assert size(whole) * 50 < COPIED_BYTES
    assert [count(piece) for piece in cut(whole, 1 << 20, 1)] == [1] * 500


def test_of_a_trace_each_resource_and_scope_is_there_once() -> None:
    whole = batch([("r", [["a", "b"], ["c"]]), ("other", [["d"]])])
    logs = batch([("r", [["a", "b"]])], ExportLogsServiceRequest)
    assert isinstance(whole.request, ExportTraceServiceRequest)
    assert isinstance(logs.request, ExportLogsServiceRequest)
    spans = [
        SpanRecord(span, scoped.scope, block.resource)
        for block in whole.request.resource_spans
        for scoped in block.scope_spans
        for span in scoped.spans
    ]
    entries = [
        LogEntry(record, scoped.scope, block.resource)
        for block in logs.request.resource_logs
        for scoped in block.scope_logs
        for record in scoped.log_records
    ]
    made = batches_of(Trace("t" * 32, [spans[n] for n in (3, 0, 2, 1)], entries, tenant="t"))

    def shape(batch: Batch) -> list[tuple[int, ...]]:
        blocks, scopes, items = BLOCKS[batch.signal]
        return [
            tuple(len(getattr(scoped, items)) for scoped in getattr(block, scopes))
            for block in getattr(batch.request, blocks)
        ]

    assert [one.tenant for one in made] == ["t", "t"]
    assert [shape(one) for one in made] == [[(1,), (2, 1)], [(2,)]]
    assert sorted(item[::2] for item in contents(made[0])) == sorted(item[::2] for item in contents(whole))


def observation(trace_id: str, name: str, of_bytes: int) -> Observation:
    of = TraceAttributes(trace_id)
    return Observation(name, trace_id, None, ObservationType.SPAN, name, 1, 2, of, size=of_bytes)


@given(
    sizes=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 900)), max_size=20),
    scored=st.lists(st.sampled_from([*"abd", None]), max_size=5),
    **LIMITS,
)
def test_a_translation_is_cut_into_pieces_within_the_limits(
    sizes: list[tuple[str, int]], scored: list[str | None], max_bytes: int, max_items: int
) -> None:
    observations = [observation(trace, f"{at}", of_bytes) for at, (trace, of_bytes) in enumerate(sizes)]
    scores = [Score(f"{at}", "good", 1.0, "NUMERIC", 1, trace_id=trace) for at, trace in enumerate(scored)]
    traces = [TraceAttributes(trace) for trace in ("a", "b", "c", "d", "a")]
    whole = Translation(traces, observations, scores, tenant="t")
    pieces = [piece for piece in cut(whole, max_bytes, max_items) if isinstance(piece, Translation)]
    assert [one for piece in pieces for one in piece.observations] == observations
    assert [one for piece in pieces for one in piece.scores] == scores
    assert {trace.trace_id for piece in pieces for trace in piece.traces} == {"a", "b", "c", "d"}
    for piece in pieces:
        assert piece.tenant == "t"
        assert len(piece.observations) + len(piece.scores) <= max_items
        assert piece.size <= max_bytes or is_single(piece)
        for one in (*piece.observations, *piece.scores):
            assert one.trace_id is None or [trace.trace_id for trace in piece.traces].count(one.trace_id) == (
                2 if one.trace_id == "a" else 1
            )


@pytest.mark.parametrize(
    "whole",
    [
        batch([("r", [["a", "b", "c"]]), ("r", [["d"], ["e"]])]),
        Translation(observations=[observation("t", f"{number}", 9) for number in range(5)]),
    ],
    ids=["batch", "translation"],
)
def test_halving_ends_at_single_items(whole: Piece) -> None:
    halves = split(whole)
    assert [count(half) for half in halves] == [3, 2]
    singles = [
        single for half in halves for first in split(half) for single in (split(first) if count(first) > 1 else [first])
    ]
    assert [count(single) for single in singles] == [1] * 5
    assert all(map(is_single, singles))


def test_what_fits_is_left_as_it_is() -> None:
    """So bytes that only pass through are never parsed."""
    whole = Batch.from_wire(batch([]).signal, b"not looked at", item_count=3)
    assert cut(whole, size(whole), 3) == [whole]
