"""OTLP over gRPC. Raw bytes are taken and decoded by ourselves: grpc would answer UNKNOWN to what it can not decode."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # published without types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # published without types

from otel_bridge.batch import Signal
from otel_bridge.errors import BridgeError, FilesError
from otel_bridge.receivers.otlp.admission import Admission, Refusal, response

if TYPE_CHECKING:
    from otel_bridge.receivers.otlp import OtlpConfig

SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
CODES = {code.value[0]: code for code in grpc.StatusCode}
MAX_AGE_S = 300  # a request that stalls holds its connection and its bytes no longer than this and the next
MAX_AGE_GRACE_S = 30


def _options(config: "OtlpConfig") -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_body),
        ("grpc.max_concurrent_streams", 100),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.server_handshake_timeout_ms", 5000),
        ("grpc.max_connection_idle_ms", round(config.idle_timeout * 1000)),
        ("grpc.max_connection_age_ms", MAX_AGE_S * 1000),
        ("grpc.max_connection_age_grace_ms", MAX_AGE_GRACE_S * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # senders with keep-alive are no attackers
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),  # or a second bridge would bind the same port, and each get half
    ]


@asynccontextmanager
async def serve_grpc(config: "OtlpConfig", endpoint: str, admission: Admission) -> AsyncIterator[str]:
    """Serve until the block ends; yields the address that was bound, as host:port.

    Raises:
        FilesError: the address can not be bound.
    """
    server = grpc.aio.server(options=_options(config))
    for signal, service in SERVICES.items():
        export = grpc.unary_unary_rpc_method_handler(_exporting(signal, admission))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))
    try:
        port = server.add_insecure_port(endpoint)
    except RuntimeError as error:
        raise FilesError(
            f"grpc: {endpoint} can not be bound: is another program using it? Stop it, or choose another address"
        ) from error
    await server.start()
    try:
        yield f"{endpoint.rpartition(':')[0]}:{port}"
    finally:
        await server.stop(config.close_timeout)


def _exporting(signal: Signal, admission: Admission) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def export(raw: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        try:
            with admission.holding() as hold:
                hold(len(raw))
                rejected = await admission.take(signal, raw, hold, transport="grpc")
        except BridgeError as error:
            refused = admission.refused(error)
            details = (("grpc-status-details-bin", _status(refused)),)
            await context.abort(CODES[refused.code], refused.message, trailing_metadata=details)
            raise  # abort has raised already
        return response(signal, rejected).SerializeToString()

    return export


def _status(refused: Refusal) -> bytes:
    """A google.rpc.Status; a sender retries RESOURCE_EXHAUSTED only where it finds a RetryInfo in it."""
    status = Status(code=refused.code, message=refused.message)
    if refused.retry_after_s is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(round(refused.retry_after_s * 1000))
        status.details.add().Pack(retry)
    wire: bytes = status.SerializeToString()
    return wire
