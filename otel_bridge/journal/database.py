"""A small SQLite file that one thread works on, so that the event loop never waits for a disk."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from otel_bridge.errors import FilesError

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")


class Database:
    """A connection and its thread; made by `open_database`."""

    def __init__(self, connection: "apsw.Connection", thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    async def run(self, work: "Callable[[apsw.Connection], T]") -> T:
        """What `work` returns; one call after the other, in the order they were asked for.

        If cancelled, the work is done all the same: a cancelled future would take it out of the thread's queue.
        """
        asked = asyncio.get_running_loop().run_in_executor(self._thread, work, self._connection)
        return await asyncio.shield(asked)


@asynccontextmanager
async def open_database(path: Path, schema: str, version: int, *, synchronous: str) -> AsyncIterator[Database]:
    """Open a file, or make it by the statements of `schema`; readable by its owner alone.

    Raises:
        FilesError: it can not be used, or a newer bridge wrote it.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=path.stem) as thread:
        connection = await loop.run_in_executor(thread, _opened, path, schema, version, synchronous)
        try:
            yield Database(connection, thread)
        finally:
            await loop.run_in_executor(thread, connection.close)


def _opened(path: Path, schema: str, version: int, synchronous: str) -> "apsw.Connection":
    import apsw

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(5000)
        found = connection.pragma("user_version")
        if found not in (0, version):
            connection.close()
            raise wrong_version(path, found, version)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", synchronous)
        if found == 0:
            with connection:
                connection.execute(schema)
                connection.pragma("user_version", version)
    except OSError as error:
        raise FilesError(f"{path} can not be used: {error.strerror}") from error
    except apsw.Error as error:
        raise FilesError(
            f"{path} can not be used: {error}; move it away, with what begins like it, to go on"
        ) from error
    return connection


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
        raise FilesError(f"{path} can not be read: {error}") from error
    if found != version:
        connection.close()
        raise wrong_version(path, found, version)
    return connection


def wrong_version(path: Path, found: int, known: int) -> FilesError:
    """The refusal of a file in another format; the file is left as it is."""
    return FilesError(f"{path} has format {found}, this bridge knows {known}: run the version that wrote it")
