"""Items that a destination will never take, set aside with what it said; they can be looked at and tried again."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_bridge.batch import Batch, Signal
from otel_bridge.delivery.piece import Piece
from otel_bridge.journal.database import DamagedError, Database, move_aside, open_database, transaction
from otel_bridge.model import Translation
from otel_bridge.telemetry import Counters

if TYPE_CHECKING:
    import apsw
    from pydantic import TypeAdapter

VERSION = 1
ANSWER_CHARS = 2048
TRANSLATION = "translation"
TRY_AGAIN_S = 1.0


@dataclass(slots=True, frozen=True)
class DeadLetter:
    """An item that was set aside.

    kind: `traces`, `logs`, `metrics`: content is an OTLP request; `translation`: content is JSON.
    reason: a word, as `refused` or `too_large`; answer: what the destination said, hostile like all content.
    at_ns: when, nanoseconds since 1970.
    """

    id: str
    pipeline: str
    exporter: str
    tenant: str
    kind: str
    reason: str
    answer: str
    at_ns: int
    content: bytes

    @classmethod
    def of(cls, piece: Piece, *, pipeline: str, exporter: str, reason: str, answer: str, at_ns: int) -> "DeadLetter":
        """The letter for a piece; the same piece of the same exporter always has the same id."""
        if isinstance(piece, Batch):
            kind, content = str(piece.signal), piece.wire
        else:
            kind, content = TRANSLATION, _translations().dump_json(piece)
        owner = f"{pipeline}\0{exporter}\0{piece.tenant}\0{kind}\0".encode()
        return cls(
            id=hashlib.sha256(owner + content).hexdigest()[:16],
            pipeline=pipeline,
            exporter=exporter,
            tenant=piece.tenant,
            kind=kind,
            reason=reason,
            answer=answer[:ANSWER_CHARS],
            at_ns=at_ns,
            content=content,
        )

    def piece(self) -> Piece:
        """What was set aside, to hand it to its exporter again."""
        if self.kind == TRANSLATION:
            return _translations().validate_json(self.content)
        return Batch.from_wire(Signal(self.kind), self.content, tenant=self.tenant)


class DeadLetters:
    """The letters of a bridge, capped by bytes and age; made by `open_dead_letters`."""

    def __init__(self, path: Path, database: Database, counters: Counters, max_bytes: int, max_age_s: float) -> None:
        self._path = path
        self._database = database
        self._counters = counters
        self._max_bytes = max_bytes
        self._max_age_ns = int(max_age_s * 1e9)

    async def add(self, letter: DeadLetter) -> None:
        """Keep a letter, on disk when this returns; the oldest go where there are too many (counted).

        Waits as long as the disk does not take it. A file that is damaged is moved aside, and another begins.
        """
        while not await self._database.run(lambda connection: self._attempt(connection, letter)):  # noqa: ASYNC110
            await asyncio.sleep(TRY_AGAIN_S)

    async def list(self, *, exporter: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """The newest letters first; of those that can not be read any more only the id, with the reason `damaged`."""
        return await self._database.run(lambda connection: _list(connection, exporter, limit))

    async def show(self, letter_id: str) -> DeadLetter | None:
        """A letter by its id."""
        found = await self._database.run(
            lambda connection: list(connection.execute("SELECT * FROM letter WHERE id = ?", (letter_id,)))
        )
        return DeadLetter(*found[0]) if found else None

    async def drop(self, letter_id: str) -> bool:
        """Give a letter up; whether there was one."""
        gone = await self._database.run(
            lambda connection: list(connection.execute("DELETE FROM letter WHERE id = ? RETURNING 1", (letter_id,)))
        )
        return bool(gone)

    def _attempt(self, connection: "apsw.Connection", letter: DeadLetter) -> bool:
        """Whether the disk took it."""
        import apsw

        try:
            self._add(connection, letter)
        except (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.ReadOnlyError, apsw.CantOpenError):
            self._counters.add("dead_letter_write_failures")
            return False
        except (apsw.CorruptError, apsw.NotADBError) as error:
            move_aside(self._path, str(error))
            self._database.renew()
            return False
        return True

    def _add(self, connection: "apsw.Connection", letter: DeadLetter) -> None:
        with transaction(connection):
            connection.execute(
                "INSERT INTO letter VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET reason = excluded.reason, answer = excluded.answer",
                astuple(letter),
            )
            gone = list(
                connection.execute("DELETE FROM letter WHERE at_ns < ? RETURNING 1", (letter.at_ns - self._max_age_ns,))
            )
            [(total,)] = connection.execute("SELECT coalesce(sum(length(content)), 0) FROM letter")
            while total > self._max_bytes:
                [(size,)] = connection.execute(
                    "DELETE FROM letter WHERE id = (SELECT id FROM letter ORDER BY at_ns, rowid LIMIT 1)"
                    " RETURNING length(content)"
                )
                total -= size
                gone.append((1,))
        if gone:
            self._counters.add("dead_letters_removed", len(gone))


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
        yield DeadLetters(path, database, counters, max_bytes, max_age_s)


def _list(connection: "apsw.Connection", exporter: str | None, limit: int) -> list[DeadLetter]:
    import apsw

    rows = "SELECT * FROM letter WHERE ?1 IS NULL OR exporter = ?1 ORDER BY at_ns DESC, rowid DESC LIMIT ?2"
    try:
        return [DeadLetter(*row) for row in connection.execute(rows, (exporter, limit))]
    except apsw.CorruptError:
        pass
    letters: list[DeadLetter] = []
    bad: list[DeadLetter] = []
    ids: list[Any] = connection.execute("SELECT id FROM letter INDEXED BY sqlite_autoindex_letter_1").fetchall()
    for (letter_id,) in ids:
        try:
            letters += (
                DeadLetter(*row) for row in connection.execute("SELECT * FROM letter WHERE id = ?", (letter_id,))
            )
        except apsw.CorruptError:
            bad.append(DeadLetter(letter_id, "", "", "", "", "damaged", "", 0, b""))
    letters.sort(key=lambda letter: letter.at_ns, reverse=True)
    return [*(letter for letter in letters if exporter in (None, letter.exporter)), *bad][:limit]


def _translations() -> "TypeAdapter[Translation]":
    from pydantic import TypeAdapter

    return TypeAdapter(Translation)
