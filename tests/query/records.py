"""Log records as they come to a store."""

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.store.writer import Writer
from tests.query.conftest import START


def logged(
    writer: Writer,
    name: str = "",
    body: str = "",
    *,
    trace: int | str | None = None,
    span: int = 0,
    attributes: dict[str, str] | None = None,
    service: str = "agents",
    tenant: str = "default",
    **record: Any,
) -> None:
    """A record as it comes: an event where it has a name, of no trace unless one is said."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scoped = resource.scope_logs.add()
    scoped.scope.name = "acme"
    of = {} if trace is None else {"trace_id": trace.to_bytes(16) if isinstance(trace, int) else bytes.fromhex(trace)}
    of |= {"span_id": span.to_bytes(8)} if span else {}
    added = scoped.log_records.add(event_name=name, **{"time_unix_nano": START, **of, **record})
    if body:
        added.body.string_value = body
    for key, value in (attributes or {}).items():
        added.attributes.add(key=key).value.string_value = value
    writer.batch(Batch.from_request(request, tenant=tenant))
