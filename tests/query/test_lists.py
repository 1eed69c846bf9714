"""Lists on the terminal, as they print."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from otel_bridge.cli.app import app
from otel_bridge.cli.tables import (
    number,
    render_events,
    render_metric,
    render_metrics,
    render_scores,
    render_session,
    render_sessions,
    table,
)
from otel_bridge.errors import UsageError
from otel_bridge.model import Score
from otel_bridge.query.find import NotFoundError
from otel_bridge.store.writer import Writer
from tests.query.conftest import START, Settled
from tests.query.points import measured
from tests.query.records import logged
from tests.query.test_metrics import MINUTE_NS, NOW_NS, minutes
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


def columns(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_metrics_are_listed_and_shown(writer: Writer, asked: Asked) -> None:
    grow = [(NOW_NS - (59 - i) * MINUTE_NS, 1e6 + i * 1e5) for i in range(60)]
    measured(writer, "process.memory.usage", grow, kind="sum", service="leak")
    measured(writer, "process.memory.usage", minutes(2048, 2048, before=1), kind="sum", attributes={"state": "used"})
    measured(writer, "calls", minutes(60, 120, 150), kind="sum", grows=True, unit="{call}", tenant="acme")

    header, first, second = map(columns, asked("metrics").splitlines())
    assert header == ["last UTC", "tenant", "kind", "series", "points", "last", "unit", "name"]
    assert first[1:] == ["acme", "counter", "1", "3", "150", "{call}", "calls"]
    assert second[1:] == ["sum", "2", "62", "6,900,000", "By", "process.memory.usage"]
    assert len(asked("metrics", "proc*").splitlines()) == 2
    title, header, *rows = map(columns, asked("metrics", "process.memory.usage", "--last", "2h").splitlines())
    assert title == ["process.memory.usage", "sum · By"]
    assert header == ["service", "points", "avg", "min", "max", "last", "trend", "attributes"]
    assert rows == [
        ["leak", "60", "3,950,000", "1,000,000", "6,900,000", "6,900,000", "rising +149%"],
        ["agents", "2", "2,048", "2,048", "2,048", "2,048", "too few points", "state=used"],
    ]
    assert columns(asked("metrics", "calls").splitlines()[0]) == ["calls", "counter · {call} per second"]
    assert "… and more: 2 series in all" in asked("metrics", "process.memory.usage", "--limit", "1")
    assert asked("metrics", "nobody*").startswith("No such metric.")
    with pytest.raises(UsageError, match="--last is for one metric"):
        asked("metrics", "--last", "1h")


def test_a_metric_that_says_nothing_now_is_told_from_one_that_is_not_there(writer: Writer, asked: Asked) -> None:
    measured(writer, "m", minutes(1, before=90))

    assert "nothing since" in asked("metrics", "m")
    assert json.loads(asked("metrics", "m", "--last", "2h", "--json"))["series"][0]["avg"] == 1
    with pytest.raises(NotFoundError):
        asked("metrics", "n")


def test_nothing_in_a_metric_reaches_the_terminal_raw(writer: Writer, asked: Asked) -> None:
    measured(writer, HOSTILE, minutes(1), unit=HOSTILE, attributes={HOSTILE: HOSTILE}, service=HOSTILE, tenant=HOSTILE)
    listed, one = (json.loads(asked("metrics", *name, "--json")) for name in ((), (HOSTILE,)))
    for text in (printed(render_metrics(listed)), printed(render_metric(one)), asked("metrics")):
        assert held_back(text)
        assert text.count("[bold]not bold[/bold] :smile:") >= 3


def test_numbers_are_short() -> None:
    assert [number(value) for value in (None, 0.0, 0.123456, 5e-7, 999.5, 1234.5, -123456789.0, 1e99)] == [
        "", "0", "0.1235", "5e-07", "999.5", "1,234", "-123,456,789", "1e+99",
    ]  # fmt: skip


def test_sessions_are_listed_and_shown(settled: Settled, asked: Asked) -> None:
    said = {"usage": {"total": 7}, "cost": {"total": 0.5}}
    settled(1, session_id="s/1", user_id="ada", input="Oslo?", output="No.\nLisbon.", observation=said)
    settled(2, session_id="s/1", user_id="bob", start_s=60, name="second", input="Why?", error=True)
    settled(3, session_id="s 2", tenant="acme")

    header, *rows = map(columns, asked("sessions").splitlines())
    assert header == ["last UTC", "tenants", "traces", "tokens", "cost", "errors", "users", "session"]
    assert sorted(row[1:] for row in rows) == [["2", "7", "$0.5", "1", "ada, bob", "s/1"], ["acme", "1", "s 2"]]
    assert len(asked("sessions", "--tenant", "acme").splitlines()) == 2
    assert asked("sessions", "--limit", "1").endswith("… and more: --limit or --tenant chooses\n")
    shown = asked("sessions", "s/1").splitlines()
    assert shown[:3] == ["s/1", "2 traces · 61.0 s · 7 tokens · $0.5 · 1 error", "user: ada, bob"]
    assert [columns(line)[-1] for line in shown[4:]] == ["name", "second", "trace 1"]
    assert [columns(line)[-1] for line in asked("sessions", "s/1", "--sort", "start").splitlines()[5:]] == [
        "trace 1", "second",
    ]  # fmt: skip
    turns = asked("sessions", "s/1", "--turns")
    assert "    Oslo?\n    No.\n    Lisbon.\n" in turns
    assert turns.index("trace 1") < turns.index("second")
    assert asked("sessions", "s/1", "--turns", "--limit", "1").endswith("… and more: --limit chooses\n")
    with pytest.raises(NotFoundError, match="`otel-bridge sessions` lists"):
        asked("sessions", "s/\ud800")
    for odd in (["--turns"], ["--sort", "start"]):
        with pytest.raises(UsageError, match="for one session"):
            asked("sessions", *odd)


def test_scores_are_listed(settled: Settled, asked: Asked) -> None:
    assert asked("scores").startswith("No scores.")
    settled(
        0xAB << 120,
        scores=(
            Score("a", "helpful", 0.5, "NUMERIC", START, trace_id=f"{0xAB << 120:032x}", observation_id=f"{1:016x}"),
            Score("b", "tone", "kind", "CATEGORICAL", START + 10**9, session_id="s", comment="very\nkind"),
        ),
    )
    assert [columns(line) for line in asked("scores").splitlines()] == [
        ["time UTC", "name", "value", "trace", "observation", "session", "comment"],
        ["11-14 22:13:21", "tone", "kind", "s", "very kind"],
        ["11-14 22:13:20", "helpful", "0.5", "ab000000", f"{1:016x}"],
    ]
    assert [score["name"] for score in json.loads(asked("scores", "--limit", "1", "--json"))["scores"]] == ["tone"]
    with pytest.raises(UsageError, match="1 to 200"):
        asked("scores", "--limit", "0")


def test_nothing_in_a_session_or_score_reaches_the_terminal_raw(settled: Settled, asked: Asked) -> None:
    hostile = {"session_id": HOSTILE, "user_id": HOSTILE, "name": HOSTILE, "input": HOSTILE, "output": HOSTILE}
    settled(1, **hostile, tenant=HOSTILE, scores=(Score("a", HOSTILE, HOSTILE, "TEXT", START, comment=HOSTILE),))
    for words, render in (
        (("sessions",), render_sessions),
        (("sessions", HOSTILE), render_session),
        (("sessions", HOSTILE, "--turns"), render_session),
        (("scores",), render_scores),
    ):
        for text in (printed(render(json.loads(asked(*words, "--json")))), asked(*words)):
            assert not any(bad in text for bad in "\x1b\x07\x9b\u202e\r")
            assert "\nnext" not in text  # a text of several lines is set in
            assert text.count("[bold]not bold[/bold] :smile:") >= 3


@pytest.mark.parametrize("width", [40, 80])
def test_sessions_are_cut_to_the_terminal(settled: Settled, asked: Asked, width: int) -> None:
    settled(1, session_id="s" * 300, user_id="u" * 300, input="word " * 100, name="n" * 50)

    listed, one = (json.loads(asked("sessions", *words, "--json")) for words in ((), ("s" * 300, "--turns")))
    assert max(map(cell_len, printed(render_sessions(listed, width), width).splitlines())) <= width
    assert max(map(cell_len, printed(render_session(one, width), width).splitlines())) <= width
