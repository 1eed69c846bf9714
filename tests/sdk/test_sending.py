"""What waits is sent oldest first, nothing that can not be sent stops the rest, and a flush tells the truth."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_bridge.sdk import sending
from otel_bridge.sdk.losses import told_together
from otel_bridge.sdk.refusals import HEARD, HINT
from otel_bridge.sdk.sending import Sender

pytestmark = pytest.mark.usefixtures("soon")


class Taking:
    """Takes items, but those that can not be taken; may be held up."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.calls: list[list[str]] = []
        self.open = threading.Event()
        self.open.set()
        self.raises: dict[str, BaseException] = {}
        self.refuses: set[str] = set()
        self.took = threading.Event()

    def __call__(self, items: Sequence[str]) -> bool:
        self.open.wait(30)
        self.calls.append(list(items))
        for item in items:
            if item in self.raises:
                raise self.raises[item]
            if item in self.refuses:
                return False
        self.taken += items
        self.took.set()
        return True


def made(
    send: Callable[[Sequence[str]], bool],
    *,
    delay_s: float = 60,
    max_batch: int = 512,
    exit_s: float = 20,
    max_queue: int = 1000,
    prepare: Callable[[], None] | None = None,
) -> Sender[str]:
    return Sender(
        "item",
        None,
        send,
        lambda: None,
        prepare=prepare,
        max_queue_bytes=64 << 20,
        max_queue=max_queue,
        delay_s=delay_s,
        max_batch=max_batch,
        exit_s=exit_s,
    )


def test_a_flush_does_not_wait_for_what_an_exporter_tries_again_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """It is false as soon as nobody is there, in one line; at the end, that one is waited for."""
    over = threading.Event()
    log = logging.getLogger("tests.exporter")
    log.addFilter(HEARD)

    def send(_items: Sequence[str]) -> bool:
        log.warning("Transient error [Errno 111] Connection refused> encountered, retrying in 1.00s.")
        return over.wait(20)

    sender = made(send)
    sender.put("a", 1)
    began_s = time.monotonic()
    assert sender.flush(20) is False
    assert time.monotonic() - began_s < 10
    sender.close()
    over.set()
    sender.shutdown()
    assert not sender.dropped
    assert [record.message for record in caplog.records if "can be sent" in record.message] == [
        "otel-bridge: nothing can be sent: [Errno 111] Connection refused; what waits at the end is dropped. " + HINT
    ]


def test_the_oldest_is_sent_first_however_precious_the_others_are() -> None:
    take = Taking()
    sender = made(take, max_batch=2)
    take.open.clear()
    for number in range(6):
        sender.put(str(number), 1, precious=number in (1, 4))
    take.open.set()
    sender.shutdown()
    assert take.taken == ["0", "1", "2", "3", "4", "5"]


def test_a_flush_is_not_true_for_what_came_later() -> None:
    """Those that were put before must have been sent, not as many."""
    take = Taking()
    take.refuses = {"refused"}
    sender = made(take, max_batch=1)
    sender.put("refused", 1, precious=True)
    assert sender.flush(5) is False
    sender.put("later", 1)
    sender.put("later still", 1)
    assert sender.flush(0.05) is False
    take.refuses = set()
    sender.shutdown()
    assert sorted(take.taken) == ["later", "later still", "refused"]


def test_a_flush_tells_of_what_was_lost_before_once() -> None:
    take = Taking()
    sender = made(take, max_queue=1)
    sender.put("lost", 1)
    sender.put("kept", 1)
    assert sender.flush(5) is False
    assert sender.flush(5) is True
    sender.shutdown()
    assert (take.taken, sender.dropped) == (["kept"], {"full": 1})


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


