"""Records as they lie in a segment, and the segments of every format ever released."""

import json
import shutil
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_bridge.journal import record as form
from otel_bridge.journal.reader import read_segments

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", sorted(path.name for path in GOLDEN.iterdir()))
def test_every_format_ever_released_is_read(tmp_path: Path, version: str) -> None:
    expected = json.loads((GOLDEN / version / "expected.json").read_text())
    for suffixes in ({".seg"}, {".seg", ".idx"}):
        directory = tmp_path / f"with {len(suffixes)}"
        directory.mkdir()
        for path in (GOLDEN / version).iterdir():
            if path.suffix in suffixes:
                shutil.copy(path, directory)
        journal = read_segments(directory)

        assert [
            {
                "seq": entry.seq,
                "received_ns": entry.received_ns,
                "pipeline": entry.pipeline,
                "tenant": entry.batch.tenant,
                "signal": entry.batch.signal,
                "items": entry.batch.item_count,
                "wire": entry.batch.wire.hex(),
            }
            for entry in (journal.read(seq) for seq in range(1, journal.next_seq))
            if entry
        ] == expected["entries"]
        assert [[*owner, items] for owner, items in journal.accepted()[1].items()] == expected["accepted"]


@given(
    seq=st.integers(0, 2**64 - 1),
    received_ns=st.integers(-(2**63), 2**63 - 1),
    items=st.integers(0, 2**32 - 1),
    names=st.tuples(st.text(max_size=50), st.text(max_size=50)),
    wire=st.binary(max_size=2000),
    flip=st.integers(min_value=0),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_record_is_read_as_it_was_packed_and_no_flipped_bit_goes_unseen(
    seq: int, received_ns: int, items: int, names: tuple[str, str], wire: bytes, flip: int
) -> None:
    record = form.Record(seq, received_ns, items, 2, 3, *names, 1, wire)
    raw = form.pack_record(b"12345678", record) + wire
    assert form.read_record(raw, b"12345678") == record

    changed = bytearray(raw)
    changed[flip % len(raw)] ^= 1 << (flip % 8)
    assert form.read_record(bytes(changed), b"12345678") is None
    assert form.read_record(raw[:-1], b"12345678") is None


PIPELINE_LENGTH = form.START.size + form.BODY.size - 5  # where it lies: two lengths and the kind end the head


@pytest.mark.parametrize(
    ("at", "put"),
    [
        (PIPELINE_LENGTH, b"\xff\xff"),  # longer than the record
        (PIPELINE_LENGTH + 4, b"\x09"),  # no kind that there is
        (form.RECORD_BYTES, b"\xff"),  # a name that is no text
    ],
)
def test_what_is_no_record_is_none_whatever_its_checksum(at: int, put: bytes) -> None:
    record = form.Record(1, 5, 1, 0, 1, "main", "acme", 1, b"wire")
    raw = bytearray(form.pack_record(b"12345678", record) + record.wire)
    raw[at : at + len(put)] = put
    raw[8:12] = google_crc32c.value(bytes(raw[form.START.size :])).to_bytes(4, "little")

    assert form.read_record(bytes(raw), b"12345678") is None


def test_counts_that_can_not_be_read_are_unknown() -> None:
    for wire in (b"{", b"5", b'[0, [["main"]]]', b'[0, [["main", "acme", "noise", 5]]]', b'["x", []]'):
        assert form.read_counts(form.Record(1, 0, 0, 0, 1, "", "", form.COUNTS, wire)) is None


def test_marks_that_can_not_be_read_tell_nothing() -> None:
    for wire in (b"{", b"5", b'[[["main", "acme", 1]], [[1, 5]]]', b'[[["main", "acme", 9]], [[0, 5]]]'):
        assert form.read_mark(form.Record(1, 0, 0, 0, 1, "", "", form.MARK, wire)) is None
