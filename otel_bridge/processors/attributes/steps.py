"""What each action does to the attributes of one resource, scope, span or log record."""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from otel_bridge.condition import Condition
from otel_bridge.patterns import Pattern
from otel_bridge.processors.attributes.actions import ActionConfig, SpanActionConfig
from otel_bridge.translate.span import plain

Attributes: TypeAlias = dict[str, KeyValue]

MAX_DEPTH = 16  # of a value that a span takes over: it lies deeper there, and what is too deep nobody can decode


class Spare:
    """How many bytes spans and log records may still take over of what they came under, and how often there were not
    enough: a large attribute of a resource in each of many small spans would be a bomb."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.missing = 0

    def take(self, value: AnyValue) -> bool:
        """Whether there is room for a value."""
        size = value.ByteSize()
        if size > self.left:
            self.missing += 1
            return False
        self.left -= size
        return True


@dataclass(slots=True)
class Place:
    """What an action works on.

    owner: the resource, scope, span or log record.
    attributes: its own, as they are now; `write` makes them so in the owner.
    others: those of the resource and the scope that it came under; spare: for what is copied of them.
    """

    owner: Any
    attributes: Attributes
    others: Mapping[str, Attributes]
    spare: Spare

    def of(self, other: str | None) -> Attributes:
        """The attributes of another, or its own."""
        return self.others[other] if other else self.attributes

    def put(self, key: str, value: AnyValue) -> bool:
        """Whether that changes anything."""
        there = self.attributes.get(key)
        if there is not None and there.value == value:
            return False
        self.attributes[key] = KeyValue(key=key, value=value)
        return True

    def write(self) -> None:
        pairs = list(self.attributes.values())
        del self.owner.attributes[:]
        self.owner.attributes.extend(pairs)


Act: TypeAlias = Callable[[Place, Sequence[str]], bool]
"""(where, the attributes there are for it) → whether anything changed."""


@dataclass(slots=True, frozen=True)
class Step:
    """An action, made ready.

    pattern: the attributes that there must be some of; None where it needs none.
    of: whose, if not the owner's own.
    """

    pattern: Pattern | None
    of: str | None
    when: Condition | None
    act: Act

    def may_change(self, wire: bytes) -> bool:
        """Whether a request may hold what it works on; where not, nothing has to be copied."""
        return self.pattern is None or max(self.pattern.text.split("*"), key=len).encode() in wire

    def names(self, place: Place) -> list[str]:
        """Which attributes there are for it."""
        if self.pattern is None:
            return []
        there = place.of(self.of)
        if self.pattern.is_name:
            return [self.pattern.text] if self.pattern.text in there else []
        return [name for name in there if self.pattern.fits(name)]


def run(
    steps: Sequence[Step],
    owner: Any,
    record: Any,
    tenant: str,
    spare: Spare,
    others: Mapping[str, Attributes] | None = None,
) -> bool:
    """Take the steps, one after the other; gives whether anything changed.

    record: the owner as conditions know it.
    """
    if not steps:
        return False
    place = Place(owner, read(owner), others or {}, spare)
    changed = unwritten = False
    for step in steps:
        names = step.names(place)
        if step.pattern is not None and not names:
            continue
        if step.when is not None:
            if unwritten:
                place.write()
                unwritten = False
            if not step.when.holds(step.when.values(record, tenant)):
                continue
        if step.act(place, names):
            changed = unwritten = True
    if unwritten:
        place.write()
    return changed


def read(owner: Any) -> Attributes:
    """Its attributes by key."""
    return {pair.key: pair for pair in owner.attributes}


def ready(action: ActionConfig, hash_key: bytes | None) -> Step:
    """An action as a step; `hash_key` is the secret of its hash, if there is one."""
    pattern = Pattern(action.key) if action.key is not None and action.action != "set" else None
    of: str | None = getattr(action, "of", None)
    return Step(pattern, of, action.when, _act(action, of, pattern, hash_key))


def _act(action: ActionConfig, of: str | None, pattern: Pattern | None, hash_key: bytes | None) -> Act:
    key = action.key or ""
    match action.action:
        case "set":
            value = _any_value(action.value)
            return lambda place, _names: place.put(key, value)
        case "name":
            return lambda place, names: _name(place, action.value or _text(place.of(of), names))
        case "delete":
            return _delete
        case "hash":
            return lambda place, names: _replace(place, names, lambda value: _hashed(value, hash_key))
        case "truncate":
            length = action.length or 0
            return lambda place, names: _replace(place, names, lambda value: _truncated(value, length))
    to = action.to or key
    if isinstance(action, SpanActionConfig) and action.action == "promote":
        to = f"langfuse.{action.level or 'trace'}.metadata.{to}"
    return _copy(pattern or Pattern(key), to, of, away=action.action == "rename")


def _copy(pattern: Pattern, to: str, of: str | None, *, away: bool) -> Act:
    def act(place: Place, names: Sequence[str]) -> bool:
        there = place.of(of)
        copied = [(name, pattern.like(name, to), there[name].value) for name in names]
        if of:
            copied = [one for one in copied if not _is_deep(one[2]) and place.spare.take(one[2])]
        if away:
            copied = [(name, target, value) for name, target, value in copied if target != name]
            _delete(place, [name for name, _, _ in copied])
        changed = [place.put(target, value) for _, target, value in copied]
        return any(changed) or (away and bool(copied))

    return act


def _is_deep(value: AnyValue) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for one in level
            for inner in (*one.array_value.values, *(pair.value for pair in one.kvlist_value.values))
        ]
        if not level:
            return False
    return True


def _delete(place: Place, names: Sequence[str]) -> bool:
    for name in names:
        del place.attributes[name]
    return bool(names)


def _replace(place: Place, names: Sequence[str], new: Callable[[AnyValue], AnyValue]) -> bool:
    changed = [place.put(name, new(place.attributes[name].value)) for name in names]
    return any(changed)


def _text(attributes: Attributes, names: Sequence[str]) -> str:
    return next((text for name in names if (text := attributes[name].value.string_value)), "")


def _name(place: Place, name: str) -> bool:
    if not name or place.owner.name == name:
        return False
    place.owner.name = name
    return True


def _hashed(value: AnyValue, key: bytes | None) -> AnyValue:
    said = value.bytes_value if value.HasField("bytes_value") else plain(value)
    if isinstance(said, str):
        said = said.encode()
    elif not isinstance(said, bytes):
        said = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(said).digest() if key is None else hmac.digest(key, said, hashlib.sha256)
    return AnyValue(string_value=digest.hex())


def _truncated(value: AnyValue, length: int) -> AnyValue:
    cut = AnyValue()
    cut.CopyFrom(value)
    waiting = [cut]
    while waiting:
        one = waiting.pop()
        match one.WhichOneof("value"):
            case "string_value":
                one.string_value = one.string_value[:length]
            case "bytes_value":
                one.bytes_value = one.bytes_value[:length]
            case "array_value":
                waiting += one.array_value.values
            case "kvlist_value":
                waiting += [pair.value for pair in one.kvlist_value.values]
    return cut


def _any_value(given: Any) -> AnyValue:
    match given:
        case bool():
            return AnyValue(bool_value=given)
        case int():
            return AnyValue(int_value=given)
        case float():
            return AnyValue(double_value=given)
        case str():
            return AnyValue(string_value=given)
    return AnyValue(array_value=ArrayValue(values=[_any_value(one) for one in given]))
