"""Whether the bridge has as much memory as it may have; then new data waits with its senders until there is room."""

import contextlib
import ctypes
import gc
import os
import time
from concurrent.futures import Executor
from pathlib import Path

STATM = Path("/proc/self/statm")
CGROUPS = Path("/proc/self/cgroup")
CONTROLLERS = Path("/sys/fs/cgroup")
SHARE = 0.8  # of the container's limit: the rest is for what is on its way already, and for the system's caches
AGAIN = 0.95  # of the limit, below which new data is taken again
READ_EVERY_S = 0.1
FREE_EVERY_S = 30
UNLIMITED = 1 << 60  # the first version of cgroups has a number for it, near 2^63


class Memory:
    """Watches what the whole process has in memory (its resident set).

    limit: in bytes; None for four fifths of the container's limit, and no limit where there is no container's.
    """

    def __init__(self, limit: int | None, threads: Executor) -> None:
        self.limit = limit or container_share()
        self._threads = threads
        self._full = False
        self._read_at_s = self._freed_at_s = float("-inf")

    def full(self) -> bool:
        """Above the limit, and after that until it is below 95 % of it."""
        if self.limit is None:
            return False
        now_s = time.monotonic()
        if now_s - self._read_at_s >= READ_EVERY_S:
            self._read_at_s = now_s
            resident = resident_bytes()
            self._full = resident > self.limit * (AGAIN if self._full else 1)
            if self._full and now_s - self._freed_at_s >= FREE_EVERY_S:
                self._freed_at_s = now_s
                self._threads.submit(_free)
        return self._full


def resident_bytes() -> int:
    """What the process has in memory; 0 on a system that does not say."""
    try:
        return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def container_share() -> int | None:
    """Four fifths of the memory that the cgroup of this process may have, if it may not have all there is."""
    try:
        groups = [line.split(":", 2) for line in CGROUPS.read_text().splitlines()]
    except FileNotFoundError:
        return None
    limits: list[int] = []
    for _, controllers, path in groups:
        if not controllers:  # the second version of cgroups
            limits += _limits(CONTROLLERS, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(CONTROLLERS / "memory", path, "memory.limit_in_bytes")
    return int(min(limits) * SHARE) if limits else None


def _limits(folder: Path, path: str, name: str) -> list[int]:
    """Of a group and of those that it is in. In a container it may not see its own path; then the top is its own."""
    group = folder / path.strip("/")
    limits = []
    for one in (group, *group.parents):
        if not one.is_relative_to(folder):
            break
        with contextlib.suppress(OSError, ValueError):  # `max` is no number
            limits.append(int((one / name).read_text()))
    return [limit for limit in limits if limit < UNLIMITED]


def _free() -> None:
    """Give back what is not used any more; malloc would keep it for later."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)
