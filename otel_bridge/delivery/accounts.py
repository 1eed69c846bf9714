"""The proof that nothing got lost: accepted = outcomes + waiting, each counted from another place.

What was accepted is counted by the journal, the outcomes by the state's ledger, and what waits from the entries and
recorded parts themselves.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from otel_bridge.assemble import Gather, grouped, traceless
from otel_bridge.batch import Batch, Signal
from otel_bridge.errors import MalformedError
from otel_bridge.journal import Entry, Lost
from otel_bridge.journal.database import open_reading
from otel_bridge.journal.exporters import Account, Registered, accounts, registered
from otel_bridge.journal.reader import Reader, read_segments
from otel_bridge.journal.state import VERSION
from otel_bridge.telemetry import Outcome

if TYPE_CHECKING:
    import apsw

JOURNAL_DIR = "journal"
STATE_FILE = "state.db"
DEAD_LETTERS_FILE = "dead_letters.db"
ATTEMPTS = 3


@dataclass(slots=True, frozen=True)
class Line:
    """The account of one exporter, tenant and signal, in items.

    reasons: `filtered:metrics` → how many, for outcomes that have a reason.
    replayed: what became of items that were sent again; they are in none of the others.
    """

    account: Account
    accepted: int
    outcomes: dict[Outcome, int]
    reasons: dict[str, int]
    waiting: int
    replayed: dict[Outcome, int]

    @property
    def missing(self) -> int:
        """Accepted items that are neither waiting nor accounted for; below 0, too many are accounted for."""
        return self.accepted - sum(self.outcomes.values()) - self.waiting


@dataclass(slots=True, frozen=True)
class Audit:
    """The accounts of a bridge.

    unknown: entries that are damaged so that nobody knows whose they were. `accepted` lacks their items, so an account
        has too many where its exporter had had them.
    """

    lines: tuple[Line, ...]
    unknown: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every account does."""
        return all(line.missing == 0 for line in self.lines)

    @property
    def explained(self) -> bool:
        """Whether entries of unknown owners may be all that is wrong."""
        owners = {(*line.account[:1], *line.account[2:]) for line in self.lines if line.missing}
        return all(line.missing <= 0 for line in self.lines) and len(owners) <= self.unknown

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "balanced": self.balanced,
            "unknown_entries": self.unknown,
            "accounts": [
                {
                    **line.account._asdict(),
                    "accepted": line.accepted,
                    **{outcome: line.outcomes.get(outcome, 0) for outcome in Outcome},
                    "waiting": line.waiting,
                    "missing": line.missing,
                    "reasons": line.reasons,
                    "replayed": line.replayed,
                }
                for line in self.lines
            ],
        }


def audit(data_dir: Path, gather: Gather | None = None) -> Audit:
    """Count everything in the files of a bridge, running or not, without changing them.

    Raises:
        FilesError: they are not there or can not be read.
    """
    if gather is None:
        from otel_bridge import translate

        gather = translate.gather
    for _ in range(ATTEMPTS):
        # The state first: what is confirmed after it was read is found waiting in the journal, unless it was trimmed.
        connection = open_reading(data_dir / STATE_FILE, VERSION)
        try:
            with connection:
                facts = Facts(connection)
        finally:
            connection.close()
        found = _count(facts, read_segments(data_dir / JOURNAL_DIR), gather)
        if found.balanced:
            break
    return found


class Facts:
    """What the state says, read in one transaction."""

    def __init__(self, connection: "apsw.Connection") -> None:
        self.exporters = registered(
            connection.execute("SELECT * FROM exporter"), connection.execute("SELECT * FROM absence")
        )
        self.base = {
            Account(pipeline, exporter, tenant, Signal(signal)): items
            for pipeline, exporter, tenant, signal, items in connection.execute("SELECT * FROM base")
        }
        self.positions = {
            (pipeline, exporter, tenant): position
            for pipeline, exporter, tenant, position in connection.execute("SELECT * FROM cursor")
        }
        self._postponed: defaultdict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
        for pipeline, exporter, tenant, low, high in connection.execute("SELECT * FROM postponed"):
            self._postponed[pipeline, exporter, tenant].append((low, high))
        self.assembly = {
            pipeline: (low_seq, scanned_seq)
            for pipeline, low_seq, scanned_seq in connection.execute("SELECT * FROM assembly")
        }
        self.apart = {(pipeline, seq): items for pipeline, seq, items in connection.execute("SELECT * FROM apart")}
        self.ledger = [
            (Account(pipeline, exporter, tenant, Signal(signal)), Outcome(outcome), reason, items)
            for pipeline, exporter, tenant, signal, outcome, reason, items in connection.execute(
                "SELECT * FROM ledger WHERE items <> 0"
            )
        ]
        self.replayed = [
            (Account(pipeline, exporter, tenant, Signal(signal)), Outcome(outcome), items)
            for pipeline, exporter, tenant, signal, outcome, items in connection.execute(
                "SELECT pipeline, exporter, tenant, signal, outcome, sum(items) FROM replayed GROUP BY 1, 2, 3, 4, 5"
            )
        ]
        self.parts = [
            (id_, pipeline, tenant, key, orjson.loads(shares))
            for id_, pipeline, tenant, key, shares in connection.execute(
                "SELECT id, pipeline, tenant, key, entries FROM part"
            )
        ]

    def is_waiting(self, pipeline: str, exporter: str, tenant: str, number: int) -> bool:
        """Whether the exporter has not confirmed this entry (or part)."""
        cursor = (pipeline, exporter, tenant)
        return number > self.positions.get(cursor, 0) or any(
            low < number <= high for low, high in self._postponed.get(cursor, ())
        )

    def part_of(self, pipeline: str, tenant: str, key: str, seq: int) -> int | None:
        """The part that holds what an entry has of a trace, if one is still kept."""
        part_id: int
        for part_id, of, whose, called, shares in self.parts:
            if (of, whose, called) == (pipeline, tenant, key) and any(share[0] == seq for share in shares):
                return part_id
        return None

    def outcome(self, account: Account, outcome: Outcome) -> int:
        """How many items of an account have come to this."""
        return sum(items for of, what, _, items in self.ledger if (of, what) == (account, outcome))


