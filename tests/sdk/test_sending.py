"""What waits is sent oldest first, nothing that can not be sent stops the rest, and a flush tells the truth."""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_bridge.sdk import sending
from otel_bridge.sdk.losses import told_together
from otel_bridge.sdk.refusals import HEARD, HINT
from tests.sdk.senders import Taking, made

pytestmark = pytest.mark.usefixtures("soon")


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
