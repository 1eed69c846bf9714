"""`span()`: one thing that is a `with`, an `async with` and a decorator, and is right in asyncio code.

It never holds a context token. A token can be given back only in the context it was made in, and an async generator
runs in whichever context asks for its next item: giving it back elsewhere fails, and the wrong span stays current.
What is current over a `yield` is so for the consumer, too: for one's own generators there are `stream()` and the
decorator.
"""

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from types import TracebackType
from typing import Any, TypeAlias, TypeVar, cast, overload

from opentelemetry import context as otel
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from otel_bridge.sdk import leaving
from otel_bridge.sdk.calls import Calls, Keys
from otel_bridge.sdk.values import attribute, attributes_of, clean_name, words

F = TypeVar("F", bound=Callable[..., Any])
Attributes: TypeAlias = Mapping[str, Any]

SCOPE = "otel-bridge"
PARENT_ENDED = "otel_bridge.parent_ended"
WRAPPED = "__otel_bridge__"  # on a function that has a span around each call
NOWHERE = (trace.NoOpTracer, trace.ProxyTracer)  # without a provider, or with one that is switched off
_BLOCK = otel.create_key("otel-bridge-block")


class Tags(MutableMapping[str, Any]):
    """The attributes of a span as a mapping; what was set can be read again, and nothing can be taken away."""

    __slots__ = ("_set", "_span")

    def __init__(self, span: Span, given: Attributes) -> None:
        self._span = span
        self._set = dict(given)

    def __setitem__(self, key: str, value: Any) -> None:
        self._set[key] = value
        if isinstance(self._span, trace.NonRecordingSpan):  # nobody will see it, and it may be long
            return
        if (fit := attribute(value)) is not None:
            self._span.set_attribute(clean_name(key), fit)

    def __getitem__(self, key: str) -> Any:
        return self._set[key]

    def __delitem__(self, key: str) -> None:
        raise TypeError("an attribute that was set stays on its span")

    def __iter__(self) -> Iterator[str]:
        return iter(self._set)

    def __len__(self) -> int:
        return len(self._set)


