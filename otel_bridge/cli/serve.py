"""`otel-bridge serve`: run the bridge until it is told to stop."""

import asyncio
import gc
import os
import resource
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otel_bridge import __version__
from otel_bridge.announcement import Endpoints, announce, announced, from_here
from otel_bridge.cli.output import ConfigOption, JsonOption, print_json, row
from otel_bridge.cli.own import begin_to_speak, say_last, seized
from otel_bridge.files import as_now
from otel_bridge.tasks import first, owned_tasks
from otel_bridge.telemetry import logger, printable
from otel_bridge.undelivered import last_words, undelivered

if TYPE_CHECKING:
    from otel_bridge.config import Config
    from otel_bridge.files import Stamp
    from otel_bridge.pipeline import RunningBridge
    from otel_bridge.plan import Plan

LOOK_EVERY_S = 1.0  # whether a file has changed
UNUSED_EVERY_S = 0.2  # whether anybody still uses it
STDIN = 0
SWITCH_S = 0.0005  # threads translate, write and read beside the loop: with Python's 5 ms each waits long for its turn


def serve(
    config: ConfigOption = None,
    json: JsonOption = False,
    insecure_allow_public: Annotated[
        bool, typer.Option("--insecure-allow-public", help="Listen for others without TLS and keys, where configured.")
    ] = False,
    settle_at_end: Annotated[
        bool, typer.Option("--settle-at-end", help="Deliver open traces too when it stops: nobody sends any more then.")
    ] = False,
    while_used: Annotated[
        bool,
        typer.Option("--while-used", help="Stop, too, when standard input has ended and no `otel-bridge run` uses it."),
    ] = False,
) -> None:
    """Run the bridge; also what happens without a command.

    Ctrl-C, SIGTERM or SIGQUIT stops it within seconds, a second one at once. Nothing that was acknowledged is lost by
    either. When the configuration file changes, or a file that it reads, or on SIGHUP, it goes over to what that says.
    """
    from otel_bridge.plan import load
    from otel_bridge.telemetry import configure_logs

    plan = load(config, environ=os.environ, allow_public=insecure_allow_public)
    configure_logs(json=json)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold all keys
    for warning in plan.warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    sys.setswitchinterval(SWITCH_S)
    again = partial(load, config, environ=os.environ, allow_public=insecure_allow_public)
    asyncio.run(_serve(plan, config, again, as_json=json, settle=settle_at_end, while_used=while_used))
    gc.freeze()  # all is closed: Python then ends without going over what was imported


async def _serve(
    plan: "Plan", config: Path | None, again: "Callable[[], Plan]", *, as_json: bool, settle: bool, while_used: bool
) -> None:
    from otel_bridge.pipeline import running

    with signals(reloads=config is not None) as told:
        async with running(plan, settle=settle, hurry=told.stopped) as bridge, owned_tasks() as tasks:
            if while_used:
                begin_to_speak(plan.data_dir)
            with announced(plan.data_dir, bridge.endpoints, while_used=while_used, config=config):
                if while_used:
                    tasks.create_task(_stop_when_unused(plan.data_dir, told))
                if as_json:
                    print_json(facts(plan, bridge.endpoints))
                else:
                    steps = next_steps(plan, bridge.endpoints, config)
                    print(banner(plan, bridge.endpoints), steps, sep="\n", flush=True)
                await _prepare(plan, told)
                if config is not None:
                    await _reload_when_told(bridge, again, told, config=config, while_used=while_used)
                await told.stopped.wait()
    said = last_words(bridge.left(), bridge.status())
    if while_used:
        say_last(plan.data_dir, said)
    try:
        _tell(said, as_json=as_json)
    except BrokenPipeError:  # whoever read the rest has gone, which is no failure of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(said: Mapping[str, Any], *, as_json: bool) -> None:
    """What was not delivered."""
    if as_json:
        print_json(said)
        return
    for line in undelivered(said):
        print(printable(line), flush=True)


async def _stop_when_unused(data_dir: Path, told: "Told") -> None:
    await _stdin_ended()
    while not seized(data_dir):  # noqa: ASYNC110 - who holds a lock tells nobody
        await asyncio.sleep(UNUSED_EVERY_S)
    told.stopped.set()


