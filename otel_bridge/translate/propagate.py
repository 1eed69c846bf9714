"""What is said of the trace as a whole, from wherever in it somebody says it, for every observation to carry.

What earlier parts said stands; then the root is heard first, then the others by time, then the resource.
"""

from collections.abc import Callable, Sequence
from typing import Any

from otel_bridge.model import TraceAttributes
from otel_bridge.translate.observe import environment
from otel_bridge.translate.tree import Arranged, Node

REMEMBERED = ("name", "user_id", "session_id", "tags", "environment", "release", "version", "public", "metadata")
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


def tell(said: TraceAttributes, tree: Arranged) -> None:
    """Fill the trace's attributes, and write them down for later parts; all observations share `said`."""
    for name, remembered in tree.known.attributes.items():
        if name in REMEMBERED:
            setattr(said, name, remembered)
    root = tree.root
    speakers = sorted(tree.order, key=lambda node: (node is not root, node.span.start_ns, node.span.id))
    for name in (*RESOURCE, "public"):
        if getattr(said, name) is None:
            setattr(said, name, _heard(name, speakers))
    said.name = said.name or _first("trace_name", speakers)
    said.tags = list(dict.fromkeys([*said.tags, *(tag for node in speakers for tag in node.reading.tags or ())]))
    said.metadata = {key: item for node in reversed(speakers) for key, item in node.reading.trace_metadata.items()} | (
        said.metadata
    )
    if root is not None:
        _tell_root(said, speakers, root)
    for node in speakers:
        _keep_different(node, said)
    tree.known.attributes = {name: got for name in REMEMBERED if (got := getattr(said, name)) not in (None, [], {})}


def _first(field: str, speakers: Sequence[Node], clean: Callable[[Any], Any] | None = None) -> Any:
    """What the first says who says anything that is still something when cleaned."""
    for node in speakers:
        heard = getattr(node.reading, field)
        if heard is not None and (clean is None or (heard := clean(heard)) is not None):
            return heard
    return None


def _heard(field: str, speakers: Sequence[Node]) -> Any:
    """What the first says who says anything, else the resource of the root."""
    clean = environment if field == "environment" else None
    heard = _first(field, speakers, clean)
    if heard is not None or not speakers:
        return heard
    resource = speakers[0].span.resource
    for key in RESOURCE.get(field, ()):
        text = resource.get(key)
        if isinstance(text, str) and text and (heard := clean(text) if clean else text):
            return heard
    return None


def _tell_root(said: TraceAttributes, speakers: Sequence[Node], root: Node) -> None:
    """Langfuse reads a trace's input and output off its root, and calls the trace by the root's name."""
    seen = root.observation
    said.input = _first("trace_input", speakers)
    said.output = _first("trace_output", speakers)
    if seen.input is None:
        seen.input = said.input
    if seen.output is None:
        seen.output = said.output
    said.input = seen.input if said.input is None else said.input
    said.output = seen.output if said.output is None else said.output
    said.name = said.name or seen.name


def _keep_different(node: Node, said: TraceAttributes) -> None:
    """A span that names another session, user ... than its trace keeps that in its metadata."""
    for name, key in SHOWN.items():
        own = getattr(node.reading, name)
        if own is not None and own != getattr(said, name):
            node.observation.metadata.setdefault(key, own)
    if node.reading.trace_name is not None and node.reading.trace_name != said.name:
        node.observation.metadata.setdefault("trace_name", node.reading.trace_name)
