"""`instrument()`: spans around what somebody's objects, classes and modules do, without a change in their code."""

import atexit
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from otel_bridge.sdk.kinds import agent_run, of_kind, reasoning, retrieval, task, tool, workflow
from otel_bridge.sdk.saying import log
from otel_bridge.sdk.spans import WRAPPED, SpanBlock, span
from otel_bridge.sdk.streams import GeneratorFunction

T = TypeVar("T")

REPLACED = "__otel_bridge_replaced__"  # on our functions: themselves, and what stood there
BEFORE = "__otel_bridge_class__"  # of an object that is instrumented alone: what it was of
STANDARD = {"builtins", "abc", "typing", "typing_extensions"}  # they keep no register of classes
_become = vars(object)["__class__"].__set__  # whatever the object itself makes of an assignment


def _llm(name: str) -> SpanBlock:
    return of_kind(f"chat {name}", None, None, {"gen_ai.operation.name": "chat"})


KINDS: Mapping[str, Callable[[str], SpanBlock]] = {
    "agent": agent_run,
    "llm": _llm,
    "tool": tool,
    "retrieval": retrieval,
    "workflow": workflow,
    "reasoning": reasoning,
    "task": task,
    "span": span,
}
RUNS = r"(a?run|a?invoke|a?call|execute|kickoff|__call__)(_(async|sync|stream))?"
RULES = (  # `Class.method` or `function`, in lower case → kind; the first that is found
    (re.compile(rf"(.*agent|.*\bassistant)\.{RUNS}"), "agent"),
    (re.compile(rf"(.*tool)\.{RUNS}|(.*\.)?tool_.+"), "tool"),
    (re.compile(rf"(.*workflow|.*crew|.*pipeline|.*graph)\.{RUNS}"), "workflow"),
    (re.compile(rf"(.*retriever)\.({RUNS}|a?search|a?get_relevant_documents)|(.*\.)?a?retrieve"), "retrieval"),
    (re.compile(rf"(.*llm|.*chatmodel|.*provider)\.({RUNS}|(a?generate|a?complete|a?chat)(_\w+)?)"), "llm"),
    (re.compile(r"(.*agent)\.a?(plan|think|reason|reflect)(_\w+)?"), "reasoning"),
)


def instrument(
    target: T,
    *,
    only: Iterable[str] = ("*",),
    kind: str | None = None,
    kinds: Mapping[str, str] | None = None,
) -> T:
    """A span around each call of what an object, a class or a module has in public; returns it, changed in place.

    Functions, methods, class and static methods and `__call__`; sync, async, and generators of both kinds. Of a module
    its own functions and the methods of its own classes; of a class what it defines itself, as what it inherits is
    found by the order of its heirs: instrument the class that has it. Of an object also what it inherits within its
    package. Private names, properties, and what has a span of ours already are left alone, so a second call changes
    nothing. Signatures and `isinstance` stay as they are, and what could be pickled still can. Who has imported a
    function by name before keeps the one without a span, which pickle finds under its name no more.

    An object that is instrumented alone gets a class that inherits from its own: `__class__` and equality stay, its
    copies come back without spans, and only `type()` and `__subclasses__()` tell. Where its class is told of who
    inherits from it (`__init_subclass__`, or a metaclass of its own, as pydantic's) it is left: instrument the class.

    only: patterns of names, as of the shell. kind: `agent`, `llm`, `tool`, `retrieval`, `workflow`, `reasoning`, `task`
    or `span` for all; kinds: for names by pattern. Else by their names: `ResearchAgent.run` is an agent, and
    `SearchTool.run` and `tool_search` are tools; all that is not known is a plain span.

    Raises nothing: what can not be changed is left as it is, and that is said.
    """
    wanted, named = tuple(only), dict(kinds or {})
    unknown = {one for one in (kind, *named.values()) if one is not None and one not in KINDS}
    if unknown:
        log.warning("otel-bridge: %s is no kind, there are: %s", ", ".join(sorted(unknown)), ", ".join(KINDS))

    def block(qualname: str) -> SpanBlock:
        method = qualname.rpartition(".")[2]
        by_name = next((said for pattern, said in named.items() if fnmatchcase(method, pattern)), None)
        made = KINDS.get(by_name or kind or kind_of(qualname), span)
        return made(_subject(qualname))

    try:
        if isinstance(target, ModuleType):
            there = _module(target, wanted, block)
        elif isinstance(target, type):
            there = _methods_into(target, _own(target), wanted, block)
        else:
            there = _object(target, wanted, block)
        if missing := [pattern for pattern in wanted if not any(fnmatchcase(name, pattern) for name in there)]:
            log.warning(
                "otel-bridge: %s defines nothing of that name (%s), instrument the class or module that does",
                _shown(target),
                ", ".join(missing),
            )
    except Exception as error:  # noqa: BLE001 - the agent's own code is the last to suffer from it
        log.warning("otel-bridge: %s is not instrumented: %s", _shown(target), error)
    return target


