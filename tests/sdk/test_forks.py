"""Processes that fork while their sender is busy."""

import os
import threading
import time
from collections.abc import Callable

import pytest

from otel_bridge.sdk import sending
from tests.sdk.senders import Taking, made

pytestmark = pytest.mark.usefixtures("soon")


class Watched:
    """A lock that tells when somebody asks for it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._lock = threading.RLock()
        self.release = self._lock.release

    def acquire(self, *, timeout: float) -> bool:
        self.asked.set()
        return self._lock.acquire(timeout=timeout)


def test_who_forks_while_another_does_waits_for_it_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> None:
        hooks["before"]()
        hooks["after_in_parent"]()
        is_done.append(True)

    hooks: dict[str, Callable[[], None]] = {}
    is_done: list[bool] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **given: hooks.update(given))
    sender = made(Taking())
    sender._preparing = lock = Watched()  # type: ignore[assignment]
    hooks["before"]()
    lock.asked.clear()
    other = threading.Thread(target=fork, daemon=True)
    other.start()
    assert lock.asked.wait(20)
    hooks["after_in_parent"]()
    other.join(10)
    assert is_done == [True]
    fork()
    assert is_done == [True, True]


def test_a_fork_does_not_wait_for_what_is_imported_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor at all for what itself forks there."""

    def prepare() -> None:
        began = time.monotonic()
        hooks["before"]()
        took_s.append(time.monotonic() - began)
        hooks["after_in_parent"]()
        is_importing.set()
        go_on.wait(20)

    hooks: dict[str, Callable[[], None]] = {}
    took_s: list[float] = []
    is_importing, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(os, "register_at_fork", lambda **given: hooks.update(given))
    monkeypatch.setattr(sending, "FORK_WAITS_FOR_IMPORTS_S", 0.05)
    take = Taking()
    sender = made(take, prepare=prepare)
    sender.start()
    assert is_importing.wait(20)
    hooks["before"]()
    hooks["after_in_parent"]()
    assert took_s[0] < 0.05
    go_on.set()
    sender.put("0", 1)
    sender.shutdown()
    assert take.taken == ["0"]


@pytest.mark.slow
def test_threads_that_fork_while_others_put_have_children_that_send() -> None:
    def fork() -> None:
        for _ in range(10):
            if (child := os.fork()) == 0:
                sender.put("child", 1)
                os._exit(0 if sender.flush(10) else 1)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def put() -> None:
        while not over.is_set():
            sender.put("parent", 1)

    codes: list[int] = []
    over = threading.Event()
    sender = made(lambda _items: True, delay_s=0, max_queue=100)
    forking = [threading.Thread(target=fork, daemon=True) for _ in range(3)]
    putting = threading.Thread(target=put)
    for thread in (putting, *forking):
        thread.start()
    for thread in forking:
        thread.join(60)
    over.set()
    putting.join()
    sender.shutdown()
    assert codes == [0] * 30
