"""The end of a program, seen before Python refuses work to all pools: until then what it still does can be waited for.

Python ends pools first, then waits for the threads that are no daemons, and then calls what atexit has. A bridge in the
process needs its own pools to the last, so it closes before all of that, and what goes on in the program would be lost.
"""

import concurrent.futures.thread as pools  # what is registered with threading last is called first
import contextlib
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

LOOK_S = 0.05
PYTHONS = ("concurrent.futures.thread", "concurrent.futures.process")


def before_threads_end(end: Callable[[], None]) -> None:
    """Call `end` when the program's own threads and pools have ended, and pools still take work.

    Daemon threads are not waited for, nor is anything longer than Python would wait for it. It rests on what CPython
    3.11 to 3.14 are inside; in one that is otherwise `end` comes sooner, or is left to `atexit`.
    """

    def when_done() -> None:
        try:
            with contextlib.suppress(Exception):
                _end_pools()
                _wait_for_threads(when_done)
        finally:
            end()

    with contextlib.suppress(AttributeError):
        threading._register_atexit(when_done)  # type: ignore[attr-defined]  # noqa: SLF001 - nothing public is so early


def _end_pools() -> None:
    """As Python does next: what was submitted is done, and nothing more is taken."""
    for worker in _working(pools._threads_queues):  # noqa: SLF001 - no other list of them
        executor: Any = (getattr(worker, "_args", None) or (_gone,))[0]()
        if executor is not None:
            pools.ThreadPoolExecutor.shutdown(executor)
        worker.join()
    processes: Any = sys.modules.get("concurrent.futures.process")
    for worker in _working(processes._threads_wakeups) if processes else ():  # noqa: SLF001
        executor = worker.executor_reference()
        if executor is not None:
            processes.ProcessPoolExecutor.shutdown(executor)
        worker.join()


def _working(workers: Iterable[Any]) -> list[Any]:
    """Those of the program: what a daemon thread starts, as the bridge is, are daemons; after a fork none is there."""
    return [each for each in list(workers) if each.is_alive() and not each.daemon]


def _gone() -> None:
    """A worker that has ended refers to no executor."""


def _wait_for_threads(hook: Callable[[], None]) -> None:
    """Until no thread is left that Python will wait for, or one of them may wait for what Python does after this."""
    main = threading.main_thread()
    main.is_alive = lambda: False  # type: ignore[method-assign]  # as it will be: there are threads that ask for it
    while not _is_awaited(main, hook):
        left = [each for each in threading.enumerate() if each is not main and not each.daemon]
        left = [each for each in left if each is not threading.current_thread()]
        if not left:
            return
        left[0].join(LOOK_S)


def _is_awaited(main: threading.Thread, hook: Callable[[], None]) -> bool:
    """Whether a thread waits for the main one, or somebody has something to do before threads end."""
    hooks: Any = threading._threading_atexits  # type: ignore[attr-defined]  # noqa: SLF001 - only Python knows
    if any((called := _called(each)) is not hook and called.__module__ not in PYTHONS for each in hooks):
        return True
    for frame in sys._current_frames().values():  # noqa: SLF001 - the only way to see what another thread does
        at: Any = frame
        while at is not None:
            if at.f_code is threading.Thread.join.__code__ and at.f_locals.get("self") is main:
                return True
            at = at.f_back
    return False


def _called(registered: Any) -> Any:
    """What Python keeps in a partial, and since 3.13 in a function around it."""
    if (called := getattr(registered, "func", None)) is not None:
        return called
    within = [cell.cell_contents for cell in registered.__closure__ or ()]
    return next((one for one in within if callable(one)), registered)