def uninstrument(target: T) -> T:
    """As it was before `instrument`; what somebody else has put in its place since is left alone."""
    try:
        if isinstance(target, ModuleType):
            for value in list(vars(target).values()):
                if isinstance(value, type) and value.__module__ == target.__name__:
                    _restore(value)
            _restore(target)
        elif isinstance(target, type):
            _restore(target)
        elif (before := vars(type(target)).get(BEFORE)) is not None:
            _become(target, before)
    except Exception as error:  # noqa: BLE001 - as above
        log.warning("otel-bridge: %s is not as it was before: %s", _shown(target), error)
    return target


def kind_of(qualname: str) -> str:
    """What a function probably is, by its name."""
    return next((kind for rule, kind in RULES if rule.fullmatch(qualname.lower())), "span")


def when_imported(wanted: str) -> None:
    """Instrument what `OTEL_BRIDGE_AUTO` names (`agents.planner:Planner.*, agents.tools`) as soon as it is imported."""
    from wrapt import register_post_import_hook

    modules = set()
    for one in filter(None, (part.strip() for part in wanted.split(","))):
        module, _, path = one.partition(":")
        register_post_import_hook(functools.partial(_named, path), module)
        modules.add(module)
    atexit.register(_say_what_was_not_imported, modules, os.getpid())


def _say_what_was_not_imported(modules: Iterable[str], pid: int) -> None:
    """At the end: sooner nobody knows."""
    missing = sorted(module for module in modules if module not in sys.modules)
    if missing and os.getpid() == pid:
        log.warning("otel-bridge: OTEL_BRIDGE_AUTO: the program has never imported %s", ", ".join(missing))


def _named(path: str, module: ModuleType) -> None:
    holder, _, pattern = path.rpartition(".")
    found: Any = module
    for name in filter(None, holder.split(".")):
        found = getattr(found, name, None)
    if not holder and isinstance(inner := vars(module).get(pattern), type):
        found, pattern = inner, "*"
    if found is None:
        log.warning("otel-bridge: OTEL_BRIDGE_AUTO: %s has no %s", module.__name__, holder)
    else:
        instrument(found, only=(pattern or "*",))


def _module(module: ModuleType, wanted: tuple[str, ...], block: Callable[[str], SpanBlock]) -> set[str]:
    """The names of all that is there to be instrumented."""
    there = set()
    for name, value in list(vars(module).items()):
        if getattr(value, "__module__", None) != module.__name__ or name.startswith("_"):
            continue
        if isinstance(value, type):
            there |= _methods_into(value, _own(value), wanted, block)
        elif _is_function(value):
            there.add(name)
            if _is_wanted(name, wanted):
                _replace(module, name, value, value, block)
    return there


