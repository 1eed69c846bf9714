"""Protobuf requests with text that is no UTF-8, as some senders write it: decoded all the same.

protobuf refuses the whole request for one bad byte in one string. Only after it has, the request is decoded once more
as a copy of its type that has bytes in place of text, and the bad ones become U+FFFD. So what is no protobuf at all
is found out by protobuf, and costs no more than that.
"""

from collections.abc import Iterable
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from otel_bridge.batch import REQUESTS, Batch, Signal, breadth, count_items
from otel_bridge.errors import MalformedError
from otel_bridge.otlp_pieces import PIECE_BYTES, TooManyError, check_fields, cut
from otel_bridge.telemetry import Counters

MOST_FIELDS = 4  # of one large item, for each part that a request may have
MAX_BYTES = 16 << 20  # of a request that is repaired: two bytes may be a value to look at, so this may take seconds


def decode(signal: Signal, wire: bytes, counters: Counters, *, most_parts: int | None = None) -> Batch:
    """A batch whose request was decoded, a large one in parts that are bytes again; text that is no UTF-8 is repaired
    and counted.

    The counter is `repaired{what=utf8}`. A repair may take seconds: not for the event loop.

    most_parts: of a large request, how many resources, scopes and items may be in it; decoded, the smallest take
        eighty times what they are on the wire.

    Raises:
        MalformedError: the bytes are no OTLP request of this signal, or are more than are repaired; or have more parts.
    """
    try:
        pieces = cut(wire, most_parts=most_parts)
        if most_parts is not None:
            for piece in pieces:
                if len(piece) > 2 * PIECE_BYTES:  # one item, or what could not be cut
                    check_fields(memoryview(piece), REQUESTS[signal].DESCRIPTOR, MOST_FIELDS * most_parts)
    except TooManyError:
        raise _too_many(signal, most_parts) from None
    if len(pieces) == 1:
        whole, was_repaired = _decode(signal, wire)
        if was_repaired:
            counters.add("repaired", what="utf8")
        return whole
    parts: list[Batch] = []
    repaired = there = 0
    for piece in pieces:
        batch, was_repaired = _decode(signal, piece)
        there += breadth(batch.request)
        if most_parts is not None and there > most_parts:
            raise _too_many(signal, most_parts)
        repaired += was_repaired
        parts.append(batch.packed())
    if repaired:
        counters.add("repaired", repaired, what="utf8")
    return Batch.of_parts(parts, like=parts[0])


def _too_many(signal: Signal, most_parts: int | None) -> MalformedError:
    return MalformedError(
        f"more than {most_parts} resources, scopes and items in one {signal} request, or far too many fields in one of "
        "these: send smaller batches"
    )


def _decode(signal: Signal, wire: bytes) -> tuple[Batch, bool]:
    """The batch, and whether its text had to be repaired."""
    batch = Batch.from_wire(signal, wire)
    try:
        _ = batch.request
    except MalformedError:
        batch = Batch.from_wire(signal, repair_utf8(signal, wire))
        _ = batch.request
        return batch, True
    return batch, False


def repair_utf8(signal: Signal, wire: bytes) -> bytes:
    """The same request with every byte that is no UTF-8 text, where text must be, replaced by U+FFFD.

    Raises:
        MalformedError: as `decode`.
    """
    try:
        request = _without_text(signal).FromString(wire)
    except DecodeError as error:
        raise MalformedError(f"not an OTLP {signal} request: {error}{_hint(signal, wire)}") from None
    if len(wire) > MAX_BYTES:
        raise MalformedError(
            f"not an OTLP {signal} request: there is text in it that is no UTF-8, which is repaired only in requests "
            f"of up to {MAX_BYTES} bytes: send smaller batches, or valid UTF-8"
        )
    _mend(request, REQUESTS[signal].DESCRIPTOR)
    return request.SerializeToString()


def _hint(signal: Signal, wire: bytes) -> str:
    """That bytes which are no request of one signal are one of another: the three share their field numbers."""
    for other in Signal:
        if other is not signal:
            try:
                found = count_items(REQUESTS[other].FromString(wire))
            except DecodeError:
                continue
            if found:
                return f"; it looks like {other}, which have a door of their own"
    return ""


@cache
def _without_text(signal: Signal) -> type[Message]:
    """The type of a signal's requests, but for its text fields, which hold bytes."""
    pool = DescriptorPool()
    request = REQUESTS[signal].DESCRIPTOR
    _add_without_text(pool, request.file)
    return GetMessageClass(pool.FindMessageTypeByName(request.full_name))


def _add_without_text(pool: DescriptorPool, file: FileDescriptor) -> None:
    for needed in file.dependencies:
        _add_without_text(pool, needed)
    copy = FileDescriptorProto()
    file.CopyToProto(copy)
    _take_text_out(copy.message_type)
    pool.Add(copy)


def _take_text_out(types: Iterable[DescriptorProto]) -> None:
    for kind in types:
        _take_text_out(kind.nested_type)
        for field in kind.field:
            if field.type == FieldDescriptorProto.TYPE_STRING:
                field.type = FieldDescriptorProto.TYPE_BYTES


def _mend(message: Message, kind: Descriptor) -> None:
    """kind: the message's real type, which knows what is text."""
    fields = kind.fields_by_number
    for copied, value in message.ListFields():
        field = fields[copied.number]
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                _mend(inner, field.message_type)
        elif field.type != FieldDescriptor.TYPE_STRING:
            continue
        elif field.is_repeated:
            value[:] = [_text(one) for one in value]
        else:
            setattr(message, field.name, _text(value))


def _text(value: bytes) -> bytes:
    return value.decode("utf-8", "replace").encode()
