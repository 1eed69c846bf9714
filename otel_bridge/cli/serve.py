"""`otel-bridge serve`: run the bridge until it is told to stop."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otel_bridge import __version__
from otel_bridge.cli.found import Endpoints, announced
from otel_bridge.cli.output import ConfigOption, JsonOption, print_json
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    from otel_bridge.plan import Plan

SWITCH_S = 0.0005  # threads translate, write and read beside the loop: with Python's 5 ms each waits long for its turn


def serve(
    config: ConfigOption = None,
    json: JsonOption = False,
    insecure_allow_public: Annotated[
        bool, typer.Option("--insecure-allow-public", help="Listen for others without TLS and keys, where configured.")
    ] = False,
) -> None:
    """Run the bridge; also what happens without a command.

    Ctrl-C or SIGTERM stops it within seconds, a second one at once. Nothing that was acknowledged is lost by either.
    """
    from otel_bridge.plan import load
    from otel_bridge.telemetry import configure_logs

    plan = load(config, environ=os.environ, allow_public=insecure_allow_public)
    configure_logs(json=json)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold all keys
    for warning in plan.warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    sys.setswitchinterval(SWITCH_S)
    asyncio.run(_serve(plan, as_json=json))


async def _serve(plan: "Plan", *, as_json: bool) -> None:
    from otel_bridge.pipeline import running

    with stop_signals() as stopped:
        async with running(plan) as bridge:
            with announced(plan.data_dir, bridge.endpoints):
                if as_json:
                    print_json(facts(plan, bridge.endpoints))
                else:
                    print(banner(plan, bridge.endpoints), next_steps(bridge.endpoints), sep="\n", flush=True)
                await stopped.wait()


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; the second signal has its usual effect, and ends the process at once.

    Nothing is lost by that: what was accepted is on disk.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        stopped.set()
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield stopped
    finally:
        for number in signals:
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
    lines += [
        _row(key, _listening(endpoints[key])) for key in (*plan.receivers, *plan.extensions) if endpoints.get(key)
    ]
    used = {key for pipeline in plan.service.pipelines.values() for key in pipeline.exporters}
    lines += [_row(key, _destination(plan, key)) for key in plan.exporters if key in used and key != "store"]
    if not any(key.partition("/")[0] == "langfuse" for key in used):
        lines.append(_row("langfuse", f"off; to send there too, {_langfuse_missing(plan)}"))
    lines.append(_row("data", str(plan.data_dir)))
    return "\n".join(printable(line) for line in lines) + "\n"


def _langfuse_missing(plan: "Plan") -> str:
    """What keeps Langfuse from getting anything."""
    from otel_bridge.plan import DEFAULT

    if plan.origin != DEFAULT:
        return f"add the exporter to {plan.origin} and to a pipeline"
    missing = [name for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY") if not os.environ.get(name)]
    return f"set {' and '.join(missing)}" + (" as well" if len(missing) == 1 else "")


def next_steps(endpoints: Endpoints) -> str:
    """What to type next."""
    otlp = next((names["http"] for names in endpoints.values() if "http" in names), None)
    lines = ["  an example:  otel-bridge demo", "  then look:   otel-bridge trace last"]
    return "\n".join([f"  your agent:  {your_agent(otlp)}", *lines] if otlp else lines) + "\n"


def your_agent(otlp: str) -> str:
    """What makes any OpenTelemetry program send to an address."""
    return f"export OTEL_EXPORTER_OTLP_ENDPOINT={otlp} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"


def _row(name: str, value: str) -> str:
    return f"  {name:<10} {value}"


def _listening(addresses: Mapping[str, str]) -> str:
    """The addresses of a component, with their names where there are several."""
    if len(addresses) == 1:
        return next(iter(addresses.values()))
    return " · ".join(f"{address} ({name})" for name, address in sorted(addresses.items(), reverse=True))


def _destination(plan: "Plan", key: str) -> str:
    """Where an exporter sends to, if its configuration says so in one of the usual words."""
    config = plan.exporters[key].config.model_dump(mode="json")
    if config.get("format") == "proto" and config.get("path"):  # the file exporter names a file for each signal
        path = Path(config["path"])
        return str(path.with_suffix(f".*{path.suffix}"))
    return next((str(config[word]) for word in ("base_url", "endpoint", "path") if config.get(word)), "on")
