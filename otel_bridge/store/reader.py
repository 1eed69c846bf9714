"""Questions to the store, all that one reader asks within one time limit."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from otel_bridge.errors import BridgeError, FilesError
from otel_bridge.journal.database import because
from otel_bridge.store.database import open_reading

if TYPE_CHECKING:
    import apsw

STEPS_BETWEEN_LOOKS = 20_000
"""Of SQLite's virtual machine, about a millisecond: how often a running query looks at the clock."""

Row: TypeAlias = dict[str, Any]


class SlowQuestionError(BridgeError):
    """The store did not answer in time; a narrower question may do."""


class Reader:
    """Belongs to one thread; `reading` opens it."""

    def __init__(self, connection: "apsw.Connection", budget_s: float) -> None:
        self._connection = connection
        self._budget_s = budget_s
        self._deadline = time.monotonic() + budget_s
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, STEPS_BETWEEN_LOOKS)
        connection.row_trace = lambda cursor, row: dict(
            zip((column[0] for column in cursor.get_description()), row, strict=True)
        )

    def rows(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """All rows of a SELECT, as dictionaries by column name.

        Raises:
            SlowQuestionError: the reader's time is up.
            FilesError: the file is damaged.
        """
        with self._mistakes():
            return cast("list[Row]", self._connection.execute(sql, values).fetchall())  # the row trace makes them

    def each(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Iterator[Row]:
        """The rows of a SELECT, of which only one at a time is in memory; raises as `rows`, and while they are read."""
        with self._mistakes():
            rows = self._connection.execute(sql, values)
        while True:
            with self._mistakes():
                row = cast("Row | None", next(rows, None))
            if row is None:
                return
            if time.monotonic() > self._deadline:  # what is done with a row takes no steps of SQLite
                raise self._slow()
            yield row

    def row(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Row | None:
        """The first row of a SELECT, or None; raises as `rows`."""
        return next(iter(self.rows(sql, values)), None)

    @contextmanager
    def _mistakes(self) -> Iterator[None]:
        import apsw

        try:
            yield
        except apsw.InterruptError as error:
            raise self._slow() from error
        except (apsw.CorruptError, apsw.NotADBError, apsw.IOError) as error:
            raise FilesError(f"the store {self._connection.filename} can not be read: {because(error)}") from error

    def _slow(self) -> SlowQuestionError:
        return SlowQuestionError(
            f"the store did not answer within {self._budget_s:g} s: narrow the filter, as by name, session or age"
        )


@contextmanager
def reading(path: Path, budget_s: float = 2.0) -> Iterator[Reader]:
    """Open the store at `path` for questions that may take `budget_s` in all.

    Raises:
        FilesError: there is no store, or it can not be read.
    """
    connection = open_reading(path)
    try:
        connection.execute("BEGIN")  # all answers from one moment
        yield Reader(connection, budget_s)
    finally:
        connection.close()
