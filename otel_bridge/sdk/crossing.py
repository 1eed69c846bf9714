"""Context over a queue, and from sync code into async code and back."""

import asyncio
import contextvars
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, Generic, ParamSpec, TypeVar, cast

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context

from otel_bridge.sdk.saying import log

T = TypeVar("T")
P = ParamSpec("P")


class _Place:
    """Where what comes next out of a queue is received; is_awaited: somebody waits for it.

    A context holds this, and the queue what came: it goes with whichever of them goes first.
    """

    __slots__ = ("__weakref__", "is_awaited", "queue")

    def __init__(self, queue: "weakref.ref[ContextQueue[Any]]", *, is_awaited: bool = False) -> None:
        self.queue = queue
        self.is_awaited = is_awaited


# Those of queues that are gone. A context keeps each variable that was ever set in it: they are used again.
_free: list[contextvars.ContextVar[_Place]] = []


def _variable() -> contextvars.ContextVar[_Place]:
    """One that no other queue has; it may hold what was received out of one before."""
    try:
        return _free.pop()
    except IndexError:
        return contextvars.ContextVar("otel-bridge-received")


class ContextQueue(asyncio.Queue[T], Generic[T]):
    """An `asyncio.Queue` whose items bring the context of whoever put them there.

    `get` gives the item alone, as ever; `received` what came with the one that this task got last, also by a task that
    was made for it, as `asyncio.wait_for` does before Python 3.12.
    """

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._this = weakref.ref(self)
        self._came: weakref.WeakKeyDictionary[_Place, Context | None] = weakref.WeakKeyDictionary()
        self._place = _variable()
        weakref.finalize(self, _free.append, self._place).atexit = False

    def get(self) -> Coroutine[Any, Any, T]:
        """As ever; what it receives is told to whoever calls this, wherever it is awaited."""
        return self._got(self._expect())

    def get_nowait(self) -> T:
        """As ever."""
        if (place := self._current) is None or not place.is_awaited:
            self._expect().is_awaited = False
        return super().get_nowait()

    async def _got(self, place: _Place) -> T:
        self._place.set(place)
        try:
            return await super().get()
        finally:
            place.is_awaited = False

    def _expect(self) -> _Place:
        """A place of its own for what comes next: what others hold, who began with a copy of this context, stays."""
        place = _Place(self._this, is_awaited=True)
        self._came[place] = self.received
        self._place.set(place)
        return place

    @property
    def _current(self) -> _Place | None:
        place = self._place.get(None)
        return place if place is not None and place.queue is self._this else None

    def _put(self, item: T) -> None:
        self._queue.append((item, otel.get_current()))  # type: ignore[attr-defined]  # typeshed leaves it out

    def _get(self) -> T:
        item, context = self._queue.popleft()  # type: ignore[attr-defined]
        if (place := self._current) is not None:
            self._came[place] = context
        return item  # type: ignore[no-any-return]

    @property
    def received(self) -> Context | None:
        """The context of the item that was got last in this one: as `parent=` it goes on in the same trace."""
        place = self._current
        return None if place is None else self._came.get(place)

    @property
    def links(self) -> list[Any]:
        """The span that put the item which was got last, for `links=`: the work has to do with it, and is its own."""
        context = self.received
        found = trace.get_current_span(context).get_span_context() if context is not None else None
        return [found] if found is not None and found.is_valid else []


class _Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._run, name="otel-bridge-run-sync", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while True:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:  # of a task that somebody made; the others go on
                log.warning("otel-bridge: %r in a task of run_sync's loop, which goes on", error)


_lock = threading.RLock()  # re-entrant: a signal's handler may come while it is held
_loops: dict[int, _Loop] = {}  # how deep → the loop: code that one of them runs may call run_sync again


def _let_go() -> None:
    """In a forked child: who held the lock is not there."""
    global _lock  # noqa: PLW0603 - a process has one
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_let_go)


def run_sync(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run an async function from sync code, inside a running loop too, and return what it returns.

    It runs on a loop that the process keeps for this, on a thread of its own, in the caller's context: what it holds on
    to (connections, say) is there at the next call. The caller's thread waits. Where a signal's handler raises
    meanwhile (Ctrl-C, an exit by SIGTERM), the function is cancelled and its end waited for; by a second one no longer.
    """
    private = _loop_for_this_thread()
    context = contextvars.copy_context()
    done: Future[T] = Future()

    def begin() -> None:
        async def call() -> T | None:
            try:
                return await function(*args, **kwargs)
            except (SystemExit, KeyboardInterrupt) as error:  # for the caller; asyncio would end the loop by it
                left.append(error)
                return None

        task = private.loop.create_task(call(), context=context)
        running.append(task)
        task.add_done_callback(finish)

    def finish(task: asyncio.Task[T | None]) -> None:
        if left:
            done.set_exception(left[0])
        elif task.cancelled():
            done.cancel()
            done.set_running_or_notify_cancel()
        elif (error := task.exception()) is not None:
            done.set_exception(error)
        else:
            done.set_result(cast("T", task.result()))

    def end() -> None:
        if running:
            running[0].cancel()
        else:
            done.cancel()
            done.set_running_or_notify_cancel()

    left: list[BaseException] = []
    running: list[asyncio.Task[T | None]] = []
    try:
        private.loop.call_soon_threadsafe(begin)
        wait([done])
    except BaseException:  # a signal's handler raised it: what was begun ends first, as under `asyncio.run`
        private.loop.call_soon_threadsafe(end)
        wait([done])
        raise
    if (raised := done.exception()) is not None:  # `result` takes one that is falsy, as an empty group, for none
        raise raised
    return done.result()


def _loop_for_this_thread() -> _Loop:
    with _lock:
        current = threading.current_thread()
        depth = next((at + 1 for at, made in _loops.items() if made.thread is current), 0)
        found = _loops.get(depth)
        if found is None or found.pid != os.getpid():  # after a fork the thread is gone
            found = _loops[depth] = _Loop()
        return found
