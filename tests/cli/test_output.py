"""What commands show while they wait."""

import os
import sys

import pytest

from otel_bridge.cli.output import CLEAR_LINE, progress, wrapped


def test_what_was_shown_while_it_lasted_is_gone_before_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the result stands on the same line: `10 of 103 dropped`."""
    reading, terminal = os.openpty()
    with os.fdopen(reading, "rb", buffering=0) as seen, os.fdopen(terminal, "w") as shown:
        monkeypatch.setattr(sys, "stderr", shown)
        with progress() as show:
            show("10 of 10\x1b]0;hostile\x07")
        said = seen.read(1000).decode()
    assert said.startswith(f"{CLEAR_LINE}10 of 10\\x1b")
    assert said.endswith(CLEAR_LINE)
    assert said.count("\x1b") == 2


def test_programs_are_shown_nothing_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as show:
        show("10 of 10")
    assert capsys.readouterr() == ("", "")


def test_what_a_paragraph_begins_with_is_others_word_too() -> None:
    """As the severity of a finding that a viewer elsewhere tells of."""
    assert wrapped("a\x1bb", "- \x1b[31m ", None) == "- \\x1b[31m a\\x1bb"