async def _stdin_ended() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def look() -> None:
        if not os.read(STDIN, 4096):
            ended.set()

    try:
        loop.add_reader(STDIN, look)
    except OSError:  # a file, or nothing: there is no more to come
        return
    try:
        await ended.wait()
    finally:
        loop.remove_reader(STDIN)


async def _prepare(plan: "Plan", told: "Told") -> None:
    """Do what the first trace would otherwise wait for, and the end of a bridge that has seen none until then."""
    from otel_bridge.component import Takes
    from otel_bridge.translate import prepare

    if any(planned.component.takes is not Takes.BATCHES for planned in plan.exporters.values()):
        with suppress(OSError, ImportError):  # as without descriptors: then the first trace does it
            await first(told.stopped.wait(), asyncio.to_thread(prepare))


async def _reload_when_told(
    bridge: "RunningBridge",
    again: "Callable[[], Plan]",
    told: "Told",
    *,
    config: Path | None = None,
    while_used: bool = False,
) -> None:
    """Go over to what the configuration says, on SIGHUP and when one of its files changes, until the end."""
    from otel_bridge.errors import PlanError

    files = bridge.plan.files
    while not told.stopped.is_set():
        if not await first(told.reload(files), told.stopped.wait()):
            return
        plan: Plan | PlanError
        try:
            plan = await asyncio.to_thread(again)
        except PlanError as error:
            plan = error
        files = plan.files
        if await asyncio.to_thread(as_now, files) != files:
            continue  # it was written while it was read, and is read again once that is over
        if isinstance(plan, PlanError):
            bridge.reject(plan.mistakes)
            continue
        for warning in plan.warnings:
            logger("reload").warning(warning)
        with suppress(PlanError):  # which the bridge has told of
            await bridge.reload(plan)
            announce(bridge.plan.data_dir, bridge.endpoints, while_used=while_used, config=config)


class Told:
    """What this process was told by signals.

    stopped: set by what says so.
    """

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.hung_up = asyncio.Event()

    async def reload(self, files: Mapping[Path, "Stamp"]) -> None:
        """Return on SIGHUP, or when one of these files is not what it was, and they were the same in two looks.

        Half of a file can be right by itself, and say nothing of tenants or of redaction.
        """
        seen = files
        while not self.hung_up.is_set():
            found = await asyncio.to_thread(as_now, files)
            if found == seen and found != files:
                break
            seen = found
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self.hung_up.wait()
        self.hung_up.clear()


@contextmanager
def signals(*, reloads: bool) -> Iterator[Told]:
    """What SIGINT, SIGTERM, SIGQUIT and SIGHUP say. The second to stop has its usual effect, and ends the process at
    once.

    Nothing is lost by that: what was accepted is on disk.

    reloads: whether there is something to reload; where not, SIGHUP stops, as where a terminal is closed.
    """
    loop = asyncio.get_running_loop()
    told = Told()
    stopping = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, *(() if reloads else (signal.SIGHUP,))]

    def stop() -> None:
        told.stopped.set()
        for number in stopping:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in stopping:
        loop.add_signal_handler(number, stop)
    if reloads:
        loop.add_signal_handler(signal.SIGHUP, told.hung_up.set)
    try:
        yield told
    finally:
        for number in {*stopping, signal.SIGHUP}:
            loop.remove_signal_handler(number)


def facts(plan: "Plan", endpoints: Endpoints) -> dict[str, object]:
    """The banner, for programs."""
    return {
        "version": __version__,
        "pid": os.getpid(),
        "configuration": plan.origin,
        "dataDir": str(plan.data_dir),
        "endpoints": {key: dict(names) for key, names in endpoints.items()},
        "exporters": sorted(plan.exporters),
    }


