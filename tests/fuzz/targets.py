"""What reads foreign bytes, each as a function of any bytes that fails where a promise is broken.

A decoder may raise what it declares and nothing else, and what it lets through has the properties asserted here.
"""

import gzip
import json
import random
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import google_crc32c
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_bridge import otlp_json, otlp_pieces, otlp_repair
from otel_bridge.batch import REQUESTS, Request, Signal
from otel_bridge.errors import MalformedError, TooLargeError
from otel_bridge.exporters.langfuse.ingestion import events
from otel_bridge.exporters.langfuse.otlp import encode
from otel_bridge.journal import record as form
from otel_bridge.journal.recovery import recover
from otel_bridge.journal.segment import read_at
from otel_bridge.model import Omitted
from otel_bridge.receivers.otlp.unpack import gunzip, unzstd
from otel_bridge.telemetry import Counters
from otel_bridge.testing import langfuse_rules as rules
from otel_bridge.translate import to_json, traces_of, translate
from otel_bridge.validate import check

TESTS = Path(__file__).parents[1]
UNPACKED_LIMIT = 1 << 16
SEED_BYTES = 20_000  # larger seeds make every step slow
SMALL_PIECE = 300
MARKER = b"markmark"

Mutate = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True)
class Target:
    """One decoder.

    check: raises AssertionError, or whatever the decoder did not declare, where a promise is broken.
    mutate: a change that keeps the form, so that what lies behind the decoder is reached too.
    """

    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    mutate: Mutate | None = None


def _same(one: Request, other: Request) -> bool:
    """Equal to the bit: NaN is equal to itself here, which it is not to `==`."""
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def check_json(signal: Signal, data: bytes) -> None:
    """Read → written → read is the same; with a list for rejected items no less is read than without."""
    rejected: list[Omitted] = []
    try:
        lenient = otlp_json.parse(signal, data, rejected)
    except MalformedError:
        lenient = None
    try:
        request = otlp_json.parse(signal, data)
    except MalformedError:
        assert lenient is None or rejected
        request = lenient
    else:
        assert lenient is not None
        assert not rejected
        assert _same(lenient, request)
    if request is not None:
        assert _same(otlp_json.parse(signal, otlp_json.dump(request)), request)
        assert _same(REQUESTS[signal].FromString(request.SerializeToString()), request)


def check_repair(data: bytes) -> None:
    """What is decoded has the bytes that came, or else is text that was repaired, which does not happen twice."""
    signal, wire = _signal_and_wire(data)
    counters = Counters()
    try:
        batch = otlp_repair.decode(signal, wire, counters)
    except MalformedError:
        return
    if counters.value("repaired", what="utf8"):
        assert otlp_repair.repair_utf8(signal, batch.wire) == batch.wire
    else:
        assert batch.wire is wire
    again = otlp_repair.decode(signal, batch.wire, counters := Counters())
    assert not counters.snapshot()
    assert _same(again.request, batch.request)


def check_pieces(data: bytes) -> None:
    """The pieces of a request that can be read can be read too, hold the same items, and are not much more together."""
    signal, wire = _signal_and_wire(data)
    pieces = otlp_pieces.cut(wire, SMALL_PIECE)
    try:
        whole = REQUESTS[signal].FromString(wire)
    except DecodeError:
        return
    read = [REQUESTS[signal].FromString(piece) for piece in pieces]
    assert [one for request in read for one in _told(request, signal)] == _told(whole, signal)
    assert len(pieces) == 1 or sum(map(len, pieces)) <= 3 * len(wire)


FIELDS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}


def _placed(request: Any, signal: Signal) -> list[tuple[Any, Any, Any]]:
    """Each item with the resource and scope that it comes under."""
    blocks, scopes, items = FIELDS[signal]
    return [
        (block.resource, scoped.scope, item)
        for block in getattr(request, blocks)
        for scoped in getattr(block, scopes)
        for item in getattr(scoped, items)
    ]


def _told(request: Any, signal: Signal) -> list[bytes]:
    return [
        b" ".join(part.SerializeToString(deterministic=True) for part in placed) for placed in _placed(request, signal)
    ]


