"""`otel-bridge doctor`: why nothing arrives, in a line for each thing that it depends on, with what to do."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from otel_bridge.cli.doctor.finding import Finding, Level, fault
from otel_bridge.cli.found import place
from otel_bridge.cli.output import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    UrlOption,
    print_json,
    print_wrapped,
    progress,
)
from otel_bridge.errors import BridgeError


def doctor(
    langfuse: Annotated[
        bool, typer.Option("--langfuse", help="Ask Langfuse too: does it answer, whose are the keys, how far is it.")
    ] = False,
    send_test: Annotated[
        bool, typer.Option("--send-test", help="Send a trace through the bridge, and read it back; from Langfuse too.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """Find out why nothing arrives: a line for each thing that it depends on, with what to do.

    The exit code is that of the first fault: 1, 3 nobody answers, 73 the data dir, 78 the configuration; 0 without any.
    """
    from otel_bridge.cli.doctor.sending import WAITING

    found: list[Finding] = []
    with progress() as tell:
        for one in _checked(config, data_dir, url, langfuse=langfuse, send_test=send_test):
            if one.check == WAITING:
                tell(one.said)
                continue
            tell("")
            found.append(one)
            if not json:
                print_wrapped(one.said, f"{one.level:<8} {one.check:<14} ")
    worst = [one for one in found if one.level is Level.FAULT]
    if json:
        print_json({"ok": not worst, "checks": [asdict(one) | {"facts": dict(one.facts)} for one in found]})
    if worst:
        raise typer.Exit(worst[0].exit_code)


def _checked(
    config: Path | None, data_dir: Path | None, url: str | None, *, langfuse: bool, send_test: bool
) -> Iterator[Finding]:
    from otel_bridge.cli.doctor import here
    from otel_bridge.cli.doctor import langfuse as langfuse_checks
    from otel_bridge.cli.doctor.bridge import Running
    from otel_bridge.cli.doctor.endpoint import endpoint
    from otel_bridge.cli.doctor.environment import environment
    from otel_bridge.cli.doctor.sending import sent

    yield from environment(os.environ)
    plan, found = here.configuration(config, os.environ)
    yield from found
    folder = None
    try:
        folder = place(config, data_dir).data_dir
        yield from here.data_dir(folder)
    except BridgeError as error:
        if plan is not None:  # else it was said already
            yield fault("data dir", str(error), error.exit_code)
    bridge, target = Running(url, config, data_dir, folder), endpoint(folder)
    yield from bridge.checked(is_elsewhere=target.is_said and url is None)
    yield from target.checked(bridge.status)
    projects = langfuse_checks.projects_of(plan)
    if langfuse:
        yield from langfuse_checks.checked(projects)
    if send_test:
        yield from sent(target, bridge, projects if langfuse else {})
