"""Programs with settings of their own; above all one with ten spans that ended and one that is open."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, os, signal, sys, threading
{first}
from opentelemetry import trace
tracer = trace.get_tracer("agent")
for number in range(10):
    tracer.start_span(f"ended {{number}}").end()
still = tracer.start_span("open")
print("ready", flush=True)
{then}
"""
INSTALL = "import otel_bridge.sdk.installing as i; i.install(service='agent')"
ENDED = [f"ended {number}" for number in range(10)]
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))


def environment(url: str, **more: str) -> dict[str, str]:
    """Nothing of the user's own settings; time enough on a busy machine; and no instrumentation that is slow."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "LANGFUSE_"))}
    return {
        **kept,
        "OTEL_BRIDGE_EXIT_SECONDS": "20",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai,celery,fastapi,httpx,httpx2,langchain,sqlalchemy",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        **more,
    }


def finished(*command: str, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment(url, **more), capture_output=True, text=True, timeout=100)


def run(then: str, url: str, first: str = INSTALL, **more: str) -> subprocess.CompletedProcess[str]:
    return finished(sys.executable, "-c", PROGRAM.format(first=first, then=then), url=url, **more)
