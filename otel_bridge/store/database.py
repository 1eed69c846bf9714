"""The store's file: opened for its one writer, or for anybody to read; moved aside when it can not be read."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags

from otel_bridge.errors import FilesError
from otel_bridge.files import reason
from otel_bridge.journal.database import because, log_pages, move_aside
from otel_bridge.store.statements import text
from otel_bridge.translate.propagate import MAX_TAGS

if TYPE_CHECKING:
    import apsw

VERSION = 6
"""Of the schema, in SQLite's user_version; a store of an older one is begun anew, as everything in it is derived."""

TOLD = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
"""What a span says of where its parent is: in its own program. Without these bits nobody has told."""
REMOTE = TOLD | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
"""In another one, from which it may never come here."""


def open_writing(path: Path) -> "apsw.Connection":
    """The one connection that writes; the file is made if need be, readable by its owner alone.

    Raises:
        FilesError: it can not be made or opened, or a newer bridge wrote it.
    """
    import apsw

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise FilesError(f"the store {path} can not be written: {reason(path, error)}") from error
    try:
        return _merging(_prepared(path))
    except (apsw.CorruptError, apsw.NotADBError) as error:
        move_aside(path, str(error))
        return open_writing(path)
    except apsw.Error as error:
        raise FilesError(f"the store {path} can not be opened: {because(error)}") from error


def _merging(connection: "apsw.Connection") -> "apsw.Connection":
    """With `merged` in its SQL."""
    connection.create_scalar_function("merged", _merged, 2, deterministic=True)
    return connection


def _merged(*said: Any) -> str | None:
    """A JSON object or list of tags, and another one to be added to it; either may be missing."""
    before, now = said
    if before is None or now is None or before == now:
        return before if now is None else now  # type: ignore[no-any-return]  # columns of text
    known, more = orjson.loads(before), orjson.loads(now)
    both = known | more if isinstance(known, dict) else [*dict.fromkeys([*known, *more])][:MAX_TAGS]
    return orjson.dumps(both).decode()


def _prepared(path: Path) -> "apsw.Connection":
    import apsw

    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(5000)
    version = connection.pragma("user_version")
    if version == VERSION:
        connection.pragma("journal_mode", "wal")
        connection.pragma("wal_autocheckpoint", log_pages(path.parent))
        connection.pragma("synchronous", "normal")
        return connection
    connection.close()
    if version > VERSION:
        raise FilesError(
            f"the store {path} has format {version}, written by a newer bridge; this one knows {VERSION}: "
            "run the newer one, or move the file away to begin a new store"
        )
    if version or path.stat().st_size:
        move_aside(path, f"it has format {version}, this bridge writes {VERSION}")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.pragma("auto_vacuum", "incremental")  # before the first table, or it has no effect
    connection.pragma("journal_mode", "wal")
    connection.pragma("wal_autocheckpoint", log_pages(path.parent))
    connection.pragma("synchronous", "normal")
    with connection:
        connection.execute(text("otel_bridge.store", "schema.sql"))
        connection.pragma("user_version", VERSION)
    return connection


def open_reading(path: Path) -> "apsw.Connection":
    """A connection that can only read, beside a running writer or without one.

    Raises:
        FilesError: there is no store here, or it can not be read, or another version of the bridge wrote it.
    """
    import apsw

    if not path.exists():
        raise FilesError(
            f"there is no store at {path}: start the bridge with the `store` exporter, or name another folder"
        )
    try:
        # READWRITE, as a reader of a write-ahead log may have to make its index; query_only then forbids writing.
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(1000)
        version = connection.pragma("user_version")
        connection.pragma("query_only", True)
    except apsw.Error as error:
        raise FilesError(f"the store {path} can not be read: {because(error)}") from error
    if version != VERSION:
        raise FilesError(f"the store {path} has format {version}, this bridge reads {VERSION}: start the bridge once")
    return connection
