"""How far assembly has come, and the parts of traces that it has recorded for the exporters of settled ones."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from otel_bridge.batch import Signal
from otel_bridge.journal.changes import Changes, Row, Value
from otel_bridge.journal.exporters import Exporters, Outcomes, Registered
from otel_bridge.plain_json import dump
from otel_bridge.telemetry import Outcome
from otel_bridge.trace import Decision, Known, Settled

PART_HEADS = """
WITH RECURSIVE of(tenant) AS (  -- from one tenant to the next by the index: there may be very many parts
    SELECT min(tenant) FROM part WHERE pipeline = ?1
    UNION ALL SELECT (SELECT min(tenant) FROM part WHERE pipeline = ?1 AND tenant > of.tenant) FROM of
    WHERE of.tenant IS NOT NULL
)
SELECT tenant, (SELECT max(id) FROM part WHERE pipeline = ?1 AND part.tenant = of.tenant) FROM of
WHERE tenant IS NOT NULL
"""


class Share(NamedTuple):
    """How much of an entry belongs to a part."""

    seq: int
    signal: Signal
    items: int


@dataclass(slots=True, frozen=True)
class Part:
    """A part of a trace that has settled; its bodies are in the journal.

    id: counts up; the order in which exporters take the parts of a tenant.
    number: 0 for the first part of its trace.
    received_ns: when its newest entry was received.
    known: what the parts before it left; None for the first.
    """

    id: int
    pipeline: str
    tenant: str
    key: str
    number: int
    shares: Sequence[Share]
    size: int
    received_ns: int
    settled: Settled
    decision: Decision = Decision.KEPT
    known: Known | None = None


class Apart:
    """Items of a pipeline that come to no part, and what becomes of them for its exporters of settled parts.

    outcomes: by exporter and tenant; items: how many there are of each entry.
    """

    def __init__(self, exporters: Mapping[str, Registered]) -> None:
        self.outcomes: defaultdict[tuple[str, str], Outcomes] = defaultdict(Counter)
        self.items: Counter[int] = Counter()
        self._exporters = exporters

    def add(self, seq: int, tenant: str, signal: Signal, outcome: Outcome, reasons: Mapping[str, int]) -> None:
        """Account for items of an entry, by reason."""
        self.items[seq] += sum(reasons.values())
        for exporter, known in self._exporters.items():
            if known.concerns(seq):
                for reason, items in reasons.items():
                    self.outcomes[exporter, tenant][signal, outcome, reason] += items


class RecordedParts:
    """The parts of all pipelines.

    assembly: of each pipeline, below which entry all lies in a part or is accounted for, and up to and with which entry
    what belongs to no trace is accounted for.
    """

    def __init__(self, changes: Changes, exporters: Exporters) -> None:
        self.assembly: dict[str, tuple[int, int]] = {}
        self._exporters = exporters
        self._changes = changes
        self._write, self._read = changes.write, changes.read
        self._last = 0

    async def load(self) -> None:
        """Read what is kept in memory as well; the exporters are read already."""
        for pipeline, low_seq, scanned_seq in await self._changes.rows("assembly"):
            self.assembly[pipeline] = (low_seq, scanned_seq)
        [(newest,)] = await self._read("SELECT max(id) FROM part")
        exporters = self._exporters
        confirmed = [at for (of, name, _), at in exporters.cursors.items() if exporters.registered[of, name].settled]
        self._last = max([newest or 0, *confirmed])

    def next_id(self) -> int:
        """An id that no part had before."""
        self._last += 1
        return self._last

    def add(self, part: Part) -> None:
        """Keep a part for the exporters."""
        seqs = [share.seq for share in part.shares]
        self._write(
            "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(part.id, part.pipeline, part.tenant, part.key, part.number, min(seqs), max(seqs)),
            dump([list(share) for share in part.shares]),
            *(
                part.size,
                part.received_ns,
                part.settled,
                part.decision,
                None if part.known is None else dump(part.known),
            ),
        )

    def advance(self, pipeline: str, low_seq: int, scanned_seq: int, apart: Apart | None = None) -> None:
        """How far assembly has come, and what came to no part on the way."""
        if self.assembly.get(pipeline) != (low_seq, scanned_seq):
            self.assembly[pipeline] = (low_seq, scanned_seq)
            self._write("INSERT OR REPLACE INTO assembly VALUES (?, ?, ?)", pipeline, low_seq, scanned_seq)
        if apart is None:
            return
        for (exporter, tenant), counted in apart.outcomes.items():
            self._exporters.account(pipeline, exporter, tenant, counted)
        for seq, items in apart.items.items():
            if items and seq >= low_seq:
                self._write(
                    "INSERT INTO apart VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET items = items + excluded.items",
                    *(pipeline, seq, items),
                )

    async def accounted(self, pipeline: str) -> Counter[int]:
        """How many items of each entry that assembly still needs lie in parts, or are accounted for without one."""
        low_seq, _ = self.assembly[pipeline]
        rows = await self._read("SELECT seq, items FROM apart WHERE pipeline = ? AND seq >= ?", pipeline, low_seq)
        items: Counter[int] = Counter(dict(rows))
        for part in await self.from_entry(pipeline, low_seq):
            for share in part.shares:
                items[share.seq] += share.items
        return items

    async def after(self, pipeline: str, tenant: str, after_id: int, limit: int = 64) -> list[Part]:
        """The parts of a tenant that follow one, in order."""
        return await self._found(
            "SELECT * FROM part WHERE pipeline = ? AND tenant = ? AND id > ? ORDER BY id LIMIT ?",
            *(pipeline, tenant, after_id, limit),
        )

    async def from_entry(self, pipeline: str, low_seq: int) -> list[Part]:
        """The parts that hold an entry from `low_seq` on."""
        return await self._found("SELECT * FROM part WHERE pipeline = ? AND last_seq >= ?", pipeline, low_seq)

    async def below_entry(self, pipeline: str, end_seq: int) -> list[Part]:
        """The parts that hold an entry below `end_seq`, in order."""
        return await self._found(
            "SELECT * FROM part WHERE pipeline = ? AND first_seq < ? ORDER BY id", pipeline, end_seq
        )

    def cut(self, part: Part, from_seq: int) -> None:
        """A part loses what lies below; without anything else it is no part any more."""
        shares = [share for share in part.shares if share.seq >= from_seq]
        if shares:
            self._write(
                "UPDATE part SET entries = ?, first_seq = ? WHERE id = ?",
                *(dump([list(share) for share in shares]), min(share.seq for share in shares), part.id),
            )
        else:
            self._write("DELETE FROM part WHERE id = ?", part.id)

    async def heads(self, pipeline: str) -> dict[str, int]:
        """The tenants that have parts here, with the newest part of each."""
        rows = await self._read(PART_HEADS, pipeline)
        return {str(tenant): int(head) for tenant, head in rows}

    async def needed_seq(self, pipeline: str) -> int:
        """The lowest entry that assembly or an exporter of settled parts still needs."""
        low_seq, _ = self.assembly[pipeline]
        found = await self._read(
            "SELECT min(first_seq) FROM part WHERE pipeline = ? AND last_seq >= ?", pipeline, low_seq
        )
        for tenant in await self.heads(pipeline):
            for exporter, known in self._exporters.settled(pipeline).items():
                found += await self._read(
                    "SELECT min(first_seq) FROM part WHERE pipeline = ? AND tenant = ? AND id > ? AND first_seq < ?",
                    *(pipeline, tenant, self._exporters.floor(pipeline, exporter, tenant), known.end_seq),
                )
        return min([low_seq, *(int(seq) for (seq,) in found if seq is not None)])

    async def prune(self, pipeline: str, held_seq: int) -> None:
        """Delete parts that nobody needs any more and that hold an entry below `held_seq`, which the journal has let
        go of: the others can be sent again."""
        low_seq, _ = self.assembly[pipeline]
        needed_seq = await self.needed_seq(pipeline)
        exporters = [
            exporter for exporter, known in self._exporters.settled(pipeline).items() if needed_seq < known.end_seq
        ]
        for tenant, head in (await self.heads(pipeline)).items():
            confirmed = min((self._exporters.floor(pipeline, exporter, tenant) for exporter in exporters), default=head)
            self._write(
                "DELETE FROM part WHERE pipeline = ? AND tenant = ? AND id <= ? AND last_seq < ? AND first_seq < ?",
                *(pipeline, tenant, confirmed, low_seq, held_seq),
            )
        self._write("DELETE FROM apart WHERE pipeline = ? AND seq < ?", pipeline, low_seq)

    async def _found(self, statement: str, *values: Value) -> list[Part]:
        return [_part(row) for row in await self._read(statement, *values)]


def _part(row: Row) -> Part:
    id_, pipeline, tenant, key, number, _, _, shares, size, received_ns, settled, decision, known = row
    return Part(
        id=id_,
        pipeline=pipeline,
        tenant=tenant,
        key=key,
        number=number,
        shares=[Share(seq, Signal(signal), items) for seq, signal, items in orjson.loads(shares)],
        size=size,
        received_ns=received_ns,
        settled=Settled(settled),
        decision=Decision(decision),
        known=None if known is None else Known.of(orjson.loads(known)),
    )
