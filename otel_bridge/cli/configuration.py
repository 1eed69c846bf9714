"""`otel-bridge validate`, `config`, `components`: what can be configured, and whether it was done well."""

import os
import re
import sys
from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otel_bridge.cli.output import ConfigOption, JsonOption, print_json, print_table
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    from otel_bridge.plan import Plan

OF_TENANT = re.compile(r"(processors::[^:]+)::tenants::[^:]+::(.+)")

config = typer.Typer(name="config", help="Print, describe or begin a configuration.", no_args_is_help=True)


def validate(
    file: Annotated[Path, typer.Argument(help="The configuration to check.")], json: JsonOption = False
) -> None:
    """Check a configuration, and the TLS files that it names; every mistake with its line."""
    from otel_bridge.errors import PlanError
    from otel_bridge.plan import load

    plan = load(file, environ=os.environ)
    if unusable := list(_unusable_tls(plan)):
        raise PlanError(unusable)
    if json:
        said = {"file": str(file), "valid": True, "pipelines": sorted(plan.service.pipelines)}
        print_json({**said, "warnings": plan.warnings})
        return
    for warning in plan.warnings:
        print(printable(f"warning: {warning}"))
    print(f"{file}: fine" if not plan.warnings else f"{file}: can be run")
    for name, pipeline in plan.service.pipelines.items():
        steps = (pipeline.receivers, pipeline.processors, pipeline.exporters)
        print(f"  {name}: " + " → ".join(", ".join(step) for step in steps if step))


@config.command("print")
def print_config(
    file: ConfigOption = None,
    sources: Annotated[bool, typer.Option("--sources", help="Say where each value was given.")] = False,
    json: JsonOption = False,
) -> None:
    """Print the whole configuration, every default filled in, secrets hidden."""
    from otel_bridge.plan import load

    plan = load(file, environ=os.environ)
    whole = plan.to_dict()
    if sources:
        rows = [(path, value, _source(plan.sources, path)) for path, value in _leaves(whole)]
        if json:
            print_json([{"path": path, "value": value, "source": source} for path, value, source in rows])
        else:
            print_table([(path, value if isinstance(value, str) else dumps(value), of) for path, value, of in rows])
    elif json:
        print_json(whole)
    else:
        from ruamel.yaml import YAML

        YAML().dump(whole, sys.stdout)


@config.command("schema")
def print_schema(json: JsonOption = False) -> None:
    """Print the JSON schema of the configuration, for editors."""
    from otel_bridge.plan import schema

    print_json(schema())


@config.command("init")
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("bridge.yaml"),
    langfuse: Annotated[bool, typer.Option("--langfuse", help="Send to Langfuse too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a configuration to begin with: what the bridge does without one."""
    from otel_bridge.errors import FilesError, UsageError
    from otel_bridge.files import FOLDER, kind, reason
    from otel_bridge.written import default_text

    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(default_text(langfuse=langfuse))
    except FileExistsError:
        if kind(file) == FOLDER:
            raise UsageError(f"{file} is a folder: name a file in it, as {file / 'bridge.yaml'}") from None
        raise UsageError(f"{file} is there already; name another file, or write over it with --force") from None
    except OSError as error:
        raise FilesError(f"{file} cannot be written: {reason(file, error)}") from error
    if json:
        print_json({"written": str(file)})
    else:
        print(f"{file} written; change it, then: otel-bridge validate {file} && otel-bridge serve --config {file}")


def components(json: JsonOption = False) -> None:
    """List the components that a configuration can have."""
    from otel_bridge.registry import components as every

    if json:
        print_json([{"kind": c.kind.value, "name": c.name, "summary": c.summary} for c in every()])
    else:
        print_table([(c.kind.value.removesuffix("s"), c.name, c.summary) for c in every()])


def _unusable_tls(plan: "Plan") -> Iterator[str]:
    """What is wrong with TLS files, in the form of mistakes in a configuration."""
    from otel_bridge.tls import TlsConfig, mistakes

    for section, components in (("receivers", plan.receivers), ("extensions", plan.extensions)):
        for key, planned in components.items():
            tls = getattr(planned.config, "tls", None)
            for name, what in mistakes(tls) if isinstance(tls, TlsConfig) else ():
                path = f"{section}::{key}::tls::{name}"
                yield f"{plan.sources[path].partition(' ')[0]} {path}: {what}"


def _leaves(node: Any, path: str = "") -> list[tuple[str, Any]]:
    """(path, value) of everything that is no mapping."""
    if isinstance(node, dict) and node:
        return [leaf for key, inner in node.items() for leaf in _leaves(inner, f"{path}::{key}" if path else str(key))]
    return [(path, node)]


def _source(sources: Any, path: str) -> str:
    """Where a value was given; items of a list stand under their list, and a tenant has what all have."""
    under = next((source for key, source in sources.items() if key == path or key.startswith(f"{path}::")), None)
    if under is None and (inherited := OF_TENANT.fullmatch(path)):
        return f"as for all: {_source(sources, f'{inherited[1]}::{inherited[2]}')}"
    return under or "default"
