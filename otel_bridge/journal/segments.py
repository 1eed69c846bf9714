"""The embedded journal: append-only files, one fdatasync for all who wait at the moment.

All changes to the files are made on one thread that the journal owns; the loop only waits for it. After a failed
write or sync a segment is never touched again: what the system still holds of it in memory may differ from the disk.
"""

import asyncio
import errno
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from otel_bridge.batch import Batch
from otel_bridge.clock import Clock
from otel_bridge.errors import JournalFullError, RetryableError
from otel_bridge.files import NO_SPACE
from otel_bridge.journal.disk import Disk, Space, UnsyncedDisk, held, own_directory, unusable
from otel_bridge.journal.reader import Reader
from otel_bridge.journal.record import (
    FIRST_RECORD,
    KINDS,
    MOST_NAME_BYTES,
    RECORD_BYTES,
    Head,
    Record,
    pack_counts,
    pack_head,
    pack_mark,
    pack_record,
)
from otel_bridge.journal.recovery import recover
from otel_bridge.journal.repair import Quarantine, repair, report, write_index
from otel_bridge.journal.segment import Segment
from otel_bridge.telemetry import Counters, logger

ROOM_AGAIN = 0.9  # once full, accept again below this part of max_bytes
FULL_DISK_PAUSE_S = 1.0
COMMIT_TIMEOUT_S = 10.0  # senders give up after about as long
MARK_BYTES = 128  # what comes after each commit, about
FAILURES_TO_UNHEALTHY = 3
RESERVE_BYTES = 64 << 10  # given up when the disk is full, so that a new segment can begin and the old one can go


@dataclass(slots=True)
class _Append:
    """What one caller of `append` waits for."""

    entries: Sequence[tuple[str, Batch]]
    size: int
    received_ns: int
    done: asyncio.Future[None]


