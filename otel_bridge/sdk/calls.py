"""What the calls of a function are given and what comes of them, on the span that is around each."""

import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import CodeType, MethodType
from typing import Any, NamedTuple

from opentelemetry.trace import Span

from otel_bridge.sdk.contents import Content, captures
from otel_bridge.sdk.values import DEEPEST

INPUT, OUTPUT = "input.value", "output.value"
ARGUMENTS, RESULT = "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"
INPUTS = frozenset((INPUT, ARGUMENTS, "gen_ai.input.messages", "gen_ai.prompt", "input", "agent.input", "tool.input"))
OUTPUTS = frozenset((OUTPUT, RESULT, "gen_ai.output.messages", "gen_ai.completion", "gen_ai.retrieval.documents"))
OUTPUTS |= {"output", "agent.output", "tool.output"}
INPUT_CUT, INPUT_BYTES = "otel_bridge.input.truncated", "otel_bridge.input.bytes"
OUTPUT_CUT, OUTPUT_BYTES = "otel_bridge.output.truncated", "otel_bridge.output.bytes"
OUTPUT_ITEMS = "otel_bridge.output.items"
LATER = (Iterator, AsyncIterator, Awaitable)
OWNERS = ("self", "cls")


class Keys(NamedTuple):
    """The attributes that are for the input and the output of a kind of span."""

    input: str
    output: str


class Calls:
    """The calls of one function: their arguments by name and their result, unless something else was said of them.

    Raises nothing, and takes milliseconds at most.
    """

    __slots__ = ("_before", "_names", "_owner", "_preset", "_rest", "keys")

    def __init__(self, function: Callable[..., Any], keys: Keys) -> None:
        self.keys = keys
        self._before: tuple[Any, ...] = ()
        self._preset: dict[str, Any] = {}
        self._names: tuple[str, ...] = ()
        self._rest = "args"
        code, is_bound = None, False
        with contextlib.suppress(Exception):  # of an object that tells nobody what it has
            code, is_bound = self._find(function)
        if code is not None:
            self._names = code.co_varnames[is_bound : code.co_argcount]
            if code.co_flags & inspect.CO_VARARGS:
                self._rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
        self._owner = next((name for name in self._names[:1] if name in OWNERS and not is_bound), None)

    def asked(self, span: Span, said: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Before the call, which may change what it is given. said: of the span, which may have its input already."""
        with contextlib.suppress(Exception):
            if not span.is_recording() or not captures() or not INPUTS.isdisjoint(said):
                return
            if named := self._by_name(args, kwargs):
                content = Content()
                told = content.arguments(named)
                span.set_attribute(self.keys.input, told)
                if content.is_cut:
                    span.set_attribute(INPUT_CUT, True)
                    if (size := content.size(told)) is not None:
                        span.set_attribute(INPUT_BYTES, size)

    def answered(self, span: Span, result: Any) -> None:
        """After it. What gives its items only later is not told here."""
        with contextlib.suppress(Exception):
            if result is not None and span.is_recording() and captures() and not issubclass(type(result), LATER):
                self.tell(span, content := Content(), content.value(result))

    def tell(self, span: Span, content: Content, told: Any) -> None:
        """What came of it, unless the span says that already."""
        if told is None or has_output(span):
            return
        span.set_attribute(self.keys.output, told)
        if content.is_cut:
            span.set_attribute(OUTPUT_CUT, True)
            if (size := content.size(told)) is not None:
                span.set_attribute(OUTPUT_BYTES, size)
            elif content.items is not None:
                span.set_attribute(OUTPUT_ITEMS, content.items)

    def _by_name(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """As they were passed, without what the callee takes by default."""
        args = self._before + args
        named: dict[str, Any] = dict(zip(self._names, args, strict=False))
        if len(args) > len(self._names):
            named[self._rest] = args[len(self._names) :]
        if self._owner is not None:
            named.pop(self._owner, None)
        return {**named, **self._preset, **kwargs}

    def _find(self, function: Any) -> tuple[CodeType | None, bool]:
        """The code that has the names, and whether the first of them is given already."""
        is_bound = False
        for _ in range(DEEPEST):
            if isinstance(function, functools.partial):
                self._before = function.args + self._before
                self._preset = {**function.keywords, **self._preset}
                function = function.func
            elif isinstance(function, MethodType):
                function, is_bound = function.__func__, True
            elif (wrapped := getattr(function, "__wrapped__", None)) is not None:
                function = wrapped
            elif isinstance(code := getattr(function, "__code__", None), CodeType):
                return code, is_bound
            else:
                function, is_bound = getattr(type(function), "__call__", None), True  # noqa: B004 - what that is
        return None, False


def has_output(span: Span) -> bool:
    """Whether its block has said already what came of it."""
    return not OUTPUTS.isdisjoint(getattr(span, "attributes", None) or ())
