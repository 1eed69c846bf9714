"""What earlier parts of a trace sent, span by span: packed, for a trace may have thousands of them."""

import base64
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

MAX_SENT = 20_000  # the newest; together they take half a megabyte
DIGEST_BYTES = 3
ONE = struct.Struct(f">8s8sB{DIGEST_BYTES}s")
ACTOR, CALL, USAGE, COST, HIDDEN = 1, 2, 4, 8, 16
NO_DIGEST = bytes(DIGEST_BYTES)
Row: TypeAlias = tuple[str, str, int, bytes]
"""A span's id, its parent's, its flags, and the digest of its content."""


@dataclass(slots=True, eq=False)
class Sent:
    """A span that was sent, or is about to be: what the usage of others in its trace depends on.

    parent_id: as the span has it; "" where it has none.
    actor: a tool or an agent: calls below it are other calls than those above it.
    call: its usage is that of one call, not a sum over those below.
    usage, cost: whether its own counts.
    digest: of its content, to know it again.
    hidden: it is noise and was not sent; what stands below it hangs further up.
    """

    id: str
    parent_id: str
    actor: bool
    call: bool
    usage: bool
    cost: bool
    digest: bytes = NO_DIGEST
    hidden: bool = False

    @classmethod
    def of(cls, id_: str, parent_id: str, flags: int, content: bytes = NO_DIGEST) -> "Sent":
        """What its flags say of it."""
        return cls(
            id_,
            parent_id,
            flags & ACTOR != 0,
            flags & CALL != 0,
            flags & USAGE != 0,
            flags & COST != 0,
            content,
            flags & HIDDEN != 0,
        )


def digest(content: bytes) -> bytes:
    """Tells one content of a span from another; of two that differ one in millions is taken for the other."""
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def pack(sent: Iterable[Row], before: str = "") -> str:
    """All that were sent `before`, and these, in base64; of too many the oldest are forgotten."""
    rows = [ONE.pack(_raw(id_), _raw(parent_id), flags, content) for id_, parent_id, flags, content in sent]
    packed = b"".join(rows)
    if before:
        packed = base64.b64decode(before) + packed
    return base64.b64encode(packed[-MAX_SENT * ONE.size :]).decode()


def _raw(id_: str) -> bytes:
    try:
        return bytes.fromhex(id_)
    except ValueError:  # a parent that only a log record named: nothing has such an id
        return b""


def unpack(packed: str) -> dict[str, Sent]:
    """By id, in the order in which they were sent."""
    found: dict[str, Sent] = {}
    for id_, parent, flags, content in ONE.iter_unpack(base64.b64decode(packed)):
        sent = Sent.of(id_.hex(), parent.hex() if any(parent) else "", flags, content)
        found[sent.id] = sent
    return found
