"""The bridge's own logs are for people and machines, and nobody else writes in them."""

import json
from collections.abc import Iterator

import pytest
import structlog

from otel_bridge import telemetry
from otel_bridge.telemetry import Counters, configure_logs, logger

HOSTILE = "\x1b[2J\n2026-01-01T00:00:00Z [info     ] all is well \x9b1m \u202e"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def fail_saying(text: str) -> None:
    try:
        int(text)
    except ValueError:
        logger("test").exception("it failed", cause=text)


def test_what_content_says_shows_and_does_not_act(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs()

    fail_saying(HOSTILE)

    lines = capfd.readouterr().err.splitlines()
    assert all(character not in line for line in lines for character in "\x1b\x9b\u202e")
    assert [line for line in lines if not line.startswith("  ")] == [lines[0]]
    assert "ValueError" in lines[-2] + lines[-1]


def test_machines_get_one_line_of_json_for_an_entry(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(json=True)

    fail_saying(HOSTILE)

    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "it failed"


def test_counts_are_summed_over_the_labels_that_are_not_named() -> None:
    counters = Counters()
    counters.add("refused", reason="malformed")
    counters.add("refused", 2, reason="too_large")

    assert counters.value("refused") == 3
    assert counters.value("refused", reason="too_large") == 2


def test_in_somebodys_program_warnings_go_to_logging(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And never to standard output, where structlog writes that nobody has set up."""
    monkeypatch.setattr(telemetry, "_joined", False)
    telemetry.join_logs()
    telemetry.logger("delivery").warning("parked", why="401\x1b[31m", tries=3)
    telemetry.logger("delivery").info("delivering")

    [said] = caplog.records
    assert (said.name, said.levelname) == ("otel_bridge.engine", "WARNING")
    assert said.message == r"part='delivery' event='parked' why='401\\x1b[31m' tries=3"
