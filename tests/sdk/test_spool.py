"""With a spool nothing that ended is lost, by an outage, an exit or a kill, and nothing is sent twice."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace.export import SpanExporter

from otel_bridge.errors import MalformedError
from otel_bridge.otlp_files import read_batches
from otel_bridge.sdk import installing, spool
from otel_bridge.sdk.batch import BatchLogRecordProcessor, BatchSpanProcessor
from otel_bridge.sdk.exporting import BridgeLogExporter, BridgeSpanExporter
from tests.e2e.process import free_port
from tests.sdk.programs import environment, finished
from tests.sdk.sink import sink
from tests.sdk.spooling import Agent, ended, left, until_kept

pytestmark = pytest.mark.usefixtures("soon")


def test_an_outage_costs_disk_and_nothing_else(folder: Path) -> None:
    agent = Agent(folder)
    assert agent.end("before")
    agent.client.status = 503
    assert not agent.end("a", "b")
    assert not agent.end("c")
    assert left(folder) > [0]
    agent.client.status = 200
    assert agent.end("after")
    assert agent.client.names == ["before", "a", "b", "c", "after"]
    assert left(folder) == [0]
    agent.processor.shutdown()
    assert left(folder) == []
    assert agent.processor.dropped == {}


def test_it_is_on_disk_by_itself(folder: Path) -> None:
    """What is there when nobody asks is what a kill leaves."""
    agent = Agent(folder)
    agent.client.open.clear()
    agent.processor.on_end(ended("span-a"))
    until_kept(folder, "span-a")
    assert agent.client.names == []
    agent.client.open.set()
    agent.processor.shutdown()


def test_a_flush_is_true_when_the_bridge_has_it_and_not_before(folder: Path) -> None:
    agent = Agent(folder)
    agent.client.open.clear()
    agent.processor.on_end(ended("span-a"))
    until_kept(folder, "span-a")
    assert agent.processor.force_flush(50) is False
    assert asyncio.run(agent.processor.aflush(0.05)) is False
    agent.client.open.set()
    assert asyncio.run(agent.processor.aflush(20)) is True
    assert agent.client.names == ["span-a"]
    agent.processor.shutdown()


def test_what_an_exit_leaves_waits_for_the_next_and_that_is_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Agent(folder, exit_s=0.1)
    first.client.open.clear()
    first.processor.on_end(ended("span-a"))
    first.processor.on_end(ended("span-b"))
    until_kept(folder, "span-b")
    began = time.monotonic()
    first.processor.shutdown()
    assert time.monotonic() - began < 5
    assert f"kept in {folder}: 2 spans; the next run sends what is left of that" in caplog.text
    assert first.processor.dropped == {}

    second = Agent(folder)
    assert second.end("c")
    assert second.client.names == ["span-a", "span-b", "c"]
    second.processor.shutdown()
    assert left(folder) == []


def test_what_many_left_is_sent_with_few_open_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"run {number}" for number in range(5)]
    runs = [Agent(folder) for _ in names]
    for run, name in zip(runs, names, strict=True):
        run.client.status = 503
        run.end(name)
    for run in runs:
        run.processor.shutdown()
    monkeypatch.setattr(spool, "MAX_FILES", 2)
    agent = Agent(folder)
    agent.end("own")
    assert agent.client.names[:3] == [*names[:2], "own"]
    while len(agent.client.names) < 6:
        assert agent.end()
    assert sorted(agent.client.names) == ["own", *names]
    agent.processor.shutdown()
    assert left(folder) == []


def test_what_is_refused_as_it_is_stops_nothing_else(folder: Path) -> None:
    agent = Agent(folder)
    agent.client.statuses = {"bad": 400}
    assert not agent.end("a", "bad", "b")
    assert agent.end("c")
    assert sorted(agent.client.names) == ["a", "b", "c"]
    assert agent.processor.dropped == {"refused": 1}
    agent.processor.shutdown()
    assert left(folder) == []


@pytest.mark.parametrize("status", [401, 404, 500, None])
def test_what_somebody_can_mend_loses_nothing(folder: Path, status: int | None) -> None:
    agent = Agent(folder)
    agent.client.status = status  # type: ignore[assignment]
    assert not agent.end("a")
    agent.processor.shutdown()
    assert agent.processor.dropped == {}
    assert sum(left(folder))


def test_a_forked_child_leaves_its_parents_records(folder: Path) -> None:
    """And does not keep its parent's lock: what that leaves is free when it ends."""
    parent = Agent(folder)
    parent.client.status = 503
    parent.end("parent")
    asked, ask = os.pipe()
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        os.close(ask)
        parent.client.status = 200
        sent = parent.end("child")
        os.write(tell, f"{sent} {parent.client.names}".encode())
        os.read(asked, 1)
        os._exit(0)
    try:
        assert os.read(told, 100) == b"True ['child']"
        parent.processor.shutdown()
        following = Agent(folder)
        assert following.end("next")
        assert following.client.names == ["parent", "next"]
        following.processor.shutdown()
    finally:
        os.close(ask)
        os.waitpid(child, 0)
        os.close(asked)
        os.close(told)
        os.close(tell)


