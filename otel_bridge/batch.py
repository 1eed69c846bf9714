"""A batch: spans, log records or metric points of one tenant, as OTLP bytes and as a message.

Each form is made from the other when first asked for, so bytes that only pass through are never parsed.
"""

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_bridge.errors import MalformedError

Request: TypeAlias = ExportTraceServiceRequest | ExportLogsServiceRequest | ExportMetricsServiceRequest
Response: TypeAlias = ExportTraceServiceResponse | ExportLogsServiceResponse | ExportMetricsServiceResponse


class Signal(StrEnum):
    """The three kinds of OTLP requests; the values are the last part of their HTTP paths."""

    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"


REQUESTS: dict[Signal, type[Request]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}

RESPONSES: dict[Signal, tuple[type[Response], str]] = {
    Signal.TRACES: (ExportTraceServiceResponse, "rejected_spans"),
    Signal.LOGS: (ExportLogsServiceResponse, "rejected_log_records"),
    Signal.METRICS: (ExportMetricsServiceResponse, "rejected_data_points"),
}
"""The answer to each request, and the field of its partial success that counts what was rejected."""

BLOCKS: dict[Signal, tuple[str, str, str]] = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}
"""The repeated fields of a request, level by level: blocks of a resource, of a scope, and the items."""

POINTS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
"""The fields of a metric that hold its points, of which it has one."""

INT64 = range(-(2**63), 2**63)
"""The integers that a value can be."""

DEFAULT_TENANT = "default"
INLINE_BYTES = 64 << 10  # of a part; more is changed in a thread, so that the loop goes on


def count_items(request: Request) -> int:
    """How many spans, log records or metrics a request holds; a metric counts once, however many points it has."""
    if isinstance(request, ExportTraceServiceRequest):
        return sum(len(scoped.spans) for block in request.resource_spans for scoped in block.scope_spans)
    if isinstance(request, ExportLogsServiceRequest):
        return sum(len(scoped.log_records) for block in request.resource_logs for scoped in block.scope_logs)
    return sum(len(scoped.metrics) for block in request.resource_metrics for scoped in block.scope_metrics)


def breadth(request: Request) -> int:
    """How many resources, scopes and items a request holds."""
    resources, scopes, _ = BLOCKS[next(signal for signal, kind in REQUESTS.items() if isinstance(request, kind))]
    blocks = getattr(request, resources)
    return len(blocks) + sum(len(getattr(block, scopes)) for block in blocks) + count_items(request)


def keep_items(signal: Signal, request: Request, is_kept: Callable[[Any], bool]) -> None:
    """Take all other items out of a request, and each scope and resource that has none then; asked in their order."""
    blocks, scopes, items = (attrgetter(name) for name in BLOCKS[signal])
    for block in blocks(request):
        for scoped in scopes(block):
            keep(items(scoped), is_kept)
        keep(scopes(block), items)
    keep(blocks(request), scopes)


def keep(held: Any, is_kept: Callable[[Any], object]) -> None:
    """Take all others out of a repeated field; each is asked once, in order."""
    kept = [one for one in held if is_kept(one)]
    if len(kept) < len(held):
        del held[:]
        held.extend(kept)


