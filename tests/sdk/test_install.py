"""What `install()` sets up, and where: exporters, providers, the resource, and the trace that a program goes on in."""

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from opentelemetry import _logs, baggage, trace
from opentelemetry import context as otel
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_bridge.announcement import announced
from otel_bridge.sdk import installing
from otel_bridge.sdk.installed import Installed
from otel_bridge.sdk.open_spans import OpenSpans
from tests.providers import Around
from tests.sdk.programs import ENDED, INSTALL, INSTRUMENT, PROGRAM, finished, run
from tests.sdk.sink import Sink


@pytest.mark.slow
def test_an_unchanged_program_is_instrumented(arrived: Sink) -> None:
    program = PROGRAM.format(first="", then="still.end()")
    done = finished(INSTRUMENT, "--service_name", "agent", sys.executable, "-c", program, url=arrived.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
    assert arrived.names == [*ENDED, "open"]
    assert arrived.resource["service.name"] == "agent"


@pytest.mark.slow
def test_all_exporters_are_flushed_and_a_second_install_changes_nothing(arrived: Sink) -> None:
    """As under `otel-bridge run`, of a program that installs by itself."""
    then = f"""
still.end()
{INSTALL}
found = i.install()
print(len(found.spans), found.flush(20), found is i.install(), flush=True)
os._exit(0)
"""
    program = PROGRAM.format(first="", then=then)
    done = finished(INSTRUMENT, sys.executable, "-c", program, url=arrived.url, OTEL_TRACES_EXPORTER="console,otlp")
    assert done.stdout.splitlines()[-1] == "2 True True", done.stderr
    assert arrived.names == [*ENDED, "open"]
    assert done.stdout.count('"name": "open"') == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "there"),
    [
        ({"OTEL_TRACES_EXPORTER": "console,otlp"}, (True, True, True)),
        ({"OTEL_TRACES_EXPORTER": "none"}, (False, False, True)),
        ({"OTEL_LOGS_EXPORTER": "none"}, (False, True, False)),
    ],
    ids=["console too", "no spans", "no logs"],
)
def test_the_exporters_are_those_that_are_named(
    arrived: Sink, said: dict[str, str], there: tuple[bool, bool, bool]
) -> None:
    done = run("still.end(); from otel_bridge.sdk import event; event('e')", arrived.url, **said)
    assert done.returncode == 0, done.stderr
    assert ('"name": "open"' in done.stdout, bool(arrived.spans), bool(arrived.logs)) == there


