from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.e2e.process import BridgeProcess


@pytest.fixture
def langfuse() -> Iterator[FakeLangfuse]:
    with FakeLangfuse().in_thread() as fake:
        yield fake


@pytest.fixture
def bridge(tmp_path: Path, langfuse: FakeLangfuse) -> Iterator[BridgeProcess]:
    process = BridgeProcess(tmp_path, langfuse.url)
    yield process
    if process.running:
        process.kill()
