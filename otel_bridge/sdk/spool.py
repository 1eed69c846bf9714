"""What ended is on disk a tenth of a second later, and stays there until the bridge has it.

So an outage costs disk, and a kill costs what that tenth of a second had.

Two senders in a row: the first puts what ended in a file, the second sends what is in files. Each process has files of
its own and holds their locks, so files whose lock is free are what a dead process left: the next one sends them first.
"""

import contextlib
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from otel_bridge.counts import plural
from otel_bridge.sdk.saying import is_time_to_say, log
from otel_bridge.sdk.sending import Sender, UnsendableError
from otel_bridge.sdk.spool_files import HEAD, Record, SpoolFile, make, size_of, take_over

T = TypeVar("T")

Signal = Literal["traces", "logs"]

INTERVAL_S = 0.08  # with encoding and writing a tenth of a second: the most that a kill costs
MAX_BYTES = 256 << 20  # of all files in a folder
FILE_BYTES = 8 << 20  # the next file begins; what was sent of one leaves the disk when all of it was
MAX_FILES = 64  # of dead processes at once
MAX_RECORDS = 256  # in one request
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
        self._files: set[SpoolFile] = set()
        self._begin()
        self._on_disk: Sender[Record] = Sender(
            f"{what} request",
            where,
            self._deliver,
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
        self._current: SpoolFile | None = None
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
        file = take_over(path)
        if file is None:
            return
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

    def _write(self, wire: bytes, items: int) -> Record:
        with self._lock:
            if (there := size_of(self._folder)) + HEAD.size + len(wire) > MAX_BYTES:
                raise OSError(f"{there >> 20} MiB wait there, and {MAX_BYTES >> 20} MiB are the most")
            if self._current is None or self._current.size > FILE_BYTES:
                self._current = make(self._folder, self._signal)
                self._files.add(self._current)
            record = self._current.append(wire, items)
            self._waiting += items
            return record

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

    def _deliver(self, records: Sequence[Record]) -> bool:
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

    def _read(self, record: Record) -> bytes | None:
        """None where it is damaged."""
        with self._lock:
            wire = record.read()
        if wire is None and is_time_to_say("damaged"):
            log.warning(
                "otel-bridge: a record of %s is damaged: %s", record.file.path, plural(record.items, self._what)
            )
        return wire

    def _done(self, records: Sequence[Record]) -> None:
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

    def _forget(self, file: SpoolFile) -> None:
        """While the lock is held, a file of which all was sent."""
        if file is self._current:
            file.clear()
        else:
            self._files.remove(file)
            file.path.unlink(missing_ok=True)
            file.raw.close()

    def _kept(self) -> str:
        return f"kept in {self._folder}: {plural(self._waiting, self._what)}; the next run sends what is left of that."


def can_spool(exporter: Any) -> bool:
    """Whether it sends by OTLP/HTTP, as far as that is known without importing anything."""
    if (by_http := getattr(exporter, "by_http", None)) is not None:
        return bool(by_http)
    module = sys.modules.get(HTTP_CLIENT)
    return module is not None and isinstance(getattr(exporter, "_client", None), module._OTLPHTTPClient)  # noqa: SLF001
