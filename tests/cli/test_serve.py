"""`otel-bridge serve` as a process: it says where it is, is found there, refuses a second one, and stops when told."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from otel_bridge.cli import serve
from otel_bridge.cli.serve import Told, banner, signals
from otel_bridge.errors import PlanError
from otel_bridge.files import Stamp, stamp
from otel_bridge.plan import Plan, load, parse
from tests.cli.programs import command, serving

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow  # every test starts a bridge

STUBBORN = """
import asyncio
import resource
from otel_bridge.cli.serve import signals

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

async def main():
    with signals(reloads=True) as told:
        print("ready", flush=True)
        await told.stopped.wait()
        print("stopping", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_it_says_where_it_is_and_stops_when_told(environ: dict[str, str], run: Run, tmp_path: Path) -> None:
    with serving(environ) as (process, said):
        written = json.loads((tmp_path / "data" / "bridge.json").read_text())
        health = run("healthcheck")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)

    assert json.loads(out) == {"waiting": {}, "why": {}, "deadLettered": {}}
    assert written["endpoints"] == said["endpoints"]
    assert said["endpoints"]["otlp"]["http"].startswith("http://127.0.0.1:")
    assert health.returncode == 0, health.stdout
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert not (tmp_path / "data" / "bridge.json").exists()
    assert run("healthcheck", "--url", said["endpoints"]["viewer"]["viewer"]).returncode == 3


def test_without_a_command_it_serves_and_shows_what_to_type(environ: dict[str, str]) -> None:
    with command(environ) as process:
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
    """And the first one ends well, though nobody reads what it says last."""
    with serving(environ) as (process, _):
        second = run("serve")
        still_there = process.poll() is None
        assert process.stdout is not None
        process.stdout.close()
        process.terminate()
        assert process.wait(timeout=30) == 0

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_a_second_signal_ends_it_at_once(number: int) -> None:
    """However long the first one takes; SIGHUP where there is nothing to reload."""
    program = STUBBORN.replace("reloads=True", f"reloads={number != signal.SIGHUP}")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(number)
        process.wait(timeout=10)

    assert process.returncode == -number


async def test_a_hangup_reloads_where_there_is_something_to_reload() -> None:
    """Elsewhere it stops, as when a terminal is closed."""
    with signals(reloads=True) as told:
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(10):
            await told.reload({})
        assert not told.stopped.is_set()
    with signals(reloads=False) as told:
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(10):
            await told.stopped.wait()


async def test_a_file_that_is_being_written_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same in two looks first: half of it may be right, and ask nobody for a key."""
    path = Path("bridge.yaml")
    before, half, more, whole = ((1, 1, size, size) for size in range(4))
    looks: list[Stamp] = [before, half, more, None, whole, whole, before]
    monkeypatch.setattr(serve, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(serve, "as_now", lambda _: {path: looks.pop(0)})

    async with asyncio.timeout(10):
        await Told().reload({path: before})

    assert looks == [before]


@pytest.mark.parametrize("half", ["right by itself", "wrong"])
@pytest.mark.parametrize("told_by_signal", [True, False])
async def test_what_was_written_while_it_was_read_is_read_again(
    half: str, told_by_signal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, told, ran, read = tmp_path / "bridge.yaml", Told(), list[Plan](), list[str]()
    text = (
        "receivers: {otlp: {}}\nexporters: {store: {}}\n"
        "service: {pipelines: {main: {receivers: [otlp], exporters: [store]}}}\n"
    )
    path.write_text(text)

    class Running:
        plan = load(path, environ={})

        def reject(self, mistakes: object) -> None:
            raise AssertionError(f"half of a file was taken for the whole: {mistakes}")

        async def reload(self, plan: Plan) -> None:
            ran.append(plan)
            told.stopped.set()
            raise PlanError([])  # so that nothing is announced

    def again() -> Plan:
        read.append(path.read_text())
        try:
            return load(path, environ={})
        finally:
            if len(read) == 1:
                path.write_text(f"{text}# whole\n")

    path.write_text(f"{text}#\n" if half != "wrong" else "receivers: {")
    if told_by_signal:
        told.hung_up.set()
    monkeypatch.setattr(serve, "LOOK_EVERY_S", 0.0)
    async with asyncio.timeout(10):
        await serve._reload_when_told(cast("Any", Running()), again, told)

    assert len(read) == 2
    assert [dict(plan.files) for plan in ran] == [{path: stamp(path)}]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"),
        ({"LANGFUSE_PUBLIC_KEY": "pk-lf-1"}, "set LANGFUSE_SECRET_KEY as well"),
        ({"LANGFUSE_SECRET_KEY": "sk-lf-1"}, "set LANGFUSE_PUBLIC_KEY as well"),
    ],
)
def test_the_banner_says_what_langfuse_misses(
    keys: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in keys.items():
        monkeypatch.setenv(name, value)

    assert f"off; to send there too, {said}\n" in banner(load(None, environ=keys), {})


def test_the_banner_of_a_configuration_says_where_langfuse_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys in the environment are not read then."""
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-1")
    config = tmp_path / "f.yaml"
    config.write_text(
        "receivers: {otlp: {}}\n"
        "exporters: {file: {path: out/spans.pb, format: proto}, debug: {}}\n"
        "service: {pipelines: {main: {receivers: [otlp], exporters: [file]}}}\n"
    )

    shown = banner(load(config, environ={}), {})

    assert "off; to send there too, add the exporter to f.yaml and to a pipeline\n" in shown
    assert "out/spans.*.pb" in shown
    assert "debug" not in shown


