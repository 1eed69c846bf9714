"""The bytes of a segment: its head in two copies, then records.

Little-endian throughout. The first sixteen bytes of a head (magic, format version, their CRC32C) keep their place in
every version to come, so that a newer file can be told from a broken one. Every record starts with the marker of its
segment, eight random bytes: after damage the next record is found by it, and nothing that a sender puts into a span
can pass for a record. Every commit ends with a mark, which says once more whose its entries are and how many items they
have: damage to an entry costs its content and not its account.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import google_crc32c
import orjson

from otel_bridge.batch import Signal
from otel_bridge.errors import FilesError

MAGIC = b"otelbrjl"
VERSION = 2

ItemCounts: TypeAlias = dict[tuple[str, str, Signal], int]
"""(pipeline, tenant, signal) → items."""

PREAMBLE = struct.Struct("<8sII")  # magic, version, CRC of these two
HEAD = struct.Struct("<8sII8sQQI")  # preamble, marker, first seq, follows, CRC of all before
FIRST_RECORD = 2 * HEAD.size

START = struct.Struct("<8sI")  # marker, CRC of everything after it
BODY = struct.Struct("<IQqIHHHHB")  # bytes after this, seq, received ns, items, member, members, name lengths, kind
MOST_NAME_BYTES = 0xFFFF
RECORD_BYTES = START.size + BODY.size

COUNTS, MARK = 0, 255  # the kinds of records that hold item counts, or tell of a commit; the others are signals
KINDS = {Signal.TRACES: 1, Signal.LOGS: 2, Signal.METRICS: 3}
SIGNALS = {kind: signal for signal, kind in KINDS.items()}
KNOWN_KINDS = {COUNTS, MARK, *SIGNALS}


class Head(NamedTuple):
    """What a segment says of itself.

    first_seq: the number of its first entry.
    follows: where the entries before it end; below first_seq where numbers were left out to be safe.
    """

    marker: bytes
    first_seq: int
    follows: int


class Record(NamedTuple):
    """One entry, a mark or item counts. An entry was appended with others: `member` 0 … `members` - 1."""

    seq: int
    received_ns: int
    items: int
    member: int
    members: int
    pipeline: str
    tenant: str
    kind: int
    wire: bytes


def pack_head(head: Head) -> bytes:
    """Both copies."""
    preamble = struct.pack("<8sI", MAGIC, VERSION)
    body = preamble + struct.pack("<I8sQQ", google_crc32c.value(preamble), *head)
    return (body + struct.pack("<I", google_crc32c.value(body))) * 2


def read_head(raw: bytes, name: object) -> Head | None:
    """The head from the first bytes of a segment; None if neither copy is whole.

    Raises:
        FilesError: it is of a format that this bridge does not know.
    """
    for start in (0, HEAD.size):
        copy = raw[start : start + HEAD.size]
        if len(copy) < PREAMBLE.size:
            continue
        magic, version, preamble_crc = PREAMBLE.unpack_from(copy)
        if magic != MAGIC or google_crc32c.value(copy[:12]) != preamble_crc:
            continue
        if version != VERSION:
            other = "newer" if version > VERSION else "older"
            raise FilesError(
                f"{name} is of journal format {version}, this bridge reads {VERSION}: "
                f"start the {other} otel-bridge again, or choose another data_dir; nothing was changed"
            )
        if len(copy) == HEAD.size and google_crc32c.value(copy[:-4]) == int.from_bytes(copy[-4:], "little"):
            return Head(*HEAD.unpack(copy)[3:6])
    return None


def pack_record(marker: bytes, record: Record) -> bytes:
    """The bytes that go before `record.wire`."""
    pipeline, tenant = record.pipeline.encode(), record.tenant.encode()
    body = (
        BODY.pack(
            len(pipeline) + len(tenant) + len(record.wire),
            *record[:5],
            len(pipeline),
            len(tenant),
            record.kind,
        )
        + pipeline
        + tenant
    )
    return START.pack(marker, google_crc32c.extend(google_crc32c.value(body), record.wire)) + body


def record_length(raw: bytes) -> int:
    """How many bytes the record is long that starts with these `RECORD_BYTES`; to be believed after its CRC only."""
    length: int = BODY.unpack_from(raw, START.size)[0]
    return RECORD_BYTES + length


def read_record(raw: bytes, marker: bytes) -> Record | None:
    """The record that these bytes are, no more and no less; None if they are not."""
    if len(raw) < RECORD_BYTES or record_length(raw) != len(raw):
        return None
    found, crc = START.unpack_from(raw)
    if found != marker or google_crc32c.value(raw[START.size :]) != crc:
        return None
    _, seq, received_ns, items, member, members, pipeline_length, tenant_length, kind = BODY.unpack_from(
        raw, START.size
    )
    tenant_at = RECORD_BYTES + pipeline_length
    wire_at = tenant_at + tenant_length
    if wire_at > len(raw) or kind not in KNOWN_KINDS:
        return None
    try:
        pipeline, tenant = raw[RECORD_BYTES:tenant_at].decode(), raw[tenant_at:wire_at].decode()
    except UnicodeDecodeError:
        return None
    return Record(seq, received_ns, items, member, members, pipeline, tenant, kind, raw[wire_at:])


def pack_counts(marker: bytes, first_seq: int, counts: ItemCounts, unknown: int) -> bytes:
    """A whole record of item counts, and of how many entries there were of unknown owners."""
    record = Record(first_seq, 0, 0, 0, 1, "", "", COUNTS, orjson.dumps([unknown, count_rows(counts)]))
    return pack_record(marker, record) + record.wire


def read_counts(record: Record) -> tuple[ItemCounts, int] | None:
    """What `pack_counts` was given; None if that cannot be read."""
    try:
        unknown, rows = orjson.loads(record.wire)
        return counts_from(rows), int(unknown)
    except (TypeError, ValueError):
        return None


def pack_mark(marker: bytes, entries: Sequence[Record]) -> bytes:
    """A whole record that says of what a commit consists."""
    owners: dict[tuple[str, str, int], int] = {}
    items = [
        (owners.setdefault((entry.pipeline, entry.tenant, entry.kind), len(owners)), entry.items) for entry in entries
    ]
    record = Record(entries[0].seq, 0, 0, 0, 1, "", "", MARK, orjson.dumps([list(owners), items]))
    return pack_record(marker, record) + record.wire


def read_mark(record: Record) -> list[tuple[int, tuple[str, str, Signal], int]] | None:
    """The commit's entries: their numbers, owners and items; None if that cannot be read."""
    try:
        owners, items = orjson.loads(record.wire)
        whose = [(str(pipeline), str(tenant), SIGNALS[kind]) for pipeline, tenant, kind in owners]
        return [(seq, whose[owner], int(count)) for seq, (owner, count) in enumerate(items, record.seq)]
    except (TypeError, ValueError, LookupError):
        return None


def count_rows(counts: ItemCounts) -> list[tuple[str, str, str, int]]:
    """Item counts as rows that JSON can hold."""
    return [(pipeline, tenant, signal.value, items) for (pipeline, tenant, signal), items in counts.items()]


def counts_from(rows: Iterable[tuple[str, str, str, int]]) -> ItemCounts:
    """Item counts from their rows."""
    return {(pipeline, tenant, Signal(signal)): items for pipeline, tenant, signal, items in rows}
