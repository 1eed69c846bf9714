"""What an operator is asked and told before a backlog is given up; the bridge shows elsewhere what it does then."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from otel_bridge.cli import delivery
from otel_bridge.cli.app import app
from otel_bridge.cli.found import Viewer
from otel_bridge.errors import UsageError

STATUS = {
    "exporters": {
        "main/langfuse": {"gone": {"waiting": 12}, "acme": {"waiting": 0}},
        "main/store": {"gone": {"waiting": 5}},
    }
}
GIVEN_UP = {
    "exporter": "langfuse",
    "givenUp": [{"pipeline": "main", "exporter": "langfuse", "tenant": "gone", "items": 12}],
    "waiting": 2,
}
GIVE_UP = ("give-up", "langfuse", "--tenant", "gone", "--url", "http://127.0.0.1:1")


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the bridge is asked to change."""
    asked: list[dict[str, Any]] = []

    def ask(_viewer: Viewer, path: str, *_: Any, change: dict[str, Any] | None = None, **__: Any) -> dict[str, Any]:
        if change is None:
            return STATUS
        asked.append({"path": path, **change})
        return GIVEN_UP

    monkeypatch.setattr(delivery, "ask", ask)
    return asked


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """The exit code of a command that a person gives up a backlog with, and answers this."""

    def run(answer: str) -> int:
        with monkeypatch.context() as patched:
            patched.setattr(delivery, "_is_asked", lambda: True)
            return CliRunner().invoke(app, GIVE_UP, input=answer).exit_code

    return run


def test_without_a_person_nothing_is_given_up_unless_it_is_said(changes: list[dict[str, Any]]) -> None:
    result = CliRunner().invoke(app, GIVE_UP)

    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == (
        "gone has 12 items waiting for langfuse, never to be sent then: say --yes if that is meant"
    )
    assert changes == []

    said = CliRunner().invoke(app, (*GIVE_UP, "--yes")).stdout

    assert "given up: 12 items of gone for langfuse" in said
    assert "still waiting: 2 items" in said
    assert changes == [{"path": "/api/v1/exporters/give-up", "exporter": "langfuse", "tenant": "gone"}]


@pytest.mark.parametrize(("answer", "code", "count"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0), ("", 1, 0)])
def test_a_person_decides(
    on_a_terminal: Callable[[str], int], changes: list[dict[str, Any]], answer: str, code: int, count: int
) -> None:
    assert on_a_terminal(answer) == code
    assert len(changes) == count
