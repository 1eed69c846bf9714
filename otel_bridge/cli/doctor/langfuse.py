"""Langfuse, asked as the bridge would ask it: does it answer, whose are the keys, can a trace be read back."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from otel_bridge.cli.asking import ask
from otel_bridge.cli.doctor.bridge import clock_of
from otel_bridge.cli.doctor.finding import Finding, fault, ms_since, ok, warning
from otel_bridge.cli.findings import findings
from otel_bridge.cli.found import Viewer
from otel_bridge.errors import BridgeError, ConsumeError, ParkedError, UnreachableError

if TYPE_CHECKING:
    from otel_bridge.exporters.langfuse import LangfuseConfig
    from otel_bridge.plan import Plan

TIMEOUT_S = 10.0
READ_WITHIN_S, EVERY_S = 60.0, 0.2


def projects_of(plan: "Plan | None") -> "dict[str, LangfuseConfig]":
    """The Langfuse projects that a bridge with this plan delivers to, by exporter, and tenant where it has own keys."""
    if plan is None:
        return {}
    from otel_bridge.exporters.langfuse import LangfuseConfig

    used = {key for pipeline in plan.service.pipelines.values() for key in pipeline.exporters}
    found: dict[str, LangfuseConfig] = {}
    for key, planned in plan.exporters.items():
        if key in used:
            own = {f"{key} for {tenant}": config for tenant, config in planned.tenants.items()}
            every = own or {key: planned.config}
            found |= {name: config for name, config in every.items() if isinstance(config, LangfuseConfig)}
    return found


def checked(projects: "Mapping[str, LangfuseConfig]") -> Iterator[Finding]:
    """What each of them answers."""
    if not projects:
        yield fault(
            "langfuse",
            "no bridge with this configuration sends there: set its two keys, or add the exporter",
        )
    for name, config in projects.items():
        yield from asyncio.run(_asked(name, config))


async def _asked(name: str, config: "LangfuseConfig") -> list[Finding]:
    """What a server and its project say, as the bridge would ask them."""
    from otel_bridge.exporters.langfuse import api, client
    from otel_bridge.outbound import http

    found: list[Finding] = []
    try:
        async with http(TIMEOUT_S) as connections:
            of = client.Client(config, connections, connections)
            await of.version()  # and the connection is made
            began_s = time.monotonic()
            health = await of.get(api.HEALTH)
            ms, version = ms_since(began_s), ".".join(map(str, await of.version()))
            said = f"{config.base_url} answers in {ms} ms: Langfuse {version}"
            found += [
                ok(name, said, url=config.base_url, server=version, roundTripMs=ms),
                *clock_of("Langfuse", health.date),
            ]
            project = await of.project()
    except ConsumeError as error:
        if isinstance(error, ParkedError):
            return [*found, fault(name, str(error))]
        return [*found, fault(name, f"{error}; is its address right, and does it run?", UnreachableError.exit_code)]
    if project is None:
        return [*found, warning(name, "the keys were not refused, and the server does not name their project")]
    shown = project.trace_url(config.browser_url or config.base_url).removesuffix("/{traceId}")
    facts = {"projectId": project.id, "projectName": project.name, "tracesUrl": shown}
    return [*found, ok(name, f"the keys are good, of the project {project.name} ({project.id}): {shown}", **facts)]


async def read_back(name: str, config: "LangfuseConfig", viewer: Viewer, trace_id: str, span_id: str) -> Finding:
    """Whether Langfuse shows it: it has to settle first, and Langfuse to work off what it was sent."""
    from otel_bridge.exporters.langfuse.client import Client
    from otel_bridge.exporters.langfuse.readback import is_there
    from otel_bridge.outbound import http

    began_s = time.monotonic()
    async with http(TIMEOUT_S) as connections:
        client = Client(config, connections, connections)
        while True:
            try:
                if await is_there(client, trace_id, span_id):
                    break
                said = "what was sent there can not be read there yet: look at its worker and its database"
            except ConsumeError as error:
                said = str(error)
                if isinstance(error, ParkedError):
                    return fault(name, f"the trace can not be read back: {said}")
            if gone := await asyncio.to_thread(_gone, viewer, trace_id):
                return fault(name, gone)
            if time.monotonic() - began_s > READ_WITHIN_S:
                return fault(name, f"the trace is not there after {READ_WITHIN_S:.0f} s: {said}")
            await asyncio.sleep(EVERY_S)
        after_s = time.monotonic() - began_s
        with suppress(ConsumeError):
            if project := await client.project():
                url = project.trace_url(config.browser_url or config.base_url).replace("{traceId}", trace_id)
                return ok(
                    name, f"the trace was read back after {after_s:.1f} s: {url}", url=url, seconds=round(after_s, 1)
                )
    return ok(name, f"the trace was read back after {after_s:.1f} s", seconds=round(after_s, 1))


def _gone(viewer: Viewer, trace_id: str) -> str | None:
    """Why it will not come, where the bridge knows that."""
    with suppress(BridgeError, LookupError, TypeError, AttributeError):
        if omitted := ask(viewer, f"/api/v1/traces/{quote(trace_id)}")["omitted"]:
            return f"the bridge has left it out ({omitted}): look at the processors of its configuration"
    with suppress(BridgeError, LookupError, TypeError, AttributeError):
        held = [one for one in findings(ask(viewer, "/api/v1/status")) if re.match(r"langfuse\S* is ", one)]
        return f"it is not delivered: {'; '.join(held)}" if held else None
    return None
