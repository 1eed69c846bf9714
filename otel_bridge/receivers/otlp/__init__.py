"""OTLP from anywhere: gRPC and HTTP, traces, logs and metrics."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from otel_bridge.component import Consume, Host, receiver
from otel_bridge.config import Bytes, Config, Seconds
from otel_bridge.receivers.otlp.admission import Admission, Close

ENDPOINT = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:/\s]+):([0-9]{1,5})")


def _endpoint(value: str) -> str:
    found = ENDPOINT.fullmatch(value)
    if found is None or int(found[2]) > 65535:
        raise ValueError("write it as host:port, like 127.0.0.1:4318 or [::1]:4318")
    return value


Endpoint = Annotated[str, AfterValidator(_endpoint)]
"""`host:port`; port 0 is any free one."""


class OtlpConfig(Config):
    """Where to listen, and how much one sender may ask for."""

    grpc: Endpoint | None = "127.0.0.1:4317"
    http: Endpoint | None = "127.0.0.1:4318"
    max_body: Bytes = Field(64 << 20, gt=0)  # of one request, after decompression; gRPC: at most max_inflight / 8
    max_inflight: Bytes = Field(128 << 20, gt=0)  # of all requests that have no answer yet
    max_connections: int = Field(1024, gt=0)  # HTTP
    header_timeout: Seconds = Field(10, gt=0)  # HTTP: from the first byte of a request to the end of its headers
    body_timeout: Seconds = Field(30, gt=0)  # from there to the end of its body; gRPC: for the whole message
    idle_timeout: Seconds = Field(60, gt=0)  # a connection without a request
    close_timeout: Seconds = Field(2, ge=0)  # for requests that are running when the bridge stops

    @model_validator(mode="after")
    def _consistent(self) -> "OtlpConfig":
        if self.grpc is None and self.http is None:
            raise ValueError("grpc and http are both null: give one of them an address, or remove the receiver")
        if self.max_inflight < self.max_body:
            raise ValueError("max_inflight must be at least max_body, or the largest request could never be taken in")
        return self


@receiver(OtlpConfig)
async def otlp(config: OtlpConfig, consume: Consume, host: Host) -> AsyncIterator[None]:
    """OTLP over gRPC and HTTP (protobuf and JSON): traces, logs and metrics."""
    threads = ThreadPoolExecutor(2, thread_name_prefix=f"{host.id}-decode")
    admission = Admission(consume, host.counters, threads, config.max_body, config.max_inflight)
    closing: list[Close] = []
    try:
        if config.grpc is not None:
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it writes to standard error, it raises as well
            from otel_bridge.receivers.otlp.grpc import serve_grpc

            address, close = await serve_grpc(config, config.grpc, admission)
            closing.append(close)
            host.endpoints["grpc"] = f"http://{address}"
        if config.http is not None:
            from otel_bridge.receivers.otlp.http import serve_http

            address, close = await serve_http(config, config.http, admission, host)
            closing.append(close)
            host.endpoints["http"] = f"http://{address}"
        yield
    finally:
        await asyncio.gather(*(close() for close in closing))  # together, so that close_timeout bounds both
        threads.shutdown(wait=False, cancel_futures=True)  # what one of them still reads, nobody waits for
