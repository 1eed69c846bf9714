"""What is lost at the end of a program, told in one line for all that ends together."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otel_bridge.counts import plural
from otel_bridge.sdk.saying import is_time_to_say, log, was_said

LOST = "lost at the end"


class Loss(NamedTuple):
    """How many items of a kind were not sent; to where and why, as far as that is known, and what helps."""

    items: int
    what: str
    where: str | None
    why: str
    helps: str


class _Here(threading.local):
    """What a thread that ends several has lost so far."""

    lost: list[Loss] | None = None


_here = _Here()


@contextlib.contextmanager
def told_together() -> Iterator[None]:
    """Tell what this thread loses meanwhile in one line, when it is over."""
    around, _here.lost = _here.lost, []
    try:
        yield
    finally:
        lost, _here.lost = _here.lost, around
        _tell(lost)


def tell(loss: Loss) -> None:
    """Say it, with the rest if it is told together."""
    if _here.lost is None:
        _tell([loss])
    else:
        _here.lost.append(loss)


def _tell(lost: Sequence[Loss]) -> None:
    """Not where it was said just now that what waits is dropped; but of another kind, after one whose loss was."""
    if lost and (is_time_to_say("unsent") or was_said(LOST)):
        is_time_to_say(LOST)
        places = {loss.where: [other for other in lost if other.where == loss.where] for loss in lost}
        said = ", ".join(
            " and ".join(plural(loss.items, loss.what) for loss in there) + (f" to {where}" if where else "")
            for where, there in places.items()
        )
        why = "; ".join(dict.fromkeys(loss.why for loss in lost if loss.why))
        helps = ". ".join(dict.fromkeys(loss.helps for loss in lost))
        log.warning("otel-bridge: not sent in time, and dropped: %s%s. %s", said, f" ({why})" if why else "", helps)
