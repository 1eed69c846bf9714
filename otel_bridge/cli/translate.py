"""`otel-bridge translate`: OTLP files in, what would be sent out, as JSON; nothing runs, nothing is sent."""

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otel_bridge.cli.output import JsonOption, print_json

if TYPE_CHECKING:
    from otel_bridge.model import Translation


class Target(StrEnum):
    """What to translate to."""

    OBSERVATIONS = "observations"
    LANGFUSE_OTLP = "langfuse-otlp"
    INGESTION = "ingestion"


def translate(
    files: Annotated[list[Path], typer.Argument(help="OTLP traces and logs, protobuf or JSON; together one input.")],
    to: Annotated[Target, typer.Option("--to", help="What to translate to.")] = Target.OBSERVATIONS,
    explain: Annotated[bool, typer.Option("--explain", help="Say for each field where it came from.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what Langfuse would get for OTLP files, as JSON."""
    from otel_bridge.batch import Batch, Signal
    from otel_bridge.model import Omitted, Translation
    from otel_bridge.otlp_files import read_batches
    from otel_bridge.telemetry import Counters
    from otel_bridge.translate import explain as explained
    from otel_bridge.translate import traces_of
    from otel_bridge.translate import translate as translated
    from otel_bridge.validate import validate

    counters = Counters()
    batches: list[Batch] = []
    rejected: list[Omitted] = []
    for file in files:
        for batch in read_batches(file, counters, rejected):
            if batch.signal is Signal.METRICS:
                print(f"{file}: metrics become no observations, left out", file=sys.stderr)
                continue
            valid, refused = validate(batch, time.time_ns(), counters)
            batches.append(valid)
            rejected += refused
    traces = traces_of(batches)
    if explain:
        print_json([observation for trace in traces for observation in explained(trace)])
        return
    whole = Translation.merge([translated(trace) for trace in traces])
    whole.rejected += rejected
    _write(whole, to)


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
