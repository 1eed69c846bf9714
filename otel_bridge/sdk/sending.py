"""What ended is sent in batches from a thread: nothing blocks the agent, and what is said of it is true.

What waits is bounded by bytes. A batch that could not be sent is tried again; when there is no room, the oldest go
first that are not precious, counted by reason.
"""

import asyncio
import contextlib
import logging
import os
import random
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from opentelemetry import context as otel
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

log = logging.getLogger("otel_bridge.sdk")

T = TypeVar("T")

EXIT_S = 2.0
FORK_WAITS_S = 1.0  # where a destination does not answer the first request
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 30.0
WARN_EVERY_S = 60.0
MAX_QUEUE_BYTES = 64 << 20


_told: dict[str, float] = {}  # about what → monotonic: not again before; of the whole process, as it has one log


class _Ticket:
    """Somebody waits until all that was put before is sent. Told once: True, or False as soon as that did not work."""

    def __init__(self, target: int, lost: int, tell: Callable[[bool], None]) -> None:
        self.target = target
        self.lost = lost
        self.tell = tell


class Sender(Generic[T]):
    """Sends items by a function that says whether they were taken; it may take its time, and raise.

    what: their name in messages; where: that of the destination.
    prepare: called on the thread when it starts; close: called last.

    max_queue_bytes: of what waits or is being sent, about; max_queue: the same in items.
    delay_s: how long an item waits for others. max_batch: items in one call. exit_s: the most that shutdown takes.
    dropped: items by the reason for which they were given up.
    """

    def __init__(
        self,
        what: str,
        where: str | None,
        send: Callable[[Sequence[T]], bool],
        close: Callable[[], None],
        *,
        prepare: Callable[[], None] | None = None,
        max_queue_bytes: int,
        max_queue: int,
        delay_s: float,
        max_batch: int,
        exit_s: float,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._what = what
        self._where = f" to {where}" if where else ""
        self._send = send
        self._close = close
        self._open = prepare or _nothing
        self._max_queue_bytes = max_queue_bytes
        self._max_queue = max_queue
        self._delay_s = delay_s
        self._max_batch = max_batch
        self._exit_s = exit_s
        self.begin()
        _forking(self)

    def begin(self) -> None:
        """With nothing waiting and no thread: at the start, and in a forked child, whose parent sends what waits."""
        # No fork while these are held: imports that a fork cuts off never end in the child.
        self._preparing, self._trying_first = threading.Lock(), threading.Lock()
        self._changed = threading.Condition()  # re-entrant: a signal's handler may come while it is held
        self._plain: deque[tuple[int, T]] = deque()
        self._precious: deque[tuple[int, T]] = deque()
        self._bytes = 0
        self._taken = self._left = self._lost = 0  # spans ever
        self._due_s = 0.0  # monotonic: when the oldest has waited long enough
        self._not_before_s = 0.0  # monotonic: while a destination does not answer
        self._tries = 0
        self._tickets: list[_Ticket] = []
        self._tried = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self._over = False

    def put(self, item: T, size: int, *, precious: bool = False) -> None:
        """Take an item of about `size` bytes; costs microseconds."""
        with self._changed:
            if self._closed:
                self._drop("after_shutdown", 1)
                return
            if self._bytes == 0:
                self._due_s = time.monotonic() + self._delay_s
            (self._precious if precious else self._plain).append((size, item))
            self._bytes += size
            self._taken += 1
            self._make_room()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"otel-bridge-{self._what}", daemon=True)
                self._thread.start()
            elif self._waiting == 1 or self._waiting >= self._max_batch:
                self._changed.notify_all()

    def flush(self, timeout_s: float | None) -> bool:
        """Whether all that was put before was sent in this time; False at once when the destination refuses it."""
        done = threading.Event()
        answers: list[bool] = []

        def tell(sent: bool) -> None:
            answers.append(sent)
            done.set()

        ticket = self._ask(tell)
        done.wait(timeout_s)
        self._withdraw(ticket)
        return bool(answers) and answers[0]

    async def aflush(self, timeout_s: float) -> bool:
        """`flush` for async code: the loop goes on meanwhile. Works under asyncio and trio."""
        trio = sys.modules.get("trio")
        if trio is not None and _in_trio(trio):
            flush = partial(self.flush, timeout_s)
            return bool(await trio.to_thread.run_sync(flush, abandon_on_cancel=True))
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bool] = loop.create_future()

        ticket = self._ask(partial(_answer_from_thread, loop, answered))
        try:
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError:
            return False
        finally:
            self._withdraw(ticket)

    def shutdown(self) -> None:
        """Send what waits, for `exit_s` at most; the rest is counted as dropped (`exit`)."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        until_s = time.monotonic() + self._exit_s
        self.flush(self._exit_s)
        with self._changed:
            self._over = True
            left = self._taken - self._left
            if left:
                self._drop("exit", left)
                self._plain.clear()
                self._precious.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(max(0.0, until_s - time.monotonic()))
        self._close()

    # Called while `_changed` is held.

    @property
    def _waiting(self) -> int:
        return len(self._plain) + len(self._precious)

    def _make_room(self) -> None:
        while self._waiting > 1 and (self._bytes > self._max_queue_bytes or self._waiting > self._max_queue):
            size, _ = (self._plain or self._precious).popleft()
            self._bytes -= size
            self._left += 1
            self._drop("full", 1)

    def _drop(self, reason: str, items: int) -> None:
        self.dropped[reason] += items
        self._lost += items
        about = "unsent" if reason == "exit" else reason
        self._warn(about, f"{items} {self._what} dropped ({reason}); {self.dropped.total()} in all")

    def _warn(self, about: str, said: str) -> None:
        now_s = time.monotonic()
        if now_s >= _told.get(about, 0.0):
            _told[about] = now_s + WARN_EVERY_S
            log.warning("otel-bridge: %s", said)

    def _settle(self, *, refused: bool = False) -> None:
        """Tell those who wait and can be told."""
        open_tickets = []
        for ticket in self._tickets:
            if self._left >= ticket.target:
                ticket.tell(self._lost == ticket.lost)
            elif refused:
                ticket.tell(False)
            else:
                open_tickets.append(ticket)
        self._tickets = open_tickets

    def _delay(self) -> float | None:
        """Seconds until there is something to send; None if nothing waits."""
        if not self._waiting:
            return None
        now_s = time.monotonic()
        if self._tickets or self._closed:
            return 0.0
        if now_s < self._not_before_s:
            return self._not_before_s - now_s
        return 0.0 if self._waiting >= self._max_batch else self._due_s - now_s

    # Anywhere.

    def _ask(self, tell: Callable[[bool], None]) -> _Ticket:
        with self._changed:
            ticket = _Ticket(self._taken, self._lost, tell)
            self._tickets.append(ticket)
            self._settle()
            self._changed.notify_all()
            return ticket

    def _withdraw(self, ticket: _Ticket) -> None:
        with self._changed:
            if ticket in self._tickets:
                self._tickets.remove(ticket)

    # On the thread.

    def _run(self) -> None:
        otel.attach(otel.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        with self._preparing:
            self._open()
        while True:
            with self._changed:
                while not self._over and ((delay_s := self._delay()) is None or delay_s > 0):
                    if self._closed and not self._waiting:
                        return
                    self._changed.wait(delay_s)
                if self._over:
                    return
                precious = not self._plain
                queue = self._precious if precious else self._plain
                batch = [queue.popleft() for _ in range(min(len(queue), self._max_batch))]
            with contextlib.nullcontext() if self._tried else self._trying_first:  # exporters import then, too
                self._try(batch, precious=precious)
            self._tried = True

    def _try(self, batch: list[tuple[int, T]], *, precious: bool) -> None:
        try:
            sent = self._send([item for _, item in batch])
            why = "the exporter says that it failed"
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises must not end this thread
            sent, why = False, f"{type(error).__name__}: {error}"
        with self._changed:
            if self._over:
                return
            if sent:
                self._tries = 0
                self._not_before_s = 0.0
                self._bytes -= sum(size for size, _ in batch)
                self._left += len(batch)
                self._due_s = time.monotonic() + self._delay_s
            else:
                self._tries += 1
                backoff_s = min(LAST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._tries, 10))
                self._not_before_s = time.monotonic() + random.uniform(backoff_s / 2, backoff_s)  # noqa: S311 - spreads
                (self._precious if precious else self._plain).extendleft(reversed(batch))
                self._make_room()
                self._warn(
                    "unsent",
                    f"nothing can be sent{self._where}: {why}; what waits at the end is dropped. Is a bridge there?"
                    " `otel-bridge` starts one, OTEL_EXPORTER_OTLP_ENDPOINT names another",
                )
            self._settle(refused=not sent)
            if not sent and self._closed:
                self._over = True
            self._changed.notify_all()


def _forking(sender: Sender[Any]) -> None:
    """Have it ready for forks, as long as it is there."""
    there = weakref.ref(sender)
    held: list[threading.Lock] = []

    def before() -> None:
        held.clear()
        if (found := there()) is None:
            return
        for lock, timeout_s in ((found._preparing, -1), (found._trying_first, FORK_WAITS_S)):  # noqa: SLF001 - its own
            if lock.acquire(timeout=timeout_s):
                held.append(lock)

    def in_parent() -> None:
        while held:
            held.pop().release()

    def in_child() -> None:
        if (found := there()) is not None:
            found.begin()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _nothing() -> None:
    """To prepare."""


def _answer_from_thread(loop: asyncio.AbstractEventLoop, answered: "asyncio.Future[bool]", sent: bool) -> None:
    def answer() -> None:
        if not answered.done():
            answered.set_result(sent)

    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
        loop.call_soon_threadsafe(answer)


def _in_trio(trio: Any) -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True