@pytest.mark.parametrize("door", ["OTEL_BRIDGE_GRPC", "OTEL_BRIDGE_HTTP"])
def test_an_address_of_another_machine_is_no_matter_of_programs(run: Run, door: str) -> None:
    """One sentence, and nothing of gRPC's own before it; the line above is that others could reach it."""
    result = run("serve", more={door: "192.0.2.1:4318", "OTEL_BRIDGE_INSECURE_ALLOW_PUBLIC": "true"})

    assert result.returncode == 73
    warning, why = result.stderr.splitlines()
    assert warning.startswith("warning: ")
    assert "192.0.2.1:4318" in why
    assert "no address of this machine" in why


def test_a_receiver_without_a_pipeline_is_not_opened(environ: dict[str, str], tmp_path: Path) -> None:
    """It would say OK to what goes nowhere."""
    config = tmp_path / "f.yaml"
    config.write_text(
        "receivers:\n"
        "  otlp: {grpc: null, http: '127.0.0.1:0'}\n"
        "  otlp/idle: {grpc: null, http: '127.0.0.1:0'}\n"
        "exporters: {store: {}}\n"
        f"service: {{data_dir: {tmp_path / 'data'}, pipelines: {{main: {{receivers: [otlp], exporters: [store]}}}}}}\n"
    )
    with serving({**environ, "OTEL_BRIDGE_CONFIG": str(config)}) as (process, said):
        process.terminate()
        _, err = process.communicate(timeout=30)

    assert said["endpoints"]["otlp"]["http"]
    assert not said["endpoints"].get("otlp/idle")
    assert "f.yaml:3 receivers::otlp/idle: no pipeline uses it" in err


KEYED = """\
receivers: {otlp: {grpc: null, tls: {cert_file: /etc/tls.crt, key_file: /etc/tls.key CA}}}
exporters: {store: {}}
service:
  tenants: {acme: ACME, other: {keys: [other-key-0123456789]}}
  pipelines: {main: {receivers: [otlp], exporters: [store]}}
"""
ENDPOINTS = {"otlp": {"http": "https://0.0.0.0:4318"}}


@pytest.mark.parametrize(
    ("authority", "acme", "lines"),
    [
        ("", "{keys: [acme-key-0123456789]}", ["HEADERS='authorization=Bearer <key of tenant acme>'"]),
        ("", "{}", ["HEADERS='authorization=Bearer <key of tenant other>'"]),
        (
            ", client_ca_file: /etc/ca.crt",
            "{certificates: [agent.acme.example]}",
            [
                "HEADERS='authorization=Bearer <key of tenant other>'",
                "CLIENT_CERTIFICATE='<certificate of tenant acme>'",
                "CLIENT_KEY='<key of that certificate>'",
            ],
        ),
    ],
)
def test_who_has_to_show_a_key_is_told_so_and_no_key(authority: str, acme: str, lines: list[str]) -> None:
    plan = parse(KEYED.replace(" CA", authority).replace("ACME", acme), "bridge.yaml", environ={})

    shown = serve.next_steps(plan, ENDPOINTS, None)

    assert "export OTEL_EXPORTER_OTLP_ENDPOINT=https://127.0.0.1:4318 OTEL_EXPORTER_OTLP_PROTOCOL=http/prot" in shown
    assert "export OTEL_EXPORTER_OTLP_CERTIFICATE='<authority of /etc/tls.crt>'\n" in shown
    assert [line for line in lines if f"export OTEL_EXPORTER_OTLP_{line}\n" not in shown] == []
    assert "-key-" not in shown


def test_who_has_nothing_to_show_is_told_one_line() -> None:
    assert serve.your_agent(load(None, environ={}), {"otlp": {"http": "http://127.0.0.1:4318"}}) == [
        "export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    ]


@pytest.mark.parametrize(
    ("config", "store", "shown"),
    [
        (None, True, ["otel-bridge demo", "otel-bridge trace last"]),
        (
            Path("a b.yaml"),
            True,
            ["otel-bridge demo --config 'a b.yaml'", "otel-bridge trace last --config 'a b.yaml'"],
        ),
        (None, False, ["otel-bridge demo"]),
    ],
)
def test_what_to_type_next_is_for_this_bridge(config: Path | None, store: bool, shown: list[str]) -> None:
    plan = load(None, environ={})
    exporters = plan.exporters if store else {}

    steps = serve.next_steps(replace(plan, exporters=exporters), {"otlp": {"http": "http://127.0.0.1:4318"}}, config)

    assert [line.partition(":  ")[2].strip() for line in steps.splitlines()[1:]] == shown
