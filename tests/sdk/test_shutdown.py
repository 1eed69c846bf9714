"""The end of a sender: all that can be sent is, and what can not is lost alone."""

import threading
import time
from collections.abc import Sequence

import pytest

from tests.sdk.senders import Taking, made

pytestmark = pytest.mark.usefixtures("soon")


def test_after_a_shutdown_that_lost_something_a_flush_is_false_at_once() -> None:
    take = Taking()
    take.open.clear()
    sender = made(take, exit_s=0.01)
    sender.put("a", 1)
    sender.shutdown()
    began = time.monotonic()
    assert sender.flush(20) is False
    assert sender.flush(20) is False
    assert time.monotonic() - began < 10
    take.open.set()


def test_what_can_never_be_sent_is_dropped_at_the_end_too() -> None:
    take = Taking()
    take.raises = {"0": ValueError("no")}
    sender = made(take)
    for number in range(4):
        sender.put(str(number), 1)
    sender.shutdown()
    assert take.taken == ["1", "2", "3"]
    assert sender.dropped == {"unsendable": 1}


def test_at_the_end_what_is_too_much_at_once_goes_in_halves() -> None:
    """A 413, say, of which the exporter tells no more than that it failed."""
    calls: list[int] = []

    def at_most_two(items: Sequence[str]) -> bool:
        calls.append(len(items))
        return len(items) <= 2

    sender = made(at_most_two)
    for number in range(8):
        sender.put(str(number), 1)
    sender.shutdown()
    assert calls[:3] == [8, 4, 2]
    assert sender.dropped == {}


def test_a_second_shutdown_waits_for_the_first() -> None:
    """As SIGTERM's does, which comes while a child of multiprocessing ends by itself: the process is over after it."""
    take = Taking()
    take.open.clear()
    sender = made(take)
    sender.put("a", 1)
    seen: list[list[str]] = []

    def end() -> None:
        sender.shutdown()
        seen.append(list(take.taken))

    ending = [threading.Thread(target=end) for _ in range(2)]
    for thread in ending:
        thread.start()
    ending[1].join(0.1)
    take.open.set()
    for thread in ending:
        thread.join()
    assert seen == [["a"], ["a"]]


def test_a_shutdown_that_ctrl_c_broke_off_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_timeout_s: float) -> bool:
        raise KeyboardInterrupt

    take = Taking()
    sender = made(take)
    with monkeypatch.context() as patched:
        patched.setattr(sender, "flush", break_off)
        sender.put("a", 1)
        with pytest.raises(KeyboardInterrupt):
            sender.shutdown()
    sender.shutdown()
    assert (take.taken, sender.dropped) == (["a"], {})


def test_at_the_end_one_that_is_refused_is_lost_alone() -> None:
    take = Taking()
    take.refuses = {"2"}
    sender = made(take)
    for number in range(6):
        sender.put(str(number), 1)
    sender.shutdown()
    assert take.taken == ["0", "1", "3", "4", "5"]
    assert sender.dropped == {"exit": 1}


def test_at_the_end_who_refuses_everything_is_not_asked_for_each() -> None:
    take = Taking()
    take.refuses = {str(number) for number in range(64)}
    sender = made(take)
    for number in range(64):
        sender.put(str(number), 1)
    sender.shutdown()
    assert len(take.calls) < 12
    assert sender.dropped == {"exit": 64}
