"""Lists on the terminal, as they print."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from otel_bridge.cli.app import app
from otel_bridge.cli.tables import render_events, table
from otel_bridge.errors import UsageError
from otel_bridge.store.writer import Writer
from tests.query.records import logged
from tests.query.test_questions import HOSTILE, printed

Asked = Callable[..., str]


@pytest.fixture
def asked(writer: Writer, tmp_path: Path) -> Asked:
    """What a command prints of the store."""

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--data-dir", str(tmp_path)])
        if done.exception is not None:
            raise done.exception
        return done.output

    return run


def held_back(text: str) -> bool:
    return not any(bad in text for bad in "\x1b\x07\x9b\u202e\r") and "\nnext" not in text


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_rows_are_cut_to_the_terminal(width: int) -> None:
    """Numbers are whole, and of what is beside the last column as much as there is room for."""
    cells = [("一个很长的名字 " * 9, "", "12345", "a name " * 20, "what is said " * 20)]
    header, row = printed(
        table_of(table(("one", "none", "count", "name", "said"), cells, width, numbers=("count",))), width
    ).splitlines()

    assert max(map(cell_len, (header, row))) <= width
    assert "12345" in row
    assert "none" not in header
    assert "said" in header or width == 30


def table_of(lines: list[object]) -> object:
    from rich.console import Group

    return Group(*lines)  # type: ignore[arg-type]


def test_what_is_no_terminal_has_no_width() -> None:
    cells = [("n" * 300, "s" * 300)]
    assert "n" * 300 + "  " + "s" * 300 in printed(table_of(table(("name", "said"), cells)))


def test_events_are_listed(writer: Writer, asked: Asked) -> None:
    logged(writer, "file.created", trace=0xAB << 120, attributes={"event.name": "file.created", "path": "a b.md"})
    logged(writer, body="hm\nwell", severity_number=17, service="scribe")
    logged(writer, "x", tenant="acme")

    lines = [re.split(r"\s{2,}", line) for line in asked("events", "--tenant", "default").splitlines()]
    assert lines == [
        ["time UTC", "severity", "name", "service", "trace", "said"],
        ["11-14 22:13:20", "ERROR", "scribe", "hm well"],
        ["11-14 22:13:20", "file.created", "agents", "ab000000", "path=a b.md"],
    ]
    assert "acme" in asked("events")
    assert asked("events", "--limit", "1").endswith("… and more: a name, --trace, --last or --limit chooses\n")
    assert asked("events", "nobody").startswith("No such log record.")
    assert [event["name"] for event in json.loads(asked("events", "file.*", "--json"))["events"]] == ["file.created"]
    with pytest.raises(UsageError, match="write it as 500ms"):
        asked("events", "--last", "soon")


def test_nothing_in_a_record_reaches_the_terminal_raw(writer: Writer, asked: Asked) -> None:
    logged(writer, HOSTILE, HOSTILE, attributes={HOSTILE: HOSTILE}, service=HOSTILE, severity_text=HOSTILE,
           tenant=HOSTILE)  # fmt: skip
    text = printed(render_events(json.loads(asked("events", "--json"))))

    assert held_back(text)
    assert held_back(asked("events"))
    assert text.count("[bold]not bold[/bold] :smile:") == 7