class Batch:
    """Read-only by contract: others hold the same one. To change spans, take `editable()` and make a new batch."""

    __slots__ = ("_item_count", "_parts", "_request", "_wire", "signal", "tenant")

    def __init__(
        self,
        signal: Signal,
        tenant: str,
        *,
        wire: bytes | None = None,
        request: Request | None = None,
        item_count: int | None = None,
    ) -> None:
        self.signal = signal
        self.tenant = tenant
        self._wire = wire
        self._request = request
        self._item_count = item_count
        self._parts: Sequence[Batch] = ()

    @classmethod
    def from_wire(
        cls, signal: Signal, wire: bytes, *, tenant: str = DEFAULT_TENANT, item_count: int | None = None
    ) -> "Batch":
        """Wrap the bytes of one OTLP export request; they are not looked at before somebody asks for `request`."""
        return cls(signal, tenant, wire=wire, item_count=item_count)

    @classmethod
    def from_request(cls, request: Request, *, tenant: str = DEFAULT_TENANT, item_count: int | None = None) -> "Batch":
        """Wrap a decoded request, which belongs to the batch from now on."""
        signal = next(signal for signal, kind in REQUESTS.items() if isinstance(request, kind))
        return cls(signal, tenant, request=request, item_count=item_count)

    @classmethod
    def of_parts(cls, parts: Sequence["Batch"], like: "Batch") -> "Batch":
        """A large batch that is held in parts, none of which is large; of the signal and the tenant of `like`.

        Whoever asks for its `wire`, or first for its `request`, has the parts joined for that: ask the parts instead.
        """
        whole = cls(like.signal, like.tenant, item_count=sum(part.item_count for part in parts))
        whole._parts = parts
        return whole

    @classmethod
    def merge(cls, batches: Sequence["Batch"]) -> "Batch":
        """Join batches of one signal and one tenant; serialised requests concatenate, so nothing is parsed.

        Raises:
            ValueError: no batches, or of two signals or two tenants.
        """
        if len(batches) == 1:
            return batches[0]
        if len({(batch.signal, batch.tenant) for batch in batches}) != 1:
            raise ValueError("only batches of one signal and one tenant can be merged")
        first = batches[0]
        counts = [batch._item_count for batch in batches]  # noqa: SLF001 - its own class
        known = None if None in counts else sum(count or 0 for count in counts)
        return cls(first.signal, first.tenant, wire=b"".join(batch.wire for batch in batches), item_count=known)

    @property
    def wire(self) -> bytes:
        """The batch as the bytes of an OTLP export request; of one in parts they are joined each time."""
        if self._wire is None:
            if self._request is None:
                return b"".join(part.wire for part in self._parts)  # not kept: that would be twice the memory
            self._wire = self._request.SerializeToString()
        return self._wire

    @property
    def request(self) -> Request:
        """The batch as an OTLP export request; not to be changed.

        Raises:
            MalformedError: the bytes are no OTLP request of this signal.
        """
        if self._request is None:
            try:
                self._request = REQUESTS[self.signal].FromString(self.wire)
            except DecodeError as error:
                raise MalformedError(f"not an OTLP {self.signal} request: {error}") from error
        return self._request

    @property
    def item_count(self) -> int:
        """Spans, log records or metrics in it."""
        if self._item_count is None:
            self._item_count = count_items(self.request)
        return self._item_count

    @property
    def parts(self) -> Sequence["Batch"]:
        """The same items in the batches that a large one was made of, in their order; of any other, itself alone.

        None of them is large, and the `wire` of each is kept, which that of the whole is not.
        """
        return self._parts or (self,)

    def packed(self) -> "Batch":
        """The same as its bytes alone: what they are decoded to takes several times as much, and may take much more."""
        return Batch.from_wire(self.signal, self.wire, tenant=self.tenant, item_count=self.item_count)

    def of_tenant(self, tenant: str) -> "Batch":
        """The same items as another tenant's, for the door that finds out whose they are."""
        if tenant == self.tenant:
            return self
        other = Batch(self.signal, tenant, wire=self._wire, request=self._request, item_count=self._item_count)
        other._parts = [part.of_tenant(tenant) for part in self._parts]
        return other

    def editable(self) -> Request:
        """A deep copy of the request, to change and to hand on in a new batch."""
        copy = REQUESTS[self.signal]()
        if self._request is None or self._wire is not None:
            copy.MergeFromString(self.wire)
        else:
            copy.CopyFrom(self._request)  # type: ignore[arg-type]  # both are of the signal's own type
        return copy

    def __repr__(self) -> str:
        return f"Batch({self.signal}, tenant={self.tenant!r})"


async def in_parts(batch: Batch, change: Callable[[Batch], Batch]) -> Batch:
    """The batch with each of its parts changed, and without those in which nothing is left.

    It is the very same where no part became another. Parts are changed one after the other, those above INLINE_BYTES in
    a thread; whoever else waits for the event loop has it between two parts.
    """
    changed: list[Batch] = []
    for part in batch.parts:
        if len(part.wire) > INLINE_BYTES:
            changed.append(await asyncio.to_thread(_changed, part, change, alone=part is batch))
            continue
        if changed:
            await asyncio.sleep(0)
        changed.append(_changed(part, change, alone=part is batch))
    if all(new is old for new, old in zip(changed, batch.parts, strict=True)):
        return batch
    return (
        changed[0] if len(changed) == 1 else Batch.of_parts([part for part in changed if part.item_count], like=batch)
    )


def _changed(part: Batch, change: Callable[[Batch], Batch], *, alone: bool) -> Batch:
    """Of many parts, none stays decoded while the others are changed."""
    if alone:
        return change(part)
    given = part.packed()
    made = change(given)
    return part if made is given else made.packed()
