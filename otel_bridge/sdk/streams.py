"""`stream()`: a generator with a context of its own, and a span from its first item to its end.

The generator's body runs step by step in a context that nobody else has, in the task of whoever asks for an item: so
its spans and the consumer's never mix, and `asyncio.timeout`, cancel scopes of anyio and trio work in it. No task is
made for an item.
"""

import contextlib
import contextvars
import functools
import inspect
import sys
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from types import MethodType
from typing import Any, TypeVar, overload

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from otel_bridge.sdk.calls import Calls
from otel_bridge.sdk.contents import MAX_CHARS
from otel_bridge.sdk.spans import Parent, SpanBlock
from otel_bridge.sdk.watching import Output, Watched

T = TypeVar("T")

CLOSING = "async_generator_athrow"  # the type of what `aclose()` gives, which Python names nowhere
COPIED = [name for name in functools.WRAPPER_ASSIGNMENTS if name != "__annotations__"]


@overload
def stream(
    source: AsyncIterable[T],
    name: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Parent | None = None,
    links: Sequence[Parent | None] = (),
    tracer: trace.Tracer | None = None,
    text: Callable[[T], str | None] | None = None,
    max_output_chars: int = MAX_CHARS,
) -> AsyncGenerator[T, Any]: ...


@overload
def stream(
    source: Iterable[T],
    name: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Parent | None = None,
    links: Sequence[Parent | None] = (),
    tracer: trace.Tracer | None = None,
    text: Callable[[T], str | None] | None = None,
    max_output_chars: int = MAX_CHARS,
) -> Generator[T, Any, Any]: ...


def stream(
    source: Any,
    name: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Parent | None = None,
    links: Sequence[Parent | None] = (),
    tracer: trace.Tracer | None = None,
    text: Callable[[Any], str | None] | None = None,
    max_output_chars: int = MAX_CHARS,
) -> Any:
    """The items of a generator (or of anything that can be iterated, async or not) under a span of their own.

    The span begins with the first step and its parent is what was current at this call; it ends once: when the items
    do, with what is raised, when the task is cancelled, or abandoned, when the consumer wants no more. It has the event
    `first_chunk`, the number of items, and their text: of items that are text as they are, of others by `text`. Where
    that is cut, its whole size is told (`otel_bridge.output.truncated`, and `.bytes` of UTF-8).
    """
    named = name or getattr(source, "__qualname__", None) or type(source).__qualname__
    block = SpanBlock(named, attributes or {}, kind, parent, links, tracer)
    output = Output(text, max_output_chars)
    here = contextvars.copy_context()
    if hasattr(source, "__aiter__"):
        return driving(lambda: source, block, output, here)()
    return driving_sync(lambda: source, block, output, here)()


class GeneratorFunction:
    """A generator function, as `inspect` sees it, whose generators run in a copy of what was current at the call.

    The first step is too late for that: whoever asks for it may have a context of its own, as servers of events do.
    """

    __slots__ = ("__dict__", "__weakref__", "_annotations", "_block", "_drive", "_output")

    def __init__(
        self, function: Callable[..., Any], block: SpanBlock, drive: Callable[..., Any], calls: Calls | None = None
    ) -> None:
        self._output = Output(calls=calls)
        self._block = block
        self._drive = drive
        self._annotations: dict[str, Any] | None = None
        functools.update_wrapper(self, function, COPIED)
        self.__code__ = drive(function, block, self._output).__code__
        self.__defaults__ = self.__kwdefaults__ = None

    @property
    def __annotations__(self) -> dict[str, Any]:
        """Only when they are asked for: since Python 3.14 they may name what is not there."""
        if self._annotations is not None:
            return self._annotations
        return getattr(self.__wrapped__, "__annotations__", {})  # type: ignore[attr-defined]  # as below

    @__annotations__.setter
    def __annotations__(self, given: dict[str, Any]) -> None:
        self._annotations = given
        self.__annotate__ = None  # as of a function: it would compute others

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = self.__wrapped__  # type: ignore[attr-defined]  # `update_wrapper` sets it
        return self._drive(function, self._block, self._output, contextvars.copy_context())(*args, **kwargs)

    def __get__(self, owner: Any, _kind: type | None = None) -> Any:
        return self if owner is None else MethodType(self, owner)

    def __reduce__(self) -> str:
        """By its name, as functions are pickled."""
        return self.__qualname__  # type: ignore[attr-defined,no-any-return]  # `update_wrapper` sets it


