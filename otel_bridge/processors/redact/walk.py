"""Through every place of an OTLP request where text can stand, so that none of it is left out.

Ids, times and numbers are never touched. What can not be redacted is emptied, alone: nothing of it goes on, and
nothing else is lost.
"""

from collections.abc import Callable, MutableSequence
from typing import Any, TypeAlias

from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.batch import BLOCKS, POINTS, REQUESTS, Request, Signal
from otel_bridge.processors.redact.texts import LEAST_CARD, MAX_DEPTH, TOO_DEEP, Texts

FAILED = "redaction failed"
CARD_WORDS = ("card", "pan", "cc_", "credit")

OnValue: TypeAlias = "Callable[[KeyValue, Walk], bool | None]"
"""What is done with an attribute before its texts are looked at: False takes it away, True leaves it at that. Who
changes something in it and wants its texts to be looked at too says None, and sets `changed`."""


class Walk:
    """Redacts requests in place; `changed` says whether anything was.

    is_plain: whether an attribute of this name is but a text, or what holds texts; all others are for:
    first: sees an attribute before its texts do, as who takes whole values or content.
    body: the same for the body of a log record, which has the name of its event.
    """

    def __init__(
        self, texts: Texts, is_plain: Callable[[str], bool], first: OnValue, body: Callable[[LogRecord], bool]
    ) -> None:
        self.changed = False
        self.failed = 0
        self._texts = texts
        self._is_plain = is_plain
        self._first = first
        self._body = body
        self._items: dict[Signal, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
            Signal.TRACES: (self._span, _empty_span),
            Signal.LOGS: (self._record, _empty_record),
            Signal.METRICS: (self._metric, _empty_metric),
        }

    def request(self, request: Request) -> None:
        """Redact all of it."""
        signal = next(signal for signal, kind in REQUESTS.items() if isinstance(request, kind))
        blocks, scopes, items = BLOCKS[signal]
        redact, empty = self._items[signal]
        for block in getattr(request, blocks):
            self._or_empty(block, self._schema, _empty_schema)
            self._or_empty(block.resource, self._resource, _empty_resource)
            for scoped in getattr(block, scopes):
                self._or_empty(scoped, self._schema, _empty_schema)
                self._or_empty(scoped.scope, self._scope, InstrumentationScope.Clear)
                for item in getattr(scoped, items):
                    self._or_empty(item, redact, empty)

    def _or_empty(self, item: Any, redact: Callable[[Any], None], empty: Callable[[Any], None]) -> None:
        try:
            redact(item)
        except Exception:  # noqa: BLE001 - whatever it was: what was not looked at does not go on
            empty(item)
            self.changed = True
            self.failed += 1

    def _schema(self, block: Any) -> None:
        self._texts_of(block, "schema_url")

    def _resource(self, resource: Resource) -> None:
        self._pairs(resource.attributes)
        for entity in resource.entity_refs:
            self._texts_of(entity, "schema_url", "type")
            for names in (entity.id_keys, entity.description_keys):  # of attributes, which are redacted the same
                for place, name in enumerate(names):
                    if (made := self._texts.text(name)) is not name:
                        names[place] = made
                        self.changed = True

    def _scope(self, scope: InstrumentationScope) -> None:
        self._texts_of(scope, "name", "version")
        self._pairs(scope.attributes)

    def _span(self, span: Span) -> None:
        self._texts_of(span, "name", "trace_state")
        self._pairs(span.attributes)
        for event in span.events:
            self._texts_of(event, "name")
            self._pairs(event.attributes)
        for link in span.links:
            self._texts_of(link, "trace_state")
            self._pairs(link.attributes)
        if span.HasField("status"):
            self._message(span)

    def _message(self, span: Span) -> None:
        """As an attribute that is called so: what went wrong is often told with what was said."""
        pair = KeyValue(key="status.message", value=AnyValue(string_value=span.status.message))
        if span.status.message:
            held = [pair]
            self._pairs(held)
            span.status.message = held[0].value.string_value if held else ""

    def _record(self, record: LogRecord) -> None:
        if self._body(record):
            self.changed = True
        self._texts_of(record, "event_name", "severity_text")
        self._value(record.body, "", 0)
        self._pairs(record.attributes)

    def _metric(self, metric: Metric) -> None:
        self._texts_of(metric, "name", "description", "unit")
        self._pairs(metric.metadata)
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points if kind in POINTS else ():
            self._pairs(point.attributes)
            for exemplar in getattr(point, "exemplars", ()):
                self._pairs(exemplar.filtered_attributes)

    def _texts_of(self, holder: Message, *fields: str) -> None:
        for field in fields:
            text = getattr(holder, field)
            if text and (made := self._texts.text(text)) is not text:
                setattr(holder, field, made)
                self.changed = True

    def _pairs(self, pairs: MutableSequence[KeyValue], depth: int = 0) -> None:
        gone: list[int] = []
        is_plain, text = self._is_plain, self._texts.text
        for place, pair in enumerate(pairs):
            key = pair.key
            if is_plain(key):
                value = pair.value
                if told := value.string_value:  # nine of ten
                    if (made := text(told)) is not told:
                        value.string_value = made
                        self.changed = True
                else:
                    self._value(value, key, depth)
                continue
            done = self._first(pair, self)
            if done is not None:
                self.changed = True
            if done is False:
                gone.append(place)
            elif done is None:
                self._value(pair.value, key, depth)
            self._texts_of(pair, "key")
        for place in reversed(gone):
            del pairs[place]

    def _value(self, value: AnyValue, key: str, depth: int) -> None:
        if text := value.string_value:
            made = self._texts.text(text)
            if made is not text:
                value.string_value = made
                self.changed = True
            return
        match value.WhichOneof("value"):
            case "array_value":
                if depth >= MAX_DEPTH:
                    self._too_deep(value)
                    return
                for item in value.array_value.values:
                    self._value(item, key, depth + 1)
            case "kvlist_value":
                if depth >= MAX_DEPTH:
                    self._too_deep(value)
                    return
                self._pairs(value.kvlist_value.values, depth + 1)
            case "bytes_value":
                raw = value.bytes_value
                found = self._texts.binary(raw)
                if found != raw:
                    value.bytes_value = found
                    self.changed = True
            case "int_value" if value.int_value >= LEAST_CARD and any(word in key.lower() for word in CARD_WORDS):
                self._texts_of_number(value)

    def _texts_of_number(self, value: AnyValue) -> None:
        told = str(value.int_value)
        if (made := self._texts.text(told)) is not told:
            value.string_value = made
            self.changed = True

    def _too_deep(self, value: AnyValue) -> None:
        value.string_value = TOO_DEEP
        self.changed = True


def _empty_schema(block: Any) -> None:
    block.ClearField("schema_url")


def _empty_resource(resource: Resource) -> None:
    for field in ("attributes", "entity_refs"):
        resource.ClearField(field)


def _empty_span(span: Span) -> None:
    """Its place in the trace and its times stay."""
    for field in ("attributes", "events", "links", "trace_state"):
        span.ClearField(field)
    span.status.message = ""
    span.name = FAILED


def _empty_record(record: LogRecord) -> None:
    for field in ("attributes", "body", "event_name", "severity_text"):
        record.ClearField(field)
    record.event_name = FAILED


def _empty_metric(metric: Metric) -> None:
    metric.Clear()
    metric.name = FAILED
