"""What the commands print with, and the options that they share."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from otel_bridge.telemetry import printable

CLEAR_LINE = "\r\x1b[K"

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="OTEL_BRIDGE_CONFIG", help="The configuration; without it, the default."),
]
DataDirOption = Annotated[
    Path | None,  # OTEL_BRIDGE_DATA_DIR is read where the default configuration is: another one may not ask for it
    typer.Option("--data-dir", help="Where the bridge keeps its files, instead of where the configuration says."),
]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="Ask the viewer of a running bridge, as http://127.0.0.1:4319.")
]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Of this tenant.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def print_json(value: Any) -> None:
    """Print one JSON document in UTF-8, and nothing else, on standard output."""
    import orjson

    shape = orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE  # enums are keys too
    if sys.stdout.isatty():
        print(printable(orjson.dumps(value, option=shape | orjson.OPT_INDENT_2).decode(), keep="\n"), end="")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(orjson.dumps(value, option=shape))
    sys.stdout.buffer.flush()


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print columns that line up, the last as long as it is."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_wrapped(text: str, begin: str = "") -> None:
    """Print a text of any length on lines of its own, as wide as the terminal; in one where there is none."""
    print(wrapped(text, begin, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))


def wrapped(text: str, begin: str, width: int | None) -> str:
    """A text in lines that are so wide at most, the others set in as far as what the first begins with."""
    begin = printable(begin)
    shown = f"{begin}{printable(text)}"
    if width is None:
        return shown
    width = max(width, 20)
    # An address stays whole, so that it can be copied: the terminal breaks it where it must.
    return textwrap.fill(
        shown, width, subsequent_indent=" " * len(begin), break_long_words=False, break_on_hyphens=False
    )


def row(name: str, value: str | Mapping[str, str]) -> str:
    """A line about something; of addresses, with their names where there are several."""
    if not isinstance(value, str):
        named = sorted(value.items(), reverse=True)
        value = " · ".join(f"{address} ({called})" if len(named) > 1 else address for called, address in named) or "on"
    return f"  {name:<10} {value}"


def print_row(name: str, value: str | Mapping[str, str]) -> None:
    """Print a line about something."""
    print(printable(row(name, value)))


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Show how far something has come, in one line of a terminal that is empty again in the end; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    try:
        yield lambda what: print(f"{CLEAR_LINE}{printable(what)[:100]}", end="", file=sys.stderr, flush=True)
    finally:
        print(CLEAR_LINE, end="", file=sys.stderr, flush=True)
