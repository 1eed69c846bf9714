"""A dead letter: an item that a destination will never take, with what it said.

Its id is derived from its content, which shows what has been damaged since.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from otel_bridge import otlp_json
from otel_bridge.batch import Batch, Signal
from otel_bridge.delivery.piece import Piece, count
from otel_bridge.journal.exporters import DAMAGED
from otel_bridge.model import Translation
from otel_bridge.moments import iso
from otel_bridge.plain_json import clean, dump

if TYPE_CHECKING:
    from pydantic import TypeAdapter

ANSWER_CHARS = 2048
TRANSLATION = "translation"


@dataclass(slots=True, frozen=True)
class DeadLetter:
    """An item that was set aside. One that can not be read any more has an id, and `damaged` as its reason.

    kind: `traces`, `logs`, `metrics`: content is an OTLP request; `translation`: content is JSON.
    reason: a word, as `refused` or `too_large`; answer: what the destination said last, hostile like all content.
    at_ns: when, nanoseconds since 1970.
    items: how many the ledger counts as dead-lettered for it: 0 where it was set aside when it was sent again.
    """

    id: str
    pipeline: str
    exporter: str
    tenant: str
    kind: str
    reason: str
    answer: str
    at_ns: int
    items: int
    content: bytes

    @classmethod
    def of(cls, piece: Piece, *, pipeline: str, exporter: str, reason: str, answer: str, at_ns: int) -> "DeadLetter":
        """The letter for a piece; the same piece of the same exporter always has the same id."""
        if isinstance(piece, Batch):
            kind, content = str(piece.signal), piece.wire
        else:
            kind, content = TRANSLATION, _written(piece)
        return cls(
            id=_id(pipeline, exporter, piece.tenant, kind, content),
            pipeline=pipeline,
            exporter=exporter,
            tenant=piece.tenant,
            kind=kind,
            reason=reason,
            answer=clean(answer[:ANSWER_CHARS]),
            at_ns=at_ns,
            items=count(piece),
            content=content,
        )

    @classmethod
    def unreadable(cls, letter_id: str) -> "DeadLetter":
        """What is told of a letter whose row is damaged."""
        return cls(letter_id, "", "", "", "", DAMAGED, "", 0, 0, b"")

    @property
    def intact(self) -> bool:
        """Whether its content is what was set aside."""
        return self.id == _id(self.pipeline, self.exporter, self.tenant, self.kind, self.content)

    @property
    def signal(self) -> Signal:
        """The signal that its items are counted under; what was translated counts as spans."""
        return Signal.TRACES if self.kind == TRANSLATION else Signal(self.kind)

    def piece(self) -> Piece:
        """What was set aside, to hand it to its exporter again."""
        if self.kind == TRANSLATION:
            return _translations().validate_json(self.content)
        return Batch.from_wire(Signal(self.kind), self.content, tenant=self.tenant)

    def to_dict(self, *, content: bool = False) -> dict[str, Any]:
        """As plain JSON, with what was set aside if asked for."""
        said: dict[str, Any] = {
            "id": self.id,
            "at": iso(self.at_ns),
            "pipeline": self.pipeline,
            "exporter": self.exporter,
            "tenant": self.tenant,
            "kind": self.kind,
            "reason": self.reason,
            "answer": self.answer,
            "items": self.items,
            "bytes": len(self.content),
            "damaged": not self.intact,
        }
        if content:
            said["content"] = self._plain() if self.intact else None
        return said

    def _plain(self) -> Any:
        """Its content as JSON; nothing of a translation that says nothing."""
        if self.kind == TRANSLATION:
            return _without_nothing(orjson.loads(self.content))
        return orjson.loads(otlp_json.dump(Batch.from_wire(Signal(self.kind), self.content).request))


def _id(pipeline: str, exporter: str, tenant: str, kind: str, content: bytes) -> str:
    owner = f"{pipeline}\0{exporter}\0{tenant}\0{kind}\0".encode()
    return hashlib.sha256(owner + content).hexdigest()[:16]


@cache
def _translations() -> "TypeAdapter[Translation]":
    from pydantic import TypeAdapter

    return TypeAdapter(Translation)  # it takes 40 ms


def _written(translation: Translation) -> bytes:
    """As JSON, also of values that are none: a letter that can not be written would hold up all behind it.

    The same where it was sent again.
    """
    from pydantic_core import PydanticSerializationError

    try:
        return _translations().dump_json(translation, exclude={"again"})
    except PydanticSerializationError:
        return dump(_translations().dump_python(translation, exclude={"again"}, warnings=False)).encode()


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_nothing(inner)
            for key, inner in value.items()
            if inner is not None and inner not in ("", [], {})
        }
    if isinstance(value, list):
        return [_without_nothing(inner) for inner in value]
    return value
