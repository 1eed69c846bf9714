"""What the tests of agents that speak in log records alone have in common."""

from collections.abc import Callable, Iterable

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.model import Observation
from otel_bridge.trace import LogEntry, Trace
from otel_bridge.translate import translate

CLAUDE = "com.anthropic.claude_code.events"
CODEX = "codex_otel.log_only"
GEMINI = "gemini-cli"

Say = Callable[..., LogEntry]


def batch(*entries: LogEntry) -> Batch:
    request = ExportLogsServiceRequest()
    for entry in entries:
        block = request.resource_logs.add(resource=entry.resource)
        block.scope_logs.add(scope=entry.scope).log_records.append(entry.record)
    return Batch.from_request(request)


def seen(trace: Trace) -> list[Observation]:
    return list(translate(trace).observations)


def shape(observations: Iterable[Observation]) -> list[tuple[str, str]]:
    return [(seen.type, seen.name) for seen in observations]


def of_type(observations: Iterable[Observation], kind: str) -> list[Observation]:
    return [seen for seen in observations if seen.type == kind]
