"""SIGTERM ends a program without telling Python: spans are sent first, then it ends as it would have."""

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


def on_sigterm(last: Callable[[], None]) -> bool:
    """Do `last`, which is short, when SIGTERM comes, and then end as without it.

    Who has a handler already, or sets one later (uvicorn, gunicorn), ends the program in an orderly way: that is done
    alone, and everything is sent at exit. Returns False, and does nothing, where handlers can not be set: in a thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_IGN:
        return False

    def finish() -> None:
        try:
            last()
        except Exception:
            log.exception("otel-bridge: not all could be sent at SIGTERM")
        finally:
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
    return True
