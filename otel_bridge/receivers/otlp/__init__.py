"""OTLP from anywhere: gRPC and HTTP, traces, logs and metrics."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from otel_bridge.component import Door, Host, receiver
from otel_bridge.config import Bytes, Seconds
from otel_bridge.listening import Endpoint, ListeningConfig
from otel_bridge.receivers.otlp.admission import Admission, Close
from otel_bridge.receivers.otlp.memory import Memory
from otel_bridge.receivers.otlp.routing import Routing, TenantFromConfig
from otel_bridge.receivers.otlp.senders import Senders

ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:]+\]|[^:/\s*]+)(:[0-9]{1,5})?")


def _origin(value: str) -> str:
    if ORIGIN.fullmatch(value) is None:
        raise ValueError("write it as browsers do, like https://app.example or http://localhost:3000; * is not taken")
    return value.lower()


Origin = Annotated[str, AfterValidator(_origin)]
"""Scheme, host and port of a web page."""

HostName = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[^:/\s]+$")]
"""A name without scheme and port."""


class OtlpConfig(ListeningConfig):
    """Where to listen, and how much one sender may ask for."""

    INSTEAD: ClassVar = {"protocols": "write `grpc: host:port` and `http: host:port` directly under otlp"}

    grpc: Endpoint | None = "127.0.0.1:4317"
    http: Endpoint | None = "127.0.0.1:4318"
    max_body: Bytes = Field(64 << 20, gt=0)  # of one request, after decompression; gRPC: at most max_inflight / 8
    max_inflight: Bytes = Field(128 << 20, gt=0)  # of all requests that have no answer yet
    max_rss: Bytes | None = None  # of the whole bridge; above it new data waits with its senders
    max_connections: int = Field(1024, gt=0)  # of each of the two
    max_connections_per_address: int = Field(256, gt=0)  # HTTP: from one other machine
    header_timeout: Seconds = Field(10, gt=0)  # HTTP: from the first byte of a request to the end of its headers
    body_timeout: Seconds = Field(30, gt=0)  # from there to the end of its body; gRPC: for the whole message
    min_rate: Bytes = Field(1 << 10, gt=0)  # HTTP: of a body, each second, on average; once it has taken:
    min_rate_after: Seconds = Field(10, gt=0)
    idle_timeout: Seconds = Field(60, gt=0)  # a connection without a request
    close_timeout: Seconds = Field(2, ge=0)  # for requests that are running when the bridge stops
    allowed_hosts: tuple[HostName, ...] = ()  # HTTP: names by which it may be asked where it listens on loopback
    allowed_origins: tuple[Origin, ...] = ()  # HTTP: web pages that may send
    tenant_from: TenantFromConfig | None = None  # where senders name a tenant that they may send for
    max_bytes_per_s_per_address: Bytes | None = None  # from one other machine, decompressed

    @model_validator(mode="after")
    def _consistent(self) -> "OtlpConfig":
        if self.grpc is None and self.http is None:
            raise ValueError("grpc and http are both null: give one of them an address, or remove the receiver")
        if self.max_inflight < self.max_body:
            raise ValueError("max_inflight must be at least max_body, or the largest request could never be taken in")
        if self.grpc is not None and self.tls is not None and self.tls.min_version != "1.2":
            raise ValueError("gRPC takes TLS 1.2 as well: leave tls::min_version at 1.2, or set grpc to null")
        return self

    def addresses(self) -> Mapping[str, str | None]:
        """Both doors."""
        return {"grpc": self.grpc, "http": self.http}


@receiver(OtlpConfig)
async def otlp(config: OtlpConfig, consume: Door, host: Host) -> AsyncIterator[None]:
    """OTLP over gRPC and HTTP (protobuf and JSON): traces, logs and metrics."""
    threads = ThreadPoolExecutor(2, thread_name_prefix=f"{host.id}-decode")
    memory = Memory(config.max_rss, threads)
    admission = Admission(
        consume,
        host,
        threads,
        memory,
        config.max_body,
        config.max_inflight,
        senders=Senders(host, config.max_bytes_per_s_per_address),
        routing=Routing(config.tenant_from, host.tenants, host.counters),
    )
    scheme = "http" if config.tls is None else "https"
    closing: list[Close] = []
    try:
        if config.grpc is not None:
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it writes to standard error, it raises as well
            from otel_bridge.receivers.otlp.grpc import serve_grpc

            address, close = await serve_grpc(config, config.grpc, admission, host)
            closing.append(close)
            host.endpoints["grpc"] = f"{scheme}://{address}"
        if config.http is not None:
            from otel_bridge.receivers.otlp.http import serve_http

            address, close = await serve_http(config, config.http, admission, host)
            closing.append(close)
            host.endpoints["http"] = f"{scheme}://{address}"
        yield
    finally:
        await asyncio.gather(*(close() for close in closing))  # together, so that close_timeout bounds both
        threads.shutdown(wait=False, cancel_futures=True)  # what one of them still reads, nobody waits for
