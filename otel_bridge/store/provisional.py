"""What a span says by itself: of its trace, and of what it will become when that has settled."""

from typing import Any

import orjson
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.model import Level, ObservationType, as_environment
from otel_bridge.translate.choose import read
from otel_bridge.translate.propagate import MAX_TAG, MAX_TAGS, MAX_WORD, of_resource
from otel_bridge.translate.span import SpanView, attributes

READ_BYTES = 1000
"""Of an attribute that is read: what is longer is content. Until the trace settles nobody asks for that, and to read it
costs more than all else that is done with a span here."""

WORDS = ("user_id", "session_id", "environment", "release", "version")


class Said:
    """What a resource says of the traces under it."""

    def __init__(self, resource: Resource) -> None:
        self.attributes: dict[str, Any] = attributes(resource.attributes)
        said = {word: of_resource(word, self.attributes) for word in WORDS}
        self.words = {word: text for word, text in said.items() if text}


class Words:
    """What spans say of their trace: the first who says a word is heard, any span before a resource."""

    def __init__(self) -> None:
        self._of_spans: dict[str, str] = {}
        self._of_resources: dict[str, str] = {}
        self._tags: dict[str, None] = {}

    def hear(self, span: Span, scope: str, resource: Said) -> tuple[str, str, str | None]:
        """Take what a span says of its trace; gives the type, level and model that it says it has itself.

        Its content is cut off: the span is the caller's own, for this alone.
        """
        del span.events[:], span.links[:]
        for pair in span.attributes:
            if pair.ByteSize() > READ_BYTES:
                pair.value.string_value = pair.value.string_value[:READ_BYTES]  # of what is no text, nothing
        reading = read(SpanView.of(span, InstrumentationScope(name=scope), resource.attributes))
        for word in WORDS:
            said = getattr(reading, word)
            if said and (said := as_environment(said) if word == "environment" else said):
                self._of_spans.setdefault(word, said[:MAX_WORD])
        if not self._of_resources:
            self._of_resources = resource.words
        for tag in reading.tags or ():
            if len(tag) <= MAX_TAG and len(self._tags) < MAX_TAGS:
                self._tags[tag] = None
        model = reading.model and reading.model[:MAX_WORD]
        return reading.type or ObservationType.SPAN, reading.level or Level.DEFAULT, model

    def of_trace(self) -> dict[str, str | None]:
        """Its words, and its tags as JSON."""
        said = self._of_resources | self._of_spans
        tags = orjson.dumps([*self._tags]).decode() if self._tags else None
        return {word: said.get(word) for word in WORDS} | {"tags": tags}
