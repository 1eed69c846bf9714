"""SIGTERM ends a program without telling Python: spans are sent first, then it ends as it would have."""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from otel_bridge.sdk.saying import log

_came = threading.Event()


def has_come() -> bool:
    """Whether SIGTERM came."""
    return _came.is_set()


def on_sigterm(last: Callable[[], None], within_s: float) -> bool:
    """Do `last`, which takes no longer than `within_s`, when SIGTERM comes, and then end as without it.

    Who has a handler already, or sets one later (gunicorn), ends the program in an orderly way: that is done alone, and
    everything is sent at exit. Returns False, and does nothing, where handlers can not be set: in a thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_IGN:
        return False

    def do_last() -> None:
        try:
            last()
        except Exception:
            log.exception("otel-bridge: not all could be sent at SIGTERM")

    def finish() -> None:
        do_last()
        over.set()
        os.kill(os.getpid(), signal.SIGTERM)

    def handler(number: int, frame: FrameType | None) -> None:
        _came.set()
        if callable(before):
            before(number, frame)
            return
        if not begun:
            # Not here: the code that the signal stopped may hold a lock that `last` needs.
            thread = threading.Thread(target=finish, name="otel-bridge-sigterm", daemon=True)
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
    signal.signal(signal.SIGTERM, handler)
    _before_it_is_raised(do_last, within_s)
    return True


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
