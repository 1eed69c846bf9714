"""What is handed over before the engine is up: bounded, and tidied."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_bridge.embedded import handed


def test_there_is_a_most_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed, "MAX_BYTES", 10)
    handed.put(tmp_path, "traces", b"12345678")
    with pytest.raises(OSError, match="that no bridge took"):
        handed.put(tmp_path, "traces", b"123")
    handed.put(tmp_path, "logs", b"12")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_process_that_is_gone_left_unfinished_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    left, being_written = tmp_path / f"1-{gone.pid}-ab.part", tmp_path / f"1-{os.getpid()}-ab.part"
    left.touch()
    being_written.touch()
    assert handed._files(tmp_path) == []
    assert list(tmp_path.iterdir()) == [being_written]
