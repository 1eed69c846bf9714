"""OTLP/JSON and the protobuf messages of OTLP, each from the other.

OTLP/JSON is not protobuf's own JSON: ids are hex, enums are numbers, names are camelCase only. So protobuf's mapper is
not used; ours reads the message types once and turns JSON into the nested dictionaries that a message's constructor
takes, which builds the whole request in C.
"""

import base64
import binascii
import math
import re
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from otel_bridge.batch import REQUESTS, Request, Signal
from otel_bridge.errors import MalformedError
from otel_bridge.model import Omitted
from otel_bridge.otlp_pieces import MAX_DEPTH
from otel_bridge.telemetry import Counters

INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
ID = re.compile(r"[0-9a-fA-F]{1,64}", re.ASCII)
ESCAPE = re.compile(  # both halves of a character, one alone, or any other
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
STANDARD = str.maketrans("-_", "+/")
MAX_REPAIRED = 16 << 20
IDS = {"trace_id", "span_id", "parent_span_id"}
ITEMS = {"spans", "log_records", "metrics"}

RANGES = {
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_SINT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_ENUM: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_FIXED32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_SINT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT64: (0, (1 << 64) - 1),
    FieldDescriptor.TYPE_FIXED64: (0, (1 << 64) - 1),
}

Read: TypeAlias = Callable[[Any, int, list[Omitted] | None], Any]
"""JSON value, depth and the list for rejected items (None: refuse all for one) → what the constructor takes."""

Show: TypeAlias = Callable[[Any], Any]


def parse(
    signal: Signal, data: bytes, rejected: list[Omitted] | None = None, counters: Counters | None = None
) -> Request:
    """Read one OTLP/JSON request; unknown keys are ignored, and what is no text in it is repaired.

    rejected: where given, a span (log record, metric) with an unreadable id or a number out of range is left out of the
        request and put here; otherwise it makes the whole request malformed.
    counters: where `repaired{what=utf8}` is counted.

    Raises:
        MalformedError: it is no JSON, or a field does not have its type; names the field and holds no content.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        value = _loads_repaired(data, error)
        if counters is not None:
            counters.add("repaired", what="utf8")
    request = REQUESTS[signal]
    try:
        return request(**_fields_of(request.DESCRIPTOR).read(value, 1, rejected))
    except _WrongError as wrong:
        raise MalformedError(f"{wrong.path or 'the request'} {wrong.what}") from None


def dump(message: Message) -> bytes:
    """Write a request or response as OTLP/JSON, without a line break in it."""
    descriptor: Descriptor = message.DESCRIPTOR  # type: ignore[assignment]  # the C one is typed apart, and is the same
    return orjson.dumps(_fields_of(descriptor).show(message))


def is_json(line: bytes) -> bool:
    """Whether it is a whole document, of OTLP or not."""
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _loads_repaired(data: bytes, error: orjson.JSONDecodeError) -> Any:
    """JSON that could not be read, with U+FFFD for what is no text in it.

    JavaScript cuts texts through characters, and writes the half as an escape. A sender that is refused for that does
    not come again: all that was in the request would be lost.

    Raises:
        MalformedError: it is something else that is wrong, or it is too large to look.
    """
    refusal = MalformedError(f"not JSON: {error.msg.partition(':')[0]} at byte {error.pos}")
    if len(data) > MAX_REPAIRED:
        raise refusal from None
    mended = ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], data.decode("utf-8", "replace").encode())
    try:
        return orjson.loads(mended)
    except orjson.JSONDecodeError:
        raise refusal from None


class _WrongError(Exception):
    """A field that can not be read; gathers its path on the way up."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path = ""

    def under(self, name: str) -> "_WrongError":
        self.path = f"{name}{'.' if self.path[:1] not in ('', '[') else ''}{self.path}"
        return self


class _WrongItemError(_WrongError):
    """A value that spoils one span, log record or metric, and not the whole request."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what)
        self.reason = reason


class _Fields:
    """The fields of one message type, by their JSON names for reading and by their numbers for showing."""

    __slots__ = ("by_name", "by_number")

    def __init__(self) -> None:
        self.by_name: dict[str, tuple[str, Read]] = {}
        self.by_number: dict[int, tuple[str, Show]] = {}

    def read(self, value: Any, depth: int, rejected: list[Omitted] | None) -> dict[str, Any]:
        if type(value) is not dict:
            raise _WrongError("must be an object")
        if depth > MAX_DEPTH:  # what we accept must be read back
            raise _WrongError(f"is nested deeper than {MAX_DEPTH} messages")
        fields: dict[str, Any] = {}
        for key, item in value.items():
            known = self.by_name.get(key)
            if known is None or item is None:
                continue
            name, read = known
            try:
                fields[name] = read(item, depth, rejected)
            except _WrongError as wrong:
                raise wrong.under(key) from None
        return fields

    def show(self, message: Message) -> dict[str, Any]:
        shown = {}
        by_number = self.by_number
        for field, value in message.ListFields():
            name, show = by_number[field.number]
            shown[name] = show(value)
        return shown


_KNOWN: dict[str, _Fields] = {}
_LEARNING = threading.RLock()


def _fields_of(descriptor: Descriptor) -> _Fields:
    """The fields of a message type; remembered before they are filled, as AnyValue holds itself. Other threads wait
    until they are: to one that they do not find there they would pay no attention."""
    with _LEARNING:
        fields = _KNOWN.get(descriptor.full_name)
        if fields is None:
            fields = _KNOWN[descriptor.full_name] = _Fields()
            for field in descriptor.fields:
                read, show = _codec(field)
                if field.is_repeated:
                    read, show = _each(read, field.name in ITEMS), _show_each(show)
                fields.by_name[field.json_name] = field.name, read
                fields.by_number[field.number] = field.json_name, show
        return fields


def _codec(field: FieldDescriptor) -> tuple[Read, Show]:
    if field.message_type is not None:
        inner = _fields_of(field.message_type)
        return (lambda value, depth, rejected: inner.read(value, depth + 1, rejected)), inner.show
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return _read_text, _same
        case FieldDescriptor.TYPE_BYTES:
            return (_read_id, bytes.hex) if field.name in IDS else (_read_bytes, _show_bytes)
        case FieldDescriptor.TYPE_BOOL:
            return _read_bool, _same
        case FieldDescriptor.TYPE_DOUBLE:
            return _read_double, _show_double
        case FieldDescriptor.TYPE_ENUM:
            return _read_enum, _same
        case _:
            wide = RANGES[field.type][1] >= 1 << 32
            return _integer(*RANGES[field.type]), str if wide else _same


def _each(read: Read, items: bool) -> Read:
    def read_each(value: Any, depth: int, rejected: list[Omitted] | None) -> list[Any]:
        if type(value) is not list:
            raise _WrongError("must be an array")
        found = []
        for index, item in enumerate(value):
            try:
                found.append(read(item, depth, rejected))
            except _WrongItemError as wrong:
                if not items or rejected is None:
                    raise wrong.under(f"[{index}]") from None
                rejected.append(Omitted(_id_or_nothing(item, "spanId"), _id_or_nothing(item, "traceId"), wrong.reason))
            except _WrongError as wrong:
                raise wrong.under(f"[{index}]") from None
        return found

    return read_each


def _id_or_nothing(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    return value.lower() if isinstance(value, str) and ID.fullmatch(value) else ""


@cache
def _integer(low: int, high: int) -> Read:
    def read(value: Any, _depth: int, _rejected: list[Omitted] | None) -> int:
        if type(value) is str and INTEGER.fullmatch(value):
            value = int(value)
        elif type(value) in (str, float):
            raise _WrongItemError("must be an integer in plain digits, within its range", "out_of_range")
        if type(value) is not int:
            raise _WrongError("must be an integer, as a number or a string")
        if not low <= value <= high:
            raise _WrongItemError(f"must be between {low} and {high}", "out_of_range")
        return value

    return read


def _read_enum(value: Any, depth: int, rejected: list[Omitted] | None) -> int:
    if type(value) is not int:
        raise _WrongError("must be the integer of the enum value, not its name")
    number: int = _integer(*RANGES[FieldDescriptor.TYPE_ENUM])(value, depth, rejected)
    return number


def _read_text(value: Any, _depth: int, _rejected: list[Omitted] | None) -> str:
    if type(value) is not str:
        raise _WrongError("must be a string")
    return value


def _read_bool(value: Any, _depth: int, _rejected: list[Omitted] | None) -> bool:
    if type(value) is not bool:
        raise _WrongError("must be true or false")
    return value


def _read_double(value: Any, _depth: int, _rejected: list[Omitted] | None) -> float:
    if type(value) in (float, int):
        return float(value)
    if type(value) is str:
        try:
            return float(value)
        except ValueError:
            raise _WrongError('must be a number, "NaN", "Infinity" or "-Infinity"') from None
    raise _WrongError("must be a number")


def _read_id(value: Any, _depth: int, _rejected: list[Omitted] | None) -> bytes:
    if type(value) is not str:
        raise _WrongError("must be a string of hex digits")
    try:
        return binascii.unhexlify(value)
    except ValueError:
        raise _WrongItemError("must be hex digits (OTLP/JSON has ids in hex, not in base64)", "bad_id") from None


def _read_bytes(value: Any, _depth: int, _rejected: list[Omitted] | None) -> bytes:
    if type(value) is not str:
        raise _WrongError("must be a string of base64")
    standard = value.translate(STANDARD).rstrip("=")  # proto3's JSON may have either alphabet, and go without padding
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError:
        raise _WrongError("must be base64") from None


def _same(value: Any) -> Any:
    return value


def _show_each(show: Show) -> Show:
    return lambda values: [show(value) for value in values]


def _show_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _show_double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