def _count(facts: Facts, journal: Reader, gather: Gather) -> Audit:
    waiting: Counter[Account] = Counter()
    for (pipeline, exporter), known in facts.exporters.items():
        if known.settled:
            waiting.update(_waiting_settled(facts, journal, gather, pipeline, exporter, known))
        else:
            waiting.update(_waiting_batches(facts, journal, pipeline, exporter, known))
    outcomes: dict[Account, Counter[Outcome]] = defaultdict(Counter)
    reasons: dict[Account, Counter[str]] = defaultdict(Counter)
    for account, outcome, reason, items in facts.ledger:
        outcomes[account][outcome] += items
        if reason:
            reasons[account][f"{outcome}:{reason}"] += items
    replayed: dict[Account, dict[Outcome, int]] = defaultdict(dict)
    for account, outcome, items in facts.replayed:
        replayed[account][outcome] = items
    _, appended = journal.accepted()
    accepted = accounts(facts.exporters, facts.base, appended)
    return Audit(
        tuple(
            Line(
                account,
                accepted.get(account, 0),
                dict(outcomes[account]),
                dict(reasons[account]),
                waiting[account],
                replayed[account],
            )
            for account in sorted(accepted.keys() | outcomes.keys() | waiting.keys())
        ),
        journal.unknown(),
    )


def _waiting_batches(
    facts: Facts, journal: Reader, pipeline: str, exporter: str, known: Registered
) -> Counter[Account]:
    waiting: Counter[Account] = Counter()
    for entry in _entries(journal, pipeline, known):
        tenant, signal, items = entry.counted
        if facts.is_waiting(pipeline, exporter, tenant, entry.seq):
            waiting[Account(pipeline, exporter, tenant, signal)] += items
    return waiting


def _waiting_settled(
    facts: Facts, journal: Reader, gather: Gather, pipeline: str, exporter: str, known: Registered
) -> Counter[Account]:
    waiting: Counter[Account] = Counter()
    recorded: set[tuple[str, str, int]] = set()
    accounted: Counter[int] = Counter()
    for part_id, of, tenant, key, shares in facts.parts:
        if of != pipeline:
            continue
        for seq, _, items in shares:
            recorded.add((tenant, key, seq))
            accounted[seq] += items
        if facts.is_waiting(pipeline, exporter, tenant, part_id):
            for signal, items in known.items(shares).items():
                waiting[Account(pipeline, exporter, tenant, Signal(signal))] += items
    low_seq, scanned_seq = facts.assembly.get(pipeline, (0, 0))
    for entry in _entries(journal, pipeline, known, low_seq):
        tenant, signal, whole = entry.counted
        account = Account(pipeline, exporter, tenant, signal)
        if isinstance(entry, Lost):
            waiting[account] += whole - accounted[entry.seq] - facts.apart.get((pipeline, entry.seq), 0)
            continue
        for key, items in _items_by_key(entry.batch, gather).items():
            is_waiting = (tenant, key, entry.seq) not in recorded if key else entry.seq > scanned_seq
            waiting[account] += items * is_waiting
    return waiting


def _items_by_key(batch: Batch, gather: Gather) -> Counter[str]:
    """Items by assembly key; those of no trace under ""."""
    try:
        groups = grouped(batch, gather)
    except MalformedError:
        groups = {}
    items = Counter({key: group.items for key, group in groups.items() if key})
    items[""] = traceless(batch, groups).total()
    return items


def _entries(journal: Reader, pipeline: str, known: Registered, low_seq: int = 0) -> Iterator[Entry | Lost]:
    """What concerns an exporter, from `low_seq` on."""
    start_seq = max(low_seq, known.start_seq)
    while entries := journal.scan(start_seq, pipeline):
        yield from (entry for entry in entries if known.concerns(entry.seq))
        start_seq = entries[-1].seq + 1
