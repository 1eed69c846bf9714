"""The exporters that a journal has or had: which entries concern each, what it has confirmed, and the ledger."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from otel_bridge.batch import Signal
from otel_bridge.journal.changes import Changes
from otel_bridge.telemetry import Outcome

NEVER = (1 << 63) - 1  # the highest integer of SQLite
DAMAGED = "damaged"  # why items are dead-lettered that the journal has lost: there is no letter of them


class Account(NamedTuple):
    """Whose items a line of the ledger counts."""

    pipeline: str
    exporter: str
    tenant: str
    signal: Signal


@dataclass(slots=True, frozen=True)
class Registered:
    """An exporter of a pipeline, configured now or once: whether it takes settled parts, and when it was not there.

    absences: (from, until) which entries came while it was not configured, in order; the first is (0, its start).
    """

    settled: bool
    absences: tuple[tuple[int, int], ...]

    @property
    def start_seq(self) -> int:
        """The first entry that ever concerned it."""
        return self.absences[0][1]

    @property
    def end_seq(self) -> int:
        """What comes from here on does not concern it, as it is not configured any more; `NEVER` while it is."""
        from_seq, until_seq = self.absences[-1]
        return from_seq if until_seq == NEVER else NEVER

    def concerns(self, seq: int) -> bool:
        """Whether an entry is its business."""
        return not any(from_seq <= seq < until_seq for from_seq, until_seq in self.absences)

    def items(self, shares: Iterable[tuple[int, Signal, int]]) -> Counter[Signal]:
        """How many of these (entry, signal, items) are its business."""
        items: Counter[Signal] = Counter()
        for seq, signal, count in shares:
            if self.concerns(seq):
                items[signal] += count
        return items


Outcomes: TypeAlias = Counter[tuple[Signal, Outcome, str]]
"""Items by signal, what became of them, and the reason in a word (empty where there is none)."""


def registered(
    exporters: Iterable[tuple[Any, ...]], absences: Iterable[tuple[Any, ...]]
) -> dict[tuple[str, str], Registered]:
    """By pipeline and exporter, from the rows of both tables."""
    of: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for pipeline, exporter, from_seq, until_seq in absences:
        of[pipeline, exporter].append((from_seq, until_seq))
    return {
        (pipeline, exporter): Registered(bool(settled), tuple(sorted(of[pipeline, exporter])))
        for pipeline, exporter, settled in exporters
    }


def accounts(
    exporters: Mapping[tuple[str, str], Registered],
    base: Mapping[Account, int],
    accepted: Mapping[tuple[str, str, Signal], int],
) -> dict[Account, int]:
    """How many items concern each exporter, of what was `accepted` by pipeline, tenant and signal."""
    concern: dict[Account, int] = {}
    for (pipeline, tenant, signal), items in accepted.items():
        for (of, exporter), known in exporters.items():
            if of == pipeline:
                account = Account(pipeline, exporter, tenant, signal)
                concern[account] = (items if known.end_seq == NEVER else 0) - base.get(account, 0)
    return concern


class Exporters:
    """All of them: how far each is, and what became of the items that concern it.

    registered: by pipeline and exporter; cursors: by tenant as well.
    """

    def __init__(self, changes: Changes) -> None:
        self.registered: dict[tuple[str, str], Registered] = {}
        self.cursors: dict[tuple[str, str, str], int] = {}
        self.base: Counter[Account] = Counter()
        self.ledger: Counter[tuple[Account, Outcome, str]] = Counter()
        self._postponed: defaultdict[tuple[str, str, str], dict[int, int]] = defaultdict(dict)
        self._write, self._rows = changes.write, changes.rows

    async def load(self) -> None:
        """Read all of it."""
        rows = self._rows
        self.registered = registered(await rows("exporter"), await rows("absence"))
        for pipeline, exporter, tenant, signal, items in await rows("base"):
            self.base[Account(pipeline, exporter, tenant, Signal(signal))] = items
        for pipeline, exporter, tenant, position in await rows("cursor"):
            self.cursors[pipeline, exporter, tenant] = position
        for pipeline, exporter, tenant, low, high in await rows("postponed"):
            self._postponed[pipeline, exporter, tenant][high] = low
        for pipeline, exporter, tenant, signal, outcome, reason, items in await rows("ledger"):
            self.ledger[Account(pipeline, exporter, tenant, Signal(signal)), Outcome(outcome), reason] = items

    def register(
        self, pipeline: str, exporter: str, *, settled: bool, start_seq: int, accepted: Mapping[tuple[str, Signal], int]
    ) -> None:
        """Begin to keep accounts for an exporter, or go on where it was not configured for a time.

        start_seq: the first entry that concerns it (again).
        accepted: what had been accepted before that, by tenant and signal.
        """
        known = self.registered.get((pipeline, exporter))
        if known is None:
            self._write("INSERT INTO exporter VALUES (?, ?, ?)", pipeline, exporter, int(settled))
            known = Registered(settled, ((0, NEVER),))
        if known.end_seq < NEVER:
            self._set_absence(pipeline, exporter, known, (known.end_seq, start_seq))
            self._rebase(pipeline, exporter, accepted, 1)

    def unregister(
        self, pipeline: str, exporter: str, *, end_seq: int, accepted: Mapping[tuple[str, Signal], int]
    ) -> None:
        """The exporter is not configured any more: from `end_seq` on nothing concerns it.

        What came before and it has not confirmed still does.
        """
        known = self.registered[pipeline, exporter]
        self._set_absence(pipeline, exporter, known, (end_seq, NEVER))
        self._rebase(pipeline, exporter, accepted, -1)

    def settled(self, pipeline: str) -> dict[str, Registered]:
        """The exporters of the pipeline that take settled parts."""
        return {
            exporter: known for (of, exporter), known in self.registered.items() if of == pipeline and known.settled
        }

    def accounts(self, accepted: Mapping[tuple[str, str, Signal], int]) -> dict[Account, int]:
        """How many items concern each exporter, of what was `accepted` by pipeline, tenant and signal."""
        return accounts(self.registered, self.base, accepted)

    # What they have confirmed.

    def position(self, pipeline: str, exporter: str, tenant: str) -> int:
        """The last entry (or part) that the exporter has confirmed; for entries, at least the one before its start."""
        known = self.registered[pipeline, exporter]
        return self.cursors.get((pipeline, exporter, tenant), 0 if known.settled else known.start_seq - 1)

    def confirm(self, pipeline: str, exporter: str, tenant: str, position: int, outcomes: Outcomes) -> None:
        """Everything up to and with `position` is done, with these outcomes, but for what was postponed."""
        self._move(pipeline, exporter, tenant, position)
        self.account(pipeline, exporter, tenant, outcomes)

    def postpone(self, pipeline: str, exporter: str, tenant: str, high: int) -> None:
        """What follows the position, up to and with `high`, is not done, and what comes behind it goes first."""
        self._set_postponed(pipeline, exporter, tenant, self.position(pipeline, exporter, tenant), high)
        self._move(pipeline, exporter, tenant, high)

    def postponed(self, pipeline: str, exporter: str, tenant: str) -> list[tuple[int, int]]:
        """The stretches before the position that are not done: after which entry (or part), up to and with which."""
        return [(low, high) for high, low in sorted(self._postponed[pipeline, exporter, tenant].items())]

    def postponed_position(self, pipeline: str, exporter: str, tenant: str, high: int) -> int:
        """Up to where the postponed stretch that ends with `high` is done."""
        return self._postponed[pipeline, exporter, tenant].get(high, high)

    def confirm_postponed(
        self, pipeline: str, exporter: str, tenant: str, high: int, position: int, outcomes: Outcomes
    ) -> None:
        """Of the postponed stretch that ends with `high`, all up to and with `position` is done."""
        if position < high:
            self._set_postponed(pipeline, exporter, tenant, position, high)
        else:
            del self._postponed[pipeline, exporter, tenant][high]
            self._write(
                "DELETE FROM postponed WHERE pipeline = ? AND exporter = ? AND tenant = ? AND high = ?",
                *(pipeline, exporter, tenant, high),
            )
        self.account(pipeline, exporter, tenant, outcomes)

    def floor(self, pipeline: str, exporter: str, tenant: str) -> int:
        """The last entry (or part) up to which really all is done."""
        position = self.position(pipeline, exporter, tenant)
        return min([position, *self._postponed[pipeline, exporter, tenant].values()])

    def is_done(self, pipeline: str, exporter: str, tenant: str, number: int) -> bool:
        """Whether the exporter needs this entry (or part) no more."""
        return number <= self.position(pipeline, exporter, tenant) and not any(
            low < number <= high for high, low in self._postponed[pipeline, exporter, tenant].items()
        )

    def pass_over(self, pipeline: str, exporter: str, tenant: str, position: int, outcomes: Outcomes) -> None:
        """Everything up to and with `position` is done, what was postponed as well; these are the outcomes of what was
        not done before."""
        for low, high in self.postponed(pipeline, exporter, tenant):
            if low < position:
                self.confirm_postponed(pipeline, exporter, tenant, high, min(position, high), Counter())
        if position > self.position(pipeline, exporter, tenant):
            self._move(pipeline, exporter, tenant, position)
        self.account(pipeline, exporter, tenant, outcomes)

    # What became of items.

    def account(self, pipeline: str, exporter: str, tenant: str, outcomes: Outcomes) -> None:
        """Count what became of items of a tenant."""
        for (signal, outcome, reason), items in outcomes.items():
            if items:
                self.ledger[Account(pipeline, exporter, tenant, signal), outcome, reason] += items
                self._write(
                    "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET items = items + excluded.items",
                    *(pipeline, exporter, tenant, signal, outcome, reason, items),
                )

    def dead_lettered(self, account: Account, reason: str) -> list[tuple[Account, str, int]]:
        """What of an exporter and tenant is in dead letters: (account, reason, items), what is like this one first.

        What was translated may be counted under the signal that it came by, and a letter's last answer may differ from
        the one that it was counted by.
        """
        found = [
            (of, why, items)
            for (of, outcome, why), items in self.ledger.items()
            if outcome == Outcome.DEAD_LETTERED and why != DAMAGED and of[:3] == account[:3] and items > 0
        ]
        return sorted(found, key=lambda one: (one[0] != account, one[1] != reason))

    def recount(self, account: Account, reason: str, became: Mapping[tuple[Outcome, str], int]) -> None:
        """Count for items that are dead-lettered for a reason what became of them now, and why; no more than are."""
        for (outcome, why_now), count in became.items():
            left = count
            for of, why, items in self.dead_lettered(account, reason):
                moved = min(left, items)
                left -= moved
                what: Outcomes = Counter({(of.signal, Outcome.DEAD_LETTERED, why): -moved})
                what[of.signal, outcome, why_now] += moved
                self.account(*of[:3], what)

    def _move(self, pipeline: str, exporter: str, tenant: str, position: int) -> None:
        self.cursors[pipeline, exporter, tenant] = position
        self._write(
            "INSERT INTO cursor VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position",
            *(pipeline, exporter, tenant, position),
        )

    def _set_postponed(self, pipeline: str, exporter: str, tenant: str, low: int, high: int) -> None:
        self._postponed[pipeline, exporter, tenant][high] = low
        self._write("INSERT OR REPLACE INTO postponed VALUES (?, ?, ?, ?, ?)", pipeline, exporter, tenant, low, high)

    def _set_absence(self, pipeline: str, exporter: str, known: Registered, absence: tuple[int, int]) -> None:
        others = tuple(other for other in known.absences if other[0] != absence[0])
        self.registered[pipeline, exporter] = replace(known, absences=(*others, absence))
        self._write("INSERT OR REPLACE INTO absence VALUES (?, ?, ?, ?)", pipeline, exporter, *absence)

    def _rebase(self, pipeline: str, exporter: str, accepted: Mapping[tuple[str, Signal], int], sign: int) -> None:
        for (tenant, signal), items in accepted.items():
            self.base[Account(pipeline, exporter, tenant, signal)] += sign * items
            self._write(
                "INSERT INTO base VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET items = items + excluded.items",
                *(pipeline, exporter, tenant, signal, sign * items),
            )
