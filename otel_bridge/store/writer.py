"""The store's one writer: batches as they come and translations as they settle; doing it twice is doing it once."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import Batch
from otel_bridge.errors import FilesError, MalformedError, RefusedError, RetryableError, TooLargeError
from otel_bridge.journal.database import because, move_aside, transaction
from otel_bridge.journal.disk import Space
from otel_bridge.model import Translation
from otel_bridge.store.database import open_writing
from otel_bridge.store.provisional import Said, Words
from otel_bridge.store.rows import Rows, became, came, settled_traces
from otel_bridge.store.statements import statements
from otel_bridge.telemetry import Counters

if TYPE_CHECKING:
    import apsw

TRIM_EVERY_S = 30.0
LEAST_ROOM_BYTES = 64 << 10
HEARD_AT_ONCE = 200
"""Spans, in one transaction."""

_Due: TypeAlias = tuple[str, str, int]
"""Tenant, trace id, the last row that was read."""


class Writer:
    """Belongs to one thread. What is older than `max_age_s` or over `max_bytes` goes, oldest traces first.

    now_ns: the wall clock; injected so that retention can be tested.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_age_s: float,
        max_bytes: int,
        counters: Counters,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Open the store.

        Raises:
            FilesError: the file can not be used.
        """
        self._path = path
        self._max_age_ns = int(max_age_s * 1e9)
        self._max_bytes = max_bytes
        self._counters = counters
        self._now_ns = now_ns
        self._sql = statements("otel_bridge.store", "write.sql")
        self._opened: apsw.Connection | None = open_writing(path)
        self._next_trim_ns = 0

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _connection(self) -> "apsw.Connection":
        """Opened anew where a damaged store was to be moved aside, and no other could begin then.

        Raises:
            FilesError: nor can it now.
        """
        if self._opened is None:
            self._opened = open_writing(self._path)
        return self._opened

    def batch(self, batch: Batch) -> None:
        """Keep what came, provisionally.

        Raises:
            RetryableError: the disk is full, or another process holds the file.
            TooLargeError: the disk is so small that it takes less at once.
            RefusedError: the bytes are no OTLP request.
        """
        try:
            rows = came(batch.request, batch.tenant, self._now_ns())
        except MalformedError as error:
            raise RefusedError(str(error)) from error
        self._write(lambda: self._put(rows), len(batch.wire), divisible=batch.item_count > 1)

    def settled(self, translation: Translation) -> None:
        """Keep what it became, and roll its traces up.

        Raises:
            RetryableError: the disk is full, or another process holds the file.
            TooLargeError: the disk is so small that it takes less at once.
            RefusedError: something in it can not be kept.
        """
        seen_ns = self._now_ns()
        try:
            rows = became(translation, seen_ns)
            traces = settled_traces(translation, seen_ns)
        except ValueError as error:
            raise RefusedError(f"the store can not keep a value: {error}") from error

        def put() -> None:
            self._put(rows)
            self._connection.executemany(self._sql["settled_trace"], traces)

        self._write(put, translation.size, divisible=len(translation.observations) > 1)

    def hear(self, for_s: float = 0.1) -> None:
        """Read what spans say whose traces should have settled by now, those that wait longest first; those for which
        there is no time wait for the next call.

        Raises:
            RetryableError: the disk is full, or another process holds the file.
        """
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s and (due := self._due()):
            if not self._has_room(LEAST_ROOM_BYTES):  # nothing is forgotten for what can wait
                raise RetryableError(f"the store {self._path} can not be written now: the disk is full")
            try:
                self._write(partial(self._hear, due, until_s), 0, divisible=False)
            except RetryableError:
                raise
            except Exception:  # a span that can not be read is not read again, nor are others behind it kept waiting
                self._write(partial(self._not_due, due), 0, divisible=False)
                raise

    def _due(self) -> _Due | None:
        import apsw

        try:
            due: Any = self._connection.execute(self._sql["due"], (self._now_ns(),)).fetchone()
        except (apsw.Error, FilesError) as error:
            raise RetryableError(f"the store {self._path} can not be read now: {because(error)}") from error
        return due  # type: ignore[no-any-return]  # of these columns

    def _not_due(self, due: _Due) -> None:
        self._connection.execute(self._sql["not_due"], due[:2])

    def _hear(self, due: _Due, until_s: float) -> None:
        tenant, trace_id, read_to = due
        named = {"tenant": tenant, "trace_id": trace_id}
        next_ones = {**named, "read_to": read_to, "at_most": HEARD_AT_ONCE + 1}  # one more tells whether there are more
        unread: Any = self._connection.execute(self._sql["unread"], next_ones).fetchall()
        words, said, readings = Words(), dict[bytes, Said](), []
        for (number,) in unread:
            row: Any = self._connection.execute(self._sql["unread_span"], (number,)).fetchone()
            span_id, scope, span, resource_id, resource = row
            if resource_id not in said:
                said[resource_id] = Said(Resource.FromString(resource or b""))
            reading = words.hear(Span.FromString(span), scope, said[resource_id])
            readings.append((tenant, trace_id, span_id, *reading))
            read_to = number
            if len(readings) == HEARD_AT_ONCE or time.monotonic() > until_s:
                break
        self._put({"reading": readings, "words": [{**named, **words.of_trace()}]})
        due_ns = self._now_ns() if len(readings) < len(unread) else None
        self._connection.execute(self._sql["read"], {**named, "read_to": read_to, "due_ns": due_ns})

    def _put(self, rows: Rows) -> None:
        for name, values in rows.items():
            if values:
                self._connection.executemany(self._sql[name], values)

    def _write(self, put: Callable[[], None], size: int, *, divisible: bool) -> None:
        """Run `put` in a transaction, and trim when that is due; in a store begun anew if the old one is damaged."""
        import apsw

        def attempt() -> None:
            self._make_room(2 * size + LEAST_ROOM_BYTES, divisible=divisible)
            with transaction(self._connection):
                put()
            self._trim_when_due()

        try:
            try:
                attempt()
            except (apsw.CorruptError, apsw.NotADBError) as error:
                self._connection.close(True)
                self._opened = None
                move_aside(self._path, str(error))
                attempt()
        except (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.LockedError, apsw.ReadOnlyError) as error:
            raise RetryableError(f"the store {self._path} can not be written now: {because(error)}") from error
        except FilesError as error:
            raise RetryableError(str(error)) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise RefusedError(f"the store can not keep a value: {error}") from error

    def _make_room(self, needed: int, *, divisible: bool) -> None:
        """Forget the oldest where the disk is nearly full: else a store that waits for room, and the journal that waits
        for the store, would wait for ever."""
        if self._has_room(needed):
            return
        if needed > Space.of(self._path.parent).kept // 4 and divisible:
            raise TooLargeError(f"the disk of the store {self._path} takes less at once")
        changes = -1
        while not self._has_room(needed) and changes < (changes := self._connection.total_changes()):
            self._forget_oldest("disk_full")
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()  # a step for each page
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if not self._has_room(needed):
            raise RetryableError(f"the store {self._path} can not be written now: the disk is full")

    def _has_room(self, needed: int) -> bool:
        space = Space.of(self._path.parent)
        return space.free - space.kept // 2 >= needed

    def _forget_oldest(self, reason: str) -> None:
        self._forget_traces("oldest_traces", reason)
        with transaction(self._connection):
            self._connection.execute(self._sql["forget_oldest_loose"])
            self._forget_unused()

    def _trim_when_due(self) -> None:
        now_ns = self._now_ns()
        if now_ns >= self._next_trim_ns:
            self._next_trim_ns = now_ns + int(TRIM_EVERY_S * 1e9)
            self.trim()

    def trim(self) -> None:
        """Forget what is too old or too much, counted as `store_forgotten` traces by reason."""
        before_ns = self._now_ns() - self._max_age_ns
        while self._forget_traces("traces_seen_before", "max_age", before_ns):
            pass
        with transaction(self._connection):
            self._connection.execute(self._sql["forget_loose_before"], {"before_ns": before_ns})
            self._forget_unused()
        while self._used_bytes() > self._max_bytes:
            changes = self._connection.total_changes()
            self._forget_oldest("max_bytes")
            if self._connection.total_changes() == changes:
                break
        self._connection.execute("PRAGMA incremental_vacuum").fetchall()  # a step for each page

    def _forget_traces(self, which: str, reason: str, *bindings: int) -> int:
        with transaction(self._connection):
            traces = self._connection.execute(self._sql[which], bindings).fetchall()
            for tenant, trace_id in traces:
                self._connection.execute(self._sql["forget_trace"], {"tenant": tenant, "trace_id": trace_id})
        if traces:
            self._counters.add("store_forgotten", len(traces), reason=reason)
        return len(traces)

    def _forget_unused(self) -> None:
        self._connection.execute(self._sql["forget_unused_resources"], {"now_ns": self._now_ns()})

    def _used_bytes(self) -> int:
        pragma = self._connection.pragma
        used: int = (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
        return used