def test_what_can_never_be_sent_is_dropped_and_the_rest_arrives() -> None:
    take = Taking()
    take.raises = {"3": UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")}
    sender = made(take)
    for number in range(8):
        sender.put(str(number), 1)
    assert sender.flush(20) is False
    sender.put("after", 1)
    assert sender.flush(20) is True
    sender.shutdown()
    assert take.taken == ["0", "1", "2", "4", "5", "6", "7", "after"]
    assert sender.dropped == {"unsendable": 1}


def test_after_the_only_item_can_never_be_sent_the_next_one_is_without_being_asked_for() -> None:
    take = Taking()
    take.raises = {"bad": ValueError("no")}
    sender = made(take, delay_s=0)
    sender.put("bad", 1)
    assert sender.flush(20) is False
    sender.put("good", 1)
    assert take.took.wait(20)
    sender.shutdown()
    assert take.taken == ["good"]


def test_also_at_the_end() -> None:
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


@pytest.mark.parametrize("together", [True, False])
def test_of_all_that_ends_it_is_told_what_is_lost(together: bool, caplog: pytest.LogCaptureFixture) -> None:
    """In one line where it ends together, else in one for each."""
    senders = []
    for items in (1, 2):
        senders.append(made(lambda _: False))
        for number in range(items):
            senders[-1].put(str(number), 1)
    with told_together() if together else nullcontext():
        for sender in senders:
            sender.shutdown()
    said = [record.message.partition(": not sent in time, and dropped: ")[2] for record in caplog.records]
    why = "(the exporter says that it failed)"
    if together:
        assert said == [f"1 item and 2 items {why}. {HINT}"]
    else:
        assert said == [f"1 item {why}. {HINT}", f"2 items {why}. {HINT}"]


def test_what_is_always_refused_does_not_keep_the_others_waiting() -> None:
    take = Taking()
    take.refuses = {"0"}
    sender = made(take, delay_s=0)
    for number in range(4):
        sender.put(str(number), 1)
    until_s = time.monotonic() + 20
    while len(take.taken) < 3 and time.monotonic() < until_s:
        sender.flush(0.01)
    take.refuses = set()
    sender.shutdown()
    assert sorted(take.taken) == ["0", "1", "2", "3"]
    assert sender.dropped == {}


def test_what_sends_is_not_instrumented() -> None:
    """Else each request would make a span, which makes a request."""
    enabled: list[bool] = []

    def send(_items: Sequence[str]) -> bool:
        enabled.append(is_instrumentation_enabled())
        return True

    sender = made(send)
    sender.put("0", 1)
    sender.shutdown()
    assert enabled == [False]
    assert is_instrumentation_enabled()


def test_a_request_is_bounded_by_bytes() -> None:
    take = Taking()
    sender = made(take)
    for number in range(3):
        sender.put(str(number), sending.MAX_BATCH_BYTES // 2)
    sender.shutdown()
    assert max(len(call) for call in take.calls) <= 2
    assert take.taken == ["0", "1", "2"]


def test_nothing_that_is_raised_ends_the_thread() -> None:
    take = Taking()
    take.raises = {"0": SystemExit(3)}
    ready: list[bool] = []

    def prepare() -> None:
        ready.append(len(ready) > 1)
        if not ready[-1]:
            raise ValueError("'zstd' is not a valid Compression")

    sender = made(take, delay_s=0, prepare=prepare)
    sender.put("0", 1)
    assert sender.flush(5) is False
    sender.put("1", 1)
    until_s = time.monotonic() + 20
    while not take.taken and time.monotonic() < until_s:
        sender.flush(0.01)
    sender.shutdown()
    assert take.taken == ["1"]
    assert sender.dropped == {"unsendable": 1}


@pytest.mark.parametrize("where", ["start", "__init__"])
def test_a_thread_that_can_not_start_is_no_matter_of_the_agents(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Or be made, as in an interpreter that has no daemons."""

    def no(_self: threading.Thread, **_given: object) -> None:
        raise RuntimeError("can't start new thread")

    take = Taking()
    sender = made(take)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, where, no)
        sender.put("0", 1)
        assert sender.flush(20) is False
    assert sender.flush(20) is True
    sender.shutdown()
    assert take.taken == ["0"]


def test_nothing_is_logged_while_a_lock_is_held() -> None:
    """A handler of logs waits for a lock of its own while another thread's record is put."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()

    def look() -> None:
        free.append(sender._changed.acquire(timeout=5))
        if free[-1]:
            sender._changed.release()

    free: list[bool] = []
    take = Taking()
    take.refuses = {"0"}
    sender = made(take)
    handler = Handler()
    logging.getLogger("otel_bridge.sdk").addHandler(handler)
    try:
        sender.put("0", 1)
        sender.flush(5)
        sender.shutdown()
        sender.put("late", 1)
    finally:
        logging.getLogger("otel_bridge.sdk").removeHandler(handler)
    assert free
    assert all(free)


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