def test_a_spool_that_is_full_is_gone_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(folder)
    agent.client.status = 503
    agent.end("on disk")
    monkeypatch.setattr(spool, "MAX_BYTES", sum(left(folder)) + 1)
    assert not agent.end("in memory")
    assert "spans go without the spool, as nothing can be written to" in caplog.text
    assert "are the most" in caplog.text
    agent.client.status = 200
    assert agent.end()
    assert (agent.client.names, agent.straight) == (["on disk"], ["in memory"])
    assert agent.end("again")
    assert agent.client.names == ["on disk", "again"]
    assert agent.processor.dropped == {}
    agent.processor.shutdown()


def test_a_folder_that_can_not_be_made_is_gone_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    agent = Agent(tmp_path / "file" / "spool")
    assert agent.end("a", "b")
    assert agent.straight == ["a", "b"]
    assert caplog.text.count("go without the spool") == 1
    agent.processor.shutdown()


@pytest.mark.slow
def test_the_exporters_that_there_are_send_by_it(folder: Path) -> None:
    """OpenTelemetry's own, as auto-instrumentation makes them, and ours."""
    with sink() as arrived:
        exporters: list[SpanExporter] = [OTLPSpanExporter(f"{arrived.url}/v1/traces"), BridgeSpanExporter(arrived.url)]
        for exporter in exporters:
            processor = BatchSpanProcessor(exporter, spool=folder)
            arrived.status = 401
            processor.on_end(ended(type(exporter).__name__))
            assert not processor.force_flush()
            assert sum(left(folder))
            arrived.status = 200
            assert processor.force_flush()
            processor.shutdown()
        records = BatchLogRecordProcessor(BridgeLogExporter(arrived.url), spool=folder)
        loggers = LoggerProvider(shutdown_on_exit=False)
        loggers.add_log_record_processor(records)
        loggers.get_logger("agent").emit(body="said")
        assert records.force_flush()
        records.shutdown()
    assert arrived.names == ["BridgeSpanExporter", "OTLPSpanExporter"]
    assert [record.body.string_value for record in arrived.logs] == ["said"]


def test_a_bridge_reads_what_a_dead_process_left(folder: Path) -> None:
    agent = Agent(folder)
    agent.client.statuses = {"a": 503, "b": 503}
    agent.end("sent", "a", "b")
    while agent.client.names != ["sent"]:
        agent.end()
    [path] = folder.iterdir()
    assert list(read_batches(path)) == []  # while it lives
    agent.processor.shutdown()
    assert [batch.item_count for batch in read_batches(path)] == [0, 1, 1]
    os.truncate(path, path.stat().st_size - 1)
    batches = read_batches(path, skip=1)
    assert next(batches).item_count == 1
    with pytest.raises(MalformedError, match="cut off or damaged"):
        next(batches)


