"""What ended is on disk a tenth of a second later, and stays there until the bridge has it.

So an outage costs disk, and a kill costs what that tenth of a second had.

Two senders in a row: the first puts what ended in a file, the second sends what is in files. Each process has files of
its own and holds their locks, so files whose lock is free are what a dead process left: the next one sends them first.

A file is records, one after the other: length, crc32 and number of items in four bytes each, big end first, and the
OTLP request. The first bit of the length says that it was sent. Nothing is synced: the process may die, the machine
should not.
"""

import contextlib
import fcntl
import os
import secrets
import stat
import struct
import sys
import threading
import time
import weakref
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from otel_bridge.counts import plural
from otel_bridge.sdk.saying import is_time_to_say, log
from otel_bridge.sdk.sending import Sender, UnsendableError

T = TypeVar("T")

Signal = Literal["traces", "logs"]

INTERVAL_S = 0.08  # with encoding and writing a tenth of a second: the most that a kill costs
MAX_BYTES = 256 << 20  # of all files in a folder
FILE_BYTES = 8 << 20  # the next file begins; what was sent of one leaves the disk when all of it was
MAX_FILES = 64  # of dead processes at once
MAX_RECORDS = 256  # in one request
TRIES = 3  # to make a file
HEAD = struct.Struct(">III")
SENT = 1 << 31
HTTP_CLIENT = "opentelemetry.exporter.otlp.common.http"
ENCODERS = {
    "traces": ("opentelemetry.exporter.otlp.proto.common.trace_encoder", "encode_spans"),
    "logs": ("opentelemetry.exporter.otlp.proto.common._log_encoder", "encode_logs"),
}
REFUSED = (400, 413, 422)  # what is in the request; for all else it can be mended, and the request be sent then


