"""A large OTLP request cut into smaller ones, by its bytes alone.

protobuf decodes a request in one go, and nothing else in the process runs meanwhile: twenty megabytes are half a
second. All three signals have the same form (request → resource blocks → scope blocks → items, with repeated field
numbers 1, 2, 2), so one way of cutting serves them all.
"""

import sys
from array import array
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor

PIECE_BYTES = 512 << 10
VARINT, LENGTH = 0, 2  # wire types
FIXED = {1: 8, 5: 4}  # and of those with a fixed size
MOST_VARINT_BYTES = 10
MAX_DEPTH = 100  # messages within messages: what protobuf itself reads
LARGE_BYTES = 64 << 10
MOST_OTHERS = 1000  # fields of a block that are not repeated, where honest ones have three: more are not looked at
REPEATED = (1, 2, 2)  # the field, level by level, that holds the blocks and in the end the items


class _UncuttableError(ValueError):
    """Bytes that are no sequence of fields, or have groups, which nobody has sent for a decade."""


class TooManyError(ValueError):
    """There is more in a request than was allowed."""


def cut(wire: bytes, most: int = PIECE_BYTES, most_parts: int | None = None) -> list[bytes]:
    """Requests of about `most` bytes that together say the same, in the same order; what can't be cut comes whole.

    A resource or scope whose items come to lie in several pieces is in each of them.

    Raises:
        TooManyError: a block that had to be cut holds more than `most_parts`, of which the smallest have two bytes.
    """
    if len(wire) <= most:
        return [wire]
    try:
        return list(_cut(memoryview(wire), most, most_parts, 0))
    except _UncuttableError:
        return [wire]


def _cut(block: memoryview, most: int, most_parts: int | None, level: int) -> Iterator[bytes]:
    """The block as several of its own kind; all that is not repeated stands in each."""
    places, common = _fields(block, REPEATED[level], most_parts)
    room = max(most, 4 * len(common))  # or large attributes of a resource, in each of many pieces, would be a bomb
    held: list[memoryview] = []
    size = 0
    for begin, start, end in zip(places[::3], places[1::3], places[2::3], strict=True):
        if size and size + end - begin > room:
            yield b"".join((common, *held))
            held, size = [], 0
        if end - begin > room and level + 1 < len(REPEATED):
            tag = bytes([REPEATED[level] << 3 | LENGTH])
            for part in _cut(block[start:end], room, most_parts, level + 1):
                yield b"".join((common, tag, _varint(len(part)), part))
        else:
            held.append(block[begin:end])
            size += end - begin
    if held or not places:
        yield b"".join((common, *held))


def _fields(block: memoryview, repeated: int, most_parts: int | None) -> "tuple[array[int], bytes]":
    """Where each repeated field begins, where its content does, where it ends, one after the other; all other bytes.

    An array, as a tuple for each would be many thousands of objects for the garbage collector to walk through.
    """
    places = array("Q")
    others: list[memoryview] = []
    at, size = 0, len(block)
    wanted = repeated << 3 | LENGTH
    most_places = sys.maxsize if most_parts is None else 3 * most_parts
    while at < size:
        begin = at
        tag, at = _read_varint(block, at)
        if tag & 7 == LENGTH:
            length, start = _read_varint(block, at)
            at = start + length
            if tag == wanted and at <= size:
                places.extend((begin, start, at))
                if len(places) > most_places:
                    raise TooManyError
                continue
        elif tag & 7 in FIXED:
            at += FIXED[tag & 7]
        elif tag & 7 == VARINT:
            _, at = _read_varint(block, at)
        else:
            raise _UncuttableError
        if at > size or len(others) == MOST_OTHERS:
            raise _UncuttableError
        others.append(block[begin:at])
    return places, b"".join(others)


def check_fields(block: memoryview, kind: Descriptor, most_fields: int, depth: int = 1) -> int:
    """How many fields a message of this kind has, with those of what is large in it.

    Raises:
        TooManyError: more than `most_fields`. What is no message, or too deep within others, is looked at no further:
            who decodes it says so.
    """
    if depth > MAX_DEPTH:
        return 0
    at = fields = 0
    while at < len(block):
        fields += 1
        try:
            tag, at = _read_varint(block, at)
            if tag & 7 == LENGTH:
                length, start = _read_varint(block, at)
                at = start + length
                field = kind.fields_by_number.get(tag >> 3)
                if length > LARGE_BYTES and field is not None and field.message_type is not None:
                    fields += check_fields(block[start:at], field.message_type, most_fields - fields, depth + 1)
            elif tag & 7 in FIXED:
                at += FIXED[tag & 7]
            else:
                _, at = _read_varint(block, at)
        except _UncuttableError:
            return fields
        if fields > most_fields:
            raise TooManyError
    return fields


def _read_varint(block: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in block[at : at + MOST_VARINT_BYTES]:
        at += 1
        if byte < 0x80:
            return value | byte << shift, at
        value |= (byte & 0x7F) << shift
        shift += 7
    raise _UncuttableError


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
