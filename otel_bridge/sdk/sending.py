"""What ended is sent in batches from a thread: nothing blocks the agent, and what is said of it is true.

What waits is bounded by bytes. The oldest is sent first. A batch that could not be sent is tried again, then in halves;
when there is no room, the oldest are dropped that are not precious, counted by reason. Nothing is logged while a lock
is held: somebody's log goes through this, too.
"""

import asyncio
import contextlib
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from opentelemetry import context as otel
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context

from otel_bridge.counts import plural
from otel_bridge.sdk import forks, losses
from otel_bridge.sdk.losses import Loss
from otel_bridge.sdk.refusals import HEARD, hint, raised
from otel_bridge.sdk.saying import ToldError, is_time_to_say, log
from otel_bridge.sdk.values import words

T = TypeVar("T")

EXIT_S = 1.7  # with Python's own end it is two seconds
FORK_WAITS_S = 1.0  # where a destination does not answer the first request
FORK_WAITS_FOR_IMPORTS_S = 10.0  # that take so long, or never end
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 30.0
MAX_QUEUE_BYTES = 64 << 20
MAX_BATCH_BYTES = 2 << 20  # about: what goes in one request
TRIES = 3  # in a row, before a batch is halved, or one that can not even be tried is given up


_new = tuple.__new__  # of a NamedTuple: a third of what calling it takes


class UnsendableError(Exception):
    """What is sent can never be, in this form: it is not tried again, but in halves."""


class _Put(NamedTuple, Generic[T]):
    """An item that waits: the how-manieth it is, and about how many bytes it has."""

    number: int
    item: T
    size: int
    precious: bool


class _Ticket:
    """Somebody waits until all up to `target` is sent. Told once: True, or False as soon as that did not work."""

    def __init__(self, target: int, tell: Callable[[bool], None], *, lost: bool) -> None:
        self.target = target
        self.lost = lost
        self.tell = tell


