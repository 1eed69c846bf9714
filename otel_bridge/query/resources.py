"""Which service something came from: what its resource calls itself."""

from collections.abc import Iterable

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_bridge.query.answer import name
from otel_bridge.store.reader import Reader

MAX_BYTES = 1 << 20
"""Of a resource that is looked into; one that is longer describes no service."""


def services(reader: Reader, resource_ids: Iterable[bytes]) -> dict[bytes, str | None]:
    """The `service.name` by the id of a resource; None where it has none."""
    return {resource_id: _service(reader, resource_id) for resource_id in set(resource_ids)}


def _service(reader: Reader, resource_id: bytes) -> str | None:
    row = reader.row("SELECT resource FROM resources WHERE id = ? AND length(resource) <= ?", (resource_id, MAX_BYTES))
    said = Resource.FromString(row["resource"]).attributes if row else ()
    return name(next((pair.value.string_value for pair in said if pair.key == "service.name"), None)) or None
