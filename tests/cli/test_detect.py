"""`otel-bridge detect` as somebody types it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from tests.query.detectors.spans import beat

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow
DECADE = "3650d"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Of a program that was killed years ago; its name would clear the screen."""
    writer = Writer(tmp_path / "data" / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters())
    beat(writer, 1, name="\x1b[2Jagent")
    writer.close()
    return tmp_path / "data" / "store.db"


def test_nothing_is_wrong_with_the_demo(run: Run) -> None:
    assert run("demo", "--once").returncode == 0
    shown = run("detect")

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "nothing found" in shown.stdout
    assert "looked at 1 trace" in shown.stdout
    advice = json.loads(
        run("detect", *[each["name"] for each in json.loads(run("detect", "--list", "--json").stdout)], "--json").stdout
    )
    assert {one["severity"] for one in advice["findings"]} <= {"info"}


def test_a_finding_is_shown_with_what_to_do_and_where_to_look(run: Run, store: Path) -> None:
    shown = run("detect", "--last", DECADE)

    assert shown.returncode == 1
    assert "\x1b" not in shown.stdout
    assert shown.stdout.startswith("error    stalled: \\x1b[2Jagent fell silent")
    assert "Look whether that process was killed" in shown.stdout
    assert "trace 00000000 · observation 0000000000000001" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("1 finding: ")

    told = json.loads(run("detect", "stalled", "--last", DECADE, "--json").stdout)
    assert told["detectors"] == ["stalled"]
    assert told["findings"][0]["observationIds"] == ["0000000000000001"]


def test_what_can_not_be_asked_is_a_mistake_of_usage(run: Run, store: Path) -> None:
    for words, said in (
        (["staled"], "did you mean stalled?"),
        (["--last", "soon"], "is no duration"),
        (["--tenant", "nobody"], "there is no tenant 'nobody'"),
    ):
        shown = run("detect", *words)
        assert (shown.returncode, said in shown.stderr) == (2, True), shown.stderr


def test_it_says_which_detectors_there_are(run: Run) -> None:
    assert "stalled" in run("detect", "--list").stdout
