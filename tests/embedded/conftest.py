"""A Langfuse for a bridge that has no process of its own."""

import logging
from collections.abc import Iterator

import pytest

from otel_bridge.testing.fake_langfuse import FakeLangfuse


@pytest.fixture(autouse=True)
def _engine_that_may_speak_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that ends over its engine has silenced it: a test is no end of the program."""
    monkeypatch.setattr(logging.getLogger("otel_bridge.engine"), "disabled", False)


@pytest.fixture
def fake() -> Iterator[FakeLangfuse]:
    with FakeLangfuse().in_thread() as running:
        yield running