@pytest.mark.slow
def test_a_bridge_that_comes_later_gets_everything_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.7")  # too short for the exporter to try again by itself
    port = free_port()
    processor = BatchSpanProcessor(BridgeSpanExporter(f"http://127.0.0.1:{port}"), spool=folder)
    for name in ("a", "b", "c"):
        processor.on_end(ended(name))
        assert not processor.force_flush()
    with sink(port) as arrived:
        assert any(processor.force_flush() for _ in range(20))
        processor.shutdown()
    assert arrived.names == ["a", "b", "c"]
    assert left(folder) == []


def test_another_protocol_is_gone_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    processor = BatchSpanProcessor(BridgeSpanExporter("http://127.0.0.1:9"), spool=folder)
    assert "spans to http://127.0.0.1:9 go without the spool, which takes OTLP by http/protobuf" in caplog.text
    processor.shutdown()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("said", "moved", "meant"),
    [
        ("", "", None),
        ("false", "", None),
        ("true", "", "/home/ada/.otel-bridge/spool"),
        ("1", "/var/bridge", "/var/bridge/spool"),
        ("~/kept", "/var/bridge", "/home/ada/kept"),
    ],
)
def test_the_variable_names_the_folder(
    monkeypatch: pytest.MonkeyPatch, said: str, moved: str, meant: str | None
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("OTEL_BRIDGE_SPOOL", said)
    monkeypatch.setenv("OTEL_BRIDGE_DATA_DIR", moved)
    assert installing.spool_folder() == (Path(meant) if meant else None)


PROGRAM = """
import asyncio, os, signal, sys, threading
from pathlib import Path
from otel_bridge.sdk import install, span
install(service="agent")
name = sys.argv[1]
def is_kept():
    return any(f"-{os.getpid()}-" in path.name and path.stat().st_size for path in folder.glob("*.traces.spool"))
folder = Path(os.environ["OTEL_BRIDGE_SPOOL"])
with span(name):
    pass
"""
ENDS = {
    "exception": "async def fails(): raise RuntimeError('x')\nasyncio.run(fails())",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()",
    "SIGKILL": "while not is_kept(): threading.Event().wait(0.01)\nos.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.slow
def test_however_programs_end_without_a_bridge_the_next_sends_it_all(folder: Path) -> None:
    """Also those that are killed, and while others use the folder."""
    alone = environment("http://127.0.0.1:9", OTEL_BRIDGE_SPOOL=str(folder), OTEL_EXPORTER_OTLP_TIMEOUT="0.2")
    programs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM + then, name], env=alone, stderr=subprocess.DEVNULL)
        for name, then in ENDS.items()
    ]
    for program in programs:
        program.wait(60)
    with sink() as arrived:
        done = finished(sys.executable, "-c", PROGRAM, "next", url=arrived.url, OTEL_BRIDGE_SPOOL=str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert arrived.names == sorted([*ENDS, "next"])
    assert left(folder) == []


FORKS = """
import multiprocessing
def work(number):
    with span(f"child {number}"):
        pass
for number in range(2):
    process = multiprocessing.get_context("fork").Process(target=work, args=(number,))
    process.start(), process.join()
"""


@pytest.mark.slow
def test_processes_of_multiprocessing_send_their_own_at_their_end(folder: Path) -> None:
    with sink() as arrived:
        done = finished(
            *(sys.executable, "-c", PROGRAM + FORKS, "parent"),
            url=arrived.url,
            OTEL_BRIDGE_SPOOL=str(folder),
            OTEL_BSP_SCHEDULE_DELAY="60000",
            PYTHONWARNINGS="ignore::DeprecationWarning",
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert arrived.names == ["child 0", "child 1", "parent"]
    assert left(folder) == []
