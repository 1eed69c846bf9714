"""A trace that is sent as any program sends, and looked for where it is to come out."""

import asyncio
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from otel_bridge.cli.asking import ask
from otel_bridge.cli.doctor.bridge import Running
from otel_bridge.cli.doctor.endpoint import Endpoint
from otel_bridge.cli.doctor.finding import Finding, Level, fault, ms_since, ok, warning
from otel_bridge.cli.doctor.langfuse import read_back
from otel_bridge.cli.found import Viewer
from otel_bridge.errors import BridgeError
from otel_bridge.sdk.saying import public

if TYPE_CHECKING:
    from otel_bridge.exporters.langfuse import LangfuseConfig

STORED_WITHIN_S, EVERY_S = 10.0, 0.2
NAME = "otel-bridge doctor"
WAITING = ""
"""The check of what is only waited for."""


def sent(target: Endpoint, bridge: Running, projects: "Mapping[str, LangfuseConfig]") -> Iterator[Finding]:
    """Send a trace, and look where it comes out."""
    trace_id = f"{secrets.randbits(72):018x}{'f' * 14}"  # which every rate but 0 keeps
    span_id = f"{secrets.randbits(63) + 1:016x}"
    began_s = time.monotonic()
    if (wrong := target.send(_trace(trace_id, span_id))) is not None:
        yield Finding("test", wrong.level, f"no trace could be sent: {wrong.said}", wrong.exit_code)
        return
    shown = public(target.url)
    yield ok(
        "test",
        f"{shown} has taken the trace {trace_id}",
        traceId=trace_id,
        roundTripMs=ms_since(began_s),
    )
    if bridge.viewer is None or bridge.status is None:
        yield warning("test", "there is no bridge to ask what became of it: name its viewer with --url")
        return
    yield from _stored(bridge.viewer, trace_id)
    for name, config in projects.items():
        yield Finding(WAITING, Level.OK, f"waiting until the trace has settled, and can be read from {name}")
        yield asyncio.run(read_back(name, config, bridge.viewer, trace_id, span_id))


def _stored(viewer: Viewer, trace_id: str) -> Iterator[Finding]:
    """Whether the bridge shows it."""
    from otel_bridge.query.find import NotFoundError

    until_s = time.monotonic() + STORED_WITHIN_S
    while True:
        try:
            ask(viewer, f"/api/v1/traces/{quote(trace_id)}")
        except NotFoundError:
            if time.monotonic() < until_s:
                time.sleep(EVERY_S)
                continue
            yield fault(
                "test",
                f"the bridge at {viewer.url} has not got it: does the endpoint lead to another one?",
            )
        except BridgeError as error:
            yield warning("test", f"the bridge does not tell of it: {error}")
        else:
            yield ok("test", f"the bridge shows it: {viewer.url}/t/{trace_id}", url=f"{viewer.url}/t/{trace_id}")
        return


def _trace(trace_id: str, span_id: str) -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.add(key="service.name").value.string_value = "otel-bridge-doctor"
    scoped = block.scope_spans.add()
    scoped.scope.name = "otel_bridge.doctor"
    ns = time.time_ns()
    span = scoped.spans.add(
        trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(span_id), name=NAME, kind=1,
        start_time_unix_nano=ns - 1_000_000, end_time_unix_nano=ns,
    )  # fmt: skip
    said = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": NAME}  # or it may be left out as noise
    for key, value in said.items():
        span.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()
