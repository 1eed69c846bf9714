"""Batches to put into a journal, and a journal's directory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from otel_bridge.batch import Batch, Signal


@pytest.fixture
def journal_dir(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def batch() -> Callable[..., Batch]:
    def make(
        content: bytes = b"spans", tenant: str = "default", signal: Signal = Signal.TRACES, items: int = 1
    ) -> Batch:
        return Batch.from_wire(signal, content, tenant=tenant, item_count=items)

    return make