class ActiveSpan:
    """A span that is open: all that OpenTelemetry's Span has, and its attributes as `tags`.

    otel: the span itself.
    """

    __slots__ = ("otel", "tags")

    def __init__(self, span: Span, given: Attributes) -> None:
        self.otel = span
        self.tags = Tags(span, given)

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return trace.format_trace_id(self.otel.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return trace.format_span_id(self.otel.get_span_context().span_id)

    def __getattr__(self, name: str) -> Any:
        if name in ActiveSpan.__slots__:  # of one that is being copied, say, and has nothing yet
            raise AttributeError(name)
        return getattr(self.otel, name)


Span.register(ActiveSpan)  # else `trace.use_span(run)` makes nothing current, and says nothing

Parent: TypeAlias = ActiveSpan | Span | SpanContext | Context | Mapping[str, str] | str
"""A span; its context; a whole context; the headers of a message, as `web.outgoing` makes them; `traceparent` as in
W3C's header; or 32 hexadecimal digits, a trace id."""


class SpanBlock:
    """What `span()` returns: to be entered, or put on a function. One object may be entered again and again.

    keys: for what the function is given and gives, if that is to be told.
    """

    __slots__ = ("_attributes", "_entered", "_kind", "_links", "_name", "_parent", "_tracer", "keys")

    def __init__(
        self,
        name: str | None,
        attributes: Attributes,
        kind: SpanKind,
        parent: Parent | None,
        links: Sequence[Parent | None],
        tracer: trace.Tracer | None,
        keys: Keys | None = None,
    ) -> None:
        self.keys = keys
        self._name = name
        self._attributes = attributes
        self._kind = kind
        self._parent = parent
        self._links = links
        self._tracer = tracer
        self._entered: list[Entered] = []

    def start(self, within: Context | None = None, *, link_ended: bool = True) -> tuple[ActiveSpan, Context]:
        """Begin the span without making it current; returns it, and the context in which it is.

        link_ended: a current span that has ended is linked to, as what goes on without it is no part of it; else, and
            where it was named as the parent, it stays the parent. Both are said (`otel_bridge.parent_ended`).
        """
        outer = within if within is not None else otel.get_current()
        if self._parent is not None:
            outer = context_of(self._parent, outer)
        named = [span_context_of(linked) for linked in self._links if linked is not None]
        links = [Link(found) for found in named if found.is_valid]
        given = {key: value for key, value in self._attributes.items() if value is not None}
        parent = trace.get_current_span(outer)
        if getattr(parent, "end_time", None) is not None:
            given[PARENT_ENDED] = True
            if link_ended and self._parent is None:
                links.append(Link(parent.get_span_context()))
                outer = trace.set_span_in_context(trace.INVALID_SPAN, outer)
        tracer = self._tracer or trace.get_tracer(SCOPE)
        is_off = self._tracer is None and isinstance(tracer, NOWHERE)
        span = tracer.start_span(
            words(self._name or "span"),
            context=outer,
            kind=self._kind,
            attributes=None if is_off else attributes_of(given),
            links=links or None,
            record_exception=False,
            set_status_on_exception=False,
        )
        return ActiveSpan(span, given), trace.set_span_in_context(span, outer)

    def __enter__(self) -> ActiveSpan:
        entered = Entered(*self.start())
        self._entered.append(entered)
        return entered.span

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        here = otel.get_value(_BLOCK)  # others may have entered the same object meanwhile
        entered = here if isinstance(here, Entered) and here in self._entered else self._entered[-1]
        self._entered.remove(entered)
        entered.leave(error)

    async def __aenter__(self) -> ActiveSpan:
        return self.__enter__()

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(_type, error, traceback)

    def __call__(self, function: F) -> F:
        """The function with a span around each call: sync, async, a generator, or an async generator."""
        if isinstance(function, staticmethod | classmethod):
            return cast("F", type(function)(self(function.__func__)))
        if not callable(function):
            raise TypeError(f"a span goes around what can be called, and not around {function!r}")
        block = self if self._name is not None else self.copy(_name_of(function))
        around = _around(function, block)
        setattr(around, WRAPPED, True)
        return cast("F", around)

    def copy(self, name: str | None = None) -> "SpanBlock":
        """The same, for somebody else to enter."""
        named = name or self._name
        return SpanBlock(named, self._attributes, self._kind, self._parent, self._links, self._tracer, self.keys)


class Entered:
    """A block that is entered: its span is current from here on, and what was current before is again when it is left.

    What was made current in it and still is, as in a generator that nobody closed, is over with it. What is current
    elsewhere is left alone.
    """

    __slots__ = ("before", "ended", "span")

    def __init__(self, span: ActiveSpan, mine: Context) -> None:
        self.span = span
        self.ended = False
        self.before = otel.get_current()
        otel.attach(otel.set_value(_BLOCK, self, mine))

    def leave(self, error: BaseException | None) -> None:
        try:
            leaving.tell(self.span.otel, error)
            self.span.otel.end()
        finally:
            self.ended = True
            is_within = self._is_within()
            self.before = self._open_before()  # no longer those that have ended: they would make a chain without end
            if is_within:
                otel.attach(self.before)

    def _is_within(self) -> bool:
        """Whether what is current was made in this block, and so is over when it is left."""
        within = otel.get_value(_BLOCK)
        while isinstance(within, Entered) and within is not self:
            within = otel.get_value(_BLOCK, within.before)
        return within is self

    def _open_before(self) -> Context:
        """What was before; of blocks that were left out of turn, what was before them."""
        before = self.before
        while isinstance(outer := otel.get_value(_BLOCK, before), Entered) and outer.ended:
            if trace.get_current_span(before) is not outer.span.otel:
                break
            before = outer.before
        return before


@overload
def span(name: F) -> F: ...


@overload
def span(
    name: str | None = None,
    attributes: Attributes | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Parent | None = None,
    links: Sequence[Parent | None] = (),
    tracer: trace.Tracer | None = None,
) -> SpanBlock: ...


def span(
    name: str | F | None = None,
    attributes: Attributes | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Parent | None = None,
    links: Sequence[Parent | None] = (),
    tracer: trace.Tracer | None = None,
) -> SpanBlock | F:
    """A span around a block (`with`, `async with`) or around each call of a function (`@span`, `@span("name")`).

    However the block is left is told on it, see `leaving.tell`; what is raised goes on. Values of attributes may be
    anything: what OpenTelemetry does not take is put into words.

    Inside a generator of one's own use it as the generator's decorator, or give the generator to `stream`: a block that
    holds a `yield` is current for the consumer, too, until it is left.

    name: of a function that has none given, its own.
    parent: instead of the current span.
    links: to spans that have to do with it, and are not its parent; None among them is left out.
    """
    is_function = callable(name) or isinstance(name, classmethod)
    block = SpanBlock(None if is_function else cast("str | None", name), attributes or {}, kind, parent, links, tracer)
    return block(cast("F", name)) if is_function else block


def context_of(parent: Parent, outer: Context | None = None) -> Context:
    """The context in which something is the parent; one that can not be read changes nothing."""
    if isinstance(parent, Context):
        return parent
    if isinstance(parent, Mapping):
        return propagate.extract(parent, outer)
    found = span_context_of(parent)
    if isinstance(parent, ActiveSpan | Span):
        actual = parent.otel if isinstance(parent, ActiveSpan) else parent
        return trace.set_span_in_context(actual, outer)
    return trace.set_span_in_context(trace.NonRecordingSpan(found), outer) if found.is_valid else outer or Context()


def span_context_of(named: Parent) -> SpanContext:
    """Its ids; of a trace id alone, with a span id that nobody has; not valid where there are none to be read."""
    if isinstance(named, SpanContext):
        return named
    if isinstance(named, ActiveSpan):
        return named.otel.get_span_context()
    if isinstance(named, Span):
        return named.get_span_context()
    if isinstance(named, Mapping):
        context = named if isinstance(named, Context) else propagate.extract(named, Context())
        return trace.get_current_span(context).get_span_context()
    return _from_text(named.strip())


def _from_text(said: str) -> SpanContext:
    parts = said.split("-")
    if len(parts) == 1:
        parts = ["00", said, os.urandom(8).hex(), "01"]
    try:
        version, trace_id, span_id, flags = (int(part, 16) for part in parts[:4])
    except ValueError:
        return trace.INVALID_SPAN_CONTEXT
    if version == 0xFF:
        return trace.INVALID_SPAN_CONTEXT
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))