class Segments(Reader):
    """A Journal on local files; made by `open_segments`. Appending and waiting belong to the loop it was opened on,
    everything else may be called from any thread.

    doubt: why what the system calls synced may not be safe on this file system; None if nothing is known against it.
    make_room: lets older entries go, to be called before an append that has no room; None where new ones are refused.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int,
        keep_bytes: int,
        segment_bytes: int,
        commit_bytes: int,
        commit_timeout_s: float,
        disk: Disk,
        counters: Counters,
        thread: ThreadPoolExecutor,
    ) -> None:
        super().__init__([], 1, counters)
        self._directory = directory
        self.limit(max_bytes=max_bytes, keep_bytes=keep_bytes, segment_bytes=segment_bytes)
        self._commit_bytes = commit_bytes
        self._commit_timeout_s = commit_timeout_s
        self._disk = disk
        self.doubt = disk.doubt(directory)
        self._quarantine = Quarantine(directory, disk)
        self._thread = thread
        self._clock = Clock()
        self._log = logger("journal")
        self._loop = asyncio.get_running_loop()
        # on the loop
        self._pending: deque[_Append] = deque()
        self._pending_bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._waiting: dict[asyncio.Future[None], int] = {}
        self.make_room: Callable[[int], Awaitable[None]] | None = None
        self._closed = False
        self._full = False
        self._stalled = False
        # on the thread
        self._fd: int | None = None  # of the last segment, while it takes entries
        self._sealed_bytes = 0
        self._failures = 0
        self._trim_below = 0
        self._no_space_until = 0.0  # monotonic

    @property
    def healthy(self) -> bool:
        """False after three failed writes in a row, and while the disk does not answer.

        Appending is still tried after failures, and heals it when it succeeds.
        """
        return self._failures < FAILURES_TO_UNHEALTHY and not self._stalled

    @property
    def used_bytes(self) -> int:
        """What the segments take on disk."""
        return self._sealed_bytes + (self._segments[-1].disk_bytes if self._segments else 0)

    def limit(self, *, max_bytes: int, keep_bytes: int, segment_bytes: int) -> None:
        """From now on these, as for `open_segments`; what is there already stays as it is."""
        most = min(
            max_bytes // 8, Space.of(self._directory).total // 16
        )  # a full journal must have something to let go
        self._max_bytes = max_bytes
        self._keep_bytes = keep_bytes
        self._segment_bytes = max(min(segment_bytes, most), 1)

    async def append(self, entries: Sequence[tuple[str, Batch]]) -> None:
        """Make (pipeline, batch) pairs durable together, all or none; on disk when this returns.

        Where they would exceed `max_bytes`, `make_room` is called first, if there is one.
        If cancelled, they may be on disk or not.

        Raises:
            JournalFullError: they would exceed `max_bytes`, or the disk is full or failing; nothing was written.
            RetryableError: the journal is closing, or the disk did not answer in time: it may be stored or not.
            MalformedError: a batch whose items nobody had counted yet can not be read.
            ValueError: a pipeline or tenant has a name that is no UTF-8 text of at most 65,535 bytes.
        """
        if self._closed:
            raise RetryableError("the journal is closing", retry_after_s=1)
        if not entries:
            return
        size = 0
        for pipeline, batch in entries:
            names = len(pipeline.encode()), len(batch.tenant.encode())
            if max(names) > MOST_NAME_BYTES:
                raise ValueError(f"a name of {max(names)} bytes is longer than {MOST_NAME_BYTES}")
            size += RECORD_BYTES + sum(names) + len(batch.wire)
            _ = batch.item_count  # counted here, where what is wrong with a batch is still its sender's
        if self.make_room is not None and self.oldest(size) is not None:
            await self.make_room(size)
            if self._closed:
                raise RetryableError("the journal is closing", retry_after_s=1)
        self._admit(size)
        waiting = _Append(entries, size, self._clock.steady_ns(), self._loop.create_future())
        self._pending.append(waiting)
        self._pending_bytes += size
        if self._idle.is_set():
            self._idle.clear()
            self._loop.call_soon(self._start_commit)  # whoever else is ready in this turn of the loop comes along
        await waiting.done

    async def wait(self, seq: int) -> None:
        """Return when the entry `seq` is durable (at once if it is)."""
        if seq < self._next_seq:
            return
        reached = self._loop.create_future()
        self._waiting[reached] = seq
        try:
            await reached
        finally:
            del self._waiting[reached]

    def trim(self, below_seq: int) -> None:
        """Let go of entries below; whole segments disappear soon after, when nothing else lies in them."""
        self._trim_below = max(self._trim_below, below_seq)
        segments = self._segments
        if not self._closed and len(segments) > 1 and segments[0].end_seq <= below_seq:
            self._thread.submit(self._trim).add_done_callback(Future.result)  # what it raises is logged

    def oldest(self, size: int) -> int | None:
        """Below which entry all has to go so that `size` bytes more have room; None where they have, or nothing can
        go. More goes than is needed, so that not every append asks again."""
        used = self.used_bytes - self._spare_bytes() + self._pending_bytes + size + MARK_BYTES
        if used <= self._max_bytes:
            return None
        end_seq = None
        for segment in self._segments[:-1]:
            if segment.end_seq > self._trim_below:
                used -= segment.disk_bytes
                end_seq = segment.end_seq
            if used < ROOM_AGAIN * self._max_bytes:
                break
        return end_seq

    async def recover(self, least_seq: int) -> None:
        """Read what is there, and begin a new segment after it."""
        await self._loop.run_in_executor(self._thread, self._recover, least_seq)

    async def close(self) -> None:
        """Finish what was begun, and seal the last segment."""
        self._closed = True
        await self._idle.wait()
        await self._loop.run_in_executor(self._thread, self._seal)

    # on the loop

    def _admit(self, size: int) -> None:
        """Raises JournalFullError where there is no room, or no hope of it."""
        if self._stalled:
            self._refuse("the disk of the journal does not answer", "stalled")
        if time.monotonic() < self._no_space_until:
            self._refuse("the disk of the journal is full")
        used, was_full = self.used_bytes, self._full
        wanted = self._pending_bytes + size + MARK_BYTES
        if used + wanted > ROOM_AGAIN * self._max_bytes and (spare := self._spare_bytes()):
            self._thread.submit(self._trim).add_done_callback(Future.result)  # before what is written next
            used -= spare
        over = used + wanted > self._max_bytes
        stays_full = was_full and self.make_room is None  # else a smaller one would be refused, for which none is made
        self._full = used >= ROOM_AGAIN * self._max_bytes and (over or stays_full)
        if self._full and not was_full:
            self._log.warning(
                "the journal is full: new data is refused until exporters have caught up",
                used_bytes=used,
                max_bytes=self._max_bytes,
            )
        if over or self._full:
            self._refuse(f"the journal holds {used} of max_bytes {self._max_bytes}")

    def _spare_bytes(self) -> int:
        """What could go at once, and is only kept to be sent again."""
        return sum(segment.disk_bytes for segment in self._segments[:-1] if segment.end_seq <= self._trim_below)

    def _refuse(self, why: str, reason: str = "full") -> None:
        self._counters.add("journal_refused", reason=reason)
        raise JournalFullError(f"{why}: nothing was written; send again later", retry_after_s=1)

    def _start_commit(self) -> None:
        group: list[_Append] = []
        size = 0
        while self._pending and (not group or size + self._pending[0].size <= self._commit_bytes):
            waiting = self._pending.popleft()
            self._pending_bytes -= waiting.size
            if not waiting.done.done():  # else cancelled
                group.append(waiting)
                size += waiting.size
        if group:
            committed = self._loop.run_in_executor(self._thread, self._commit, group, size)
            deadline = self._loop.call_later(self._commit_timeout_s, self._give_up, group)
            committed.add_done_callback(partial(self._release, group, deadline))
        else:
            self._idle.set()

    def _give_up(self, group: list[_Append]) -> None:
        """Let nobody wait any longer for a disk that does not answer, and nobody come until it does."""
        self._stalled = True
        self._counters.add("journal_stalls")
        self._log.error(
            "the disk of the journal does not answer: new data is refused until it does",
            directory=str(self._directory),
            waited_s=self._commit_timeout_s,
        )
        for waiting in (*group, *self._pending):
            if not waiting.done.done():
                waiting.done.set_exception(
                    RetryableError(
                        f"the disk of the journal did not answer within {self._commit_timeout_s:g} s: send again",
                        retry_after_s=1,
                    )
                )

    def _release(
        self, group: list[_Append], deadline: asyncio.TimerHandle, committed: asyncio.Future[str | None]
    ) -> None:
        deadline.cancel()
        self._stalled = False
        unexpected = committed.exception()
        failure = None if unexpected else committed.result()
        for waiting in group:
            if waiting.done.done():
                continue
            if unexpected:
                waiting.done.set_exception(unexpected)
            elif failure:
                waiting.done.set_exception(JournalFullError(failure, retry_after_s=1))
            else:
                waiting.done.set_result(None)
        for reached, seq in self._waiting.items():
            if seq < self._next_seq and not reached.done():
                reached.set_result(None)
        self._start_commit()

    # on the thread

    def _recover(self, least_seq: int) -> None:
        found = recover(self._directory)
        try:
            repair(found, self._directory, self._disk, self._quarantine)
            self._segments = found.segments
            self._next_seq = max(found.next_seq, least_seq)
            self._sealed_bytes = sum(segment.disk_bytes for segment in found.segments)
            self._begin_segment()
        except OSError as error:
            raise unusable(self._directory, error) from error
        if self.doubt:
            self._log.warning(
                "this place may not keep what it was given", directory=str(self._directory), why=self.doubt
            )
        report(found, self._directory, self._counters)

    def _commit(self, group: list[_Append], size: int) -> str | None:
        """Write, sync, and only then show a group; returns why that failed."""
        try:
            if self._fd is None or (self._segments[-1].items and self._segments[-1].size + size > self._segment_bytes):
                self._seal()
                self._begin_segment()
            self._disk.require(self._directory, size)
        except OSError as error:
            return self._failed(error)
        segment, fd = self._segments[-1], self._fd
        assert fd is not None  # noqa: S101 - a segment has just begun where there was none
        seq = self._next_seq
        parts: list[bytes] = []
        records: list[tuple[Record, int]] = []
        for waiting in group:
            for member, (pipeline, batch) in enumerate(waiting.entries):
                record = Record(
                    seq,
                    waiting.received_ns,
                    batch.item_count,
                    member,
                    len(waiting.entries),
                    pipeline,
                    batch.tenant,
                    KINDS[batch.signal],
                    batch.wire,
                )
                start = pack_record(segment.marker, record)
                records.append((record, len(start) + len(record.wire)))
                parts += (start, record.wire)
                seq += 1
        mark = pack_mark(segment.marker, [record for record, _ in records])
        parts.append(mark)
        before = segment.size, dict(segment.items)
        try:
            self._disk.write(fd, parts)
            self._disk.sync(fd)
            with self._showing:
                for record, length in records:
                    segment.add(record, segment.size, length)
                    segment.size += length
                segment.size += len(mark)
                self._next_seq = seq
        except BaseException as error:  # also for want of memory: what the file has now is not what is known of it
            with self._showing:
                segment.take_back(self._next_seq, *before)
            self._abandon(segment, fd)
            if isinstance(error, OSError):
                return self._failed(error)
            self._failures += 1
            raise
        self._failures = 0
        return None

    def _failed(self, error: OSError) -> str:
        name = self._count_failure(error)
        if error.errno in NO_SPACE:
            if self._segments and self._segments[-1].items:
                self._seal()  # it can go when all of it is delivered
            self._trim(all_spare=True)
            self._no_space_until = time.monotonic() + FULL_DISK_PAUSE_S
            return "the disk of the journal is full: nothing was written; send again later"
        self._failures += 1
        if self._failures in (1, FAILURES_TO_UNHEALTHY):
            self._log.error("the journal cannot be written", directory=str(self._directory), error=str(error))
        return f"the journal could not be written ({name}): send again later"

    def _count_failure(self, error: OSError | None) -> str:
        name = errno.errorcode.get(error.errno or 0, "unknown") if error else ""
        if error:
            self._counters.add("journal_write_failures", reason=name)
        return name

    def _abandon(self, segment: Segment, fd: int) -> None:
        """Leave a segment at its last good byte. What lies behind is ignored even if it cannot be cut off, for the
        next segment says where this one ends."""
        try:
            self._disk.truncate(fd, segment.size)
        except OSError as error:
            self._log.warning("a failed segment could not be cut off", segment=segment.path.name, error=str(error))
        finally:
            self._seal()

    def _seal(self) -> None:
        """The last segment takes no more entries."""
        if self._fd is None:
            return
        os.close(self._fd)
        self._fd = None
        if self._segments[-1].items:
            self._count_failure(write_index(self._segments[-1], self._disk))

    def _begin_segment(self) -> None:
        """Make a segment under another name, and name it when it is whole and durable."""
        last = self._segments[-1] if self._segments else None
        before = self._segments
        follows = last.end_seq if last else self._next_seq
        if last and last.first_seq == self._next_seq:  # it is empty: replace it
            before, follows = before[:-1], last.follows
        head = Head(os.urandom(8), self._next_seq, follows)
        _, base = self.accepted()
        counts = pack_counts(head.marker, head.first_seq, base, self.unknown())
        path = Segment.path_in(self._directory, head.first_seq)
        content = [pack_head(head), counts, counts]
        try:
            fd = self._create_segment(path, content)
        except OSError as error:
            reserve = self._directory / "reserve"
            if error.errno not in NO_SPACE or not reserve.exists():
                raise
            self._disk.unlink(reserve)
            fd = self._create_segment(path, content)
        segment = Segment(path, head, size=FIRST_RECORD + 2 * len(counts), base=base)
        segment.unknown_before = self.unknown()
        self._segments = [*before, segment]
        self._fd = fd
        self._sealed_bytes = sum(older.disk_bytes for older in before)
        self._trim()

    def _create_segment(self, path: Path, content: list[bytes]) -> int:
        temporary = path.with_suffix(".tmp")
        fd = self._disk.create(temporary)
        try:
            self._disk.write(fd, content)
            self._disk.sync(fd)
            self._disk.rename(temporary, path)
            self._disk.sync_directory(self._directory)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _trim(self, *, all_spare: bool = False) -> None:
        """Delete from the oldest on, each durably before the next, so that what a crash leaves has no gaps.

        The newest of what may go is kept, within `keep_bytes` and as long as there is room.
        """
        while (spare := self._spare_bytes()) and (
            all_spare or spare > self._keep_bytes or self.used_bytes > ROOM_AGAIN * self._max_bytes
        ):
            oldest = self._segments[0]
            try:
                for path in (oldest.path, oldest.index_path):
                    if path.exists():
                        self._disk.unlink(path)
                    elif path == oldest.path and oldest.size:
                        self._log.warning("a segment was deleted by somebody else", segment=path.name)
                self._disk.sync_directory(self._directory)
            except OSError as error:
                self._count_failure(error)
                return  # tried again when there is more to trim
            self._segments = self._segments[1:]
            self._sealed_bytes -= oldest.disk_bytes
            self._no_space_until = 0.0
        self._keep_reserve()

    def _keep_reserve(self) -> None:
        reserve = self._directory / "reserve"
        if reserve.exists():
            return
        try:
            fd = self._disk.create(reserve)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            finally:
                os.close(fd)
        except OSError:
            reserve.unlink(missing_ok=True)  # no room for it now: tried again at the next trim

    def _damaged(self, segment: Segment, offset: int, raw: bytes) -> None:
        super()._damaged(segment, offset, raw)
        if not self._closed:
            self._thread.submit(self._quarantine.keep, segment.path, offset, raw).add_done_callback(Future.result)


@asynccontextmanager
async def open_segments(
    directory: Path,
    *,
    max_bytes: int = 8 << 30,
    keep_bytes: int = 0,
    segment_bytes: int = 64 << 20,
    commit_bytes: int = 1 << 20,
    commit_timeout_s: float = COMMIT_TIMEOUT_S,
    durability: Literal["fsync", "os"] = "fsync",
    counters: Counters | None = None,
    least_seq: int = 1,
    disk: Disk | None = None,
) -> AsyncIterator[Segments]:
    """Open the journal in a directory that nothing else uses; made where it is missing.

    keep_bytes: how much of what may go stays all the same, to be sent again; it goes first when room is needed.
    commit_bytes: the most that is written and synced at once, as long as no single append is larger.
    commit_timeout_s: how long to wait for the disk before what waits is refused, as it may be stored or not.
    durability: `os` leaves it to the system when to sync; survives a kill, not a loss of power.
    least_seq: the lowest number the next entry may have: one more than the highest that anything remembers, so that
        a journal that lost its end (or all of its files) does not use a number twice.

    Raises:
        FilesError: the directory cannot be used, another process holds it, or a later version wrote in it.
    """
    own_directory(directory)
    with held(directory), ThreadPoolExecutor(1, thread_name_prefix="journal") as thread:
        segments = Segments(
            directory,
            max_bytes=max_bytes,
            keep_bytes=keep_bytes,
            segment_bytes=segment_bytes,
            commit_bytes=commit_bytes,
            commit_timeout_s=commit_timeout_s,
            disk=disk or (Disk() if durability == "fsync" else UnsyncedDisk()),
            counters=counters or Counters(),
            thread=thread,
        )
        await segments.recover(least_seq)
        try:
            yield segments
        finally:
            await segments.close()
