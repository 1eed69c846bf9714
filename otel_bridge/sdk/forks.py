"""What has a thread that sends goes through forks of its process, and ends with the children of multiprocessing."""

import os
import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any, Protocol


class Sending(Protocol):
    """What is told of forks and ends."""

    @property
    def in_one_piece(self) -> Iterable[tuple[threading.RLock, float]]:
        """What a fork may not cut off: the locks that it holds meanwhile, and how many seconds it waits for each."""

    def begin(self) -> None:
        """Called in the child: with nothing waiting and no thread, as its parent sends what waits."""

    def close(self) -> None:
        """Called at the end of a child, of all before the first is shut down."""

    def shutdown(self) -> None:
        """Called after it."""


class _Held(threading.local):
    """What a thread that forks holds over it: others may fork at the same time."""

    def __init__(self) -> None:
        self.locks: list[threading.RLock] = []


def go_through(sender: Sending, *, ends_alone: bool) -> None:
    """Have it ready for forks, as long as it is there.

    ends_alone: whether it ends by itself in processes of multiprocessing, which ask each other for nothing.
    """
    there = weakref.ref(sender)
    held = _Held()
    told: list[Any] = []

    def tell_multiprocessing(found: Sending) -> None:
        """Its children end without telling Python (until 3.13): they ask for themselves."""
        if ends_alone and not told and (util := sys.modules.get("multiprocessing.util")) is not None:
            told.append(util)
            util.register_after_fork(found, _ending_with)

    def before() -> None:
        if (found := there()) is None:
            return
        tell_multiprocessing(found)
        for lock, timeout_s in found.in_one_piece:
            if lock.acquire(timeout=timeout_s):
                held.locks.append(lock)

    def in_parent() -> None:
        while held.locks:
            held.locks.pop().release()

    def in_child() -> None:
        held.locks.clear()  # it has others
        if (found := there()) is not None:
            found.begin()

    tell_multiprocessing(sender)  # here, too: one of a fork server's children imports its program before it begins
    process = sys.modules.get("multiprocessing.process")
    if ends_alone and process is not None and process.parent_process() is not None:
        _ending_with(sender)
    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _ending_with(sender: Sending) -> None:
    """In a child of multiprocessing: at its end all close, and then each sends what waits."""
    finalize = sys.modules["multiprocessing.util"].Finalize
    finalize(None, sender.close, exitpriority=1)
    finalize(None, sender.shutdown, exitpriority=0)