def check_validate(data: bytes) -> None:
    """Nothing vanishes uncounted, and what comes out is sound: ids, times, bounds."""
    signal, wire = _signal_and_wire(data)
    counters = Counters()
    try:
        batch = otlp_repair.decode(signal, wire, counters)
    except MalformedError:
        return
    before = batch.wire
    checked, rejected = check(batch, "fuzz", counters)
    assert batch.wire == before, "others hold the same batch"
    assert checked.item_count + len(rejected) + counters.value("dedup_identical") == batch.item_count
    read = REQUESTS[signal].FromString(checked.wire)
    assert _same(read, checked.request)
    for block in getattr(read, "resource_spans", ()):
        for scoped in block.scope_spans:
            for span in scoped.spans:
                _assert_sound_span(span)
    for block in getattr(read, "resource_logs", ()):
        for scoped in block.scope_logs:
            for record in scoped.log_records:
                assert len(record.trace_id) in (0, 16)
                assert len(record.span_id) in (0, 8)
                assert record.time_unix_nano or record.observed_time_unix_nano
                _assert_bounded(record)
    if signal is not Signal.METRICS:
        for block in getattr(read, f"resource_{'spans' if signal is Signal.TRACES else 'logs'}"):
            _assert_bounded(block.resource)


def _assert_sound_span(span: Any) -> None:
    assert len(span.trace_id) == 16
    assert any(span.trace_id)
    assert len(span.span_id) == 8
    assert any(span.span_id)
    assert len(span.parent_span_id) in (0, 8)
    assert span.parent_span_id != span.span_id
    assert span.start_time_unix_nano
    assert span.end_time_unix_nano
    assert len(span.events) <= 128
    assert len(span.links) <= 128
    for part in (span, *span.events, *span.links):
        _assert_bounded(part)


def _assert_bounded(part: Any) -> None:
    keys = [attribute.key for attribute in part.attributes]
    assert len(set(keys)) == len(keys)
    assert all(len(key) <= 256 for key in keys)
    assert len(keys) <= 1024 + 2, "its own, and two of ours"
    assert all(attribute.value.ByteSize() <= (1 << 20) + 8 for attribute in part.attributes)


def check_unpack(unpack: Callable[[bytes, int], bytes], data: bytes) -> None:
    """Never more than was allowed, whatever it is; and what gzip itself reads is read the same."""
    try:
        plain = unpack(data, UNPACKED_LIMIT)
    except (MalformedError, TooLargeError):
        plain = None
    else:
        assert len(plain) <= UNPACKED_LIMIT
    if unpack is gunzip and data.startswith(b"\x1f\x8b"):
        try:
            reference = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return
        # Python's own passes over zeros behind the last member; we take those for damage.
        assert plain is None or plain == reference


def check_record(data: bytes) -> None:
    """A record is read only if it is, to the byte, what would be written for it."""
    if (record := form.read_record(data, MARKER)) is not None:
        assert form.pack_record(MARKER, record) + record.wire == data


def check_segments(data: bytes) -> None:
    """Any bytes in the place of a segment are recovered from; what is found lies in the file and is a whole record."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / f"{1:020d}.seg"
        path.write_bytes(data)
        found = recover(Path(folder))
        for segment in found.segments:
            assert segment.size <= max(len(data), form.FIRST_RECORD)
            assert found.end_seq == segment.end_seq <= found.next_seq
            with path.open("rb") as file:
                for seq in range(segment.first_seq, segment.end_seq):
                    if (place := segment.place(seq)) is not None:
                        entry = segment.entry(seq, read_at(file.fileno(), place[1], place[0]))
                        assert entry is not None
                        assert entry.seq == seq


def check_translate(data: bytes) -> None:
    """Each span that passes the door is one observation; all three forms in which they are sent are valid."""
    signal, wire = _signal_and_wire(data)
    try:
        batch, _ = check(otlp_repair.decode(signal, wire, Counters()), "fuzz", Counters())
    except MalformedError:
        return
    for trace in traces_of([batch]):
        translation = translate(trace)
        ids = [seen.id for seen in translation.observations]
        assert len(set(ids)) == len(ids)
        assert {record.span.span_id.hex() for record in trace.spans} <= set(ids)
        assert json.loads(json.dumps(to_json(translation), allow_nan=False))
        for row in rules.rows(encode(translation)):
            assert rules.contract_faults(row) == []
        for event in events(translation):
            assert rules.event_faults(event) == []


def _signal_and_wire(data: bytes) -> tuple[Signal, bytes]:
    """The first byte is the signal's, so that one target covers all three."""
    return (list(Signal)[data[0] % 3], data[1:]) if data else (Signal.TRACES, b"")


@cache
def _corpus(*signals: Signal) -> tuple[tuple[Signal, bytes], ...]:
    """Recorded requests, the smaller ones of each emitter."""
    found = []
    for folder in sorted((TESTS / "corpus").iterdir()):
        for signal in signals:
            paths = sorted(folder.glob(f"*.{signal}.pb"), key=lambda path: (path.stat().st_size, path.name))
            found += [(signal, path.read_bytes()) for path in paths[:3] if path.stat().st_size <= SEED_BYTES]
    return tuple(found)