def driving(
    make: Callable[..., AsyncIterable[T]],
    block: SpanBlock,
    output: Output,
    context: contextvars.Context | None = None,
) -> Callable[..., AsyncGenerator[T, Any]]:
    """An async generator function that gives what `make` makes, in a context of its own.

    context: that one; without it a copy of what is current at the first step.
    """

    @functools.wraps(make)
    async def generator(*args: Any, **kwargs: Any) -> AsyncGenerator[T, Any]:
        own = context or contextvars.copy_context()
        watched = own.run(Watched, block, output, args, kwargs)
        try:
            source: Any = own.run(lambda: aiter(make(*args, **kwargs)))
            watched.closes = functools.partial(_close_now, own, source)
            send = getattr(source, "asend", None)
            onward = _Step(own, source.__anext__)
            item = await _Step(own, _first, source)
            while True:
                watched.saw(item)
                try:
                    given = yield item
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever was thrown in is the source's to answer
                    item = await _Step(own, _thrown_in, source, error)
                else:
                    item = await (onward if given is None or not send else _Step(own, send, given))
        except StopAsyncIteration:
            watched.end(None)
        except GeneratorExit as closed:
            ended_ns = time.time_ns()
            try:
                if close := getattr(source, "aclose", None) or getattr(source, "close", None):
                    await _Step(own, _awaited, close)
            except RuntimeError:
                if not getattr(source, "ag_running", False):  # else it was stopped in a step, and can not be closed
                    raise
            finally:
                watched.end(closed, ended_ns)
            raise
        except BaseException as error:
            watched.end(error)
            raise

    return generator


def driving_sync(
    make: Callable[..., Iterable[T]],
    block: SpanBlock,
    output: Output,
    context: contextvars.Context | None = None,
) -> Callable[..., Generator[T, Any, Any]]:
    """The same for generators that are not async."""

    @functools.wraps(make)
    def generator(*args: Any, **kwargs: Any) -> Generator[T, Any, Any]:
        own = context or contextvars.copy_context()
        watched = own.run(Watched, block, output, args, kwargs)
        try:
            source: Any = own.run(lambda: iter(make(*args, **kwargs)))
            send = getattr(source, "send", None)
            item = own.run(next, source)
            while True:
                watched.saw(item)
                try:
                    given = yield item
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever was thrown in is the source's to answer
                    item = own.run(_thrower(source), error)
                else:
                    item = own.run(next, source) if given is None or not send else own.run(send, given)
        except StopIteration as stop:
            watched.end(None)
            return stop.value
        except GeneratorExit as closed:
            try:
                if close := getattr(source, "close", None):
                    own.run(close)
            finally:
                watched.end(closed)
            raise
        except BaseException as error:
            watched.end(error)
            raise

    return generator


class _Step:
    """What is begun at each await: in a context that is not the current one, but in the current task."""

    __slots__ = ("_begin", "_context", "_given")

    def __init__(self, context: contextvars.Context, begin: Callable[..., Awaitable[Any]], *given: Any) -> None:
        self._context = context
        self._begin = begin
        self._given = given

    def __await__(self) -> Generator[Any, Any, Any]:
        run = self._context.run
        steps: Any = run(lambda: self._begin(*self._given).__await__())
        send, throw = steps.send, steps.throw
        step, value = send, None
        while True:
            try:
                waiting_for = run(step, value)
            except StopIteration as stop:
                return stop.value
            except BaseException:
                value = None  # else what was thrown holds this frame, and this it, until Python looks for such rings
                raise
            try:
                value = yield waiting_for
                step = send
            except GeneratorExit:
                run(steps.close)
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, say: the inner one's to answer
                step, value = throw, error


def _thrower(source: Any) -> Callable[..., Any]:
    """How to raise in the source; one that can not be raised in has it raised for it."""
    thrown = getattr(source, "athrow", None) or getattr(source, "throw", None)
    return thrown or _raise


def _thrown_in(source: Any, error: BaseException) -> Any:
    if _is_of_closing(error):
        raise GeneratorExit from None
    return _thrower(source)(error)


def _raise(error: BaseException) -> Any:
    raise error


def _first(source: Any) -> Any:
    """The first step of a generator that is ours to close: a loop that ends would close it as well, over our doing so.

    What Python tells a loop of generators it tells at this step, and never again.
    """
    if not inspect.isasyncgen(source):
        return source.__anext__()
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return source.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _is_of_closing(error: BaseException) -> bool:
    """Whether it only cancels the closing of what a consumer broke off, as a loop does that ends meanwhile.

    It comes in place of what closes a generator, to one that waits for nothing but its consumer. What somebody raises
    in it comes from a coroutine of theirs.
    """
    aio = sys.modules.get("asyncio")
    if aio is None or not isinstance(error, aio.CancelledError):
        return False
    try:
        task = aio.current_task()
    except RuntimeError:  # trio runs it, or nobody
        return False
    return task is not None and type(task.get_coro()).__name__ == CLOSING


def _close_now(context: contextvars.Context, source: Any) -> None:
    """An async generator, as far as that can be done without a loop."""
    if not inspect.isasyncgen(source):
        return
    with contextlib.suppress(BaseException):  # of somebody's `finally`, which has nobody to tell
        closing = source.aclose().__await__()
        context.run(closing.send, None)
        context.run(closing.close)  # it waits for a loop


async def _awaited(close: Callable[[], Any]) -> None:
    closing = close()
    if inspect.isawaitable(closing):
        await closing
