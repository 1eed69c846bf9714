"""`otel-bridge demo`: from nothing to a whole trace of a real program, and the numbers are the program's own."""

import json
import os
import shlex
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_bridge.cli import demo
from tests.cli.programs import command

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow


def test_once_shows_the_whole_trace(run: Run) -> None:
    result = run("demo", "--once", "--json")

    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    trace, counted = said["trace"], said["counted"]
    types = Counter(observation["type"] for observation in trace["observations"])
    assert types == {"AGENT": 3, "GENERATION": 4, "TOOL": 3, "EMBEDDING": 1, "RETRIEVER": 1}
    assert trace["totalTokens"] == counted["input_tokens"] + counted["output_tokens"]
    assert trace["totalCost"] == pytest.approx(counted["cost"])
    assert (trace["sessionId"], trace["userId"], trace["environment"]) == ("team-week-planning", "ada", "demo")
    assert [(score["name"], score["value"]) for score in trace["scores"]] == [("relevance", 0.92)]


TENANTS = """\
receivers: {otlp: {grpc: null, http: "127.0.0.1:0"}}
exporters: {store: {}}
extensions: {viewer: {endpoint: "127.0.0.1:0"}}
service:
  data_dir: data
  tenants: {acme: {keys: ["acme-key=0123456789, x"]}}
  pipelines: {main: {receivers: [otlp], exporters: [store]}}
"""


def test_once_is_for_people_too(run: Run, tmp_path: Path) -> None:
    """A tree with its error, the score, and how to see it again: the bridge has ended then, so no address. It shows a
    tenant's key where one is asked for, and no key to anybody who looks."""
    (tmp_path / "bridge.yaml").write_text(TENANTS)
    more = {"OTEL_BRIDGE_CONFIG": "bridge.yaml"}
    result = run("demo", "--once", more=more)

    assert result.returncode == 0, result.stderr
    assert "acme-key" not in result.stdout + result.stderr
    assert "tenant: acme" in result.stdout
    for word in ("trip-planner", "researcher-oslo", "get_weather", "429", "relevance"):
        assert word in result.stdout
    assert "/t/" not in result.stdout
    look_again = shlex.split(result.stdout.splitlines()[-1])
    assert (look_again[:2], look_again[3:]) == (["otel-bridge", "trace"], ["--config", "bridge.yaml"])
    assert "trip-planner" in run(*look_again[1:]).stdout
    assert run("audit", more=more).returncode == 0


async def test_where_a_usual_port_is_taken_it_says_whose_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Who sends to that one reaches somebody else, whose names may be anything."""
    folder = tmp_path / "\x1b]0;yours\a"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(demo, "PORTS", {"OTEL_BRIDGE_HTTP": port})
        monkeypatch.delenv("OTEL_BRIDGE_HTTP", raising=False)
        for name, value in {"GRPC": "127.0.0.1:0", "VIEWER": "127.0.0.1:0", "DATA_DIR": str(folder)}.items():
            monkeypatch.setenv(f"OTEL_BRIDGE_{name}", value)
        async with demo._bridge(demo._plan(None, once=True), quiet=False) as bridge:
            assert bridge.address("otlp", name="http") != f"http://127.0.0.1:{port}"
    said = capsys.readouterr().out
    assert f"Another port stands there for {port}, which is taken: it is " in said
    assert f"/\\x1b]0;yours\\x07, process {os.getpid()}\n" in said


def test_it_stays_up_until_ctrl_c(environ: dict[str, str]) -> None:
    """What `make run` does; a bridge of its own, which ends well."""
    with command(environ, "demo") as process:
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            shown.append(line)
            if "OTEL_EXPORTER_OTLP_ENDPOINT" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 0, err
    assert "until Ctrl-C" in "".join(shown)
    assert "Traceback" not in err


def test_a_reader_that_has_enough(environ: dict[str, str]) -> None:
    """`otel-bridge demo --once | head -1` ends without a traceback."""
    with command(environ, "demo", "--once") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()

    assert err == ""
