"""Whose it is that came in: the sender's own, or that of tenants it may send for, told apart by header or attribute.

Who sends is known by key or certificate. What is named besides counts only where the configuration looks for it, and
only if the sender's tenant may send for the one that is named; else it is rejected, and never somebody's by a guess.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from pydantic import Field, StringConstraints, model_validator

from otel_bridge.batch import BLOCKS, POINTS, Batch, Signal, keep, keep_items
from otel_bridge.config import Config
from otel_bridge.model import Omitted
from otel_bridge.receivers.otlp.senders import Sender
from otel_bridge.telemetry import Counters
from otel_bridge.tenants import Tenants
from otel_bridge.validate import Attributed, owners

PUBLIC = frozenset(("langfuse.trace.public", "langfuse.public"))
PUBLIC_ON_WIRE = tuple(key.encode() for key in PUBLIC)
FOREIGN = "foreign_tenant"

Owner: TypeAlias = Callable[[Iterable[KeyValue]], str | None]
"""Says by its attributes whose something is; None: may not be sent."""


class TenantFromConfig(Config):
    """Where the name of a tenant stands that the sender sends for; one of the three."""

    header: Annotated[str, StringConstraints(to_lower=True, pattern=r"^[A-Za-z0-9-]{1,100}$")] | None = None
    resource: Annotated[str, Field(min_length=1)] | None = None  # an attribute of the resource
    attribute: Annotated[str, Field(min_length=1)] | None = None  # of the span, log record or data point

    @model_validator(mode="after")
    def _one(self) -> "TenantFromConfig":
        if sum(place is not None for place in (self.header, self.resource, self.attribute)) != 1:
            raise ValueError("write one of header, resource and attribute")
        return self


class Routing:
    """Makes of what a sender sent the batches of the tenants it belongs to."""

    def __init__(self, where: TenantFromConfig | None, tenants: Tenants, counters: Counters) -> None:
        self.header = where.header if where is not None else None
        self._resource = where.resource if where is not None else None
        self._key = self._resource or (where.attribute if where is not None else None)
        self._tenants = tenants
        self._counters = counters

    def route(self, batch: Batch, sender: Sender) -> tuple[list[Batch], list[Omitted]]:
        """A batch for each tenant that something of it belongs to, and what the sender may not send."""
        if not self._tenants.required:
            return [batch], []
        if sender.names is not None:
            owner = self._owner(sender, {sender.names})
            routed, rejected = ({owner: [batch]}, []) if owner else ({}, _all(batch))
        elif self._key is not None:
            routed, rejected = self._split(batch, sender, self._key)
        else:
            routed, rejected = {sender.tenant: [batch]}, []
        if rejected:
            self._counters.add("rejected", len(rejected), reason=FOREIGN)
        return [self._belonging(batches, tenant) for tenant, batches in routed.items()], rejected

    def _belonging(self, batches: Sequence[Batch], tenant: str) -> Batch:
        """One batch of it all, in the parts that it came in, and private unless the tenant may publish."""
        parts = [part for batch in batches for part in batch.parts]
        if not self._tenants.get(tenant).public_traces:
            parts = [self._private(part) for part in parts]
        parts = [part.of_tenant(tenant) for part in parts]
        return parts[0] if len(parts) == 1 else Batch.of_parts(parts, like=parts[0])

    def _private(self, part: Batch) -> Batch:
        if not any(key in part.wire for key in PUBLIC_ON_WIRE):
            return part
        request = part.editable()
        stripped = sum(_without(owner, PUBLIC) for owner in owners(request))
        if not stripped:
            return part  # a text that speaks of it
        self._counters.add("repaired", stripped, what="public_trace")
        return Batch.from_request(request, item_count=part.item_count)

    def _owner(self, sender: Sender, names: set[str | None]) -> str | None:
        """The tenant of what names these; nothing is the sender's own. None for what it may not send."""
        if not names:
            return sender.tenant
        if len(names) > 1:
            return None
        name = names.pop()
        if name == sender.tenant:
            return name
        allowed = name in self._tenants.get(sender.tenant).sends_for and name in self._tenants.configs
        return name if allowed else None

    def _split(self, batch: Batch, sender: Sender, key: str) -> tuple[dict[str, list[Batch]], list[Omitted]]:
        routed: dict[str, list[Batch]] = {}
        rejected: list[Omitted] = []
        for part in batch.parts:
            if key.encode() not in part.wire:
                routed.setdefault(sender.tenant, []).append(part)
                continue

            def owner(attributes: Iterable[KeyValue]) -> str | None:
                return self._owner(sender, _named(attributes, key))

            whose = [owner(attributes) for attributes in self._divided(part)]
            if len(set(whose)) == 1 and whose[0] is not None and not self._has_emptied(part):
                routed.setdefault(whose[0], []).append(part)  # nearly always: nothing is copied
                continue
            for tenant in dict.fromkeys(whose):
                kept = self._only(part, tenant, owner)
                if tenant is None:
                    rejected += _all(kept)
                elif kept.item_count:
                    routed.setdefault(tenant, []).append(kept)
        return routed, rejected

    def _divided(self, part: Batch) -> Iterator[Iterable[KeyValue]]:
        """What a request is divided into, its resources or its items: where the names of each stand."""
        resources, scopes, items = BLOCKS[part.signal]
        for block in getattr(part.request, resources):
            if self._resource is not None:
                yield block.resource.attributes
                continue
            for scoped in getattr(block, scopes):
                yield from map(_of_item, getattr(scoped, items))

    def _has_emptied(self, part: Batch) -> bool:
        """Whether it is divided by items, and has a resource or scope without any: nobody knows whose that is."""
        resources, scopes, items = BLOCKS[part.signal]
        return self._resource is None and not all(
            getattr(block, scopes) and all(getattr(scoped, items) for scoped in getattr(block, scopes))
            for block in getattr(part.request, resources)
        )

    def _only(self, part: Batch, tenant: str | None, owner: Owner) -> Batch:
        """What of a part is one tenant's, under no resource or scope of others; None: nobody's that may be sent for."""
        request = part.editable()
        if self._resource is not None:
            keep(getattr(request, BLOCKS[part.signal][0]), lambda block: owner(block.resource.attributes) == tenant)
        else:
            keep_items(part.signal, request, lambda item: owner(_of_item(item)) == tenant)
        return Batch.from_request(request)