@pytest.mark.parametrize(
    ("said", "traces", "logs"),
    [
        ({}, "http://127.0.0.1:4318/v1/traces", "http://127.0.0.1:4318/v1/logs"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m"}, "http://127.0.0.1:4318/v1/traces", None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http://127.0.0.1:4317", "http://127.0.0.1:4317"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t"}, "http://t", "http://127.0.0.1:4318/v1/logs"),
    ],
)
def test_the_place_is_that_of_the_signal_and_the_protocol(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: dict[str, str], traces: str, logs: str | None
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in {"OTEL_BRIDGE_DATA_DIR": str(tmp_path), **said}.items():
        monkeypatch.setenv(name, value)
    [spans] = installing._exporters("TRACES", installing.Spans, None)
    [records] = installing._exporters("LOGS", installing.Logs, None)
    assert spans.where == traces
    assert logs is None or records.where == logs


@pytest.mark.parametrize(
    ("said", "traces", "logs"),
    [
        ({}, "http://127.0.0.1:24318/v1/traces", "http://127.0.0.1:24318/v1/logs"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "http://127.0.0.1:24317",
            "http://127.0.0.1:24318/v1/logs",
        ),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t"}, "http://t", "http://127.0.0.1:24318/v1/logs"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://all"}, "http://all", "http://all"),
        ({"OTEL_BRIDGE_DATA_DIR": "~nobody-of-this-name"}, "http://127.0.0.1:4318/v1/traces", None),
    ],
)
def test_a_bridge_on_this_machine_is_found_on_whatever_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: dict[str, str], traces: str, logs: str | None
) -> None:
    """Where it announces itself, unless somebody says where to send."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in {"OTEL_BRIDGE_DATA_DIR": str(tmp_path), **said}.items():
        monkeypatch.setenv(name, value)
    listens = {"grpc": "http://127.0.0.1:24317", "http": "http://0.0.0.0:24318"}
    with announced(tmp_path, {"otlp": listens}):
        [spans] = installing._exporters("TRACES", installing.Spans, None)
        [records] = installing._exporters("LOGS", installing.Logs, None)
    assert spans.where == traces
    assert logs is None or records.where == logs


@pytest.mark.slow
def test_an_unchanged_program_finds_it_too(arrived: Sink, tmp_path: Path) -> None:
    program = PROGRAM.format(first="", then="still.end()")
    with announced(tmp_path, {"otlp": {"http": arrived.url}}):
        done = finished(INSTRUMENT, sys.executable, "-c", program, url="", OTEL_BRIDGE_DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert arrived.names == [*ENDED, "open"]


@pytest.mark.slow
def test_an_exporter_that_there_is_not_is_told_of_in_a_line(tmp_path: Path) -> None:
    done = finished(INSTRUMENT, sys.executable, "-c", "print(1)", url="", OTEL_TRACES_EXPORTER="oltp")
    assert (done.returncode, done.stdout) == (0, "1\n")
    [line] = done.stderr.splitlines()
    assert "'oltp' not found" in line
    assert "otlp, console, none" in line


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "spans to {url}/v1/traces (http/protobuf), log records to {url}/v1/logs (http/protobuf)"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "spans to {url} (grpc), log records to {url} (grpc)"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp,console", "OTEL_LOGS_EXPORTER": "none"},
            "spans to {url}/v1/traces (http/protobuf) and console, log records nowhere",
        ),
    ],
)
@pytest.mark.usefixtures("ends_alone")
def test_a_line_says_where_everything_goes_and_how(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variables: dict[str, str], told: str
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", LoggerProvider(shutdown_on_exit=False))  # type: ignore[attr-defined]
    for name, value in {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "threading", **variables}.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level("INFO", "otel_bridge.sdk"):
        installing._set_up("http://127.0.0.1:9", None, None).shutdown()
    assert caplog.messages == [f"otel-bridge: exporting {told.format(url='http://127.0.0.1:9')}"]


def test_a_password_in_an_address_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://ada:secret@127.0.0.1:9/v1/traces")
    [spans] = installing._exporters("TRACES", installing.Spans, None)
    assert spans.where == "http://***@127.0.0.1:9/v1/traces"


def test_importing_it_imports_nothing_of_the_server() -> None:
    program = """
import sys
import otel_bridge.sdk
heavy = {name.partition(".")[0] for name in sys.modules} & {
    "grpc", "langfuse", "aiohttp", "apsw", "pydantic", "starlette", "typer", "rich", "requests", "google"}
names = [name for name in sys.modules if name.startswith("otel_bridge.")]
ours = sorted(name for name in names if not name.startswith("otel_bridge.sdk"))
print(heavy, ours)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set() []\n", done.stderr


def test_a_program_goes_on_in_the_trace_of_the_one_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{'a' * 32}-{'b' * 16}-01")
    monkeypatch.setenv("BAGGAGE", "session.id=s-1")

    def found() -> tuple[int, object]:
        installing._join_parent()
        return trace.get_current_span().get_span_context().trace_id, baggage.get_baggage("session.id")

    assert contextvars.copy_context().run(found) == (int("a" * 32, 16), "s-1")


def test_without_a_word_of_it_nothing_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE"):
        monkeypatch.delenv(name, raising=False)
    before = otel.get_current()
    contextvars.copy_context().run(installing._join_parent)
    assert otel.get_current() is before


def test_langfuses_variables_stand_on_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LANGFUSE_")]:
        monkeypatch.delenv(name)
    assert installing.of_langfuse() == {}
    monkeypatch.setenv("LANGFUSE_TRACING_ENVIRONMENT", "staging")
    monkeypatch.setenv("LANGFUSE_RELEASE", "v7")
    assert installing.of_langfuse() == {"langfuse.environment": "staging", "langfuse.release": "v7"}


def test_an_id_generator_that_is_not_there_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_ID_GENERATOR", "xray")
    assert installing._id_generator() is None
    assert "OTEL_PYTHON_ID_GENERATOR=xray can not be used" in caplog.text
    monkeypatch.setenv("OTEL_PYTHON_ID_GENERATOR", "random")
    assert installing._id_generator() is None


@pytest.mark.slow
def test_a_configuration_file_that_can_not_be_read_stops_nothing(arrived: Sink) -> None:
    done = run("print('done')", arrived.url, OTEL_CONFIG_FILE="/nowhere.yaml", OTEL_PYTHON_ID_GENERATOR="random")
    assert (done.returncode, done.stdout) == (0, "ready\ndone\n")
    assert "OTEL_CONFIG_FILE can not be used" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set up in the process of the tests has no part in its end."""
    monkeypatch.setattr(installing, "on_end", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda _: None)


@pytest.mark.usefixtures("ends_alone")
def test_providers_that_a_file_set_up_are_flushed_shut_down_and_told_what_is_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By processors that know no spool, which is said."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", LoggerProvider(shutdown_on_exit=False))  # type: ignore[attr-defined]

    monkeypatch.setenv("OTEL_BRIDGE_SPOOL", "/spool")
    found = installing.prepare_by_file()
    assert "everything goes without the spool in /spool" in caplog.text
    provider.get_tracer("agent").start_span("a").end()
    assert found.flush(5)
    assert [span.name for span in kept.get_finished_spans()] == ["a"]
    assert found.open_spans is not None
    assert found.open_spans._beat_s is not None
    still = provider.get_tracer("agent").start_span("open")
    assert asyncio.run(found.aflush(5))
    found.shutdown("SIGTERM")
    assert not still.is_recording()
    assert [span.name for span in kept.get_finished_spans()] == ["a", "open"]


@pytest.mark.usefixtures("ends_alone")
def test_a_provider_around_the_sdks_gets_the_processors(
    arrived: Sink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Around()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "threading")
    found = installing._set_up(arrived.url, None, None)
    provider.get_tracer("agent").start_span("a").end()
    assert found.flush(20)
    found.shutdown()
    assert arrived.names == ["a"]
    assert not caplog.records


@pytest.mark.usefixtures("ends_alone")
def test_of_a_provider_that_takes_no_processors_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    monkeypatch.setattr(trace._TRACER_PROVIDER_SET_ONCE, "_done", True)
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "threading")
    installing._set_up("http://127.0.0.1:9", None, None).shutdown()
    assert "no spans are exported, as opentelemetry.trace.NoOpTracerProvider was set before" in caplog.text


def test_after_the_end_nothing_is_told_of_what_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log records would come too late, which is warned of, as a loss."""
    told = threading.Event()
    open_spans = OpenSpans(beat_s=1e-3, told_from_s=0)
    monkeypatch.setattr(open_spans, "_emit", lambda *_: told.set())
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    still = provider.get_tracer("agent").start_span("open")
    assert told.wait(20)
    Installed(open_spans=open_spans).shutdown()
    assert open_spans._thread is not None
    open_spans._thread.join(20)
    assert not open_spans._thread.is_alive()
    assert still.is_recording()


async def test_a_flush_of_providers_takes_no_longer_than_it_may() -> None:
    """OpenTelemetry's own processors know nothing of time."""

    class Hung(TracerProvider):
        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return over.wait(20)

    over = threading.Event()
    found = Installed(providers=[Hung(shutdown_on_exit=False)])
    began_s = time.monotonic()
    assert (await found.aflush(0.05), found.flush(0.05)) == (False, False)
    assert time.monotonic() - began_s < 10
    over.set()
    assert (await found.aflush(20), found.flush(20)) == (True, True)


def test_a_spool_in_the_home_of_nobody_is_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BRIDGE_SPOOL", "~nobody-of-this-name/spool")
    assert installing.spool_folder() is None
    assert "there is no spool, as ~nobody-of-this-name/spool can not be used" in caplog.text
