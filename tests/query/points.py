"""Points of metrics as they come to a store."""

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from otel_bridge.batch import Batch
from otel_bridge.store.writer import Writer

DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def measured(
    writer: Writer,
    name: str,
    points: Iterable[tuple[int, Any]],
    *,
    kind: str = "gauge",
    unit: str = "By",
    grows: bool = False,
    delta: bool = False,
    start_ns: int = 0,
    attributes: Mapping[str, str] = {},
    service: str = "agents",
    tenant: str = "default",
) -> None:
    """Points (time, value) of one series; the value of a histogram or summary is (sum, count).

    start_ns: of each point; of those that are a delta, with 0, unknown.
    """
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    metric = resource.scope_metrics.add().metrics.add(name=name, unit=unit)
    data = getattr(metric, kind)
    data.SetInParent()
    if kind not in ("gauge", "summary"):
        data.aggregation_temporality = DELTA if delta else CUMULATIVE
    if grows:
        data.is_monotonic = True
    for time_ns, value in points:
        said = {"as_double": value} if kind in ("gauge", "sum") else {"sum": value[0], "count": value[1]}
        point = data.data_points.add(time_unix_nano=time_ns, start_time_unix_nano=start_ns, **said)
        for key, text in attributes.items():
            point.attributes.add(key=key).value.string_value = text
    writer.batch(Batch.from_request(request, tenant=tenant))
