"""Pass batches on to any OTLP destination, by gRPC or HTTP, as the bytes they came in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from google.protobuf.message import DecodeError
from pydantic import Field

from otel_bridge import __version__
from otel_bridge.answers import answered, excerpt
from otel_bridge.batch import RESPONSES, Batch, Signal
from otel_bridge.component import Consume, Host, exporter
from otel_bridge.config import Config, Seconds, SecretStr
from otel_bridge.errors import (
    BusyError,
    ConsumeError,
    ParkedError,
    RefusedError,
    RetryableError,
    SlowError,
    TooLargeError,
)
from otel_bridge.outbound import Address, compress, http

if TYPE_CHECKING:
    import grpc

SAY_AGAIN_S = 10.0

METHODS = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}


class OtlpConfig(Config):
    """A destination; `http://` is plain text, `https://` is TLS. For HTTP `/v1/<signal>` is added to the endpoint."""

    endpoint: Address
    protocol: Literal["grpc", "http/protobuf"] = "grpc"
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    compression: Literal["gzip", "none"] = "gzip"
    timeout: Seconds = 30


@exporter(OtlpConfig)
async def otlp(config: OtlpConfig, host: Host) -> AsyncIterator[Consume]:
    """Pass batches on to any OTLP destination, by gRPC or HTTP, as the bytes they came in."""
    said = PartialSuccess(host)
    opened = _grpc(config, said) if config.protocol == "grpc" else _http(config, said)
    async with opened as consume:
        yield consume


class PartialSuccess:
    """Counts what a destination took the request for and rejected all the same; there is nothing to retry."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._say_at = 0.0

    def read(self, signal: Signal, reply: bytes) -> None:
        """An export response; what is no such thing says nothing."""
        kind, field = RESPONSES[signal]
        try:
            partial = kind.FromString(reply).partial_success
        except DecodeError:
            return
        rejected = getattr(partial, field)
        if rejected <= 0:
            return
        self._host.counters.add("destination_rejected", rejected, exporter=self._host.id, signal=str(signal))
        if monotonic() >= self._say_at:
            self._say_at = monotonic() + SAY_AGAIN_S
            self._host.log.warning("destination rejected items", rejected=rejected, why=excerpt(partial.error_message))


@asynccontextmanager
async def _http(config: OtlpConfig, said: PartialSuccess) -> AsyncIterator[Consume]:
    packed = config.compression == "gzip"
    headers = {name: value.get_secret_value() for name, value in config.headers.items()}
    headers["Content-Type"] = "application/x-protobuf"
    if packed:
        headers["Content-Encoding"] = "gzip"
    async with http(config.timeout) as connections:

        async def consume(batch: Batch) -> None:
            body = await compress(batch.wire) if packed else batch.wire
            url = f"{config.endpoint}/v1/{batch.signal}"
            answer = await connections.request("POST", url, headers=headers, body=body)
            said.read(batch.signal, answer.body)

        yield consume


@asynccontextmanager
async def _grpc(config: OtlpConfig, said: PartialSuccess) -> AsyncIterator[Consume]:
    import grpc

    scheme, _, target = config.endpoint.partition("://")
    settings: dict[str, Any] = {
        "compression": grpc.Compression.Gzip if config.compression == "gzip" else grpc.Compression.NoCompression,
        "options": (
            ("grpc.enable_http_proxy", 0),  # a proxy only where somebody asked for one
            ("grpc.enable_retries", 0),
            ("grpc.primary_user_agent", f"otel-bridge/{__version__}"),
        ),
    }
    if scheme == "https":
        channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), **settings)
    else:
        channel = grpc.aio.insecure_channel(target, **settings)
    metadata = tuple((name.lower(), value.get_secret_value()) for name, value in config.headers.items())
    async with channel:
        calls = {signal: channel.unary_unary(method) for signal, method in METHODS.items()}

        async def consume(batch: Batch) -> None:
            try:
                reply = await calls[batch.signal](batch.wire, timeout=config.timeout, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise refusal(error, config.endpoint) from error
            said.read(batch.signal, reply)

        yield consume


def refusal(error: "grpc.aio.AioRpcError", who: str) -> ConsumeError:
    """The error that a gRPC status stands for, as OTLP says it; but what may pass (UNKNOWN, INTERNAL) is retried."""
    code = error.code().name
    told = answered(who, code, error.details() or "")
    wait_s = _retry_info_s(error)
    if code == "INVALID_ARGUMENT":
        return RefusedError(told)
    if code == "RESOURCE_EXHAUSTED" and wait_s is None:
        return TooLargeError(told)
    if code == "RESOURCE_EXHAUSTED":
        return BusyError(told, wait_s)
    if code == "DEADLINE_EXCEEDED":
        return SlowError(told, wait_s)
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND", "FAILED_PRECONDITION"):
        return ParkedError(f"{told} - check address and headers", code.lower())
    if "CERTIFICATE_VERIFY_FAILED" in told or "WRONG_VERSION_NUMBER" in told:
        return ParkedError(told, "tls")
    return RetryableError(told, wait_s)


def _retry_info_s(error: "grpc.aio.AioRpcError") -> float | None:
    from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # published without types
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # published without types

    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        info = RetryInfo()
        try:
            found = any(detail.Unpack(info) for detail in Status.FromString(value).details)
        except DecodeError:
            return None
        if found:
            return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None
