"""What the commands print with, and the options that they share."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="OTEL_BRIDGE_CONFIG", help="The configuration; without it, the default."),
]
DataDirOption = Annotated[
    Path, typer.Option("--data-dir", envvar="OTEL_BRIDGE_DATA_DIR", help="Where the bridge keeps its files.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

DEFAULT_DATA_DIR = Path("~/.otel-bridge")


def printable(text: str) -> str:
    """Text with control characters escaped: what came from elsewhere must not move a terminal's cursor."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def print_json(value: Any) -> None:
    """Print one JSON document in UTF-8, and nothing else, on standard output."""
    import orjson

    shape = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0)  # enums are keys too
    sys.stdout.flush()
    sys.stdout.buffer.write(orjson.dumps(value, option=shape | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print columns that line up, the last as long as it is."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
