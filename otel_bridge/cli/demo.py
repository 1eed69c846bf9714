"""`otel-bridge demo`: start the bridge if none runs, run a real multi-agent program against it, show what it saw."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from otel_bridge.announcement import Found, announced, find
from otel_bridge.cli.asking import ask
from otel_bridge.cli.found import Viewer, viewer_of
from otel_bridge.cli.holder import holder
from otel_bridge.cli.output import ConfigOption, JsonOption, print_json
from otel_bridge.cli.serve import as_option, banner, signals, with_keys, your_agent
from otel_bridge.errors import BridgeError, UnreachableError
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    from otel_bridge.plan import Plan

PROGRAM = "otel_bridge.demo.agents"
CREDENTIALS = tuple(
    f"OTEL_EXPORTER_OTLP_{what}" for what in ("HEADERS", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
)
NOT_THEIRS = ("OTEL_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # requests has the last two win over whom we name
PROGRAM_LIMIT_S = 60.0
LOOK_LIMIT_S = 60.0  # a trace settles six seconds after its root came; the rest is for busy machines
LOOK_EVERY_S = 0.1
PORTS = {"OTEL_BRIDGE_GRPC": 4317, "OTEL_BRIDGE_HTTP": 4318, "OTEL_BRIDGE_VIEWER": 4319}
DELIVERY_LIMIT_S = 10.0


class DemoError(BridgeError):
    """The demonstration did not show what it should."""


def demo(
    once: Annotated[bool, typer.Option("--once", help="End when all is shown, instead of staying up.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the bridge a multi-agent program at work.

    Starts the bridge if none runs, and stays up for your own agents until Ctrl-C.
    """
    from otel_bridge.telemetry import configure_logs

    configure_logs(json=json, level="warning")
    asyncio.run(_demo(_plan(config, once=once), as_option(config), once=once, as_json=json))


def _plan(config: Path | None, *, once: bool) -> "Plan":
    """The configuration's, else the default, on other ports where the usual ones are taken.

    Settles sooner if it ends by itself.
    """
    from otel_bridge.plan import load

    anywhere = {name: "127.0.0.1:0" for name, port in PORTS.items() if not _free(port)}
    plan = load(config, environ={**anywhere, **os.environ})
    if once:  # nobody else's agents, whose batches come up to five seconds apart, are waited for
        quick = plan.service.assemble.model_copy(update={"grace": 1.0})
        plan = replace(plan, service=plan.service.model_copy(update={"assemble": quick}))
    return plan


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _demo(plan: "Plan", look_again: str, *, once: bool, as_json: bool) -> None:
    with signals(reloads=False) as told:
        async with _bridge(plan, quiet=as_json) as bridge, asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(_show(plan, bridge, look_again, once=once, as_json=as_json))
            if once:
                showing.add_done_callback(lambda _: told.stopped.set())
            await told.stopped.wait()
            showing.cancel()


@asynccontextmanager
async def _bridge(plan: "Plan", *, quiet: bool) -> AsyncIterator[Found]:
    """The bridge that runs on the data dir already, else one of our own."""
    if found := find(plan.data_dir):
        if not quiet:
            print(f"A bridge runs already, process {found.pid}; the agents talk to that one.\n", flush=True)
        yield found
        return

    from otel_bridge.pipeline import running
    from otel_bridge.plan import DEFAULT

    usual = [port for name, port in PORTS.items() if name not in os.environ and plan.origin == DEFAULT]
    async with running(plan) as bridge:
        with announced(plan.data_dir, bridge.endpoints):
            if not quiet:
                print(banner(plan, bridge.endpoints), flush=True)
                listens = {url.rpartition(":")[2] for names in bridge.endpoints.values() for url in names.values()}
                for port in usual:
                    if str(port) in listens:
                        continue
                    whose = holder(f"127.0.0.1:{port}", is_viewer=False)
                    said = f"Another port stands there for {port}, which is taken: {printable(whose)}"
                    print(said, end="\n\n", flush=True)
            yield Found(os.getpid(), bridge.endpoints)