class Sender(Generic[T]):
    """Sends items by a function that says whether they were taken; it may take its time, and raise.

    what: the name of one in messages; where: that of the destination; helps: what to do where it takes nothing.
    prepare: called on the thread before the first, until it works; shut_down: called last.

    max_queue_bytes: of what waits or is being sent, about; max_queue: the same in items.
    delay_s: how long an item waits for others. max_batch: items in one call. exit_s: the most
        that shutdown takes, from `close` on.
    kept: where what waits is also on disk, says how much is left of it and what becomes of that: so it is not dropped
        at the end.
    ends_alone: whether it ends by itself in processes of multiprocessing, which ask each other for nothing.
    dropped: items by the reason for which they were given up.
    """

    def __init__(
        self,
        what: str,
        where: str | None,
        send: Callable[[Sequence[T]], bool],
        shut_down: Callable[[], None] | None = None,
        *,
        prepare: Callable[[], None] | None = None,
        max_queue_bytes: int,
        max_queue: int,
        delay_s: float,
        max_batch: int,
        exit_s: float,
        kept: Callable[[], str] | None = None,
        helps: str | None = None,
        ends_alone: bool = True,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._what = what
        self._where = where
        self._send = send
        self._shut_down = shut_down or _nothing
        self._open = prepare or _nothing
        self._max_queue_bytes = max_queue_bytes
        self._max_queue = max_queue
        self._delay_s = delay_s
        self._max_batch = max_batch
        self._exit_s = exit_s
        self._kept = kept
        self._helps = helps
        self.begin()
        forks.go_through(self, ends_alone=ends_alone)

    def begin(self) -> None:
        """With nothing waiting and no thread: at the start, and in a forked child, whose parent sends what waits."""
        self._preparing, self._trying_first = threading.RLock(), threading.RLock()
        self._ending = threading.RLock()
        self._lock = threading.RLock()  # re-entrant: a signal's handler may come while it is held
        self._changed = threading.Condition(self._lock)
        self._plain: deque[_Put[T]] = deque()
        self._precious: deque[_Put[T]] = deque()
        self._in_flight = 0  # the number of the first that is being sent; 0: none is
        self._sending = 0  # how many are
        self._bytes = 0
        self._taken = 0  # items ever
        self._uneventful_to = self._uneventful_below = 0  # items, and bytes: nothing follows from a put before these
        self._due_s = 0.0  # monotonic: when the oldest has waited long enough
        self._not_before_s = 0.0  # monotonic: while a destination does not answer
        self._tries = self._refused_at_end = 0
        self._at_once = self._max_batch  # fewer, while there is something that can not be sent
        self._tickets: list[_Ticket] = []
        self._why = ""  # the last try failed
        self._lost_unsaid = False  # something was lost since the last flush
        self._unsaid: deque[str] = deque()
        self._prepared = self._tried = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self._until_s = 0.0  # monotonic: of the shutdown
        self._over = self._is_shut_down = False

    @property
    def in_one_piece(self) -> Iterable[tuple[threading.RLock, float]]:
        """As a fork waits for them: imports that it cuts off never end in the child. What imports may fork."""
        return (self._preparing, FORK_WAITS_FOR_IMPORTS_S), (self._trying_first, FORK_WAITS_S)

    def start(self) -> None:
        """Have its thread at once: at the end of a program Python starts none any more (from 3.12 on)."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._begin_thread()

    def put(self, item: T, size: int, *, precious: bool = False) -> None:
        """Take an item of about `size` bytes; costs microseconds, raises nothing."""
        with self._lock:  # half of what `_changed` costs, which is the same
            number, held = self._taken + 1, self._bytes + size
            if number < self._uneventful_to and held < self._uneventful_below:
                self._taken, self._bytes = number, held
                (self._precious if precious else self._plain).append(_new(_Put, (number, item, size, precious)))
                return
            if self._closed:
                self._drop("after_shutdown", 1)
                self._lost_unsaid = True
            else:
                self._put(_Put(number, item, size, precious))
                if self._thread is not None:
                    return
        self._say()

    def flush(self, timeout_s: float | None) -> bool:
        """Whether all that was put before was sent in this time; False at once when the destination refuses it.

        Also where something was lost since the last time.
        """
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
        if trio is not None and in_trio(trio):
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

    @property
    def left_s(self) -> float:
        """Of the time for shutting down, once it is closed."""
        return max(0.0, self._until_s - time.monotonic())

    def close(self, exit_s: float | None = None) -> None:
        """Take no more, and send what waits at once; `exit_s` runs from here."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._uneventful_to = 0
                self._until_s = time.monotonic() + (self._exit_s if exit_s is None else exit_s)
                if self._waiting and self._thread is None:
                    self._begin_thread()
                self._changed.notify_all()

    def shutdown(self) -> None:
        """Close, and wait until all is sent, for `exit_s` at most; the rest is kept, or counted as dropped.

        A second call waits for the first: SIGTERM may come while a child of multiprocessing ends by itself.
        """
        self.close()
        if self._ending.acquire(timeout=self.left_s):
            try:
                self._shut_down_once()
            finally:
                self._ending.release()

    def _shut_down_once(self) -> None:
        thread = self._thread
        loss = None
        if thread is not None and not self._is_shut_down:
            self.flush(self.left_s)
        with self._changed:
            if self._is_shut_down:
                return
            self._is_shut_down = self._over = True
            if left := self._waiting + self._sending:
                if self._kept is not None:
                    self._warn(f"kept {self._what}", f"{self._kept()} Not sent{self._to} in time.")
                else:
                    self.dropped["exit"] += left
                    why = HEARD.take(thread) or self._why  # it may still be trying
                    loss = Loss(left, self._what, self._where, why, self._helps or hint(why, self._where))
                self._lost_unsaid = True
                self._plain.clear()
                self._precious.clear()
            self._in_flight = self._sending = 0
            self._settle(refused=True)
            self._changed.notify_all()
        self._say()
        if loss is not None:
            losses.tell(loss)
        if thread is not None:
            thread.join(self.left_s)
        self._shut_down()

    # Called while `_changed` is held.

    def _put(self, put: _Put[T]) -> None:
        """With all that may follow from it, and when something next may: until then `put` need not look."""
        before = self._bytes
        if before == 0:
            self._due_s = time.monotonic() + self._delay_s
        self._taken, self._bytes = put.number, before + put.size
        (self._precious if put.precious else self._plain).append(put)
        if self._bytes > self._max_queue_bytes or self._waiting > self._max_queue:
            self._make_room()
        waiting = self._waiting
        if self._thread is None:
            self._begin_thread()
        elif waiting in (1, self._max_batch) or before < MAX_BATCH_BYTES <= self._bytes or self._unsaid:
            self._changed.notify_all()
        full = self._max_batch if waiting < self._max_batch else sys.maxsize
        self._uneventful_to = self._taken + min(full, self._max_queue) - waiting
        full_bytes = MAX_BATCH_BYTES if self._bytes < MAX_BATCH_BYTES else sys.maxsize
        self._uneventful_below = min(full_bytes, self._max_queue_bytes)
        if self._thread is None:
            self._uneventful_to = 0

    def _begin_thread(self) -> None:
        try:
            thread = threading.Thread(target=self._run, name=f"otel-bridge-{self._what}s", daemon=True)
            thread.start()
        except RuntimeError as error:  # too many, at Python's end, in a subinterpreter; the next item tries again
            self._warn("unsent", f"{self._what}s wait, as no thread can be started: {error}")
        else:
            self._thread = thread

    @property
    def _waiting(self) -> int:
        return len(self._plain) + len(self._precious)

    @property
    def _to(self) -> str:
        return f" to {self._where}" if self._where else ""

    @property
    def _is_full_batch(self) -> bool:
        return self._waiting >= self._max_batch or self._bytes >= MAX_BATCH_BYTES

    @property
    def _oldest(self) -> deque[_Put[T]]:
        """The queue that has it."""
        if not self._plain or not self._precious:
            return self._plain or self._precious
        return self._plain if self._plain[0].number < self._precious[0].number else self._precious

    def _make_room(self) -> None:
        while self._waiting > 1 and (self._bytes > self._max_queue_bytes or self._waiting > self._max_queue):
            self._lose((self._plain or self._precious).popleft(), "full")

    def _lose(self, put: _Put[T], reason: str) -> None:
        self._bytes -= put.size
        self._drop(reason, 1)
        waited_for = [ticket for ticket in self._tickets if put.number <= ticket.target]
        for ticket in waited_for:
            ticket.lost = True
        self._lost_unsaid = self._lost_unsaid or not waited_for

    def _drop(self, reason: str, items: int) -> None:
        self.dropped[reason] += items
        self._warn(reason, f"{plural(items, self._what)} dropped ({reason}); {self.dropped.total()} in all")

    def _warn(self, about: str, said: str) -> None:
        if is_time_to_say(about):
            self._unsaid.append(said)

    def _settle(self, *, refused: bool = False) -> None:
        """Tell those who wait and can be told."""
        first = self._in_flight or (self._oldest[0].number if self._waiting else self._taken + 1)
        open_tickets = []
        for ticket in self._tickets:
            if first > ticket.target:
                ticket.tell(not ticket.lost)
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
        return 0.0 if self._is_full_batch else self._due_s - now_s

    def _next_batch(self) -> list[_Put[T]]:
        batch = [self._oldest.popleft()]
        size = batch[0].size
        while self._waiting and len(batch) < self._at_once and size + self._oldest[0].size <= MAX_BATCH_BYTES:
            batch.append(self._oldest.popleft())
            size += batch[-1].size
        return batch

    # Anywhere, but not while it is held.

    def _say(self) -> None:
        with contextlib.suppress(IndexError):  # another thread may be saying it
            while self._unsaid:
                log.warning("otel-bridge: %s", self._unsaid.popleft())

    def _ask(self, tell: Callable[[bool], None]) -> _Ticket:
        with self._changed:
            ticket = _Ticket(self._taken, tell, lost=self._lost_unsaid)
            self._lost_unsaid = self._lost_unsaid and self._closed
            self._tickets.append(ticket)
            if self._thread is None and self._waiting:
                self._begin_thread()
            self._settle(refused=self._over or self._thread is None)
            self._changed.notify_all()
        self._say()
        return ticket

    def _withdraw(self, ticket: _Ticket) -> None:
        with self._changed:
            if ticket in self._tickets:
                self._tickets.remove(ticket)

    # On the thread.

    def _run(self) -> None:
        otel.attach(otel.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True, Context()))  # not of who came first
        with HEARD.listening(self._unreached):
            with contextlib.suppress(BaseException):  # it is tried again, and told, with the first batch
                self._prepare()
            self._send_all()

    def _send_all(self) -> None:
        while True:
            self._say()
            with self._changed:
                delay_s = self._delay()
                if self._over or (self._closed and not self._waiting):
                    return
                if delay_s is None or delay_s > 0:
                    if not self._unsaid:
                        self._changed.wait(delay_s)
                    continue
                batch = self._next_batch()
                self._in_flight, self._sending = batch[0].number, len(batch)
            with contextlib.nullcontext() if self._tried else self._trying_first:  # exporters import then, too
                self._try(batch)
            self._tried = True

    def _prepare(self) -> None:
        """At once, and not with the first batch: it imports, which a program that is over soon would wait for."""
        if not self._prepared:
            with self._preparing:
                self._open()
            self._prepared = True

    def _try(self, batch: list[_Put[T]]) -> None:
        is_theirs = False  # what is sent can not be: no fault of the destination's
        is_said = False  # by the exporter: the destination may take less of it
        is_hopeless = is_told = False
        try:
            self._prepare()
            is_theirs = True
            sent = self._send([put.item for put in batch])
            heard = HEARD.take(threading.current_thread())
            why = "" if sent else heard or "the exporter says that it failed"
            is_theirs, is_said = False, not sent
        except BaseException as error:  # noqa: BLE001 - whatever an exporter raises must not end this thread
            sent, why = False, raised(error)
            is_theirs = is_theirs and not isinstance(error, OSError)
            is_hopeless, is_told = isinstance(error, UnsendableError), isinstance(error, ToldError)
            why = words(error) if is_told else why
        with self._changed:
            self._why = why
            self._in_flight = self._sending = self._uneventful_to = 0
            if self._over:
                return
            is_cut = self._closed and is_said and self._cut(batch)
            if sent:
                self._tries = self._refused_at_end = 0
                self._at_once = min(self._max_batch, self._at_once * 2)
                self._not_before_s = 0.0
                self._bytes -= sum(put.size for put in batch)
                self._due_s = time.monotonic() + self._delay_s
            elif is_cut:
                self._put_back(batch)
            else:
                self._tries = TRIES if is_hopeless else self._tries + 1
                self._not_sent(batch, why, is_theirs=is_theirs, is_told=is_told)
            refused = not sent and not is_theirs and not is_cut
            self._settle(refused=refused)
            if refused and self._closed:
                self._over = True
            self._changed.notify_all()

    def _cut(self, batch: list[_Put[T]]) -> bool:
        """While `_changed` is held, at the end: there is no time to try again, but maybe for less (413).

        Whether it is worth it: where one item after the other is refused, it is not their size.
        """
        self._tries = 0
        if len(batch) > 1:
            self._at_once = len(batch) // 2
            return True
        self._refused_at_end += 1
        if self._refused_at_end >= TRIES or not self._waiting:
            return False
        self._behind_the_others(batch.pop())
        return True

    def _not_sent(self, batch: list[_Put[T]], why: str, *, is_theirs: bool, is_told: bool) -> None:
        """While `_changed` is held."""
        if self._tries >= TRIES and len(batch) > 1:
            self._tries = 0
            self._at_once = len(batch) // 2
        elif self._tries >= TRIES and is_theirs:
            self._tries = 0
            self._lose(batch.pop(), "unsendable")
        elif self._tries >= TRIES and self._waiting:
            self._behind_the_others(batch.pop())
        backoff_s = min(LAST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._tries, 10))
        self._not_before_s = time.monotonic() + random.uniform(backoff_s / 2, backoff_s)  # noqa: S311 - spreads
        self._put_back(batch)
        if is_theirs:
            self._warn("unsendable", f"{self._what}s can not be sent as they are: {why}")
        elif not is_told and not (self._closed and self._kept is None):  # then how much is lost is told soon
            self._warn_unsent(why)

    def _unreached(self, why: str) -> None:
        """An exporter reaches nobody, and tries again by itself: who waits is told, but at the end it is waited for."""
        with self._changed:
            if not self._closed and self._tickets:
                self._settle(refused=True)
                self._warn_unsent(why)
        self._say()

    def _warn_unsent(self, why: str) -> None:
        """While `_changed` is held."""
        left = "what waits at the end is dropped." if self._kept is None else self._kept()
        self._warn("unsent", f"nothing can be sent{self._to}: {why}; {left} {self._helps or hint(why, self._where)}")

    def _put_back(self, batch: list[_Put[T]]) -> None:
        """While `_changed` is held."""
        for put in reversed(batch):
            (self._precious if put.precious else self._plain).appendleft(put)
        self._make_room()

    def _behind_the_others(self, put: _Put[T]) -> None:
        """While `_changed` is held: an item that is refused again and again must not keep the others waiting."""
        for ticket in self._tickets:
            ticket.lost = ticket.lost or put.number <= ticket.target
        self._taken += 1
        (self._precious if put.precious else self._plain).append(put._replace(number=self._taken))


def _nothing() -> None:
    """To prepare, or to shut down."""


def _answer_from_thread(loop: asyncio.AbstractEventLoop, answered: "asyncio.Future[bool]", sent: bool) -> None:
    def answer() -> None:
        if not answered.done():
            answered.set_result(sent)

    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
        loop.call_soon_threadsafe(answer)


def in_trio(trio: Any) -> bool:
    """Whether it is trio that runs this."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True
