"""What is said of the trace as a whole, from wherever in it somebody says it, for every observation to carry.

What the configuration says is heard first, then what was set by hand, what was only said, and what requests carry
along; among those the root, then the others by time; then the root's resource. What earlier parts said stands unless a
later one is surer.

All of it stands on each observation, so there is a most of it: what is more stays with the span that says it.
"""

from collections.abc import Container, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from otel_bridge.model import EXPERIMENT, TraceAttributes, as_environment
from otel_bridge.plain_json import dump
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.node import Node
from otel_bridge.translate.tree import Arranged
from otel_bridge.translate.values import speaks_of

MAX_WORD = 1_000  # characters of an id or a name
MAX_TAGS, MAX_TAG = 200, 200  # of so many characters: Langfuse's SDKs drop longer ones
MAX_TAGS_LENGTH = 8_000  # of all together
MAX_METADATA_BYTES = 16 << 10
MAX_COPIES_BYTES = 4 << 20  # on all observations together: so of small traces there may be more
LEFT_OUT = ("otel_bridge.tags_left_out", "otel_bridge.metadata_left_out")
"""How many tags of a trace, and keys of its metadata, do not stand on all its observations, as there was no room.

It is that of the part which left most out.
"""

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
    "name": "trace_name",
}
"""What a span that says otherwise than its trace keeps of it, and under which key."""

FIELDS = {**{name: name for name in (*RESOURCE, "public")}, "name": "trace_name"}
"""What is said once for the whole trace, by its name there, and how readings call it."""

TOLD = (*FIELDS.values(), "tags", "trace_input", "trace_output", "trace_metadata")
told_of = attrgetter(*TOLD)
NOTHING = told_of(Reading())
CORRELATION = ("workflow.id", "run.id", "agent.id")
"""Ids of what a trace belongs to, beside session and user, as programs write them, and the SDK's `correlation()`."""

OF_RESOURCE_KEYS = [key for keys in RESOURCE.values() for key in keys]
UNSAID: tuple[Any, ...] = (None, [], {})
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
    words = _resource_says(order) | _named(first)
    if told:
        words |= {name: heard for name, field in FIELDS.items() if field in told and (heard := _heard(field, speakers))}
    if configured:
        words |= {name: heard for name in FIELDS if (heard := _configured(name, configured))}
    _take(words, said, unsure)
    _share_tags(said, configured, speakers)
    _share_metadata(said, configured, speakers, tree)
    if root is not None:
        _tell_root(said, speakers, told, root)
    if told:
        _keep_different(speakers, told, said)
    if unsure.get("version") == OF_RESOURCE:
        _tell_versions(order)
    known = zip(REMEMBERED, remembered_of(said), strict=True)
    attributes = {name: got for name, got in known if got not in UNSAID}
    each_bytes = _size(attributes)
    for node in tree.order:
        node.observation.size += each_bytes
    if experiment := _hand_down_experiments(tree):
        attributes["experiment"] = experiment
    return attributes, {name: rank for name, rank in unsure.items() if rank != BY_HAND}


def _take(words: Mapping[str, tuple[Any, int]], said: TraceAttributes, unsure: dict[str, int]) -> None:
    """What is surer than what is known."""
    for name, (word, rank) in words.items():
        if getattr(said, name) is None or rank < unsure.get(name, BY_HAND):
            setattr(said, name, word if name == "public" else word[:MAX_WORD])
            unsure[name] = rank


def _share_tags(said: TraceAttributes, configured: Mapping[str, Any], speakers: Sequence[Node]) -> None:
    """As many as there is room for: those of earlier parts first."""
    tags = [*said.tags, *configured.get("tags", ())]
    for node in speakers:
        if node.reading.tags:
            tags += node.reading.tags
    said.tags = []
    if not tags:
        return
    room, left = MAX_TAGS_LENGTH, set()
    for tag in dict.fromkeys(tags):
        if (
            len(said.tags) < MAX_TAGS
            and len(tag) <= MAX_TAG
            and (tag_bytes := len(tag.encode(errors="replace"))) <= room
        ):
            said.tags.append(tag)
            room -= tag_bytes
        else:
            left.add(tag)
    if left:
        for node in speakers:
            if own := [tag for tag in node.reading.tags or () if tag in left]:
                node.observation.metadata.setdefault("tags", own)
        _count_left_out(said, LEFT_OUT[0], len(left))