async def _show(plan: "Plan", bridge: Found, look_again: str, *, once: bool, as_json: bool) -> None:
    """Run the program, wait until the bridge has made a whole trace of it, print it, compare.

    look_again: what a command has to be told to find it when the bridge has ended.
    """
    otlp, page = bridge.address("otlp", name="http"), bridge.address("viewer")
    if otlp is None or page is None:
        raise UnreachableError("the bridge that runs has no OTLP/HTTP receiver or no viewer; stop it, then try again")
    viewer = viewer_of(plan.data_dir, page)
    credentials = _credentials(plan)
    if not as_json:
        print("Three agents at work: a planner and two researchers, with a pretended language model …", flush=True)
        if with_keys(plan) and "OTEL_EXPORTER_OTLP_HEADERS" not in os.environ:
            whose = f"They are of the tenant {with_keys(plan)[0]}, and go where its data goes."
            print(f"{whose} OTEL_EXPORTER_OTLP_HEADERS shows another key.", flush=True)
    counted, said = await _run_program({"OTEL_EXPORTER_OTLP_ENDPOINT": otlp, **credentials})
    ends = once and bridge.pid == os.getpid()
    link = None if ends else f"{page}/t/{counted['trace_id']}"  # who reads it would find nobody there
    if not as_json:
        seen = f", and can be seen: {link}" if link else "."
        print(f"They are done{seen}\nThe whole trace comes when nothing more does …\n", flush=True)
    trace = await _settled(viewer, counted["trace_id"], said)
    if as_json:
        print_json({"trace": trace, "counted": counted, "link": link})
    else:
        _print_trace(trace, link or f"otel-bridge trace {counted['trace_id'][:8]}{look_again}")
        if not once and (agent := your_agent(plan, bridge.endpoints)):
            print("\nThe bridge stays up for your own agents until Ctrl-C:", *agent, sep="\n  ", flush=True)
    if once:
        await _delivered(viewer)
    if (trace["totalTokens"], round(trace["totalCost"] or 0, 9)) != (_tokens(counted), round(counted["cost"], 9)):
        raise DemoError(
            f"the bridge saw {trace['totalTokens']} tokens and ${trace['totalCost']}, "
            f"the program counted {_tokens(counted)} and ${counted['cost']}: this is a bug, please report it"
        )


def _credentials(plan: "Plan") -> dict[str, str]:
    """What the agents show, and whom they trust: as the first tenant with a key, unless somebody says otherwise."""
    given = {name: said for name, said in os.environ.items() if name in CREDENTIALS and said}
    key = next((tenant.keys[0] for tenant in plan.service.tenants.values() if tenant.keys), None)
    if key is not None:
        given.setdefault("OTEL_EXPORTER_OTLP_HEADERS", f"x-api-key={quote(key.get_secret_value(), safe='')}")
    tls = next((tls for one in plan.receivers.values() if (tls := getattr(one.config, "tls", None))), None)
    if tls is not None:  # which is enough for a certificate that its own authority comes with
        given.setdefault("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tls.cert_file.expanduser()))
    return given


async def _run_program(variables: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Run the agents as anybody would, in a process of their own; returns what they counted themselves, and what they
    said of trouble."""
    from orjson import loads

    theirs = {name: value for name, value in os.environ.items() if not name.startswith(NOT_THEIRS)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        PROGRAM,
        env={**theirs, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PROGRAM_LIMIT_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise DemoError(f"the agents were not done after {PROGRAM_LIMIT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise DemoError(
            f"the agents ended with exit code {process.returncode}:\n{err.decode(errors='replace')[-2000:]}"
        )
    counted: dict[str, Any] = loads(out)
    return counted, err.decode(errors="replace").strip().rpartition("\n")[2]


async def _settled(viewer: Viewer, trace_id: str, said: str) -> dict[str, Any]:
    """The trace as the bridge shows it, when it is whole and its score has come.

    said: what those who sent it said of trouble.

    Raises:
        DemoError: that does not happen in good time.
    """
    from otel_bridge.cli.questions import load_trace

    missing = "nothing of it has come"
    try:
        async with asyncio.timeout(LOOK_LIMIT_S):
            while True:
                try:
                    trace: dict[str, Any] = await asyncio.to_thread(load_trace, viewer, trace_id)
                except BridgeError as error:
                    missing = str(error)
                else:
                    if trace["settled"] and trace["scores"]:
                        return trace
                    missing = "its score has not come" if trace["settled"] else "it has not settled"
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise DemoError(
            f"the bridge has no whole trace {trace_id} after {LOOK_LIMIT_S:.0f} s: {missing}; "
            + (f"the agents said: {said[:500]}" if said else "`otel-bridge status` says what it is waiting for")
        ) from None


async def _delivered(viewer: Viewer) -> None:
    """Return when everything is where it should go, as Langfuse, or is parked; in good time in any case."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DELIVERY_LIMIT_S):
            while True:
                exporters = (await asyncio.to_thread(ask, viewer, "/api/v1/status"))["exporters"]
                lanes = [lane for tenants in exporters.values() for lane in tenants.values()]
                if not any(lane["waiting"] and not lane["parked"] for lane in lanes):
                    return
                await asyncio.sleep(LOOK_EVERY_S)


def _print_trace(trace: dict[str, Any], look_again: str) -> None:
    from functools import partial

    from otel_bridge.cli.render import render_tree, show

    show(partial(render_tree, trace))
    print(f"\n{look_again}", flush=True)


def _tokens(counted: dict[str, Any]) -> int:
    total: int = counted["input_tokens"] + counted["output_tokens"]
    return total
