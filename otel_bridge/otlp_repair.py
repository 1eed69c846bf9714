"""Protobuf requests with text that is no UTF-8, as some senders write it: decoded all the same.

protobuf refuses the whole request for one bad byte in one string. Only after it has, the bytes are walked here and the
bad ones become U+FFFD.
"""

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from otel_bridge.batch import REQUESTS, Batch, Signal
from otel_bridge.errors import MalformedError
from otel_bridge.telemetry import Counters

MAX_DEPTH = 100  # as protobuf has it


def decode(signal: Signal, wire: bytes, counters: Counters) -> Batch:
    """A batch whose request is decoded; text that is no UTF-8 is repaired and counted `repaired{what=utf8}`.

    Raises:
        MalformedError: the bytes are no OTLP request of this signal.
    """
    batch = Batch.from_wire(signal, wire)
    try:
        _ = batch.request
    except MalformedError as error:
        try:
            batch = Batch.from_wire(signal, repair_utf8(signal, wire))
        except _BrokenError:
            raise error from None
        _ = batch.request
        counters.add("repaired", what="utf8")
    return batch


def repair_utf8(signal: Signal, wire: bytes) -> bytes:
    """The same request with every byte that is no UTF-8 text, where text must be, replaced by U+FFFD."""
    return _message(REQUESTS[signal].DESCRIPTOR, wire, 1)


class _BrokenError(Exception):
    """Not protobuf."""


def _message(descriptor: Descriptor, wire: bytes, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise _BrokenError
    out = bytearray()
    at, end = 0, len(wire)
    while at < end:
        start = at
        tag, at = _varint(wire, at)
        match tag & 7:
            case 0:
                _, at = _varint(wire, at)
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                after_tag = at
                length, body = _varint(wire, at)
                at = body + length
                if at > end:
                    raise _BrokenError
                inner = _value(descriptor.fields_by_number.get(tag >> 3), wire[body:at], depth)
                out += wire[start:after_tag] + _encoded(len(inner)) + inner
                continue
            case _:
                raise _BrokenError
        out += wire[start:at]
    if at != end:
        raise _BrokenError
    return bytes(out)


def _value(field: FieldDescriptor | None, value: bytes, depth: int) -> bytes:
    if field is None:
        return value
    if field.type == FieldDescriptor.TYPE_STRING:
        return value.decode("utf-8", "replace").encode()
    if field.message_type is not None:
        return _message(field.message_type, value, depth + 1)
    return value


def _varint(wire: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(wire):
            raise _BrokenError
        byte = wire[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise _BrokenError


def _encoded(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