def _share_metadata(
    said: TraceAttributes, configured: Mapping[str, Any], speakers: Sequence[Node], tree: Arranged
) -> None:
    """As much as there is room for: that of earlier parts first, then what is configured."""
    by_spans = {key: item for node in reversed(speakers) for key, item in node.reading.trace_metadata.items()}
    by_spans = _correlated(tree) | by_spans
    found = dict(configured.get("metadata", {}))
    whole = by_spans | found | said.metadata
    if not whole:
        return
    most = max(MAX_METADATA_BYTES, MAX_COPIES_BYTES // max(len(tree.order), 1))
    if _size(whole) <= most:
        said.metadata = whole
        return
    fitting = _fitting({key: whole[key] for key in (*said.metadata, *found, *reversed(by_spans))}, most)
    said.metadata = {key: item for key, item in whole.items() if key in fitting}
    left = whole.keys() - fitting.keys()  # what spans said of it they keep, as all that is not the trace's
    if tree.root is not None:
        for key in left - by_spans.keys():
            tree.root.observation.metadata.setdefault(key, whole[key])
    _count_left_out(said, LEFT_OUT[1], len(left))


def _correlated(tree: Arranged) -> dict[str, Any]:
    """What the trace is a part of: as the root says, else as all say that say it."""
    spoken = [node for node in tree.order if not node.observation.metadata.keys().isdisjoint(CORRELATION)]
    if not spoken:
        return {}
    root = tree.former or tree.root
    found: dict[str, Any] = {}
    for key in CORRELATION:
        said = [node.observation.metadata[key] for node in spoken if key in node.observation.metadata]
        if root is not None and key in root.observation.metadata:
            said = [root.observation.metadata[key]]
        if said and isinstance(said[0], str | int) and all(one == said[0] for one in said):
            found[key] = said[0]
    return found


def _count_left_out(said: TraceAttributes, mark: str, left: int) -> None:
    """The most that one part left out: nothing tells whether it is the same in another."""
    before = said.metadata.get(mark)
    said.metadata = said.metadata | {mark: max(left, before if isinstance(before, int) else 0)}


def _fitting(said: Mapping[str, Any], most: int) -> dict[str, Any]:
    """What of it may stand on each observation: what comes first, and what else there is room for."""
    room, kept = most, {}
    for key, item in said.items():
        if (item_bytes := _size({key: item})) <= room:
            kept[key] = item
            room -= item_bytes
    return kept


def _size(said: Mapping[str, Any]) -> int:
    return len(dump(said).encode())


def _speakers(order: Sequence[Node]) -> tuple[list[Node], set[str]]:
    """Who says anything of the trace, and which fields of a reading anybody says."""
    words = [(node, said) for node in order if (said := told_of(node.reading)) != NOTHING]
    if not words:
        return [], set()
    silent = (None,) * len(words)
    columns = zip(*[said for _, said in words], strict=True)
    return (
        [node for node, _ in words],
        {field for field, column in zip(TOLD, columns, strict=False) if column != silent},
    )


def _configured(name: str, configured: Mapping[str, Any]) -> tuple[Any, int] | None:
    found = configured.get(name)
    if name == "environment":
        found = as_environment(found)
    return None if found is None else (found, CONFIGURED)


def _first(field: str, speakers: Sequence[Node], told: Container[str]) -> Any:
    """What the first says who says anything."""
    if field not in told:
        return None
    return next(heard for node in speakers if (heard := getattr(node.reading, field)) is not None)


def _heard(field: str, speakers: Sequence[Node]) -> tuple[Any, int] | None:
    """What the first of the surest says that is still something when cleaned."""
    found: tuple[Any, int] | None = None
    for node in speakers:
        heard = getattr(node.reading, field)
        if heard is None or (found is not None and found[1] == SAID and field not in node.reading.by_hand):
            continue
        rank = _rank(node, field)
        if found is None or rank < found[1]:
            heard = as_environment(heard) if field == "environment" else heard
            found = found if heard is None else (heard, rank)
    return found


def _rank(node: Node, field: str) -> int:
    if field in node.reading.by_hand:
        return BY_HAND
    return IN_PASSING if node.span.kind and node.reading.type is None else SAID


def _resource_says(order: Sequence[Node]) -> dict[str, tuple[str, int]]:
    """What the resource of the first says."""
    if not order or order[0].span.resource.keys().isdisjoint(OF_RESOURCE_KEYS):
        return {}
    told = {name: of_resource(name, order[0].span.resource) for name in RESOURCE}
    return {name: (heard, OF_RESOURCE) for name, heard in told.items() if heard is not None}


def _tell_versions(order: Sequence[Node]) -> None:
    """The version of each resource, where the trace's is one of them."""
    known: dict[int, str | None] = {}
    for node in order:
        if not node.observation.version:
            resource = node.span.resource
            if id(resource) not in known:
                known[id(resource)] = of_resource("version", resource)
            node.observation.version = known[id(resource)]


def of_resource(name: str, resource: Mapping[str, Any]) -> str | None:
    """What a resource says of its traces: under one of the names in `RESOURCE`."""
    for key in RESOURCE[name]:
        text = resource.get(key)
        if text is None:
            continue
        if isinstance(text, int) and not isinstance(text, bool):
            text = str(text)
        if isinstance(text, str) and text and (heard := as_environment(text) if name == "environment" else text):
            return heard[:MAX_WORD]
    return None


def _named(root: Node | None) -> dict[str, tuple[str, int]]:
    """Langfuse calls a trace by its root's name."""
    if root is None or not root.observation.name:
        return {}
    seen = root.observation
    return {"name": (seen.name, OF_TOP if seen.parent_id else OF_ROOT)}


def _tell_root(said: TraceAttributes, speakers: Sequence[Node], told: Container[str], root: Node) -> None:
    """Langfuse reads a trace's input and output off its root."""
    seen = root.observation
    said.input = _first("trace_input", speakers, told)
    said.output = _first("trace_output", speakers, told)
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
    sizes: dict[int, int] = {}
    for node in tree.order:
        metadata = node.observation.metadata
        above = told.get(id(node.parent), {}) if node.parent is not None else known
        speaks = speaks_of(metadata, EXPERIMENT)
        if above:
            if id(above) not in sizes:
                sizes[id(above)] = _size(above)
            node.observation.size += sizes[id(above)]
            told[id(node)] = above
            for key, item in above.items():
                metadata.setdefault(key, item)
        if speaks:
            own = {key: item for key, item in metadata.items() if key.startswith(EXPERIMENT) and key not in OF_ITEM}
            told[id(node)] = _fitting(own, MAX_METADATA_BYTES)
    return known or told.get(id(tree.root), {})


def _keep_different(speakers: Sequence[Node], told: Container[str], said: TraceAttributes) -> None:
    """A span that names another session, user, metadata ... than its trace keeps that in its own metadata."""
    for name, key in SHOWN.items():
        if (field := FIELDS[name]) in told:
            whole = getattr(said, name)
            for node in speakers:
                own = getattr(node.reading, field)
                if own is not None and own != whole:
                    node.observation.metadata.setdefault(key, own)
    if "trace_metadata" in told:
        for node in speakers:
            for key, own in node.reading.trace_metadata.items():
                if said.metadata.get(key) != own:
                    node.observation.metadata.setdefault(key, own)
