"""Items that a destination will never take, set aside with what it said; they can be looked at and tried again.

A letter's id is derived from its content, which shows what has been damaged since.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import astuple, dataclass, field, replace
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import orjson

from otel_bridge import otlp_json
from otel_bridge.batch import Batch, Signal
from otel_bridge.delivery.piece import Piece, count
from otel_bridge.errors import ConsumeError, FilesError, UsageError
from otel_bridge.journal.database import (
    DamagedError,
    Database,
    because,
    move_aside,
    open_database,
    open_reading,
    transaction,
)
from otel_bridge.journal.exporters import DAMAGED
from otel_bridge.mistakes import hint
from otel_bridge.model import Translation
from otel_bridge.moments import iso
from otel_bridge.plain_json import clean, dump
from otel_bridge.sides import side_of
from otel_bridge.telemetry import Counters

if TYPE_CHECKING:
    import apsw
    from pydantic import TypeAdapter

VERSION = 2
ANSWER_CHARS = 2048
TRANSLATION = "translation"
MOST_LISTED = 200
TRY_AGAIN_S = 1.0
INSERT = "INSERT INTO letter VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
COUNT = "SELECT exporter, tenant, reason, count(*), sum(length(content)) FROM letter GROUP BY exporter, tenant, reason"
HELD = "SELECT exporter, tenant, reason, letters, bytes FROM held WHERE letters > 0"

Waiting: TypeAlias = Counter[tuple[str, str, str]]
"""Letters by exporter as it is configured, tenant and reason."""

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class DeadLetter:
    """An item that was set aside. One that can not be read any more has an id, and `damaged` as its reason.

    kind: `traces`, `logs`, `metrics`: content is an OTLP request; `translation`: content is JSON.
    reason: a word, as `refused` or `too_large`; answer: what the destination said last, hostile like all content.
    at_ns: when, nanoseconds since 1970.
    items: how many the ledger counts as dead-lettered for it: 0 where it was set aside when it was sent again.
    """

    id: str
    pipeline: str
    exporter: str
    tenant: str
    kind: str
    reason: str
    answer: str
    at_ns: int
    items: int
    content: bytes

    @classmethod
    def of(cls, piece: Piece, *, pipeline: str, exporter: str, reason: str, answer: str, at_ns: int) -> "DeadLetter":
        """The letter for a piece; the same piece of the same exporter always has the same id."""
        if isinstance(piece, Batch):
            kind, content = str(piece.signal), piece.wire
        else:
            kind, content = TRANSLATION, _written(piece)
        return cls(
            id=_id(pipeline, exporter, piece.tenant, kind, content),
            pipeline=pipeline,
            exporter=exporter,
            tenant=piece.tenant,
            kind=kind,
            reason=reason,
            answer=clean(answer[:ANSWER_CHARS]),
            at_ns=at_ns,
            items=count(piece),
            content=content,
        )

    @classmethod
    def unreadable(cls, letter_id: str) -> "DeadLetter":
        """What is told of a letter whose row is damaged."""
        return cls(letter_id, "", "", "", "", DAMAGED, "", 0, 0, b"")

    @property
    def intact(self) -> bool:
        """Whether its content is what was set aside."""
        return self.id == _id(self.pipeline, self.exporter, self.tenant, self.kind, self.content)

    @property
    def signal(self) -> Signal:
        """The signal that its items are counted under; what was translated counts as spans."""
        return Signal.TRACES if self.kind == TRANSLATION else Signal(self.kind)

    def piece(self) -> Piece:
        """What was set aside, to hand it to its exporter again."""
        if self.kind == TRANSLATION:
            return _translations().validate_json(self.content)
        return Batch.from_wire(Signal(self.kind), self.content, tenant=self.tenant)

    def to_dict(self, *, content: bool = False) -> dict[str, Any]:
        """As plain JSON, with what was set aside if asked for."""
        said: dict[str, Any] = {
            "id": self.id,
            "at": iso(self.at_ns),
            "pipeline": self.pipeline,
            "exporter": self.exporter,
            "tenant": self.tenant,
            "kind": self.kind,
            "reason": self.reason,
            "answer": self.answer,
            "items": self.items,
            "bytes": len(self.content),
            "damaged": not self.intact,
        }
        if content:
            said["content"] = self._plain() if self.intact else None
        return said

    def _plain(self) -> Any:
        """Its content as JSON; nothing of a translation that says nothing."""
        if self.kind == TRANSLATION:
            return _without_nothing(orjson.loads(self.content))
        return orjson.loads(otlp_json.dump(Batch.from_wire(Signal(self.kind), self.content).request))


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


class DeadLetters:
    """The letters of a bridge, capped by bytes and age; made by `open_dead_letters`."""

    def __init__(
        self,
        path: Path,
        database: Database,
        counters: Counters,
        max_bytes: int,
        max_age_s: float,
        accounted: bool = True,
    ) -> None:
        self._path = path
        self._database = database
        self._counters = counters
        self._max_bytes = max_bytes
        self._max_age_ns = int(max_age_s * 1e9)
        self._accounted = accounted
        self._rescued: list[DeadLetter] = []  # from a file that was moved aside, and not in the new one yet
        self._waiting: Waiting = Counter()

    def unaccounted(self) -> "DeadLetters":
        """The same file, for letters whose items the ledger has counted before."""
        same = DeadLetters(self._path, self._database, self._counters, self._max_bytes, self._max_age_ns / 1e9, False)
        same._waiting = self._waiting
        return same

    def waiting(self) -> list[dict[str, Any]]:
        """How many letters there are, by exporter as it is configured, tenant and reason: plain JSON."""
        return _plain(self._waiting)

    async def look(self) -> None:
        """Count the letters that were there before."""
        self._counted(await self._database.run(_counted_in))

    async def set_aside(
        self, piece: Piece, *, pipeline: str, exporter: str, reason: str, answer: str, at_ns: int
    ) -> None:
        """Keep a piece that its destination will never take; as `add`."""
        made = partial(
            DeadLetter.of, piece, pipeline=pipeline, exporter=exporter, reason=reason, answer=answer, at_ns=at_ns
        )
        await self.add(await asyncio.to_thread(made))

    async def add(self, letter: DeadLetter) -> None:
        """Keep a letter, on disk when this returns; the oldest go where there are too many (counted).

        Waits as long as the disk does not take it. A file that is damaged is moved aside, and another begins with what
        can be read of it.
        """
        if not self._accounted:
            letter = replace(letter, items=0)
        while True:
            try:
                return await self._change(lambda connection: self._add(connection, letter))
            except ConsumeError:
                await asyncio.sleep(TRY_AGAIN_S)

    async def page(self, chosen: Chosen, limit: int, cursor: str | None = None) -> Page:
        """Some letters, the newest first.

        Raises:
            UsageError: `limit` or `cursor` can not be used.
        """
        return await self._database.run(lambda connection: page_of(connection, chosen, limit, cursor))

    async def list(self, *, exporter: str | None = None) -> Sequence[DeadLetter]:
        """All letters, the newest first, with what they hold."""
        chosen = Chosen(exporter)
        return await self._database.run(
            lambda connection: [letter for letter in letters_in(connection) if chosen.has(letter)]
        )

    async def show(self, letter_id: str) -> DeadLetter | None:
        """A letter by its id."""
        return await self._database.run(lambda connection: letter_of(connection, letter_id))

    async def drop(self, letter_id: str, at_ns: int | None = None) -> bool:
        """Give a letter up (where it was set aside at this time, if that is said); whether there was one.

        Raises:
            ConsumeError: the disk does not take it.
        """
        gone = await self._change(
            lambda connection: list(
                connection.execute(
                    "DELETE FROM letter WHERE id = ?1 AND (?2 IS NULL OR at_ns = ?2) RETURNING 1", (letter_id, at_ns)
                )
            )
        )
        return bool(gone)

    async def answered(self, letter_id: str, reason: str, answer: str) -> None:
        """The destination has refused a letter once more, with this answer.

        Raises:
            ConsumeError: the disk does not take it.
        """
        await self._change(
            lambda connection: connection.execute(
                "UPDATE letter SET reason = ?, answer = ? WHERE id = ?", (reason, answer[:ANSWER_CHARS], letter_id)
            )
        )

    async def _change(self, work: "Callable[[apsw.Connection], T]") -> T:
        def attempt(connection: "apsw.Connection") -> tuple[T, Waiting]:
            with transaction(connection):
                _count(connection)
                connection.executemany(f"{INSERT} ON CONFLICT DO NOTHING", map(astuple, self._rescued))
                done = work(connection)
                waiting = self._capped(connection)
            self._rescued = []
            return done, waiting

        def mended(connection: "apsw.Connection") -> tuple[T, Waiting]:
            import apsw

            try:
                try:
                    return attempt(connection)
                except (apsw.CorruptError, apsw.NotADBError) as error:
                    return attempt(self._begin_anew(connection, error))
            except (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.ReadOnlyError, apsw.CantOpenError) as error:
                self._counters.add("dead_letter_write_failures")
                raise ConsumeError(
                    f"the dead letters in {self._path} can not be written now: {because(error)}"
                ) from error

        try:
            done, waiting = await self._database.run(mended)
        except FilesError as error:
            self._counters.add("dead_letter_write_failures")
            raise ConsumeError(str(error)) from error
        self._counted(waiting)
        return done

    def _counted(self, waiting: Waiting) -> None:
        self._waiting.clear()
        self._waiting.update(waiting)

    def _begin_anew(self, connection: "apsw.Connection", error: Exception) -> "apsw.Connection":
        """Move a damaged file aside, and remember what can be read of it for the new one."""
        found = list(letters_in(connection))
        readable = [letter for letter in found if letter.reason != DAMAGED]
        move_aside(self._path, str(error))
        self._rescued += readable
        self._counters.add("dead_letters_damaged", len(found) - len(readable))
        return self._database.renew()

    def _add(self, connection: "apsw.Connection", letter: DeadLetter) -> None:
        connection.execute(
            f"{INSERT} ON CONFLICT DO UPDATE SET reason = excluded.reason, answer = excluded.answer,"
            " at_ns = excluded.at_ns, items = max(items, excluded.items)",
            astuple(letter),
        )
        gone = list(
            connection.execute("DELETE FROM letter WHERE at_ns < ? RETURNING 1", (letter.at_ns - self._max_age_ns,))
        )
        if gone:
            self._counters.add("dead_letters_removed", len(gone))

    def _capped(self, connection: "apsw.Connection") -> Waiting:
        """Let the oldest go where there is too much, by their lengths alone; returns how many letters are left."""
        [(total,)] = connection.execute("SELECT coalesce(sum(bytes), 0) FROM held")
        while total > self._max_bytes and (
            oldest := list(
                connection.execute(
                    "DELETE FROM letter WHERE id = (SELECT id FROM letter ORDER BY at_ns, rowid LIMIT 1)"
                    " RETURNING length(content)"
                )
            )
        ):
            total -= oldest[0][0]
            self._counters.add("dead_letters_removed")
        return _waiting(connection.execute(HELD))


def _count(connection: "apsw.Connection") -> None:
    """Within a transaction: the connection keeps count of the letters in `held`, from the first time on, and anew when
    somebody else has written to the file; raises apsw.Error: it is damaged."""
    [(version,)] = connection.execute("PRAGMA data_version")
    if not list(connection.execute("SELECT 1 FROM temp.sqlite_schema WHERE name = 'held'")):
        counting = resources.files(__package__).joinpath("dead_letter_held.sql").read_text(encoding="utf-8")
        connection.execute(counting)
    elif list(connection.execute("SELECT 1 FROM counted WHERE data_version = ?", (version,))):
        return
    try:
        rows = list(connection.execute(COUNT))
    except UnicodeDecodeError:
        rows = _rows(connection)
    connection.execute("DELETE FROM held; DELETE FROM counted")
    connection.executemany("INSERT INTO held VALUES (?, ?, ?, ?, ?)", rows)
    connection.execute("INSERT INTO counted VALUES (?)", (version,))


def _waiting(rows: Iterable[Sequence[Any]]) -> Waiting:
    waiting: Waiting = Counter()
    for exporter, tenant, reason, letters, _ in rows:
        waiting[side_of(exporter), tenant, reason] += letters
    return waiting


def _plain(waiting: Waiting) -> list[dict[str, Any]]:
    return [
        {"exporter": exporter, "tenant": tenant, "reason": reason, "letters": letters}
        for (exporter, tenant, reason), letters in sorted((+waiting).items())
    ]


def waiting_in(connection: "apsw.Connection") -> list[dict[str, Any]]:
    """As `DeadLetters.waiting`, of a file."""
    return _plain(_counted_in(connection))


def check_chosen(tenant: str | None, configured: Iterable[str], waiting: Sequence[Mapping[str, Any]]) -> None:
    """Where no letter was found of a tenant: whether there is one of that name.

    Raises:
        UsageError: none is configured, and there is no letter of it.
    """
    known = sorted({*configured, *(one["tenant"] for one in waiting if one["tenant"])})
    if tenant is not None and tenant not in known:
        raise UsageError(f"there is no tenant {tenant[:50]!r}" + hint(tenant, known))


def _counted_in(connection: "apsw.Connection") -> Waiting:
    """How many letters there are, also of a file of which not all can be read."""
    import apsw

    try:
        return _waiting(connection.execute(COUNT))
    except (apsw.Error, UnicodeDecodeError):
        return _waiting(_rows(connection))


def _rows(connection: "apsw.Connection") -> list[tuple[str, str, str, int, int]]:
    """As COUNT says it, letter by letter."""
    letters, sizes = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    for letter in letters_in(connection):
        owner = (letter.exporter, letter.tenant, letter.reason)
        letters[owner] += 1
        sizes[owner] += len(letter.content)
    return [(*owner, letters[owner], sizes[owner]) for owner in letters]


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


def read_letters(path: Path, ask: "Callable[[apsw.Connection], T]") -> T:
    """Ask the file of letters, whether or not a bridge is writing to it.

    Raises:
        FilesError: it is not there, or nothing of it can be read.
    """
    with closing(open_reading(path, VERSION)) as connection:
        return ask(connection)


@asynccontextmanager
async def open_dead_letters(
    path: Path, counters: Counters, *, max_bytes: int = 256 << 20, max_age_s: float = 30 * 86400.0
) -> AsyncIterator[DeadLetters]:
    """Open the file of letters, or begin it; one that is none is moved aside, as delivery must go on without.

    Raises:
        FilesError: it can not be used, or another version of the bridge wrote it.
    """
    schema = resources.files(__package__).joinpath("dead_letter.sql").read_text(encoding="utf-8")
    opened = partial(
        open_database, path, schema, VERSION, synchronous="full", without="what was set aside is then no longer listed"
    )
    async with AsyncExitStack() as stack:
        try:
            database = await stack.enter_async_context(opened())
        except DamagedError as error:
            move_aside(path, str(error))
            database = await stack.enter_async_context(opened())
        letters = DeadLetters(path, database, counters, max_bytes, max_age_s)
        await letters.look()
        yield letters


def _id(pipeline: str, exporter: str, tenant: str, kind: str, content: bytes) -> str:
    owner = f"{pipeline}\0{exporter}\0{tenant}\0{kind}\0".encode()
    return hashlib.sha256(owner + content).hexdigest()[:16]


@cache
def _translations() -> "TypeAdapter[Translation]":
    from pydantic import TypeAdapter

    return TypeAdapter(Translation)  # it takes 40 ms


def _written(translation: Translation) -> bytes:
    """As JSON, also of values that are none: a letter that can not be written would hold up all behind it.

    The same where it was sent again.
    """
    from pydantic_core import PydanticSerializationError

    try:
        return _translations().dump_json(translation, exclude={"again"})
    except PydanticSerializationError:
        return dump(_translations().dump_python(translation, exclude={"again"}, warnings=False)).encode()


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_nothing(inner)
            for key, inner in value.items()
            if inner is not None and inner not in ("", [], {})
        }
    if isinstance(value, list):
        return [_without_nothing(inner) for inner in value]
    return value
