"""SIGTERM, and SIGHUP of a terminal that goes, end a program without telling Python: spans are sent first.

Then it ends as it would have.
"""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from otel_bridge.sdk.saying import log

_came: list[str] = []


def that_came() -> str | None:
    """The signal that ends the program, by its name, if one has come."""
    return _came[0] if _came else None


def on_end(last: Callable[[str], None], within_s: float) -> None:
    """Do `last`, which takes no longer than `within_s`, when SIGTERM or SIGHUP comes, and then end as without it.

    last: is given the signal's name.

    Who has a handler for SIGTERM already, or sets one later (gunicorn), ends the program in an orderly way: that is
    done alone, and everything is sent at exit. SIGHUP is left to who has a handler for it, which may be no end. Does
    nothing where handlers can not be set: in a thread, or in an interpreter that is not the main one (mod_wsgi).
    """
    if threading.current_thread() is not threading.main_thread():
        return
    terminates = signal.getsignal(signal.SIGTERM)
    with contextlib.suppress(ValueError):  # as Python says of other interpreters
        if terminates is not signal.SIG_IGN:
            _end_by(signal.SIGTERM, terminates, last)
            _before_it_is_raised(functools.partial(_do, last, signal.SIGTERM), within_s)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            _end_by(signal.SIGHUP, signal.SIG_DFL, last)


def _do(last: Callable[[str], None], number: signal.Signals) -> None:
    try:
        last(number.name)
    except Exception:
        log.exception("otel-bridge: not all could be sent at %s", number.name)


def _end_by(
    ends: signal.Signals, before: Callable[[int, FrameType | None], object] | int | None, last: Callable[[str], None]
) -> None:
    def finish() -> None:
        _do(last, ends)
        over.set()
        os.kill(os.getpid(), ends)

    def handler(number: int, frame: FrameType | None) -> None:
        _came.append(ends.name)
        if callable(before):
            before(number, frame)
            return
        if not begun:
            # Not here: the code that the signal stopped may hold a lock that `last` needs.
            thread = threading.Thread(target=finish, name=f"otel-bridge-{ends.name.lower()}", daemon=True)
            begun.append(thread)
            try:
                thread.start()
            except RuntimeError:  # no thread can be started any more: it ends as without us
                over.set()
            else:
                return
        elif not over.is_set():
            return  # it was sent twice; `last` is short
        signal.signal(number, before if before is not None else signal.SIG_DFL)
        os.kill(os.getpid(), number)

    begun: list[threading.Thread] = []
    over = threading.Event()
    signal.signal(ends, handler)


def _before_it_is_raised(last: Callable[[], None], within_s: float) -> None:
    """Do `last` before the program raises SIGTERM, with nothing there that catches it: that is its end.

    As uvicorn does, after its own handler has ended it in an orderly way and given back what was there before: not our
    handler, where gunicorn has put that away in its worker, or where uvicorn's was there first.
    """
    raised = signal.raise_signal

    @functools.wraps(raised)
    def raise_signal(number: int, /) -> None:
        if number == signal.SIGTERM and signal.getsignal(number) is signal.SIG_DFL and not _is_blocked(number):
            # Not here: it may be a handler that raises it, and the code that this stopped hold a lock.
            thread = threading.Thread(target=last, name="otel-bridge-sigterm", daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread can be started any more: it ends as without us
                thread.start()
                thread.join(within_s)
        raised(number)

    signal.raise_signal = raise_signal


def _is_blocked(number: int) -> bool:
    """Whether this thread puts the signal off, to wait for it (`sigwait`), say: then it ends nothing."""
    return hasattr(signal, "pthread_sigmask") and number in signal.pthread_sigmask(signal.SIG_BLOCK, ())
