"""The letters of a bridge that runs: kept, counted, tried again, capped by bytes and age."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from otel_bridge.delivery.dead_letter.letter import ANSWER_CHARS, DeadLetter
from otel_bridge.delivery.dead_letter.reading import (
    COUNT,
    VERSION,
    Chosen,
    Page,
    Waiting,
    counted_in,
    letter_of,
    letters_in,
    page_of,
    plain,
    rows_in,
    waiting_of,
)
from otel_bridge.delivery.piece import Piece
from otel_bridge.errors import ConsumeError, FilesError
from otel_bridge.journal.database import DamagedError, Database, because, move_aside, open_database, transaction
from otel_bridge.journal.exporters import DAMAGED
from otel_bridge.telemetry import Counters

if TYPE_CHECKING:
    import apsw

TRY_AGAIN_S = 1.0
INSERT = "INSERT INTO letter VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
HELD = "SELECT exporter, tenant, reason, letters, bytes FROM held WHERE letters > 0"

T = TypeVar("T")


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
        return plain(self._waiting)

    async def look(self) -> None:
        """Count the letters that were there before."""
        self._counted(await self._database.run(counted_in))

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
        return waiting_of(connection.execute(HELD))


def _count(connection: "apsw.Connection") -> None:
    """Within a transaction: the connection keeps count of the letters in `held`, from the first time on, and anew when
    somebody else has written to the file; raises apsw.Error: it is damaged."""
    [(version,)] = connection.execute("PRAGMA data_version")
    if not list(connection.execute("SELECT 1 FROM temp.sqlite_schema WHERE name = 'held'")):
        counting = resources.files(__package__).joinpath("held.sql").read_text(encoding="utf-8")
        connection.execute(counting)
    elif list(connection.execute("SELECT 1 FROM counted WHERE data_version = ?", (version,))):
        return
    try:
        rows = list(connection.execute(COUNT))
    except UnicodeDecodeError:
        rows = rows_in(connection)
    connection.execute("DELETE FROM held; DELETE FROM counted")
    connection.executemany("INSERT INTO held VALUES (?, ?, ?, ?, ?)", rows)
    connection.execute("INSERT INTO counted VALUES (?)", (version,))


@asynccontextmanager
async def open_dead_letters(
    path: Path, counters: Counters, *, max_bytes: int = 256 << 20, max_age_s: float = 30 * 86400.0
) -> AsyncIterator[DeadLetters]:
    """Open the file of letters, or begin it; one that is none is moved aside, as delivery must go on without.

    Raises:
        FilesError: it can not be used, or another version of the bridge wrote it.
    """
    schema = resources.files(__package__).joinpath("letters.sql").read_text(encoding="utf-8")
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
