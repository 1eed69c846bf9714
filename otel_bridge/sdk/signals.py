"""SIGTERM ends a program without telling Python: spans are sent first, then it ends as it would have."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType


def on_sigterm(last: Callable[[], None]) -> bool:
    """Do `last`, which is short, when SIGTERM comes, and then what would have been done without it.

    Whoever sets a handler later (uvicorn, gunicorn) takes its place: those end the program in an orderly way, and
    then everything is sent at exit. Returns False, and does nothing, where handlers can not be set: in a thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_IGN:
        return False

    def handler(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before if before is not None else signal.SIG_DFL)
        last()
        if callable(before):
            before(number, frame)
        else:
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, handler)
    return True
