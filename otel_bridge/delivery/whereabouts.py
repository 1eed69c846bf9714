"""Where a span is, for each exporter: told from the files alone, with what they can not tell said as well."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.assemble import Gather, Group, grouped
from otel_bridge.batch import DEFAULT_TENANT, Signal
from otel_bridge.counts import plural
from otel_bridge.delivery.accounts import DEAD_LETTERS_FILE, JOURNAL_DIR, STATE_FILE, Facts
from otel_bridge.delivery.dead_letter import DeadLetter, letters_in, read_letters
from otel_bridge.errors import FilesError, MalformedError, UsageError
from otel_bridge.journal import Entry
from otel_bridge.journal.database import open_reading
from otel_bridge.journal.exporters import Account, Registered
from otel_bridge.journal.reader import read_segments
from otel_bridge.journal.state import VERSION
from otel_bridge.model import Translation
from otel_bridge.moments import iso
from otel_bridge.telemetry import Outcome
from otel_bridge.trace import Decision

if TYPE_CHECKING:
    import apsw

SPAN_ID_DIGITS, TRACE_ID_DIGITS = 16, 32
LEAST_DIGITS = 4  # of the beginning of one
MOST_NAMED = 5
POSTPONED = "postponed: it failed again and again while the rest was taken"


@dataclass(slots=True, frozen=True)
class Place:
    """Where an item is for one exporter.

    where: `waiting`, `delivered`, `dead_lettered`, `filtered` or `not_concerned`; said: more of it.
    """

    pipeline: str
    exporter: str
    where: str
    said: str


@dataclass(slots=True, frozen=True)
class Item:
    """A span, or the log records of a trace in one entry (which have no ids of their own)."""

    trace_id: str
    span_id: str | None
    signal: Signal
    name: str
    tenant: str
    entry: int
    received: str
    places: Sequence[Place]


@dataclass(slots=True)
class Whereabouts:
    """What was found.

    notes: what else is known, for people.
    """

    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "items": [
                {
                    "traceId": item.trace_id,
                    "spanId": item.span_id,
                    "signal": item.signal,
                    "name": item.name,
                    "tenant": item.tenant,
                    "entry": item.entry,
                    "received": item.received,
                    "places": [
                        {"pipeline": at.pipeline, "exporter": at.exporter, "where": at.where, "said": at.said}
                        for at in item.places
                    ],
                }
                for item in self.items
            ],
            "notes": self.notes,
        }


def locate(
    data_dir: Path, *, trace_id: str | None = None, span_id: str | None = None, gather: Gather | None = None
) -> Whereabouts:
    """Look for a span, or all spans and log records of a trace, in the files of a bridge, running or not.

    trace_id, span_id: or the beginning of one.

    Raises:
        UsageError: an id is none, or several traces or spans begin so.
        FilesError: the files are not there or can not be read.
    """
    if gather is None:
        from otel_bridge import translate

        gather = translate.gather
    connection = open_reading(data_dir / STATE_FILE, VERSION)
    try:
        with connection:
            search = _Search(connection, data_dir, gather)
    finally:
        connection.close()
    unknown = "never accepted, or all that is known of it is gone"
    if trace_id is not None and not search.means_trace(trace_id.lower()):
        return Whereabouts(notes=[f"no trace begins with {trace_id}: {unknown}"])
    if span_id is not None and not search.means_span(span_id.lower()):
        within = "" if trace_id is None else " in this trace"
        return Whereabouts(notes=[f"no span begins with {span_id}{within}: {unknown}"])
    return search.run()


class _Search:
    def __init__(self, connection: "apsw.Connection", data_dir: Path, gather: Gather) -> None:
        self.letters: list[DeadLetter] = []
        self._letters_file = data_dir / DEAD_LETTERS_FILE
        self._facts = Facts(connection)
        self._decisions = {
            part_id: (number, Decision(decision))
            for part_id, number, decision in connection.execute("SELECT id, number, decision FROM part")
        }
        self._remembered = {
            (pipeline, tenant, key): parts
            for pipeline, tenant, key, parts in connection.execute(
                "SELECT pipeline, tenant, key, parts FROM remembered"
            )
        }
        self._journal = read_segments(data_dir / JOURNAL_DIR)
        self._gather = gather
        self._trace_id: str | None = None
        self._span_id: bytes | None = None

    def means_trace(self, beginning: str) -> bool:
        """Look for the trace that begins so; whether there is one, or may be.

        Raises:
            UsageError: it is no beginning of an id, or of several.
        """
        self._trace_id = _whole("--trace", TRACE_ID_DIGITS, beginning, self._traces(beginning))
        return self._trace_id is not None

    def means_span(self, beginning: str) -> bool:
        """The same of a span; where a trace is looked for, of one of its spans."""
        found = _whole("--span", SPAN_ID_DIGITS, beginning, self._spans(beginning))
        self._span_id = None if found is None else bytes.fromhex(found)
        return found is not None

    def _traces(self, beginning: str) -> Iterator[str]:
        """What the files know traces by; of those in the journal, such as may begin so."""
        yield from (key for _, _, key in self._remembered)
        yield from (key for _, _, _, key, _ in self._facts.parts)
        letters, groups = self._naming(beginning)
        yield from (trace_id for letter in letters for trace_id, _ in _ids(letter))
        yield from (key for key, _ in groups)

    def _spans(self, beginning: str) -> Iterator[str]:
        """The ids of spans, such as may begin so, in letters and in the journal."""
        letters, groups = self._naming(beginning)
        wanted = self._trace_id
        yield from (own for letter in letters for trace_id, own in _ids(letter) if wanted in (None, trace_id))
        for key, group in groups:
            if wanted in (None, key):
                yield from (record.span.span_id.hex() for record in group.spans)
                yield from (log.record.span_id.hex() for log in group.logs)

    def _naming(self, beginning: str) -> tuple[Sequence[DeadLetter], Iterator[tuple[str, Group]]]:
        """Letters, and what entries hold of each trace, that may have an id that begins so."""
        raw = bytes.fromhex(beginning[: len(beginning) // 2 * 2])

        def groups() -> Iterator[tuple[str, Group]]:
            for pipeline in {pipeline for pipeline, _ in self._facts.exporters}:
                for entry in self._entries(pipeline):
                    if raw in entry.batch.wire:
                        with suppress(MalformedError):
                            yield from grouped(entry.batch, self._gather).items()

        return self._letters(lambda one: raw in one.content or beginning.encode() in one.content), groups()

    def _letters(self, named: Callable[[DeadLetter], bool]) -> list[DeadLetter]:
        with suppress(FilesError):  # there may never have been one
            return read_letters(self._letters_file, lambda letters: [one for one in letters_in(letters) if named(one)])
        return []

    def about(self, letter: DeadLetter) -> bool:
        """Whether a letter may hold what is looked for."""
        trace_id = None if self._trace_id is None else bytes.fromhex(self._trace_id)
        return all(
            wanted is None or wanted in letter.content or wanted.hex().encode() in letter.content
            for wanted in (trace_id, self._span_id)
        )

    def run(self) -> Whereabouts:
        self.letters = self._letters(self.about)
        found = Whereabouts()
        oldest: Entry | None = None
        for pipeline in sorted({pipeline for pipeline, _ in self._facts.exporters}):
            for entry in self._entries(pipeline):
                oldest = entry if oldest is None or entry.seq < oldest.seq else oldest
                found.items += self._items(entry)
        there = {item.span_id for item in found.items}
        for letter in self.letters:
            if self._span_id is None or self._span_id.hex() not in there:
                of = f"dead letter {letter.id} of {letter.exporter}"
                found.notes.append(f"{of} names it: {letter.reason}, set aside {iso(letter.at_ns)}")
        if self._trace_id is not None:
            for (pipeline, tenant, key), parts in self._remembered.items():
                if key == self._trace_id:
                    whose = "" if tenant == DEFAULT_TENANT else f" for the tenant {tenant}"
                    found.notes.append(
                        f"settled in the pipeline {pipeline}{whose}: {plural(parts, 'part')} of this trace"
                    )
        if unknown := self._journal.unknown():
            found.notes.append(f"{plural(unknown, 'entry')} damaged so that nobody knows what was in there")
        since = f"entries since {iso(oldest.received_ns)}" if oldest else "no entry"
        what = "" if found.items else "not found: never accepted, or let go of after it was delivered everywhere; "
        found.notes.append(f"{what}the journal holds {since}")
        return found

    def _entries(self, pipeline: str) -> Iterator[Entry]:
        start_seq = 0
        while entries := self._journal.scan(start_seq, pipeline):
            yield from (entry for entry in entries if isinstance(entry, Entry))
            start_seq = entries[-1].seq + 1

    def _items(self, entry: Entry) -> Iterator[Item]:
        wire = entry.batch.wire
        if self._span_id is not None and self._span_id not in wire:
            return
        try:
            groups = grouped(entry.batch, self._gather)
        except MalformedError:
            return
        for key, group in groups.items():
            if self._trace_id is not None and key != self._trace_id:
                continue
            spans = [
                (record.span.span_id.hex(), record.span.name)
                for record in group.spans
                if self._span_id in (None, record.span.span_id)
            ]
            if group.logs and any(self._span_id in (None, log.record.span_id) for log in group.logs):
                spans.append(("", plural(len(group.logs), "log record")))
            for span_id, name in spans:
                yield Item(
                    key,
                    span_id or None,
                    entry.batch.signal,
                    name,
                    entry.batch.tenant,
                    entry.seq,
                    iso(entry.received_ns),
                    [
                        self._place(entry, key, span_id, exporter, known)
                        for (pipeline, exporter), known in sorted(self._facts.exporters.items())
                        if pipeline == entry.pipeline
                    ],
                )

    def _place(self, entry: Entry, key: str, span_id: str, exporter: str, known: Registered) -> Place:
        pipeline, tenant = entry.pipeline, entry.batch.tenant
        if not known.concerns(entry.seq):
            return Place(pipeline, exporter, "not_concerned", "it came while this exporter was not configured")
        position = self._facts.positions.get((pipeline, exporter, tenant), 0)
        if not known.settled:
            if self._facts.is_waiting(pipeline, exporter, tenant, entry.seq):
                return Place(pipeline, exporter, "waiting", "to be sent" if entry.seq > position else POSTPONED)
            return self._passed(entry, span_id, exporter, "")
        part_id = self._facts.part_of(pipeline, tenant, key, entry.seq)
        if part_id is not None:
            number, decision = self._decisions[part_id]
            if self._facts.is_waiting(pipeline, exporter, tenant, part_id):
                why = "which has settled" if part_id > position else POSTPONED
                return Place(pipeline, exporter, "waiting", f"in part {number} of its trace, {why}")
            if decision != Decision.KEPT:
                return Place(pipeline, exporter, decision, f"with part {number} of its trace")
            return self._passed(entry, span_id, exporter, f"in part {number} of its trace")
        low_seq, scanned_seq = self._facts.assembly.get(pipeline, (0, 0))
        if not key and entry.seq <= scanned_seq:
            return Place(pipeline, exporter, Outcome.FILTERED, "it belongs to no trace")
        if entry.seq >= low_seq:
            return Place(pipeline, exporter, "waiting", "in an open trace")
        return self._passed(entry, span_id, exporter, "")

    def _passed(self, entry: Entry, span_id: str, exporter: str, said: str) -> Place:
        """The exporter has done with it; what else than delivered it may be, as nobody wrote down which it was."""
        owner = (entry.pipeline, exporter, entry.batch.tenant)
        for letter in self.letters:
            is_theirs = (letter.pipeline, letter.exporter, letter.tenant) == owner
            if is_theirs and any(own == span_id for _, own in _ids(letter)):
                reason = f"{letter.reason}: {letter.answer[:200]} (letter {letter.id})"
                return Place(entry.pipeline, exporter, Outcome.DEAD_LETTERED, reason)
        account = Account(entry.pipeline, exporter, entry.batch.tenant, entry.batch.signal)
        others = [
            f"{items} {outcome}"
            for outcome in Outcome
            if outcome != Outcome.DELIVERED and (items := self._facts.outcome(account, outcome))
        ]
        doubt = f"unless it is among this account's {', '.join(others)}" if others else ""
        return Place(entry.pipeline, exporter, Outcome.DELIVERED, ", ".join(filter(None, (said, doubt))))


def _ids(letter: DeadLetter) -> set[tuple[str, str]]:
    """The spans that a letter holds, not those that it only names: the ids of their traces, and their own."""
    if not letter.intact:
        return set()
    piece = letter.piece()
    if isinstance(piece, Translation):
        return {(observation.trace_id, observation.id) for observation in piece.observations}
    if not isinstance(piece.request, ExportTraceServiceRequest):
        return set()
    return {
        (span.trace_id.hex(), span.span_id.hex())
        for block in piece.request.resource_spans
        for scoped in block.scope_spans
        for span in scoped.spans
    }


def _whole(option: str, digits: int, beginning: str, known: Iterable[str]) -> str | None:
    """The one of these ids that begins so, or the whole one that was said; None where there is none.

    Raises:
        UsageError: it is no beginning of an id, or of several.
    """
    is_one = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},{digits}}}").fullmatch
    if not is_one(beginning):
        raise UsageError(f"{option}: write the id, {digits} hex digits, or at least the first {LEAST_DIGITS} of them")
    if len(beginning) == digits:
        return beginning
    found = sorted({key for key in known if key.startswith(beginning) and is_one(key)})
    if len(found) > 1:
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise UsageError(f"{option}: several begin with {beginning}: {', '.join(found[:MOST_NAMED])}{more}")
    return found[0] if found else None