def _around(function: Callable[..., Any], block: SpanBlock) -> Callable[..., Any]:
    from otel_bridge.sdk.streams import GeneratorFunction, driving, driving_sync

    calls = Calls(function, block.keys) if block.keys else None
    if _is(function, inspect.isasyncgenfunction):
        return GeneratorFunction(function, block, driving, calls)
    if _is(function, inspect.isgeneratorfunction):
        return GeneratorFunction(function, block, driving_sync, calls)
    if _is(function, inspect.iscoroutinefunction):

        @functools.wraps(function)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            with block.copy() as entered:
                if calls is None:
                    return await function(*args, **kwargs)
                calls.asked(entered.otel, entered.tags, args, kwargs)
                result = await function(*args, **kwargs)
                calls.answered(entered.otel, result)
                return result

        return asynchronous

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with block.copy() as entered:
            if calls is None:
                return function(*args, **kwargs)
            calls.asked(entered.otel, entered.tags, args, kwargs)
            result = function(*args, **kwargs)
            calls.answered(entered.otel, result)
            return result

    return plain


def _is(function: Any, kind: Callable[[Any], bool]) -> bool:
    """Also of an object that can be called."""
    function = _without_arguments(function)
    return kind(function) or kind(getattr(type(function), "__call__", None))  # noqa: B004 - what that is


def _name_of(function: Any) -> str:
    function = _without_arguments(function)
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _without_arguments(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function
