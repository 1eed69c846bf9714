"""`otel-bridge run` as a process, with files and ports of its own, and a program for it to run."""

import os
import subprocess
import sys
from pathlib import Path

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

RUN = [sys.executable, "-m", "otel_bridge", "run"]


def variables(data_dir: Path) -> dict[str, str]:
    """Nothing of the user's own settings; any free ports."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "LANGFUSE_"))}
    return {**kept, **ANYWHERE, "OTEL_BRIDGE_DATA_DIR": str(data_dir), "OTEL_BRIDGE_EXIT_SECONDS": "20"}


def begin(data_dir: Path, *words: str, **streams: int) -> "subprocess.Popen[bytes]":
    """A run that goes on; what its program prints can be read."""
    return subprocess.Popen([*RUN, *words], env=variables(data_dir), stdout=subprocess.PIPE, **streams)


def run(data_dir: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *words], env={**variables(data_dir), **more}, capture_output=True, text=True, timeout=100
    )
