"""What was imported to instrument a program is frozen, so that its end is not held up.

As Python ends, it goes over everything that was imported and takes it apart, object by object: half a second with a
framework or two. Its collector leaves alone what is frozen (`gc.freeze`). What the program itself has made is not, and
is finished as without: its modules come later, and `__main__` is put in place anew. What would be missed hangs on
something that stood before, such as a file in a library's registry. So where there is any, all is thawed in time.
"""

import atexit
import contextlib
import gc
import io
import os
import site
import sys
import sysconfig
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, ModuleType
from typing import Any

from opentelemetry import trace

LIBRARIES = tuple(
    f"{folder}{os.sep}"
    for folder in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        *(str(Path(file).parents[up]) for file, up in ((trace.__file__, 2), (__file__, 1))),
    }
)
CONNECTIONS = frozenset({
    *("_socket", "socket", "ssl", "http.client", "uvloop"),
    *(f"asyncio.{name}" for name in ("events", "base_events", "selector_events", "unix_events")),
    *("grpc", "httpcore", "httpx", "requests", "urllib3"),
    *("openai", "anthropic", "langchain_openai", "langchain_anthropic", "opentelemetry", "otel_bridge"),
})  # fmt: skip
"""Modules, or what they are in, whose objects let go of connections when they go, as the end of the process does."""
DATABASES = frozenset({"sqlite3"})
"""Modules whose objects put in order what is on disk when they go, and have no `__del__` that says so."""
UNSEEN = frozenset({"_dbm", "_gdbm"})
"""Modules whose objects write when they go, and that Python's collector knows nothing of."""
FILE = io.IOBase.__base__  # of those that are written in C, too
TOLD = gc.callbacks  # who is told of collections
BEGUN = gc.get_freeze_count()  # Python 3.12 freezes some objects itself
WRITTEN = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
SUSPENDED = {GeneratorType: "gi_frame", CoroutineType: "cr_frame", AsyncGeneratorType: "ag_frame"}

_watched: list[weakref.ref[ModuleType]] = []


def thaw_in_time() -> None:
    """To be called before anything else asks `atexit` for a call: the first that asks is called last."""
    atexit.register(_stand_last)


def freeze() -> None:
    """All that stands now. To be called before the program's first line, after all that is not the program's.

    Nothing is frozen where something of the program stands already, as settings that an instrumentation imports, or
    where somebody wants to be warned of what is left open.
    """
    main = sys.modules["__main__"]
    if _is_begun(main) or any(map(_is_own, list(sys.modules.values()))) or _is_warned():
        return
    gc.freeze()
    anew = ModuleType("__main__")
    vars(anew).update(vars(main))
    sys.modules["__main__"] = anew


def _is_begun(main: ModuleType) -> bool:
    """Whether the program runs, and has this done: then others hold its `__main__`."""
    for running in sys._current_frames().values():  # noqa: SLF001 - there is no other way to see all threads
        frame: FrameType | None = running
        while frame is not None:
            if frame.f_globals is vars(main):
                return True
            frame = frame.f_back
    return False


def _is_own(module: object) -> bool:
    """Whether a module is the program's, and no library's. One that waits to be used before it is loaded is left so."""
    try:
        file = object.__getattribute__(module, "__dict__").get("__file__")
    except AttributeError:
        return False
    return isinstance(file, str) and not file.startswith(LIBRARIES)


class _Collection:
    """Collects when it goes; without a line of ours, which what is collected could name in a warning."""

    __del__ = gc.collect


def _is_warned() -> bool:
    """Whether what is left open is told of, which it is not unless somebody asks for it."""
    for action, _, category, *_ in warnings.filters:
        if issubclass(ResourceWarning, category):
            return action != "ignore"
    return True


def _stand_last() -> None:
    """Python lets go of its modules one by one, in order, before it takes any apart: the last tell that all are."""
    if _is_warned() or not UNSEEN.isdisjoint(sys.modules):
        gc.unfreeze()
    elif gc.get_freeze_count() > BEGUN:
        begin, end = ModuleType("begin"), ModuleType("end")
        _watched.extend((weakref.ref(begin, _keep_quiet), weakref.ref(end, _thaw)))
        last = {"begin": begin, "collection": _Collection(), "end": end}
        sys.modules.update({f"{__name__}.{name}": found for name, found in last.items()})  # type: ignore[misc]


def _keep_quiet(_begin: object) -> None:
    """Python's own last collections tell nobody, and none comes between."""
    gc.disable()
    TOLD.clear()


def _thaw(_end: object) -> None:
    """What has not been collected, though all modules are gone, is held by what is frozen, or by nobody knows whom."""
    left: list[Any] = []
    try:
        left = gc.get_objects()
        is_left = _is_any_to_be_finished(left)
    except BaseException:  # noqa: BLE001 - the program's own classes answer, and its audit hook
        is_left = True
    if is_left:
        _write_out(left)
        gc.unfreeze()  # and Python collects


def _is_any_to_be_finished(left: list[Any]) -> bool:
    """Does Python do anything as these go that somebody might see? Of who is not known to be harmless, it does.

    Types are asked, and not the objects, whose `isinstance` and `hasattr` they answer themselves.
    """
    kinds = {kind: is_left for kind in set(map(type, left)) if (is_left := _finished(kind)) is not None}
    return any(kinds[type(found)](found) for found in left if type(found) in kinds)


def _finished(kind: type) -> Callable[[Any], bool] | None:
    """How to know whether one of a type is to be finished; None where none is."""
    if kind in SUSPENDED:
        return _is_suspended
    if FILE in kind.__mro__ and not _is_in(CONNECTIONS, kind.__module__):
        return _is_written if kind.__module__ == "_io" else _is_open
    classes = list(kind.__mro__)
    while classes and "__del__" not in classes[-1].__dict__:
        classes.pop()  # of which nothing is called then
    if _is_in(DATABASES, kind.__module__) or not all(_is_in(CONNECTIONS, base.__module__) for base in classes):
        return lambda _: True
    return None


def _is_in(modules: frozenset[str], module: object) -> bool:
    """Whether it is one of them, or in one; what a type says of its module may be anything."""
    return isinstance(module, str) and (module in modules or module.partition(".")[0] in modules)


def _is_suspended(found: Any) -> bool:
    frame = getattr(found, SUSPENDED[type(found)])
    return frame is not None and not _is_in(CONNECTIONS, frame.f_globals.get("__name__"))


def _is_open(found: Any) -> bool:
    return not found.closed


def _is_written(found: Any) -> bool:
    return not found.closed and found.writable()


def _write_out(left: list[Any]) -> None:
    """Files, which nobody may finish even so, as where a library in C keeps what it was imported by."""
    for found in left:
        if type(found) in WRITTEN:
            with contextlib.suppress(BaseException):
                found.flush()
