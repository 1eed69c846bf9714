"""The exporters that a journal has or had: which entries concern each of them, and how many items those are."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from otel_bridge.batch import Signal

NEVER = (1 << 63) - 1  # the highest integer of SQLite


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