def _metrics() -> bytes:
    points = [{"as_double": -0.0, "exemplars": [{"as_int": -5, "trace_id": b"t" * 16}]}]
    kinds: list[dict[str, Any]] = [
        {"gauge": {"data_points": points}},
        {"sum": {"data_points": points, "is_monotonic": True, "aggregation_temporality": 2}},
        {"histogram": {"data_points": [{"count": 3, "sum": 1.5, "bucket_counts": [1, 2], "explicit_bounds": [0.5]}]}},
        {"exponential_histogram": {"data_points": [{"scale": -1, "positive": {"offset": -2, "bucket_counts": [5]}}]}},
        {"summary": {"data_points": [{"count": 1, "quantile_values": [{"quantile": 0.5, "value": 2.5}]}]}},
    ]
    metrics = [{"name": f"metric {number}", "unit": "1"} | kind for number, kind in enumerate(kinds)]
    return REQUESTS[Signal.METRICS](resource_metrics=[{"scope_metrics": [{"metrics": metrics}]}]).SerializeToString()


def _wires(*signals: Signal) -> list[bytes]:
    made = [*_corpus(*signals)]
    if Signal.METRICS in signals:
        made.append((Signal.METRICS, _metrics()))
    return [bytes([list(Signal).index(signal)]) + wire for signal, wire in made]


def _jsons(signal: Signal) -> list[bytes]:
    wires = [_metrics()] if signal is Signal.METRICS else [wire for _, wire in _corpus(signal)]
    return [otlp_json.dump(REQUESTS[signal].FromString(wire)) for wire in wires]


def _packed(pack: Callable[[bytes], bytes]) -> list[bytes]:
    wire = _corpus(Signal.TRACES)[0][1]
    return [b"", pack(b""), pack(wire), pack(wire[:100]) + pack(wire[100:]), pack(bytes(2 * UNPACKED_LIMIT))]


def _zstd(data: bytes) -> bytes:
    from backports import zstd

    return zstd.compress(data)


def _records() -> list[bytes]:
    made = [
        form.Record(seq, 10**18, 3, member, 2, "main", tenant, kind, b"the bytes of a batch")
        for seq, member, tenant, kind in ((1, 0, "default", 1), (2, 1, "acme é", 2), (3, 0, "", 3))
    ]
    packed = [form.pack_record(MARKER, record) + record.wire for record in made]
    return [*packed, form.pack_counts(MARKER, 1, {("main", "default", Signal.TRACES): 5}, 0)]


def _segments() -> list[bytes]:
    golden = [path.read_bytes() for path in sorted((TESTS / "journal" / "golden").glob("*/*.seg"))]
    head = form.pack_head(form.Head(MARKER, 1, 1))
    return [*golden, head, head + b"".join(_records()), head + _records()[2] + _records()[0]]


def _sign(chance: random.Random, data: bytes) -> bytes:
    """A changed record with the checksum that it would have, had the bridge written it so."""
    changed = _change_bytes(chance, data)
    starts = [at for at in range(len(changed)) if changed.startswith(MARKER, at)]
    signed = bytearray(changed)
    for start, end in pairwise([*starts, len(changed)]):
        if end - start > form.START.size:
            crc = google_crc32c.value(bytes(signed[start + form.START.size : end]))
            signed[start + 8 : start + 12] = crc.to_bytes(4, "little")
    return bytes(signed)


