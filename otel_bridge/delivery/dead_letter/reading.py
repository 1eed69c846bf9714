"""The file of dead letters as it is asked, also where not all of it can be read any more."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from otel_bridge.delivery.dead_letter.letter import DeadLetter
from otel_bridge.errors import UsageError
from otel_bridge.journal.database import open_reading
from otel_bridge.mistakes import hint
from otel_bridge.sides import side_of

if TYPE_CHECKING:
    import apsw

VERSION = 2
MOST_LISTED = 200
COUNT = "SELECT exporter, tenant, reason, count(*), sum(length(content)) FROM letter GROUP BY exporter, tenant, reason"

Waiting: TypeAlias = Counter[tuple[str, str, str]]
"""Letters by exporter as it is configured, tenant and reason."""

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class Chosen:
    """Which letters: those of an exporter, of a tenant, with a reason; None for all."""

    exporter: str | None = None
    tenant: str | None = None
    reason: str | None = None

    def has(self, letter: DeadLetter) -> bool:
        """Whether a letter is one of them; an exporter that takes both kinds is one. An unreadable one is anybody's."""
        is_theirs = self.exporter in (None, letter.exporter, side_of(letter.exporter)) and (
            self.tenant in (None, letter.tenant)
        )
        return (is_theirs or not letter.exporter) and self.reason in (None, letter.reason)


@dataclass(slots=True)
class Page:
    """Letters, the newest first.

    cursor: to be given for the next page; None on the last.
    """

    letters: list[dict[str, Any]] = field(default_factory=list)
    cursor: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"letters": self.letters, "nextCursor": self.cursor}


def read_letters(path: Path, ask: "Callable[[apsw.Connection], T]") -> T:
    """Ask the file of letters, whether or not a bridge is writing to it.

    Raises:
        FilesError: it is not there, or nothing of it can be read.
    """
    with closing(open_reading(path, VERSION)) as connection:
        return ask(connection)


def letters_in(connection: "apsw.Connection") -> "Iterator[DeadLetter]":
    """All letters, the newest first; those that can not be read as such, with their ids where an index knows them."""
    import apsw

    for number, letter_id in _numbers(connection):
        try:
            row = next(iter(connection.execute("SELECT * FROM letter WHERE rowid = ?", (number,))), None)
        except (apsw.Error, UnicodeDecodeError):
            yield DeadLetter.unreadable(letter_id)
            continue
        if row is not None:
            yield DeadLetter(*row)


def _numbers(connection: "apsw.Connection") -> list[tuple[int, str]]:
    """The rows that there are, or may be, each with its id (one made of its number where that is not known)."""
    import apsw

    def asked(statement: str) -> list[Any]:
        try:
            return list(connection.execute(statement))
        except (apsw.Error, UnicodeDecodeError):
            return []

    by_time = [number for (number,) in asked("SELECT rowid FROM letter ORDER BY at_ns DESC, rowid DESC")]
    ids = dict(asked("SELECT rowid, id FROM letter INDEXED BY sqlite_autoindex_letter_1"))
    count = asked("SELECT count(*) FROM letter NOT INDEXED")
    if count != [(len(by_time),)]:  # the index can not be trusted: every number there may be
        [(last,)] = asked("SELECT max(rowid) FROM letter") or [(0,)]
        by_time = list(range(max([last or 0, *ids, *by_time]), 0, -1))
    return [(number, ids.get(number, f"{number:016x}")) for number in by_time]


def page_of(connection: "apsw.Connection", chosen: Chosen, limit: int, cursor: str | None) -> Page:
    """See `DeadLetters.page`."""
    if not 1 <= limit <= MOST_LISTED:
        raise UsageError(f"limit is 1 to {MOST_LISTED}")
    page = Page()
    past = cursor is None
    for letter in letters_in(connection):
        if not past:
            past = letter.id == cursor
        elif chosen.has(letter):
            if len(page.letters) == limit:
                page.cursor = page.letters[-1]["id"]
                break
            page.letters.append(letter.to_dict())
    if not past:
        raise UsageError("no such cursor: the letter that it names is gone; begin again without it")
    return page


def letter_of(connection: "apsw.Connection", letter_id: str) -> DeadLetter | None:
    """A letter by its id, or by the beginning of one.

    Raises:
        UsageError: several begin so.
    """
    import apsw

    try:
        if rows := list(connection.execute("SELECT * FROM letter WHERE id = ?", (letter_id,))):
            return DeadLetter(*rows[0])
    except (apsw.Error, UnicodeDecodeError):
        pass  # read with all others, as far as that goes
    found = [letter for letter in letters_in(connection) if letter_id and letter.id.startswith(letter_id)]
    if len(found) > 1:
        raise UsageError(f"{len(found)} letters begin with {letter_id}: give more of the id")
    return found[0] if found else None


def check_chosen(tenant: str | None, configured: Iterable[str], waiting: Sequence[Mapping[str, Any]]) -> None:
    """Where no letter was found of a tenant: whether there is one of that name.

    Raises:
        UsageError: none is configured, and there is no letter of it.
    """
    known = sorted({*configured, *(one["tenant"] for one in waiting if one["tenant"])})
    if tenant is not None and tenant not in known:
        raise UsageError(f"there is no tenant {tenant[:50]!r}" + hint(tenant, known))


def waiting_in(connection: "apsw.Connection") -> list[dict[str, Any]]:
    """As `DeadLetters.waiting`, of a file."""
    return plain(counted_in(connection))


def counted_in(connection: "apsw.Connection") -> Waiting:
    """How many letters there are, also of a file of which not all can be read."""
    import apsw

    try:
        return waiting_of(connection.execute(COUNT))
    except (apsw.Error, UnicodeDecodeError):
        return waiting_of(rows_in(connection))


def rows_in(connection: "apsw.Connection") -> list[tuple[str, str, str, int, int]]:
    """As COUNT says it, read letter by letter."""
    letters, sizes = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    for letter in letters_in(connection):
        owner = (letter.exporter, letter.tenant, letter.reason)
        letters[owner] += 1
        sizes[owner] += len(letter.content)
    return [(*owner, letters[owner], sizes[owner]) for owner in letters]


def waiting_of(rows: Iterable[Sequence[Any]]) -> Waiting:
    """What rows as those of COUNT say, both sides of an exporter as one."""
    waiting: Waiting = Counter()
    for exporter, tenant, reason, letters, _ in rows:
        waiting[side_of(exporter), tenant, reason] += letters
    return waiting


def plain(waiting: Waiting) -> list[dict[str, Any]]:
    """As plain JSON, in order."""
    return [
        {"exporter": exporter, "tenant": tenant, "reason": reason, "letters": letters}
        for (exporter, tenant, reason), letters in sorted((+waiting).items())
    ]