def _named(attributes: Iterable[KeyValue], key: str) -> set[str | None]:
    """The names under a key, of which there should be one; None for what is no text, and so no name."""
    return {
        one.value.string_value if one.value.HasField("string_value") else None for one in attributes if one.key == key
    }


def _of_item(item: Any) -> Iterable[KeyValue]:
    """The attributes of a span or a log record, or of all the points of a metric."""
    if not isinstance(item, Metric):
        attributes: Iterable[KeyValue] = item.attributes
        return attributes
    return [attribute for kind in POINTS for point in getattr(item, kind).data_points for attribute in point.attributes]


def _without(owner: Attributed, keys: frozenset[str]) -> int:
    """Take attributes away; how many there were."""
    kept = [attribute for attribute in owner.attributes if attribute.key not in keys]
    gone = len(owner.attributes) - len(kept)
    if gone:
        del owner.attributes[:]
        owner.attributes.extend(kept)
    return gone


def _all(batch: Batch) -> list[Omitted]:
    """Every item of a batch, as rejected."""
    return [Omitted(span_id.hex(), trace_id.hex(), FOREIGN) for part in batch.parts for span_id, trace_id in _ids(part)]


def _ids(part: Batch) -> Iterator[tuple[bytes, bytes]]:
    request = part.request
    if part.signal is Signal.METRICS:
        yield from ((b"", b"") for _ in range(part.item_count))
    elif isinstance(request, ExportTraceServiceRequest):
        for block in request.resource_spans:
            for scoped in block.scope_spans:
                yield from ((span.span_id, span.trace_id) for span in scoped.spans)
    elif isinstance(request, ExportLogsServiceRequest):
        for logs in request.resource_logs:
            for scoped_logs in logs.scope_logs:
                yield from ((record.span_id, record.trace_id) for record in scoped_logs.log_records)