class Spool(Generic[T]):
    """Sends items as a `Sender` does, by way of a folder. Where that can not be written, they go straight.

    exporter: one that sends by OTLP/HTTP, see `can_spool`; export: by it.
    delay_s: how long a record waits for others on disk.
    """

    def __init__(
        self,
        folder: Path,
        signal: Signal,
        what: str,
        where: str | None,
        exporter: Any,
        export: Callable[[Sequence[T]], bool],
        *,
        max_queue_bytes: int,
        max_queue: int,
        delay_s: float,
        max_batch: int,
        exit_s: float,
    ) -> None:
        self._folder = folder.expanduser().absolute()
        self._signal = signal
        self._what = what
        self._exporter = exporter
        self._export = export
        self._dropped: Counter[str] = Counter()
        self._files: set[_File] = set()
        self._begin()
        self._on_disk: Sender[_Record] = Sender(
            f"{what} request",
            where,
            self._deliver,
            _nothing,
            prepare=self._connect,
            max_queue_bytes=sys.maxsize,  # of what is on disk
            max_queue=sys.maxsize,
            delay_s=delay_s,
            max_batch=MAX_RECORDS,
            exit_s=exit_s,
            kept=self._kept,
            ends_alone=False,
        )
        self._in_memory: Sender[T] = Sender(
            what,
            where,
            self._keep,
            self._end,
            prepare=self._prepare,
            max_queue_bytes=max_queue_bytes,
            max_queue=max_queue,
            delay_s=min(INTERVAL_S, delay_s),
            max_batch=max_batch,
            exit_s=exit_s,
        )
        self.put = self._in_memory.put
        self.close = self._in_memory.close
        self.shutdown = self._in_memory.shutdown
        begin = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: (found := begin()) and found())

    def _begin(self) -> None:
        """Without a file: at the start, and in a forked child, whose parent sends what is in its own."""
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._client: Any = None
        for file in self._files:
            file.raw.close()  # the parent's lock would live as long as the child
        self._files = set()
        self._current: _File | None = None
        self._waiting = 0  # items on disk
        self._is_more_left = False  # by dead processes

    @property
    def dropped(self) -> Counter[str]:
        """Items by the reason for which they were given up."""
        return self._in_memory.dropped + self._dropped

    def flush(self, timeout_s: float | None) -> bool:
        """Whether all that was put before was sent in this time; that it is on disk is not enough."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        is_kept = self._in_memory.flush(timeout_s)
        return self._on_disk.flush(until_s and max(0.0, until_s - time.monotonic())) and is_kept

    async def aflush(self, timeout_s: float) -> bool:
        """`flush` for async code."""
        until_s = time.monotonic() + timeout_s
        is_kept = await self._in_memory.aflush(timeout_s)
        return await self._on_disk.aflush(max(0.0, until_s - time.monotonic())) and is_kept

    # On the thread of what is in memory.

    def _prepare(self) -> None:
        self._on_disk.start()
        import_module(ENCODERS[self._signal][0])
        try:
            for made in (self._folder.parent, self._folder):  # of several only the last gets the mode
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self._warn(error)
        else:
            self._take_over()

    def _take_over(self) -> None:
        """Have what dead processes left sent; of many files some, as each is open meanwhile."""
        self._is_more_left = False
        for path in sorted(self._folder.glob(f"*.{self._signal}.spool")):
            if len(self._files) >= MAX_FILES:
                self._is_more_left = True
                return
            try:
                self._adopt(path)
            except FileNotFoundError:  # another process was faster
                continue
            except OSError as error:
                log.warning("otel-bridge: %s can not be read, and stays where it is: %s", path, error)

    def _adopt(self, path: Path) -> None:
        raw = _locked(path)
        if raw is None:
            return
        file = _File(path, raw, os.fstat(raw.fileno()).st_size)
        records = list(file.records())
        if file.is_torn:
            self._dropped["cut_off"] += 1
            log.warning("otel-bridge: the last record of %s is cut off, as its process was killed over it", path)
        with self._lock:
            self._files.add(file)
            file.left = len(records)
            self._waiting += sum(record.items for record in records)
            if not records:
                self._forget(file)
        for record in records:
            self._on_disk.put(record, record.length)

    def _keep(self, items: Sequence[T]) -> bool:
        module, name = ENCODERS[self._signal]
        wire: bytes = getattr(import_module(module), name)(items).SerializePartialToString()
        try:
            record = self._write(wire, len(items))
        except OSError as error:  # also a disk that is full: the bridge may be there all the same
            self._warn(error)
            self._connect()
            return self._export(items)
        self._on_disk.put(record, record.length)
        return True

    def _write(self, wire: bytes, items: int) -> "_Record":
        written = HEAD.pack(len(wire), zlib.crc32(wire), items) + wire
        with self._lock:
            if (there := _size(self._folder)) + len(written) > MAX_BYTES:
                raise OSError(f"{there >> 20} MiB wait there, and {MAX_BYTES >> 20} MiB are the most")
            if self._current is None or self._current.size > FILE_BYTES:
                self._current = self._new_file()
                self._files.add(self._current)
            file = self._current
            file.append(written)
            file.left += 1
            self._waiting += items
            return _Record(file, file.size - len(written), len(wire), items)

    def _new_file(self) -> "_File":
        for _ in range(TRIES):
            path = self._folder / f"{time.time_ns()}-{os.getpid()}-{secrets.token_hex(4)}.{self._signal}.spool"
            raw = _open(path, os.O_CREAT | os.O_EXCL)
            try:
                if _is_ours(raw):
                    return _File(path, raw, 0)
                owner = os.fstat(raw.fileno()).st_uid
            except OSError:
                _remove(path, raw)  # else each batch would leave one
                raise
            _remove(path, raw)
            if owner != os.geteuid():  # as NFS, CIFS and FUSE have it; nobody would take over what stands in it
                raise OSError(f"what user {os.geteuid()} writes there belongs to user {owner}")
        raise OSError("others take each file that is made")  # for a dead process's, before it is locked

    def _warn(self, error: OSError) -> None:
        if is_time_to_say("spool"):
            log.warning(
                "otel-bridge: %s go without the spool, as nothing can be written to %s: %s",
                f"{self._what}s",
                self._folder,
                error.strerror or error,
            )

    def _end(self) -> None:
        self._is_more_left = False
        self._on_disk.close(self._in_memory.left_s)
        self._on_disk.shutdown()
        self._exporter.shutdown()
        with self._lock:
            for file in self._files:
                file.raw.close()
                if not file.left:
                    with contextlib.suppress(OSError):
                        file.path.unlink()
            self._files = set()
            self._current = None

    # On the thread of what is on disk.

    def _connect(self) -> None:
        with self._connecting:
            if self._client is None:
                if (prepare := getattr(self._exporter, "prepare", None)) is not None:
                    prepare()
                self._client = self._exporter._client  # noqa: SLF001 - no public way takes bytes

    def _deliver(self, records: "Sequence[_Record]") -> bool:
        """Send them in one request: those of one signal, one after the other, are one.

        Raises:
            OSError: not now. UnsendableError: never.
        """
        read = [self._read(record) for record in records]
        request = b"".join(wire for wire in read if wire is not None)
        if request:
            answer = self._client.export(request)
            said = f"{answer.status_code} {answer.reason or ''}".strip()
            if answer.status_code in REFUSED:
                if len(records) == 1:
                    self._dropped["refused"] += records[0].items
                    self._done(records)
                raise UnsendableError(said)
            if not answer.success:
                raise ConnectionError(said if answer.status_code else answer.error or "no answer")
        for record, wire in zip(records, read, strict=True):
            if wire is None:
                self._dropped["damaged"] += record.items
        self._done(records)
        if self._is_more_left and len(self._files) <= 1:
            self._take_over()
        return True

    def _read(self, record: "_Record") -> bytes | None:
        """None where it is damaged."""
        with self._lock:
            found = os.pread(record.file.raw.fileno(), HEAD.size + record.length, record.at)
        wire = found[HEAD.size :]
        if len(wire) == record.length and HEAD.unpack_from(found)[1] == zlib.crc32(wire):
            return wire
        if is_time_to_say("damaged"):
            log.warning(
                "otel-bridge: a record of %s is damaged: %s", record.file.path, plural(record.items, self._what)
            )
        return None

    def _done(self, records: "Sequence[_Record]") -> None:
        with self._lock:
            for record in records:
                file = record.file
                if file not in self._files:  # the program has ended over it; the next run sends it again
                    continue
                self._waiting -= record.items
                file.left -= 1
                with contextlib.suppress(OSError):
                    file.mark_sent(record)
                    if not file.left:
                        self._forget(file)

    def _forget(self, file: "_File") -> None:
        """While the lock is held, a file of which all was sent."""
        if file is self._current:
            file.clear()
        else:
            self._files.remove(file)
            file.path.unlink(missing_ok=True)
            file.raw.close()

    def _kept(self) -> str:
        return f"kept in {self._folder}: {plural(self._waiting, self._what)}; the next run sends what is left of that."


class _File:
    """Records one after the other, of a process that has its lock.

    left: how many of them were not sent.
    """

    def __init__(self, path: Path, raw: FileIO, size: int) -> None:
        self.path = path
        self.raw = raw
        self.size = size
        self.left = 0
        self.is_torn = False

    def append(self, written: bytes) -> None:
        """All of it, or nothing."""
        count = 0
        try:
            count = os.pwrite(self.raw.fileno(), written, self.size)
        finally:
            if count < len(written):
                os.ftruncate(self.raw.fileno(), self.size)
        if count < len(written):
            raise OSError("there is no room for all of it")
        self.size += len(written)

    def records(self) -> "Iterator[_Record]":
        """Those that were not sent."""
        at = 0
        while at < self.size:
            head = os.pread(self.raw.fileno(), HEAD.size, at)
            length, _, items = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0, 0)
            end = at + HEAD.size + (length & ~SENT)
            if not length or end > self.size:
                self.is_torn = True
                return
            if not length & SENT:
                yield _Record(self, at, length, items)
            at = end

    def mark_sent(self, record: "_Record") -> None:
        first = (record.length | SENT) >> 24
        os.pwrite(self.raw.fileno(), bytes([first]), record.at)

    def clear(self) -> None:
        os.ftruncate(self.raw.fileno(), 0)
        self.size = 0


class _Record(NamedTuple):
    """Where a request is; at: that of its head."""

    file: _File
    at: int
    length: int
    items: int


def can_spool(exporter: Any) -> bool:
    """Whether it sends by OTLP/HTTP, as far as that is known without importing anything."""
    if (by_http := getattr(exporter, "by_http", None)) is not None:
        return bool(by_http)
    module = sys.modules.get(HTTP_CLIENT)
    return module is not None and isinstance(getattr(exporter, "_client", None), module._OTLPHTTPClient)  # noqa: SLF001


def _locked(path: Path) -> FileIO | None:
    """A file that is ours alone from now on; None where another process has it, or has removed it."""
    raw = _open(path)
    try:
        if _is_ours(raw):
            return raw
    except BaseException:
        raw.close()
        raise
    raw.close()
    return None


def _open(path: Path, flags: int = 0) -> FileIO:
    return FileIO(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o600), "r+")


def _is_ours(raw: FileIO) -> bool:
    """Locked from now on, and a file of this user's that is still there."""
    try:
        fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    found = os.fstat(raw.fileno())
    return stat.S_ISREG(found.st_mode) and found.st_nlink > 0 and found.st_uid == os.geteuid()


def _remove(path: Path, raw: FileIO) -> None:
    raw.close()
    with contextlib.suppress(OSError):
        path.unlink()


def _size(folder: Path) -> int:
    """Of all spools in it."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(".spool"):
                continue
            with contextlib.suppress(FileNotFoundError):  # it was sent, between
                total += entry.stat(follow_symlinks=False).st_size
    return total


def _nothing() -> None:
    """To shut down."""
