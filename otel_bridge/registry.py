"""Name → component: by its place in the package, else by an entry point of another package.

`otel_bridge/exporters/file.py` holds `file`, and YAML says `file:`; there is no list to keep. From elsewhere the entry
point groups `otel_bridge.receivers`, `.processors`, `.exporters` and `.extensions` do the same.
"""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, TypeGuard

from otel_bridge.component import Component, Kind

SECTIONS = ("receivers", "processors", "exporters", "extensions")

PLACES: dict[Kind, str] = {
    Kind.RECEIVER: "receivers",
    Kind.SPAN_PROCESSOR: "processors",
    Kind.TRACE_PROCESSOR: "processors",
    Kind.EXPORTER: "exporters",
    Kind.EXTENSION: "extensions",
}


def find(section: str, name: str) -> Component[Any] | None:
    """The component that a section of the configuration knows by this name; only its own module is imported."""
    if not name.isidentifier():
        return None
    package = f"otel_bridge.{section}"
    if find_spec(package) is not None and find_spec(f"{package}.{name}") is not None:
        here: object = getattr(import_module(f"{package}.{name}"), name, None)
        if _belongs(here, section):
            return here
    for point in entry_points(group=package, name=name):
        there: object = point.load()
        if _belongs(there, section):
            return there
    return None


def names(section: str) -> list[str]:
    """Everything that `find` finds in a section, sorted; imports all of it."""
    return sorted({name for name in _candidates(section) if find(section, name) is not None})


def components() -> list[Component[Any]]:
    """Every component there is, by section and name; imports all of them."""
    found = [find(section, name) for section in SECTIONS for name in names(section)]
    return [component for component in found if component is not None]


def _candidates(section: str) -> Iterator[str]:
    package = f"otel_bridge.{section}"
    if find_spec(package) is not None:
        yield from (module.name for module in pkgutil.iter_modules(import_module(package).__path__))
    yield from (point.name for point in entry_points(group=package))


def _belongs(candidate: object, section: str) -> TypeGuard[Component[Any]]:
    return isinstance(candidate, Component) and PLACES[candidate.kind] == section
