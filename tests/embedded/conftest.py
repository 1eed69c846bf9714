"""A Langfuse for a bridge that has no process of its own."""

from collections.abc import Iterator

import pytest

from otel_bridge.testing.fake_langfuse import FakeLangfuse


@pytest.fixture
def fake() -> Iterator[FakeLangfuse]:
    with FakeLangfuse().in_thread() as running:
        yield running
