"""Changes to the state's file: remembered at once, committed soon after, and seen by every question asked after them.

What is handed over without a pause in between is committed together, at most 200 ms later.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from otel_bridge.batch import INT64
from otel_bridge.errors import UnwrittenError
from otel_bridge.journal.database import DamagedError, Database, because, damaged, transaction
from otel_bridge.plain_json import clean
from otel_bridge.telemetry import Counters, logger

if TYPE_CHECKING:
    import apsw

COMMIT_EVERY_S = 0.2
WITHOUT = "all that is still in the journal is delivered again then, some of it twice, and nothing is lost"

Value: TypeAlias = str | int | bytes | None
Change: TypeAlias = tuple[str, tuple[Value, ...]]
Row: TypeAlias = tuple[Any, ...]
T = TypeVar("T")

_at_once: ContextVar[bool] = ContextVar("_at_once", default=False)


@contextmanager
def at_once() -> Iterator[None]:
    """Who asks the state within this does not wait until it can be written: for who holds what others wait for.

    No task is started within: it would not wait either, ever.
    """
    before = _at_once.set(True)
    try:
        yield
    finally:
        _at_once.reset(before)


class Changes:
    """Belongs to the event loop that made it."""

    def __init__(self, path: Path, database: Database, counters: Counters) -> None:
        self._path = path
        self._database = database
        self._damaged: DamagedError | None = None
        self._counters = counters
        self._pending: list[Change] = []
        self._uncommitted: list[Change] = []
        self._failing = False
        self._changed = asyncio.Event()

    def write(self, statement: str, *values: Value) -> None:
        """To be executed with what is next committed: values that the file can not hold are made such here.

        Nobody could do anything about them there, and the journal would bring them again at every start.
        """
        self._pending.append((statement, tuple(map(_storable, values))))
        self._changed.set()

    async def read(self, statement: str, *values: Value) -> list[Row]:
        """What is found when all changes made before are committed, however long it takes until they can be.

        Raises:
            UnwrittenError: they can not be now, and it is asked `at_once`.
        """

        def work(connection: "apsw.Connection") -> list[Row] | None:
            return list(connection.execute(statement, values)) if self._commit(connection, changes) else None

        changes = self._take()
        while (rows := await self._run(work)) is None:
            if _at_once.get():
                raise UnwrittenError("the state can not be written now, the log says why: try again later")
            changes = []
            await asyncio.sleep(COMMIT_EVERY_S)
        return rows

    async def rows(self, table: str) -> list[Row]:
        """All of a table."""
        return await self.read(f"SELECT * FROM {table}")  # noqa: S608 - names that stand in the code

    async def flush(self, *, durable: bool = False) -> bool:
        """Commit what changed; whether it could be. `durable`: it survives the death of the machine as well."""
        changes = self._take()

        def work(connection: "apsw.Connection") -> bool:
            if not self._commit(connection, changes):
                return False
            return not durable or self._attempt(connection, _checkpoint)

        return await self._run(work)

    async def commit_regularly(self) -> None:
        """Commit soon after each change, for ever.

        Raises:
            FilesError: the file is damaged, whoever found out.
        """
        while True:
            await self._changed.wait()
            if self._damaged:
                raise self._damaged
            await asyncio.sleep(COMMIT_EVERY_S)
            self._changed.clear()
            if not await self.flush():
                self._changed.set()

    def _take(self) -> list[Change]:
        changes, self._pending = self._pending, []
        return changes

    def _commit(self, connection: "apsw.Connection", changes: list[Change]) -> bool:
        """On the database's thread, as all that touches `_uncommitted`."""
        self._uncommitted += changes
        if not self._uncommitted:
            return True
        if not self._attempt(connection, self._execute):
            return False
        self._uncommitted = []
        return True

    def _execute(self, connection: "apsw.Connection") -> None:
        with transaction(connection):
            for statement, values in self._uncommitted:
                connection.execute(statement, values)

    def _attempt(self, connection: "apsw.Connection", work: "Callable[[apsw.Connection], None]") -> bool:
        """Whether the disk let it be done; said when that changes."""
        import apsw

        try:
            work(connection)
        except (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.ReadOnlyError, apsw.CantOpenError) as error:
            # Delivery goes on: what is not committed is delivered again after a crash, and nothing is lost.
            self._counters.add("state_commit_failures")
            if not self._failing:
                logger("state").error(
                    "state can not be written, trying again", path=str(self._path), why=because(error)
                )
            self._failing = True
            return False
        if self._failing:
            logger("state").info("state is written again")
        self._failing = False
        return True

    async def _run(self, work: "Callable[[apsw.Connection], T]") -> T:
        import apsw

        try:
            return await self._database.run(work)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            self._damaged = damaged(self._path, error, WITHOUT)
            self._changed.set()
            raise self._damaged from error


def _checkpoint(connection: "apsw.Connection") -> None:
    import apsw

    [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(FULL)")
    if busy:
        raise apsw.BusyError("somebody is reading it")


def _storable(value: Value) -> Value:
    """Integers of 64 bits, and text without half surrogates."""
    if isinstance(value, int):
        return min(max(value, INT64[0]), INT64[-1])
    return clean(value) if isinstance(value, str) else value