def _change_bytes(chance: random.Random, data: bytes) -> bytes:
    """Some bytes set, cut out, put in or repeated."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(changed))
        length = chance.choice((0, 1, 1, 2, 8, chance.randint(0, 64)))
        piece = chance.choice((chance.randbytes(length), bytes(length), b"\xff" * length, bytes(changed[at : at + 64])))
        changed[at : at + chance.choice((0, length))] = piece
    return bytes(changed)


@cache
def _words() -> tuple[Sequence[str], Sequence[str]]:
    """Keys of attributes and texts that some dialect knows, from the cases of all of them."""
    keys, texts = set[str](), {"{", "[1]", "-1", '{"a": 1}', "NaN", "1e999", "[" * 300, "9" * 40, "", "__proto__"}
    for path in sorted((TESTS / "translate" / "cases").glob("*/*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        for said in (case, *case.get("events", []), *case.get("logs", [])):
            keys |= set(said.get("attrs", {}))
            texts |= {text for text in said.get("attrs", {}).values() if isinstance(text, str)}
            texts.add(said.get("name", ""))
    return sorted(keys), sorted(texts)


def _change_items(chance: random.Random, data: bytes) -> bytes:
    """Other keys and values in the attributes, bodies and names of some spans or log records."""
    signal, wire = _signal_and_wire(data)
    try:
        request = REQUESTS[signal].FromString(wire)
    except Exception:  # noqa: BLE001 - another mutation has made it unreadable
        return data
    items = [item for _, _, item in _placed(request, signal)]
    keys, texts = _words()
    for _ in range(chance.randint(1, 4) if items and signal is not Signal.METRICS else 0):
        item = chance.choice(items)
        place = chance.random()
        if place < 0.15 and signal is Signal.TRACES:
            item.events.add(name=chance.choice(texts), time_unix_nano=chance.choice((0, 1, 2**64 - 1)))
            item = item.events[-1]
        elif place < 0.25 and signal is Signal.TRACES:
            other = chance.choice(items)
            item.parent_span_id, item.name = other.span_id, chance.choice(texts)
        elif place < 0.3:
            item.CopyFrom(chance.choice(items))
        elif place < 0.4 and signal is Signal.LOGS:
            item.body.CopyFrom(_odd_value(chance))
        attributes = item.attributes
        if attributes and chance.random() < 0.7:
            chance.choice(attributes).value.CopyFrom(_odd_value(chance))
        if attributes and chance.random() < 0.2:
            chance.choice(attributes).key = chance.choice(keys)
        if chance.random() < 0.5:
            attributes.add(key=chance.choice(keys)).value.CopyFrom(_odd_value(chance))
    return data[:1] + request.SerializeToString()


def _odd_value(chance: random.Random, depth: int = 0) -> AnyValue:
    _, texts = _words()
    match chance.randint(0, 7 if depth < 3 else 4):
        case 0:
            return AnyValue(int_value=chance.choice((0, -1, 2**63 - 1, -(2**63), chance.randint(0, 2000))))
        case 1:
            return AnyValue(double_value=chance.choice((0.5, -0.0, 1e308, 5e-324, float("nan"), float("-inf"))))
        case 2:
            return chance.choice((AnyValue(), AnyValue(bool_value=True), AnyValue(bytes_value=b"\xff\x00")))
        case 3 | 4 | 5:
            text = chance.choice(texts)
            cut = text[: chance.randint(0, len(text))] if chance.random() < 0.2 else text
            return AnyValue(string_value=cut if chance.random() < 0.9 else json.dumps([cut, {"content": cut}]))
        case 6:
            inner = [_odd_value(chance, depth + 1) for _ in range(chance.randint(0, 3))]
            return AnyValue(array_value={"values": inner})
        case _:
            keys = [chance.choice(("role", "content", "type", "parts", "text", "id", "__proto__")) for _ in range(2)]
            return AnyValue(kvlist_value={"values": [{"key": k, "value": _odd_value(chance, depth + 1)} for k in keys]})


TARGETS: dict[str, Target] = {
    "json_traces": Target(partial(check_json, Signal.TRACES), partial(_jsons, Signal.TRACES)),
    "json_logs": Target(partial(check_json, Signal.LOGS), partial(_jsons, Signal.LOGS)),
    "json_metrics": Target(partial(check_json, Signal.METRICS), partial(_jsons, Signal.METRICS)),
    "repair": Target(check_repair, partial(_wires, *Signal)),
    "pieces": Target(check_pieces, partial(_wires, *Signal), _change_items),
    "validate": Target(check_validate, partial(_wires, *Signal), _change_items),
    "gzip": Target(partial(check_unpack, gunzip), partial(_packed, gzip.compress)),
    "deflate": Target(partial(check_unpack, gunzip), partial(_packed, zlib.compress)),
    "zstd": Target(partial(check_unpack, unzstd), partial(_packed, _zstd)),
    "journal_record": Target(check_record, _records, _sign),
    "journal_segment": Target(check_segments, _segments, _sign),
    "translate_spans": Target(check_translate, partial(_wires, Signal.TRACES), _change_items),
    "translate_logs": Target(check_translate, partial(_wires, Signal.LOGS), _change_items),
}


def changed(name: str, seed: int) -> bytes:
    """One of a target's seeds, changed: always the same for the same number."""
    target = TARGETS[name]
    chance = random.Random(f"{name} {seed}")
    data = chance.choice(target.seeds())
    return (target.mutate if target.mutate and seed % 2 else _change_bytes)(chance, data)
