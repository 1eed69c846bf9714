"""What was imported to instrument a program is frozen, so that its end is not held up.

As Python ends, it goes over everything that was imported and takes it apart, object by object: half a second with a
framework or two. Its collector leaves alone what is frozen (`gc.freeze`). What the program itself has made is not, and
is finished as without: its modules come later, and `__main__` is put in place anew. What would be missed hangs on
something that stood before, such as a file in a library's registry. So where there is any, all is thawed in time.
"""

import atexit
import gc
import io
import sys
import sysconfig
import weakref
from types import ModuleType

LIBRARIES = ("<frozen ", *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")))
FILE = io.IOBase.__base__  # of those that are written in C, too

_watched: list[weakref.ref[ModuleType]] = []


def freeze() -> None:
    """All that stands now. To be called before the program's first line, after all that is not the program's."""
    gc.freeze()
    main = ModuleType("__main__")
    vars(main).update(vars(sys.modules["__main__"]))
    sys.modules["__main__"] = main


def thaw_in_time() -> None:
    """To be called before anything else asks `atexit` for a call: the first that asks is called last."""
    atexit.register(_stand_last)


def _stand_last() -> None:
    """Python lets go of its modules one by one, in order, before it takes any apart: the last tells that all are."""
    last = sys.modules[f"{__name__}.last"] = ModuleType("last")
    _watched.append(weakref.ref(last, _thaw))


def _thaw(_last: object) -> None:
    """What is not collected now, though all modules are gone, is held by what is frozen."""
    gc.collect()
    try:
        is_left = _is_any_to_be_finished(gc.get_objects())
    except Exception:  # noqa: BLE001  # the program's own classes answer
        is_left = True
    if is_left:
        gc.unfreeze()


def _is_any_to_be_finished(left: list[object]) -> bool:
    """Is there a file open for writing, or an object with a `__del__` that is not a library's?

    Only types are asked, where they can tell: `isinstance` and `hasattr` would be answered by the objects.
    """
    files, others = set(), set()
    for kind in set(map(type, left)):
        finisher = next((base.__dict__["__del__"] for base in kind.__mro__ if "__del__" in base.__dict__), None)
        if FILE in kind.__mro__:
            files.add(kind)
        elif (code := getattr(finisher, "__code__", None)) and not code.co_filename.startswith(LIBRARIES):
            others.add(kind)
    return any(
        type(found) in others or (type(found) in files and not found.closed and found.writable())  # type: ignore[attr-defined]
        for found in left
    )
