"""`otel-bridge translate`: OTLP files in, what would be sent out, as JSON; nothing runs, nothing is sent."""

import os
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otel_bridge.cli.output import ConfigOption, JsonOption, print_json
from otel_bridge.errors import UsageError
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    from otel_bridge.model import Translation
    from otel_bridge.translate.explain import Explanation

STDIN = Path("/dev/stdin")


class Target(StrEnum):
    """What to translate to."""

    OBSERVATIONS = "observations"
    LANGFUSE_OTLP = "langfuse-otlp"
    INGESTION = "ingestion"


class Format(StrEnum):
    """How to print."""

    TEXT = "text"
    JSON = "json"


def translate(
    files: Annotated[
        list[Path],
        typer.Argument(help="OTLP traces and logs, protobuf or JSON, together one input; - is standard input."),
    ],
    to: Annotated[Target, typer.Option("--to", help="What to translate to.")] = Target.OBSERVATIONS,
    explain: Annotated[bool, typer.Option("--explain", help="Where each field came from, instead.")] = False,
    shape: Annotated[
        Format | None,
        typer.Option("--format", help="Of --explain: text unless it goes into a file or a pipe. The rest is JSON."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what Langfuse would get for OTLP files, as JSON; `--explain` is text on a terminal, or by `--format text`.

    Of a configuration only the prices are used.
    """
    from otel_bridge.batch import Batch, Signal
    from otel_bridge.model import Omitted, Translation
    from otel_bridge.otlp_files import read_batches
    from otel_bridge.telemetry import Counters
    from otel_bridge.translate import Prices, traces_of
    from otel_bridge.translate import explain as explained
    from otel_bridge.translate import translate as translated
    from otel_bridge.validate import validate

    if explain and to is not Target.OBSERVATIONS:
        raise UsageError("--explain tells about observations, and takes the place of their translation; leave out --to")
    if shape is Format.TEXT and not explain:
        raise UsageError("--format text is for --explain alone: all else is JSON")
    if shape is Format.TEXT and json:
        raise UsageError("--format text and --json are two things: leave one of them out")
    counters = Counters()
    batches: list[Batch] = []
    rejected: list[Omitted] = []
    for file in files:
        for batch in read_batches(STDIN if str(file) == "-" else file, counters, rejected):
            if batch.signal is Signal.METRICS:
                print(f"{file}: metrics become no observations, left out", file=sys.stderr)
                continue
            valid, refused = validate(batch, time.time_ns(), counters)
            batches.append(valid)
            rejected += refused
    traces, prices = traces_of(batches), Prices(_own_prices(config))
    translations = [translated(trace, prices) for trace in traces]
    if explain:
        found = [one for trace, made in zip(traces, translations, strict=True) for one in explained(trace, made)]
        if json or shape is Format.JSON or not (shape or sys.stdout.isatty()):
            print_json(found)
        else:
            _print_explanations(found)
        return
    whole = Translation.merge(translations)
    whole.rejected += rejected
    _write(whole, to)


def _own_prices(config: Path | None) -> dict[str, dict[str, float]]:
    if config is None:
        return {}
    from otel_bridge.plan import load

    return load(config, environ=os.environ).service.translate.prices


def _print_explanations(found: "Sequence[Explanation]") -> None:
    """A paragraph for each observation: its fields, each with its sources, then what became of the rest."""
    for one in found:
        print(printable(f"{one.name.splitlines()[0] if one.name else ''}  {one.id}  read by {', '.join(one.dialects)}"))
        lines = [(name, ", ".join(dict.fromkeys(sources))) for name, sources in one.fields.items()]
        lines += [("shadowed", ", ".join(one.shadowed)), ("metadata", ", ".join(one.metadata))]
        lines += [("tree", decision) for decision in one.tree]
        for name, sources in lines:
            if sources:
                print(f"  {name:20}{printable(sources.replace(chr(10), ' '))}")
        print()


def _write(translation: "Translation", to: Target) -> None:
    if to is Target.LANGFUSE_OTLP:
        from otel_bridge.exporters.langfuse.otlp import encode
        from otel_bridge.otlp_json import dump

        sys.stdout.buffer.write(dump(encode(translation)) + b"\n")
    elif to is Target.INGESTION:
        from otel_bridge.exporters.langfuse.ingestion import events

        print_json({"batch": events(translation)})
    else:
        from otel_bridge.translate import to_json

        print_json(to_json(translation))
