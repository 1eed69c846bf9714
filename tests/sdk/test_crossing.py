"""Context over queues and threads, and async code from sync code."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import anyio.to_thread
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.trace import Span

from otel_bridge.sdk import ContextQueue, crossing, install, installing, run_sync, span
from tests.sdk.conftest import Main, Spans


async def test_a_worker_goes_on_where_the_producer_was_or_links_to_it(spans: Spans) -> None:
    async def worker() -> None:
        await queue.get()
        with span("same trace", parent=queue.received):
            pass
        await queue.get()
        with span("its own", links=queue.links):
            pass

    queue: ContextQueue[str] = ContextQueue()
    working = asyncio.create_task(worker())
    await asyncio.sleep(0)
    async with span("producer"):
        await queue.put("a")
        await queue.put("b")
    await working

    assert spans.parent("same trace") == "producer"
    assert spans["its own"].parent is None
    assert spans["its own"].links[0].context == spans["producer"].context


async def test_what_came_is_known_whatever_task_waited_for_it(spans: Spans) -> None:
    """As `wait_for` before Python 3.12, and a select over tasks, make one."""
    queue: ContextQueue[str] = ContextQueue()
    got = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    with span("first"):
        await queue.put("a")
    assert await got == "a"
    assert queue.links == [spans["first"].context]

    with span("second"):
        await queue.put("b")
    assert await asyncio.wait_for(queue.get(), 5) == "b"
    assert queue.links == [spans["second"].context]


async def test_what_another_task_got_is_its_own(spans: Spans) -> None:
    """It began with a copy of the context of the one that had got something."""
    queue: ContextQueue[str] = ContextQueue()
    for name in ("first", "second", "third"):
        with span(name):
            await queue.put(name)

    async def other() -> list[object]:
        found: list[object] = [*queue.links]
        queue.get_nowait()
        found += queue.links
        await queue.get()
        return found + queue.links

    await queue.get()
    theirs = await asyncio.create_task(other())
    assert queue.links == [spans["first"].context]
    assert theirs == [spans[name].context for name in ("first", "second", "third")]


async def test_a_get_that_timed_out_brought_nothing(spans: Spans) -> None:
    queue: ContextQueue[str] = ContextQueue()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.001)
    assert (queue.received, queue.links) == (None, [])
    with span("late"):
        await queue.put("a")
    assert queue.get_nowait() == "a"
    assert queue.links == [spans["late"].context]


async def test_of_a_queue_that_is_gone_nothing_is_kept(spans: Spans) -> None:
    """As of one for each request, in a task that goes on: the next that is used takes its place."""
    held: list[weakref.ref[Span]] = []
    for _ in range(3):
        queue: ContextQueue[int] = ContextQueue()
        with span("producer") as producer:
            queue.put_nowait(1)
            held.append(weakref.ref(producer.otel))
        await queue.get()
        assert queue.links == [producer.get_span_context()]
        del producer
    gc.collect()
    assert [found() is None for found in held] == [True, True, False]


async def test_what_came_through_many_at_once_is_gone_with_them(spans: Spans) -> None:
    """And the context has no more to carry than there were at once, however many come after them."""
    held: list[weakref.ref[Span]] = []
    carried: list[int] = []
    for _ in range(3):
        queues: list[ContextQueue[int]] = [ContextQueue() for _ in range(4)]
        for queue in queues:
            with span("producer") as producer:
                queue.put_nowait(1)
                held.append(weakref.ref(producer.otel))
            await queue.get()
            del producer
        del queue, queues
        gc.collect()
        assert [found() for found in held] == [None] * len(held)
        carried.append(len(contextvars.copy_context()))
    assert carried == carried[:1] * 3


async def test_a_get_takes_as_long_however_many_queues_there_are() -> None:
    def quickest_s() -> float:
        tries: list[float] = []
        for _ in range(20):
            queues[0].put_nowait(1)
            began = time.perf_counter()
            queues[0].get_nowait()
            tries.append(time.perf_counter() - began)
        return min(tries)

    queues: list[ContextQueue[int]] = [ContextQueue()]
    alone_s = quickest_s()
    queues += [ContextQueue() for _ in range(2000)]
    for queue in queues:
        queue.put_nowait(1)
        queue.get_nowait()
    assert quickest_s() < 8 * alone_s


class Named(ContextQueue[int]):
    """Is equal to another by its name, and so has no hash."""

    name = "jobs"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and other.name == self.name

    __hash__ = None  # type: ignore[assignment]  # as Python has it without this


async def test_queues_that_are_equal_are_told_apart(spans: Spans) -> None:
    queues = [Named(), Named()]
    for number, queue in enumerate(queues):
        with span(f"producer {number}"):
            queue.put_nowait(number)
    assert [await queue.get() for queue in queues] == [0, 1]
    assert [queue.links for queue in queues] == [[spans[f"producer {number}"].context] for number in range(2)]


async def inner(number: int) -> int:
    async with span("inner"):
        await asyncio.sleep(0)
        return number


def test_it_runs_inside_a_running_loop(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        with span("outer"):
            assert run_sync(inner, 7) == 7

    run(main)
    assert spans.parent("inner") == "outer"


def test_what_holds_on_to_its_loop_can_be_used_again() -> None:
    async def lock() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert run_sync(lock) is run_sync(lock)


def test_it_can_be_used_in_what_it_runs(spans: Spans) -> None:
    async def middle() -> int:
        with span("middle"):
            return run_sync(inner, 3)

    assert run_sync(middle) == 3
    assert spans.parent("inner") == "middle"


@pytest.mark.parametrize(
    ("module", "lock", "call"),
    [(crossing, "_lock", lambda: run_sync(inner, 7)), (installing, "_installing", install)],
)
def test_what_a_fork_cuts_off_is_locked_for_nobody_in_the_child(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, lock: str, call: Callable[[], object]
) -> None:
    def hold() -> None:
        with getattr(module, lock):
            is_held.set()
            is_over.wait(20)

    def work() -> None:
        call()
        done.append(True)

    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setattr(installing, "_installed", None)
    done: list[bool] = []
    is_held, is_over = threading.Event(), threading.Event()
    other = threading.Thread(target=hold)
    other.start()
    assert is_held.wait(20)
    if (child := os.fork()) == 0:
        working = threading.Thread(target=work, daemon=True)
        working.start()
        working.join(10)
        os._exit(0 if done else 1)
    is_over.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_many_threads_use_it_at_once() -> None:
    async def meet() -> None:
        await asyncio.get_running_loop().run_in_executor(None, barrier.wait, 10)

    barrier = threading.Barrier(3)
    threads = [threading.Thread(target=run_sync, args=(meet,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not barrier.broken


def test_what_is_raised_comes_out(spans: Spans) -> None:
    async def fails() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        run_sync(fails)


class NothingWrongError(Exception):
    def __len__(self) -> int:
        return 0


class LeftEmpty(SystemExit):
    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("error", [NothingWrongError(), LeftEmpty()])
def test_an_exception_that_is_falsy_comes_out_too(error: BaseException) -> None:
    async def fails() -> None:
        raise error

    def call() -> None:
        try:
            run_sync(fails)
        except BaseException as came:  # noqa: BLE001 - an exit among them
            raised.append(came)

    raised: list[BaseException] = []
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(10)
    assert raised == [error]


def test_a_cancelled_function_says_so() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(concurrent.futures.CancelledError):
        run_sync(cancelled)
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_who_exits_in_it_exits_the_caller_alone(error: BaseException) -> None:
    async def leave() -> None:
        raise error

    async def leave_in_a_task() -> int:
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            await asyncio.create_task(leave())
        return 5

    with pytest.raises(type(error)):
        run_sync(leave)
    assert run_sync(leave_in_a_task) == 5
    assert run_sync(asyncio.sleep, 0, 7) == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_signal_that_ends_the_caller_cancels_it_and_waits_for_its_end(
    spans: Spans, error: type[BaseException]
) -> None:
    """Else its spans end when everything was sent already, as the program is over."""

    def stop(_number: int, _frame: object) -> None:
        raise error

    async def long() -> None:
        async with span("inner"):
            os.kill(os.getpid(), signal.SIGUSR1)
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.02)

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(error):
            run_sync(long)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (spans["inner"].attributes or {})["otel_bridge.outcome"] == "cancelled"


def test_a_thread_of_anyio_goes_on_where_it_was_asked_for(spans: Spans, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        async with span("outer"):
            await anyio.to_thread.run_sync(span("inner")(str))

    run(main)
    assert spans.parent("inner") == "outer"


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As `install()` does it, where OpenTelemetry's instrumentation for threads is installed."""
    monkeypatch.delenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", raising=False)
    installing.instrument_threads()
    yield
    ThreadingInstrumentor().uninstrument()


async def test_threads_and_pools_go_on_where_they_were_asked_for(spans: Spans, carried: None) -> None:
    def work(name: str) -> None:
        with span(name):
            pass

    def call_back() -> None:
        def later() -> None:
            work("called back")
            over.set()

        loop.call_soon_threadsafe(later)

    loop, over = asyncio.get_running_loop(), asyncio.Event()
    with span("outer"), concurrent.futures.ThreadPoolExecutor(1) as pool:
        await loop.run_in_executor(None, work, "executor")
        pool.submit(work, "pool").result()
        for target in (lambda: work("thread"), call_back):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        await over.wait()
    assert {spans.parent(name) for name in ("executor", "pool", "thread", "called back")} == {"outer"}
    assert len(spans.traces()) == 1


async def test_each_queue_knows_its_own_producer(spans: Spans) -> None:
    queues: list[ContextQueue[str]] = [ContextQueue(), ContextQueue(maxsize=1)]
    for number, queue in enumerate(queues):
        with span(f"producer {number}"):
            queue.put_nowait("a")
    for queue in queues:
        await queue.get()
    with span("work", parent=queues[0].received):
        pass
    assert spans.parent("work") == "producer 0"
