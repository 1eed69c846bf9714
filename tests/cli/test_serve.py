"""`otel-bridge serve` as a process: it says where it is, is found there, refuses a second one, and stops when told."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow  # every test starts a bridge

STUBBORN = """
import asyncio
from otel_bridge.cli.serve import stop_signals

async def main():
    with stop_signals() as stopped:
        print("ready", flush=True)
        await stopped.wait()
        print("stopping", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def serving(environ: dict[str, str]) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """A bridge that has said where it is, and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_bridge", "serve", "--json"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_it_says_where_it_is_and_stops_when_told(environ: dict[str, str], run: Run, tmp_path: Path) -> None:
    with serving(environ) as (process, said):
        written = json.loads((tmp_path / "data" / "bridge.json").read_text())
        health = run("healthcheck")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)

    assert written["endpoints"] == said["endpoints"]
    assert said["endpoints"]["otlp"]["http"].startswith("http://127.0.0.1:")
    assert health.returncode == 0, health.stdout
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert not (tmp_path / "data" / "bridge.json").exists()
    assert run("healthcheck", "--url", said["endpoints"]["viewer"]["viewer"]).returncode == 3


def test_without_a_command_it_serves_and_shows_what_to_type(environ: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_bridge"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "trace last" in line:
                break
        process.terminate()

    shown = "".join(lines)
    assert shown.startswith("otel-bridge ")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:" in shown
    assert "otel-bridge demo" in shown
    assert environ["OTEL_BRIDGE_DATA_DIR"] in shown
    assert len(lines) < 24


def test_a_second_bridge_on_the_same_files_is_refused(environ: dict[str, str], run: Run) -> None:
    with serving(environ) as (process, _):
        second = run("serve")
        still_there = process.poll() is None

    assert second.returncode == 73
    assert str(process.pid) in second.stderr
    assert "Traceback" not in second.stderr
    assert still_there


@pytest.mark.parametrize("door", ["OTEL_BRIDGE_GRPC", "OTEL_BRIDGE_HTTP", "OTEL_BRIDGE_VIEWER"])
def test_a_port_that_is_taken_is_named(run: Run, door: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("serve", more={door: address})

    assert result.returncode == 73, result.stderr
    assert address in result.stderr
    assert "Traceback" not in result.stderr


def test_a_second_signal_ends_it_at_once() -> None:
    """However long the first one takes."""
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)

    assert process.returncode == -signal.SIGTERM
