"""Files that hold what ended until the bridge has it.

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
import time
import zlib
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

TRIES = 3  # to make a file
HEAD = struct.Struct(">III")
SENT = 1 << 31


class SpoolFile:
    """Records one after the other, of a process that has its lock.

    left: how many of them were not sent.
    """

    def __init__(self, path: Path, raw: FileIO, size: int) -> None:
        self.path = path
        self.raw = raw
        self.size = size
        self.left = 0
        self.is_torn = False

    def append(self, wire: bytes, items: int) -> "Record":
        """All of it, or nothing.

        Raises:
            OSError: there is no room, or the disk fails.
        """
        written = HEAD.pack(len(wire), zlib.crc32(wire), items) + wire
        count = 0
        try:
            count = os.pwrite(self.raw.fileno(), written, self.size)
        finally:
            if count < len(written):
                os.ftruncate(self.raw.fileno(), self.size)
        if count < len(written):
            raise OSError("there is no room for all of it")
        self.size += len(written)
        self.left += 1
        return Record(self, self.size - len(written), len(wire), items)

    def records(self) -> "Iterator[Record]":
        """Those that were not sent; is_torn, where the last is cut off."""
        at = 0
        while at < self.size:
            head = os.pread(self.raw.fileno(), HEAD.size, at)
            length, _, items = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0, 0)
            end = at + HEAD.size + (length & ~SENT)
            if not length or end > self.size:
                self.is_torn = True
                return
            if not length & SENT:
                yield Record(self, at, length, items)
            at = end

    def mark_sent(self, record: "Record") -> None:
        """Not to be sent again, by whoever reads this file later."""
        first = (record.length | SENT) >> 24
        os.pwrite(self.raw.fileno(), bytes([first]), record.at)

    def clear(self) -> None:
        """All of it was sent."""
        os.ftruncate(self.raw.fileno(), 0)
        self.size = 0


class Record(NamedTuple):
    """Where a request is; at: that of its head."""

    file: SpoolFile
    at: int
    length: int
    items: int

    def read(self) -> bytes | None:
        """The request; None where it is damaged."""
        found = os.pread(self.file.raw.fileno(), HEAD.size + self.length, self.at)
        wire = found[HEAD.size :]
        is_whole = len(wire) == self.length and HEAD.unpack_from(found)[1] == zlib.crc32(wire)
        return wire if is_whole else None


def make(folder: Path, signal: str) -> SpoolFile:
    """A file of our own.

    Raises:
        OSError: none can be had there, and none is left.
    """
    for _ in range(TRIES):
        path = folder / f"{time.time_ns()}-{os.getpid()}-{secrets.token_hex(4)}.{signal}.spool"
        raw = _open(path, os.O_CREAT | os.O_EXCL)
        try:
            if _is_ours(raw):
                return SpoolFile(path, raw, 0)
            owner = os.fstat(raw.fileno()).st_uid
        except OSError:
            _remove(path, raw)  # else each batch would leave one
            raise
        _remove(path, raw)
        if owner != os.geteuid():  # as NFS, CIFS and FUSE have it; nobody would take over what stands in it
            raise OSError(f"what user {os.geteuid()} writes there belongs to user {owner}")
    raise OSError("others take each file that is made")  # for a dead process's, before it is locked


def take_over(path: Path) -> SpoolFile | None:
    """A dead process's file, ours alone from now on; None where another process has it, or has removed it."""
    raw = _open(path)
    try:
        if _is_ours(raw):
            return SpoolFile(path, raw, os.fstat(raw.fileno()).st_size)
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


def size_of(folder: Path) -> int:
    """Of all spools in it."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(".spool"):
                continue
            with contextlib.suppress(FileNotFoundError):  # it was sent, between
                total += entry.stat(follow_symlinks=False).st_size
    return total
