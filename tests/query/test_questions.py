"""`otel-bridge traces` and `otel-bridge trace`, as they print."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from otel_bridge.cli.questions import load_trace, load_traces, render_list, render_tree, trace, traces
from otel_bridge.errors import FilesError, UnreachableError, UsageError
from otel_bridge.model import Score
from otel_bridge.query.outline import brief, cost, duration, markdown, outline

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202eevil [bold]not bold[/bold] :smile:\r\nnext"


@pytest.fixture
def hostile(settled: Callable[..., None], tmp_path: Path) -> Path:
    settled(
        1, ((1, 0), (2, 1)), name=HOSTILE, session_id=HOSTILE, tags=[HOSTILE], input=HOSTILE, error=True,
        scores=(Score("s", HOSTILE, HOSTILE, "TEXT", 5, trace_id=f"{1:032x}", comment=HOSTILE),),
        observation={"name": HOSTILE, "model": HOSTILE, "status_message": HOSTILE},
    )  # fmt: skip
    return tmp_path / "store.db"


def printed(renderable: object) -> str:
    console = Console(width=5000, force_terminal=True, color_system=None, highlight=False, file=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_nothing_in_a_trace_reaches_the_terminal_raw(hostile: Path) -> None:
    """No escape sequence, no turned reading direction, no line of its own, and no markup."""
    found = load_trace(hostile)
    for text in (
        printed(render_tree(found)),
        printed(render_list(load_traces(hostile))),
        outline(found),
        markdown(found),
    ):
        assert not any(bad in text for bad in "\x1b\x07\x9b\u202e\r")
        assert "\nnext" not in text
        assert "[bold]not bold[/bold] :smile:" in text


def test_a_tree_shows_what_there_is_to_know(settled: Callable[..., None], tmp_path: Path) -> None:
    settled(
        1, ((1, 0), (2, 1)), session_id="morning",
        scores=(Score("s", "helpful", 0.5, "NUMERIC", 5, trace_id=f"{1:032x}", observation_id=f"{2:016x}"),),
        observation={"model": "gpt-5", "usage": {"total": 21}, "cost": {"total": 0.004}},
    )  # fmt: skip

    text = printed(render_tree(load_trace(tmp_path / "store.db")))
    assert "1.0 s · 2 observations · 42 tokens · $0.008" in text
    assert "session: morning" in text
    assert "└─ SPAN observation 2  1.0 s · gpt-5 · 21 tokens · $0.004  helpful = 0.5" in text


def test_the_commands_run(hostile: Path) -> None:
    app = Typer()
    app.command()(traces)
    app.command()(trace)
    run = CliRunner().invoke
    folder = ["--data-dir", str(hostile.parent)]

    assert run(app, ["traces", "status:error", *folder]).exit_code == 0
    assert '"totalTokens"' in run(app, ["trace", "last", "--json", *folder]).output
    assert isinstance(run(app, ["traces", "nme:x", *folder]).exception, UsageError)


def test_no_store_and_no_bridge_are_said(tmp_path: Path) -> None:
    with pytest.raises(FilesError, match="start the bridge"):
        load_traces(tmp_path / "store.db")
    with pytest.raises(UnreachableError, match="no bridge answers"):
        load_trace("http://127.0.0.1:1")
    for odd in ("ftp://x", "http://", "http://x:port"):
        with pytest.raises(UsageError, match="no address"):
            load_trace(odd)


def test_short_words() -> None:
    assert [duration(ms) for ms in (0.2, 850, 12_340, 245_000)] == ["0 ms", "850 ms", "12.3 s", "4 min 05 s"]
    assert [cost(dollars) for dollars in (0.0, 0.00001, 0.0123, 12.3)] == ["$0", "<$0.0001", "$0.012", "$12.30"]
    assert (
        brief([{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}]) == "b"
    )
    assert brief({"messages": [{"role": "user", "parts": [{"type": "text", "content": "c"}]}]}) == "c"
    assert brief({"q": 1}) == '{"q":1}'
    assert brief(None) == ""
