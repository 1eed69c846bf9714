"""A small SQLite file that one thread works on, so that the event loop never waits for a disk."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from otel_bridge.errors import FilesError
from otel_bridge.files import reason
from otel_bridge.journal.disk import Space
from otel_bridge.telemetry import logger

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")

HELPS = {  # what to do, by the class of SQLite's error
    "IOError": "the system's log (`dmesg`) says whether the disk fails; a limit of the size of files (`ulimit -f`) and "
    "many file systems over a network do that too: name a data_dir on a disk of this machine",
    "FullError": "make room there",
    "ReadOnlyError": "give the user of the bridge that file and its folder, to write",
    "CantOpenError": "give the user of the bridge that file and its folder, or raise the limit of open files "
    "(`ulimit -n`)",
    "BusyError": "another program holds it: end that one",
    "LockedError": "another program holds it: end that one",
    "CorruptError": "move it away, with what begins like it, and start the bridge again",
    "NotADBError": "move it away, with what begins like it, and start the bridge again",
}


@contextmanager
def transaction(connection: "apsw.Connection") -> Iterator[None]:
    """All of it or nothing. (A connection's own `with` fails where a full disk has made SQLite roll back itself.)"""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class DamagedError(FilesError):
    """The file is no database any more, or parts of it can not be read."""


class Database:
    """A connection and its thread; made by `open_database`."""

    def __init__(self, opened: "Callable[[], apsw.Connection]", thread: ThreadPoolExecutor) -> None:
        self._opened = opened
        self._thread = thread
        self._connection: apsw.Connection | None = opened()

    def close(self) -> None:
        """Let go of the file; on the thread."""
        if self._connection is not None:
            self._connection.close()

    def renew(self) -> "apsw.Connection":
        """Open it anew, after it was moved aside; on the thread. Where that fails, it is tried with what is done next.

        Raises:
            FilesError: it can not be opened now.
        """
        if self._connection is not None:
            self._connection.close(True)
            self._connection = None
        return self._there()

    def _there(self) -> "apsw.Connection":
        if self._connection is None:
            self._connection = self._opened()
        return self._connection

    async def run(self, work: "Callable[[apsw.Connection], T]") -> T:
        """What `work` returns; one call after the other, in the order they were asked for.

        If cancelled, the work is done all the same: a cancelled future would take it out of the thread's queue.
        """
        asked = asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._there()))
        return await asyncio.shield(asked)


@asynccontextmanager
async def open_database(
    path: Path, schema: str, version: int, *, synchronous: str, without: str
) -> AsyncIterator[Database]:
    """Open a file, or make it by the statements of `schema`; readable by its owner alone.

    without: what happens if somebody moves it away, to tell who may have to.

    Raises:
        FilesError: it can not be used, or another version of the bridge wrote it.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=path.stem) as thread:
        opened = partial(_opened, path, schema, version, synchronous, without)
        database = await loop.run_in_executor(thread, Database, opened, thread)
        try:
            yield database
        finally:
            await loop.run_in_executor(thread, database.close)


def _opened(path: Path, schema: str, version: int, synchronous: str, without: str) -> "apsw.Connection":
    import apsw

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(5000)
        found = connection.pragma("user_version")
        if found not in (0, version):
            connection.close()
            raise wrong_version(path, found, version, without)
        connection.pragma("journal_mode", "wal")
        connection.pragma("wal_autocheckpoint", log_pages(path.parent))
        connection.pragma("synchronous", synchronous)
        if found == 0:
            with connection:
                connection.execute(schema)
                connection.pragma("user_version", version)
    except OSError as error:
        raise FilesError(f"{path} can not be used: {reason(path, error)}") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise damaged(path, error, without) from error
    except apsw.Error as error:
        raise FilesError(f"{path} can not be used: {because(error)}") from error
    return connection


def because(error: Exception) -> str:
    """What SQLite says, with its own name for it where that tells more, and what to do; of others their text."""
    import apsw

    code = apsw.mapping_extended_result_codes.get(getattr(error, "extendedresult", 0))
    helps = HELPS.get(type(error).__name__)
    return f"{error}{f' ({code})' if code else ''}{f'; {helps}' if helps else ''}"


def log_pages(directory: Path) -> int:
    """After how many pages a write-ahead log begins again: 4 MiB as usual, less where the disk is small."""
    return max(16, min(1000, Space.of(directory).total // 64 // 4096))


def damaged(path: Path, error: Exception, without: str) -> DamagedError:
    """The refusal of a file that can not be read."""
    return DamagedError(
        f"{path} is damaged ({error}): move it away, with what begins like it, and start again; {without}"
    )


def move_aside(path: Path, why: str) -> None:
    """Give a file another name, so that a new one can begin; its write-ahead log goes with it.

    Raises:
        FilesError: it has to keep its name.
    """
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.unreadable-{stamp}")
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise FilesError(f"{path} can not be used ({why}), nor moved aside: {reason(path, error)}") from error
    logger(path.stem).error(f"{path.stem} moved aside, a new one begins", path=str(path), aside=str(aside), why=why)


def open_reading(path: Path, version: int) -> "apsw.Connection":
    """A connection that can only read, beside a running writer or without one.

    Raises:
        FilesError: it is not there, can not be read, or has another format.
    """
    import apsw

    if not path.exists():
        raise FilesError(f"{path} is not there: no bridge has run on this folder")
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)  # a WAL's reader makes its index
        connection.set_busy_timeout(5000)
        connection.pragma("query_only", True)
        found = connection.pragma("user_version")
    except apsw.Error as error:
        raise FilesError(f"{path} can not be read: {because(error)}") from error
    if found != version:
        connection.close()
        raise wrong_version(path, found, version)
    return connection


def wrong_version(path: Path, found: int, known: int, without: str | None = None) -> FilesError:
    """The refusal of a file in another format; the file is left as it is."""
    other = f", or move it away, with what begins like it; {without}" if without else ""
    return FilesError(f"{path} has format {found}, this bridge knows {known}: run the version that wrote it{other}")
