"""What is said of the trace as a whole, from wherever in it somebody says it, for every observation to carry.

What the configuration says is heard first, then what was set by hand, what was only said, and what requests carry
along; among those the root, then the others by time; then the root's resource. What earlier parts said stands unless a
later one is surer.
"""

from collections.abc import Container, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from otel_bridge.model import EXPERIMENT, TraceAttributes, as_environment
from otel_bridge.translate.dialect import Reading, speaks_of
from otel_bridge.translate.tree import Arranged, Node

REMEMBERED = ("name", "user_id", "session_id", "tags", "environment", "release", "version", "public", "metadata")
remembered_of = attrgetter(*REMEMBERED)
RESOURCE = {
    "session_id": ("langfuse.session.id", "session.id"),
    "user_id": ("langfuse.user.id", "user.id", "enduser.id"),
    "release": ("langfuse.release",),
    "version": ("langfuse.version", "service.version"),
    "environment": ("langfuse.environment", "deployment.environment.name", "deployment.environment"),
}
SHOWN = {
    "session_id": "session.id",
    "user_id": "user.id",
    "environment": "environment",
    "release": "release",
    "version": "version",
}
shown_of = attrgetter(*SHOWN)
TOLD = (*SHOWN, "public", "trace_name", "tags", "trace_input", "trace_output", "trace_metadata")
told_of = attrgetter(*TOLD)
NOTHING = told_of(Reading())
FIELD = {"name": "trace_name"}  # of a reading, where it is not called as the trace's
OF_ITEM = tuple(f"{EXPERIMENT}{name}" for name in ("description", "item.version", "item.expected_output"))
"""What Langfuse's SDK says of an experiment where an item begins, and not below it."""

CONFIGURED, BY_HAND, SAID, IN_PASSING, OF_RESOURCE, OF_ROOT, OF_TOP = range(-1, 6)
"""How sure a word is: found where the configuration says; set as `langfuse.*`; said; said by what carries requests,
which knows of other sessions and users; the resource's; and, for the trace's name, that of its root, or of what stands
for a root that has not come."""