def _methods_into(
    holder: type, methods: Iterable[tuple[str, Any]], wanted: tuple[str, ...], block: Callable[[str], SpanBlock]
) -> set[str]:
    """The names of all that is there to be instrumented."""
    found = list(methods)
    for name, value in found:
        if _is_wanted(name, wanted):
            _replace(holder, name, value, _function(value), block)
    return {name for name, _ in found}


def _object(target: Any, wanted: tuple[str, ...], block: Callable[[str], SpanBlock]) -> set[str]:
    """A class of its own, as what is put on the object itself would be copied and pickled with it.

    `__class__` says what it was before: equality, as data classes make it, and pickle go by that.
    """
    kind: Any = type(target)
    if BEFORE in vars(kind):
        return {name for name, _ in _all(kind)}
    if _hears_of_subclasses(kind):
        raise TypeError(f"its class is told of each that inherits from it; instrument {kind.__qualname__} itself")

    def reduce(self: Any, protocol: Any) -> Any:
        made = kind.__reduce_ex__(self, protocol)
        if isinstance(made, str):
            return made
        function, arguments, *rest = made
        return (function, tuple(kind if one is alone else one for one in arguments), *rest)

    said = {BEFORE: kind, "__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    acts = {"__class__": property(lambda _self: kind), "__reduce_ex__": reduce}
    alone = type(kind)(kind.__name__, (kind,), {**said, **acts, "__doc__": kind.__doc__})
    there = _methods_into(alone, _all(kind), wanted, block)
    _become(target, alone)
    return there


def _hears_of_subclasses(kind: type) -> bool:
    """Whether to inherit from it runs somebody's code, such as a register of agents."""
    hook = next(owner for owner in kind.__mro__ if "__init_subclass__" in vars(owner))
    return hook.__module__ not in STANDARD or type(kind).__module__ not in STANDARD


def _own(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class defines in public."""
    for name, value in list(vars(kind).items()):
        if (not name.startswith("_") or name == "__call__") and _is_function(_function(value)):
            yield name, value


def _all(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class has in public, if it or a class of the same package defines it."""
    package = kind.__module__.partition(".")[0]
    seen: set[str] = set()
    for owner in kind.__mro__:
        if owner.__module__.partition(".")[0] == package:
            yield from ((name, value) for name, value in _own(owner) if name not in seen)
        seen |= vars(owner).keys()


def _is_function(value: Any) -> bool:
    """One of the program's, with a span of ours or without."""
    return isinstance(value, FunctionType | GeneratorFunction)


def _function(value: Any) -> Any:
    return value.__func__ if isinstance(value, staticmethod | classmethod) else value


def _replace(
    holder: Any,
    name: str,
    there: Any,
    function: FunctionType,
    block: Callable[[str], SpanBlock],
) -> None:
    if hasattr(function, WRAPPED):
        return
    owner = holder.__name__ if isinstance(holder, type) else ""
    made: Any = block(f"{owner}.{name}" if owner else name)(function)
    setattr(made, REPLACED, (made, there))
    if isinstance(there, staticmethod | classmethod):
        made = type(there)(made)
    setattr(holder, name, made)


def _restore(holder: Any) -> None:
    for name, value in list(vars(holder).items()):
        function = _function(value)
        if REPLACED not in getattr(function, "__dict__", ()):
            continue
        ours, there = vars(function)[REPLACED]
        if ours is function:  # else it is somebody else's around it, with all that stood on ours
            setattr(holder, name, there)


def _is_wanted(name: str, wanted: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in wanted)


def _shown(target: Any) -> str:
    """For a log, where what an object says of itself may be a secret."""
    return repr(target) if isinstance(target, type | ModuleType) else f"an object of {type(target)!r}"


def _subject(qualname: str) -> str:
    """What a span of this is about: of `Planner.run` the planner."""
    owner, _, method = qualname.rpartition(".")
    return owner if owner and re.fullmatch(RUNS, method) else qualname
