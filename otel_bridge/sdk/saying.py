"""What the agent's side says in the program's log, where somebody's filters and handlers may do whatever they like."""

import contextlib
import logging
import re
import sys
import time
from typing import Any

WARN_EVERY_S = 60.0
USER = re.compile(r"(?:(?<=//)|^)[^/?#\s]*@")  # also of an address without a scheme, as gRPC takes it


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger that raises nothing, no exit either: what it could not say is on standard error.

    It is called in the agent's code as well as on threads that send, which must not end by it.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        try:
            super().log(level, msg, *args, stacklevel=2, **kwargs)  # the line that is shown is not this one
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            with contextlib.suppress(Exception):
                said = str(msg) % args if args else str(msg)
                sys.stderr.write(f"{said} (the program's log raised {error!r})\n")


class ToldError(OSError):
    """What an exporter raises that has told by itself why nothing can be sent, and what to do about it."""


log = Log(logging.getLogger("otel_bridge.sdk"))
_told: dict[str, float] = {}  # about what → monotonic: not again before; of the whole process, as it has one log


def public(address: str) -> str:
    """An address as anybody may read it: without who is to be shown to whom listens there."""
    return USER.sub("***@", address)


def is_time_to_say(about: str) -> bool:
    """Whether a minute has passed since it was last said; it counts as said from now on."""
    now_s = time.monotonic()
    if now_s < _told.get(about, 0.0):
        return False
    _told[about] = now_s + WARN_EVERY_S
    return True


def was_said(about: str) -> bool:
    """Whether it ever was."""
    return about in _told
