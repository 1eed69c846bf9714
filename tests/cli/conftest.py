"""The command line as a user has it: processes of its own, with files of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Nothing of the user's own settings; any free ports; a data dir that is not there yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "LANGFUSE_"))}
    return {
        **kept,
        "HOME": str(tmp_path),
        "OTEL_BRIDGE_DATA_DIR": str(tmp_path / "data"),
        "OTEL_BRIDGE_GRPC": "127.0.0.1:0",
        "OTEL_BRIDGE_HTTP": "127.0.0.1:0",
        "OTEL_BRIDGE_VIEWER": "127.0.0.1:0",
    }


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path) -> Run:
    """Run a command to its end, in an empty folder."""

    def command(*words: str | Path, more: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "otel_bridge", *map(str, words)],
            env={**environ, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return command
