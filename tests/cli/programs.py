"""Commands as processes that go on; `otel-bridge run` with files and ports of its own, and a program for it to run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = """
import sys
from opentelemetry import trace
with trace.get_tracer("agent").start_as_current_span("work", attributes={"gen_ai.usage.input_tokens": 7,
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}):
    print("said", sys.argv[1:])
sys.exit(3)
"""

ANYWHERE = {
    **{f"OTEL_BRIDGE_{name}": "127.0.0.1:0" for name in ("GRPC", "HTTP", "VIEWER")},
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai,celery,fastapi,httpx,httpx2,langchain,sqlalchemy",  # for speed
}

OTEL_BRIDGE = [sys.executable, "-m", "otel_bridge"]


def variables(data_dir: Path) -> dict[str, str]:
    """Nothing of the user's own settings; any free ports."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "LANGFUSE_"))}
    return {**kept, **ANYWHERE, "OTEL_BRIDGE_DATA_DIR": str(data_dir), "OTEL_BRIDGE_EXIT_SECONDS": "20"}


def begin(data_dir: Path, *words: str, **streams: int) -> "subprocess.Popen[bytes]":
    """A run that goes on; what its program prints can be read."""
    return subprocess.Popen([*OTEL_BRIDGE, "run", *words], env=variables(data_dir), stdout=subprocess.PIPE, **streams)


def run(data_dir: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OTEL_BRIDGE, "run", *words], env={**variables(data_dir), **more}, capture_output=True, text=True, timeout=100
    )


def command(environ: Mapping[str, str], *words: str) -> "subprocess.Popen[str]":
    """A command that goes on."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*OTEL_BRIDGE, *words], env=environ, stdout=pipe, stderr=pipe, text=True)


@contextmanager
def serving(environ: Mapping[str, str]) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """A bridge that has said where it is, and what it said."""
    with command(environ, "serve", "--json") as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()
