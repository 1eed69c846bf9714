"""`otel-bridge doctor` against what really listens: a bridge, a Langfuse, and what is neither."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import typer

from otel_bridge import plan
from otel_bridge.announcement import announced
from otel_bridge.cli.doctor import doctor, here
from otel_bridge.cli.doctor.finding import Level
from otel_bridge.pipeline import RunningBridge, running
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.e2e.process import free_port

CONFIG = """\
receivers: {otlp: {grpc: "127.0.0.1:0", http: "127.0.0.1:0"}}
processors: {sample: {rate: RATE}}
exporters: {store: {}, langfuse: {base_url: "URL", public_key: pk-lf-fake, secret_key: KEY}}
extensions: {viewer: {endpoint: "127.0.0.1:0"}}
service:
  data_dir: data
  assemble: {grace: 200ms}
  TENANTS
  pipelines:
    main: {receivers: [otlp], processors: [sample], exporters: [store, langfuse]}
"""
GOOD, WRONG = "sk-lf-fake", "sk-lf-5ec7e7"
TENANTS = "tenants: {default: {}, acme: {keys: [acme-key-0123456789]}}"

Told = tuple[int, list[tuple[str, str, str]]]


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("OTEL_", "LANGFUSE_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "bridge.yaml"


def write(config: Path, url: str = "http://127.0.0.1:9", key: str = GOOD, rate: float = 1, tenants: str = "") -> None:
    said = {"URL": url, "KEY": key, "RATE": str(rate), "TENANTS": tenants}
    text = CONFIG
    for name, value in said.items():
        text = text.replace(name, value)
    config.write_text(text)


@asynccontextmanager
async def bridge(config: Path) -> AsyncIterator[RunningBridge]:
    async with running(plan.load(config, environ={}), drain_s=lambda: 0.0) as run:
        with announced(run.plan.data_dir, run.endpoints, config=config):
            yield run


async def told(config: Path | None, capsys: pytest.CaptureFixture[str], **options: Any) -> Told:
    """The exit code, and (level, check, sentence) of each line."""
    code = 0
    capsys.readouterr()
    try:
        await asyncio.to_thread(doctor, config=config, json=True, **options)
    except typer.Exit as end:
        code = end.exit_code
    shown = capsys.readouterr().out
    said = json.loads(shown)
    assert said["ok"] is (code == 0)
    assert WRONG not in shown
    return code, [(one["level"], one["check"], one["said"]) for one in said["checks"]]


def wrong(found: Told) -> list[tuple[str, str, str]]:
    return [one for one in found[1] if one[0] != Level.OK]


async def test_all_is_well_and_a_test_trace_comes_back_from_langfuse(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeLangfuse().running() as fake:
        write(config, fake.url)
        async with bridge(config) as run:
            found = await told(config, capsys, langfuse=True, send_test=True)
            endpoints = dict(run.endpoints)
        [row] = fake.rows
    code, lines = found
    assert (code, wrong(found)) == (0, [])
    assert [check for _, check, _ in lines] == [
        *("environment", "configuration", "data dir", "bridge", "clock", "endpoint"),
        *("langfuse", "clock", "langfuse", "test", "test", "langfuse"),
    ]
    words = "\n".join(said for _, _, said in lines)
    assert f"{endpoints['viewer']['viewer']} answers: process {os.getpid()}, on {config.parent / 'data'}" in words
    assert f"{endpoints['otlp']['http']}/v1/traces takes spans" in words
    assert f"of the project fake (fake-project): {fake.url}/project/fake-project/traces" in words
    assert "read back after" in words
    assert lines[-1][2].endswith(f"{fake.url}/project/fake-project/traces/{row.trace_id}")
    assert row.name == "otel-bridge doctor"


async def test_people_have_a_line_for_each(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")  # the usual one may be taken
    with pytest.raises(typer.Exit) as ended:
        await asyncio.to_thread(doctor, config=config)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:24].split(maxsplit=1)[0] for line in lines] == ["ok", "ok", "ok", "warning", "fault"]
    assert ended.value.exit_code == 3


async def test_a_wrong_key_has_its_line_and_so_has_what_it_does_to_the_bridge(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeLangfuse().running() as fake:
        write(config, fake.url, key=WRONG)
        async with bridge(config) as run:
            while not run.status()["parked"]:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.01)
            code, lines = await told(config, capsys, langfuse=True)
    refused = f"{fake.url}/api/public/projects answered 401"
    assert [(check, refused in said) for level, check, said in lines if level == Level.FAULT] == [
        ("bridge", True),
        ("langfuse", True),
    ]
    assert code == 1


async def test_a_langfuse_that_is_not_there(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(config, f"http://127.0.0.1:{free_port()}")
    async with bridge(config):
        found = await told(config, capsys, langfuse=True)
    [(level, check, said)] = wrong(found)
    assert (found[0], level, check) == (3, "fault", "langfuse")
    assert "can not be reached: Connection refused; is its address right" in said


async def test_where_no_langfuse_is_configured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = await told(None, capsys, langfuse=True, data_dir=tmp_path)
    assert ("fault", "langfuse") in [one[:2] for one in lines]
    assert "set its two keys" in lines[-1][2]
    assert code == 3  # of the first: no bridge runs there


async def test_a_trace_that_is_left_out_is_not_waited_for(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with FakeLangfuse().running() as fake:
        write(config, fake.url, rate=0)
        async with bridge(config):
            found = await told(config, capsys, langfuse=True, send_test=True)
    [(_, check, said)] = wrong(found)
    assert (found[0], check) == (1, "langfuse")
    assert said.startswith("the bridge has left it out (sampled_out:rate)")


async def test_a_trace_that_langfuse_refuses_is_not_waited_for(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeLangfuse().running() as fake:
        fake.always("otlp", Fault(403, "suspended"))
        write(config, fake.url)
        async with bridge(config):
            found = await told(config, capsys, langfuse=True, send_test=True)
    [(_, _, said)] = wrong(found)
    assert said.startswith("it is not delivered: langfuse is parked for default (forbidden: ")


async def test_an_endpoint_that_leads_to_another_bridge(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_bridge.cli.doctor.sending.STORED_WITHIN_S", 0.1)
    write(config)
    other = tmp_path / "other" / "bridge.yaml"
    other.parent.mkdir()
    write(other)
    async with bridge(config), bridge(other) as elsewhere:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", elsewhere.endpoints["otlp"]["http"])
        found = await told(config, capsys, send_test=True)
    [(_, check, said)] = wrong(found)
    assert (found[0], check) == (1, "test")
    assert "has not got it: does the endpoint lead to another one?" in said


@pytest.mark.parametrize(
    ("which", "path", "said"),
    [
        ("grpc", "", "does not speak HTTP"),
        ("http", "/v1/traces", "the path is /v1/traces once"),
        ("viewer", "", "this is the viewer: OTLP goes to"),
        (None, "", "Connection refused): start a bridge"),
    ],
)
async def test_what_an_endpoint_is_instead(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    which: str | None,
    path: str,
    said: str,
) -> None:
    write(config)
    async with bridge(config) as run:
        addresses = {**run.endpoints["otlp"], **run.endpoints["viewer"]}
        base = f"http://127.0.0.1:{free_port()}" if which is None else addresses[which]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", base + path)
        found = await told(config, capsys)
    [line] = [one for one in wrong(found) if one[1] == "endpoint"]
    assert line[0] == "fault"
    assert said in line[2]
    assert f"{base}{path}/v1/traces" in line[2]


async def test_grpc_is_connected_to_and_the_test_goes_over_http(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config)
    async with bridge(config) as run:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", run.endpoints["otlp"]["grpc"])
        found = await told(config, capsys, send_test=True)
    assert wrong(found) == []
    assert ("ok", "endpoint") in [one[:2] for one in found[1]]


async def test_a_bridge_that_asks_who_sends_is_well_and_a_program_without_a_key_is_not(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config, tenants=TENANTS)
    async with bridge(config) as run:
        at_the_bridge = await told(config, capsys)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", run.endpoints["otlp"]["http"])
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        without = await told(config, capsys)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer acme-key-0123456789")
        with_key = await told(config, capsys)

    def of(found: Told) -> list[str]:
        return [level for level, check, _ in found[1] if check == "endpoint"]

    assert (of(at_the_bridge), of(without), of(with_key)) == (["warning"], ["fault"], ["ok"])
    assert (at_the_bridge[0], without[0], with_key[0]) == (0, 1, 0)
    assert "OTEL_EXPORTER_OTLP_HEADERS='authorization=Bearer" in wrong(without)[-1][2]


async def test_a_bridge_elsewhere_needs_none_here(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(config)
    async with bridge(config) as run:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", run.endpoints["otlp"]["http"])
        found = await told(None, capsys, data_dir=tmp_path / "agent")
        assert [one[:2] for one in wrong(found)] == [("warning", "bridge")]
        assert found[0] == 0
        there = await told(None, capsys, data_dir=tmp_path / "agent", url=run.endpoints["viewer"]["viewer"])
        assert wrong(there) == []


@pytest.mark.parametrize(
    ("planted", "check", "code", "said"),
    [
        ("configuration", "configuration", 78, "bridge.yaml:3 exporters::stoer: no such exporter, did you mean store?"),
        ("file", "configuration", 78, ""),
        ("folder", "data dir", 73, "can not be written"),
    ],
)
async def test_files_and_configuration(
    config: Path, capsys: pytest.CaptureFixture[str], planted: str, check: str, code: int, said: str
) -> None:
    write(config)
    replaced = {
        "configuration": ("store: {}", "stoer: {}"),
        "folder": ("data_dir: data", "data_dir: /proc/otel-bridge"),
    }
    await asyncio.to_thread(plant, config, replaced.get(planted))
    found = await told(config, capsys)
    [line, *_] = wrong(found)
    assert (found[0], line[:2]) == (code, ("fault", check))
    assert said in line[2]


def plant(config: Path, replaced: tuple[str, str] | None) -> None:
    if replaced is None:
        config.unlink()
    else:
        config.write_text(config.read_text().replace(*replaced))


@pytest.mark.parametrize(("free", "level"), [(10 << 30, "ok"), (500 << 20, "warning"), (10 << 20, "fault")])
def test_how_much_room_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    [found] = here.data_dir(tmp_path / "not there yet")
    assert (found.level, not (tmp_path / "not there yet").exists()) == (level, True)


@pytest.mark.parametrize(("skew_s", "level"), [(-4, "ok"), (20, "warning"), (-3600, "fault")])
def test_clocks(skew_s: float, level: str) -> None:
    found = here.clock("Langfuse", 1_000_000.0, 1_000_000.0 + skew_s)
    assert found.level == level
    if level != Level.OK:
        word = "ahead of" if skew_s > 0 else "behind"
        assert f"{abs(skew_s):.0f} s {word} that of Langfuse" in found.said


async def test_langfuses_clock_is_looked_at(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with FakeLangfuse().running() as fake:
        date = {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}
        fake.always("health", Fault(200, '{"status": "OK", "version": "4.61.0"}', date))
        write(config, fake.url)
        async with bridge(config):
            found = await told(config, capsys, langfuse=True)
    [(level, check, said)] = wrong(found)
    assert (level, check) == ("fault", "clock")
    assert "ahead of that of Langfuse, and traces show at a wrong time" in said