def banner(plan: "Plan", endpoints: Endpoints) -> str:
    """What runs, where it really listens, where it sends to."""
    lines = [f"otel-bridge {__version__}", ""]
    lines += [row(key, endpoints[key]) for key in (*plan.receivers, *plan.extensions) if endpoints.get(key)]
    used = {key for pipeline in plan.service.pipelines.values() for key in pipeline.exporters}
    lines += [row(key, _destination(plan, key)) for key in plan.exporters if key in used and key != "store"]
    if not any(key.partition("/")[0] == "langfuse" for key in used):
        lines.append(row("langfuse", f"off; to send there too, {_langfuse_missing(plan)}"))
    lines.append(row("data", str(plan.data_dir)))
    return "\n".join(printable(line) for line in lines) + "\n"


def _langfuse_missing(plan: "Plan") -> str:
    """What keeps Langfuse from getting anything."""
    from otel_bridge.plan import DEFAULT

    if plan.origin != DEFAULT:
        return f"add the exporter to {plan.origin} and to a pipeline"
    missing = [name for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY") if not os.environ.get(name)]
    return f"set {' and '.join(missing)}" + (" as well" if len(missing) == 1 else "")


def next_steps(plan: "Plan", endpoints: Endpoints, config: Path | None) -> str:
    """What to type next, for this bridge: where nothing comes over OTLP/HTTP, or nothing is stored, that is less."""
    with_config = as_option(config)
    lines = []
    if agent := "\n               ".join(your_agent(plan, endpoints)):
        lines = [f"  your agent:  {agent}", f"  an example:  otel-bridge demo{with_config}"]
    if any(key.partition("/")[0] == "store" for key in plan.exporters):
        lines.append(f"  then look:   otel-bridge trace last{with_config}")
    return "\n".join(lines) + "\n"


def as_option(config: Path | None) -> str:
    """What the next command has to be told to find the same bridge."""
    return "" if config is None else printable(f" --config {shlex.quote(str(config))}")


def your_agent(plan: "Plan", endpoints: Endpoints) -> list[str]:
    """What makes any OpenTelemetry program send to the bridge, in lines; none where it has no OTLP/HTTP.

    What only its owner has, as a tenant's key, is named between < and >.
    """
    key, address = next(((key, names["http"]) for key, names in endpoints.items() if "http" in names), ("", None))
    if address is None:
        return []
    tls = getattr(plan.receivers[key].config, "tls", None) if key in plan.receivers else None
    asked = [f"OTEL_EXPORTER_OTLP_HEADERS='authorization=Bearer <key of tenant {name}>'" for name in with_keys(plan)]
    shown = asked[:1]
    if tls is not None:
        shown.append(f"OTEL_EXPORTER_OTLP_CERTIFICATE='<authority of {tls.cert_file}>'")
    if tls is not None and (tls.client_ca_file is not None or (plan.service.tenants and not asked)):
        of = next((f"tenant {name}" for name, tenant in plan.service.tenants.items() if tenant.certificates), "agent")
        shown.append(f"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE='<certificate of {of}>'")
        shown.append("OTEL_EXPORTER_OTLP_CLIENT_KEY='<key of that certificate>'")
    first = f"export OTEL_EXPORTER_OTLP_ENDPOINT={from_here(address)} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    return [printable(line) for line in (first, *(f"export {one}" for one in shown))]


def with_keys(plan: "Plan") -> list[str]:
    """The tenants that send with a key."""
    return [name for name, tenant in plan.service.tenants.items() if tenant.keys]


def _destination(plan: "Plan", key: str) -> str:
    """Where an exporter sends to, and for which tenants, where they have keys of their own."""
    planned = plan.exporters[key]
    if not planned.tenants:
        return _place(planned.config)
    places: dict[str, list[str]] = {}
    for tenant, config in sorted(planned.tenants.items()):
        places.setdefault(_place(config), []).append(tenant)
    return " · ".join(f"{place} (for {', '.join(tenants)})" for place, tenants in places.items())


def _place(of: "Config") -> str:
    """Where an exporter sends to, if its configuration says so in one of the usual words."""
    config = of.model_dump(mode="json")
    if config.get("format") == "proto" and config.get("path"):  # the file exporter names a file for each signal
        path = Path(config["path"])
        return str(path.with_suffix(f".*{path.suffix}"))
    return next((str(config[word]) for word in ("base_url", "endpoint", "path") if config.get(word)), "on")