def tell(said: TraceAttributes, tree: Arranged, configured: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Fill the trace's attributes, which all observations share; gives what of them later parts must know.

    That is what was said, and how sure it is, where that is not as usual.

    configured: what trace processors say of them.
    """
    for name, remembered in tree.known.attributes.items():
        if name in REMEMBERED:
            setattr(said, name, remembered)
    unsure = {name: rank for name, rank in tree.known.unsure.items() if name in tree.known.attributes}
    root, first = tree.root, tree.former or tree.root
    order = sorted(tree.order, key=lambda node: (node is not first, node.span.start_ns, node.span.id))
    speakers, told = _speakers(order)
    for name in (*RESOURCE, "public", "name"):
        heard = _configured(name, configured) or _heard(name, speakers, told)
        if heard is None:
            heard = _named(first) if name == "name" else _resource_says(name, order)
        if heard is not None and (getattr(said, name) is None or heard[1] < unsure.get(name, BY_HAND)):
            setattr(said, name, heard[0])
            unsure[name] = heard[1]
    tags = [*said.tags, *configured.get("tags", ())]
    for node in speakers:
        if node.reading.tags:
            tags += node.reading.tags
    said.tags = list(dict.fromkeys(tags))
    by_spans = {key: item for node in reversed(speakers) for key, item in node.reading.trace_metadata.items()}
    said.metadata = by_spans | dict(configured.get("metadata", {})) | said.metadata
    if root is not None:
        _tell_root(said, speakers, root)
    for node in speakers:
        _keep_different(node, said)
    if unsure.get("version") == OF_RESOURCE:
        _tell_versions(order)
    known = zip(REMEMBERED, remembered_of(said), strict=True)
    attributes = {name: got for name, got in known if got is not None and got != [] and got != {}}
    if experiment := _hand_down_experiments(tree):
        attributes["experiment"] = experiment
    return attributes, {name: rank for name, rank in unsure.items() if rank != BY_HAND}


def _speakers(order: Sequence[Node]) -> tuple[list[Node], set[str]]:
    """Who says anything of the trace, and which fields of a reading anybody says."""
    words = [told_of(node.reading) for node in order]
    silent = (None,) * len(words)
    return (
        [node for node, said in zip(order, words, strict=True) if said != NOTHING],
        {field for field, column in zip(TOLD, zip(*words, strict=True), strict=False) if column != silent},
    )


def _configured(name: str, configured: Mapping[str, Any]) -> tuple[Any, int] | None:
    if not configured:
        return None
    found = configured.get(name)
    if name == "environment":
        found = as_environment(found)
    return None if found is None else (found, CONFIGURED)


def _first(field: str, speakers: Sequence[Node]) -> Any:
    """What the first says who says anything."""
    return next((heard for node in speakers if (heard := getattr(node.reading, field)) is not None), None)


def _heard(name: str, speakers: Sequence[Node], told: Container[str]) -> tuple[Any, int] | None:
    """What the first of the surest says that is still something when cleaned."""
    field = FIELD.get(name, name)
    if field not in told:
        return None
    found: tuple[Any, int] | None = None
    for node in speakers:
        heard = getattr(node.reading, field)
        if heard is None:
            continue
        rank = _rank(node, field)
        if found is None or rank < found[1]:
            heard = as_environment(heard) if name == "environment" else heard
            found = found if heard is None else (heard, rank)
    return found


def _rank(node: Node, field: str) -> int:
    if field in node.reading.by_hand:
        return BY_HAND
    return IN_PASSING if node.span.kind and node.reading.type is None else SAID


def _resource_says(name: str, order: Sequence[Node]) -> tuple[str, int] | None:
    """What the resource of the first says."""
    heard = _of_resource(name, order[0].span.resource) if order else None
    return None if heard is None else (heard, OF_RESOURCE)


def _tell_versions(order: Sequence[Node]) -> None:
    """The version of each resource, where the trace's is one of them."""
    known: dict[int, str | None] = {}
    for node in order:
        if not node.observation.version:
            resource = node.span.resource
            if id(resource) not in known:
                known[id(resource)] = _of_resource("version", resource)
            node.observation.version = known[id(resource)]


def _of_resource(name: str, resource: Mapping[str, Any]) -> str | None:
    for key in RESOURCE.get(name, ()):
        text = resource.get(key)
        if text is None:
            continue
        if isinstance(text, int) and not isinstance(text, bool):
            text = str(text)
        if isinstance(text, str) and text and (heard := as_environment(text) if name == "environment" else text):
            return heard
    return None


def _named(root: Node | None) -> tuple[str, int] | None:
    """Langfuse calls a trace by its root's name."""
    if root is None or not root.observation.name:
        return None
    seen = root.observation
    return seen.name, OF_TOP if seen.parent_id else OF_ROOT


def _tell_root(said: TraceAttributes, speakers: Sequence[Node], root: Node) -> None:
    """Langfuse reads a trace's input and output off its root."""
    seen = root.observation
    said.input = _first("trace_input", speakers)
    said.output = _first("trace_output", speakers)
    if seen.input is None:
        seen.input = said.input
    if seen.output is None:
        seen.output = said.output
    said.input = seen.input if said.input is None else said.input
    said.output = seen.output if said.output is None else said.output


def _hand_down_experiments(tree: Arranged) -> dict[str, Any]:
    """Every observation below an item of an experiment belongs to it; gives what a late one would have of the root."""
    known: dict[str, Any] = tree.known.attributes.get("experiment", {})
    keys = chain.from_iterable([node.observation.metadata for node in tree.order])
    if not known and not speaks_of(keys, EXPERIMENT):
        return known
    told: dict[int, dict[str, Any]] = {}
    for node in tree.order:
        metadata = node.observation.metadata
        above = told.get(id(node.parent)) if node.parent is not None else known
        if not above and not speaks_of(metadata, EXPERIMENT):
            continue
        for key, item in (above or {}).items():
            metadata.setdefault(key, item)
        told[id(node)] = {
            key: item for key, item in metadata.items() if key.startswith(EXPERIMENT) and key not in OF_ITEM
        }
    return known or told.get(id(tree.root), {})


def _keep_different(node: Node, said: TraceAttributes) -> None:
    """A span that names another session, user ... than its trace keeps that in its metadata."""
    for (name, key), own in zip(SHOWN.items(), shown_of(node.reading), strict=True):
        if own is not None and own != getattr(said, name):
            node.observation.metadata.setdefault(key, own)
    if node.reading.trace_name is not None and node.reading.trace_name != said.name:
        node.observation.metadata.setdefault("trace_name", node.reading.trace_name)
