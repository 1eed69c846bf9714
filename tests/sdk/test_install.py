"""A program with `install()`, and one that knows nothing: everything that ended arrives, however it ends."""

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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
from otel_bridge.sdk.open_spans import OpenSpans
from tests.providers import Around
from tests.sdk.sink import Sink, sink

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


@pytest.fixture
def arrived() -> Iterator[Sink]:
    with sink() as found:
        yield found


def environment(url: str, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    patient = {"OTEL_BRIDGE_EXIT_SECONDS": "20"}  # this machine may be busy
    patient |= {
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai,celery,fastapi,httpx,httpx2,langchain,sqlalchemy"
    }  # slow
    return {**kept, **patient, "OTEL_EXPORTER_OTLP_ENDPOINT": url, **more}


def run(then: str, url: str, first: str = INSTALL, **more: str) -> tuple[subprocess.CompletedProcess[str], float]:
    began = time.monotonic()
    program = PROGRAM.format(first=first, then=then)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(url, **more), capture_output=True, text=True, timeout=60
    )
    return done, time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('x')", 1),
        ("asyncio.run(asyncio.sleep(0))", 0),
    ],
    ids=["end", "exit", "exception", "asyncio"],
)
def test_all_that_ended_arrives(arrived: Sink, then: str, code: int) -> None:
    done, _ = run(then, arrived.url)
    assert done.returncode == code
    assert arrived.names == ENDED
    assert arrived.resource["service.name"] == "agent"


@pytest.mark.slow
@pytest.mark.parametrize("handler", ["", "signal.signal(15, lambda *_: print('theirs', flush=True) or sys.exit(7))"])
def test_sigterm_sends_what_ended_and_ends_what_is_open(arrived: Sink, handler: str) -> None:
    """And then does what it would have done without us."""
    then = "os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()"
    done, _ = run(then, arrived.url, first=f"import signal, sys; {handler or 'pass'}\n{INSTALL}")
    assert done.returncode == (7 if handler else -signal.SIGTERM)
    assert ("theirs" in done.stdout) is bool(handler)
    assert arrived.names == [*ENDED, "open"]
    [interrupted] = [span for span in arrived.spans if span.name == "open"]
    assert interrupted.status.message == "interrupted: SIGTERM"


@pytest.mark.slow
@pytest.mark.parametrize("of_theirs", ["", "signal.signal(1, lambda *_: print('reloaded', flush=True))"])
def test_so_does_sighup_where_nobody_has_a_use_for_it(arrived: Sink, of_theirs: str) -> None:
    """As when a terminal is closed; to others it is a word to reload, and no end."""
    then = f"os.kill(os.getpid(), 1); {'still.end()' if of_theirs else 'threading.Event().wait()'}"
    done, _ = run(then, arrived.url, first=f"import signal\n{of_theirs}\n{INSTALL}")
    [still] = [span for span in arrived.spans if span.name == "open"]
    if of_theirs:
        assert (done.returncode, done.stdout, still.status.message) == (0, "ready\nreloaded\n", "")
    else:
        assert (done.returncode, still.status.message) == (-signal.SIGHUP, "interrupted: SIGHUP")
    assert arrived.names == [*ENDED, "open"]


@pytest.mark.slow
def test_a_program_that_ctrl_c_ends_says_so(arrived: Sink) -> None:
    """By SIGINT, and not by 1: a script that runs it goes on else. What is imported to send ran text meanwhile. What is
    open is ended, as an instrumentation leaves it that ends its spans by `except Exception`.
    """
    then = "signal.signal(2, signal.default_int_handler); os.kill(os.getpid(), 2)"
    done, _ = run(then, arrived.url, first=f"import signal\n{INSTALL}")
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert arrived.names == [*ENDED, "open"]
    [interrupted] = [span for span in arrived.spans if span.name == "open"]
    assert interrupted.status.message == "interrupted: SIGINT"


@pytest.mark.slow
def test_a_program_that_ends_while_sigterm_is_seen_to_sends_all(arrived: Sink) -> None:
    """As under uvicorn, which ends in its own way and then raises the signal again."""
    run("import signal; signal.raise_signal(signal.SIGTERM)", arrived.url)
    assert arrived.names == [*ENDED, "open"]


@pytest.mark.slow
def test_a_forked_child_and_its_parent_each_send_their_own(arrived: Sink) -> None:
    then = """
child = os.fork()
tracer.start_span("child" if child == 0 else "parent").end()
if child:
    os.waitpid(child, 0)
"""
    run(then, arrived.url)
    assert arrived.names == ["child", *ENDED, "parent"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "protocol", "why"),
    [
        (None, "", "Connection refused"),
        (None, "grpc", "StatusCode.UNAVAILABLE"),
        (503, "", "Service Unavailable"),
        (401, "", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_without_a_bridge_the_program_is_the_same(arrived: Sink, status: int | None, protocol: str, why: str) -> None:
    """One line of warning that says why; the end waits for nobody who has said no, however long it may."""
    arrived.status = status or 200
    url = arrived.url if status else "http://127.0.0.1:9"
    said = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        "OTEL_BRIDGE_EXIT_SECONDS": "50",
    }
    done, exit_s = ending(url, **said)
    assert (done.returncode, done.stdout) == (0, "ready\ndone\n")
    [line] = done.stderr.splitlines()
    assert line.startswith("otel-bridge: ")
    assert why in line
    assert exit_s < 50


@pytest.mark.slow
def test_what_is_lost_at_the_end_is_told_of_each_kind() -> None:
    """In the one line, with how much of it there was."""
    emits = "still.end(); from otel_bridge.sdk import event; event('one'); event('two')"
    done, _ = run(emits, "http://127.0.0.1:9")
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    lost = "11 spans and 2 log records to http://127.0.0.1:9 ([Errno 111] Connection refused)"
    assert line.startswith(f"otel-bridge: not sent in time, and dropped: {lost}. Is a bridge there?")


@pytest.mark.slow
def test_the_end_comes_at_most_two_seconds_later(arrived: Sink) -> None:
    """Where it is asked to wait, which OpenTelemetry's exporter does for ten; a busy machine has some for the rest."""
    arrived.status = 503
    done, exit_s = ending(arrived.url, OTEL_BRIDGE_EXIT_SECONDS="2")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (0, "ready\ndone\n", 1)
    assert exit_s < 8


def ending(url: str, **said: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """A program that is over, and how many seconds it took from its last line to the last that Python does of it."""
    last = "import atexit, time; end = []; atexit.register(lambda: print(time.monotonic() - end[0]))"
    done, _ = run("print('done'); end.append(time.monotonic())", url, first=f"{last}\n{INSTALL}", **said)
    done.stdout, _, exit_s = done.stdout.rstrip("\n").rpartition("\n")
    done.stdout += "\n"
    return done, float(exit_s)


@pytest.mark.slow
@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_BRIDGE_ENABLED": "false"}])
def test_switched_off_it_sends_and_says_nothing(arrived: Sink, off: dict[str, str]) -> None:
    done, _ = run("", arrived.url, **off)
    assert (done.stdout, done.stderr) == ("ready\n", "")
    assert arrived.spans == []


@pytest.mark.slow
def test_an_unchanged_program_is_instrumented(arrived: Sink) -> None:
    program = PROGRAM.format(first="", then="still.end()")
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    done = subprocess.run(
        [instrument, "--service_name", "agent", sys.executable, "-c", program],
        env=environment(arrived.url),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
    assert arrived.names == [*ENDED, "open"]
    assert arrived.resource["service.name"] == "agent"


@pytest.mark.slow
def test_what_was_imported_to_instrument_a_program_is_frozen(arrived: Sink) -> None:
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    program = (
        "import gc; print(gc.get_freeze_count() > 10_000, end=''); out = open(1, 'w', closefd=False); out.write('!')"
    )
    done = subprocess.run(
        [instrument, sys.executable, "-c", program],
        env=environment(arrived.url),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("True!", "")


@pytest.mark.slow
def test_who_uses_another_distro_has_nothing_frozen() -> None:
    program = """
import gc
begun = gc.get_freeze_count()  # Python 3.12 has frozen something itself
from otel_bridge.sdk.distro import instrumented
instrumented()
print(gc.get_freeze_count() - begun)
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "0\n"


@pytest.mark.slow
def test_sigterm_reaches_an_agent_that_holds_a_lock(arrived: Sink) -> None:
    """The lock of the span that is to be ended, say: the code that the signal stopped goes on meanwhile."""
    then = """
with still._lock:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(100):
        pass
threading.Event().wait()
"""
    done, _ = run(then, arrived.url)
    assert done.returncode == -signal.SIGTERM
    assert arrived.names == [*ENDED, "open"]


@pytest.mark.slow
def test_a_handler_that_raises_it_again_is_held_up_by_no_lock_for_longer_than_the_end_may_take(arrived: Sink) -> None:
    then = """
def handler(number, _):
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    print("not reached", flush=True)
signal.signal(signal.SIGTERM, handler)
with still._lock:
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()
"""
    done, _ = run(then, arrived.url, OTEL_BRIDGE_EXIT_SECONDS="0.5")
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "ready\n")


@pytest.mark.slow
def test_a_signal_that_is_raised_where_it_is_blocked_ends_nothing(arrived: Sink) -> None:
    """The program waits for it, and goes on."""
    then = """
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
signal.raise_signal(signal.SIGTERM)
signal.sigwait([signal.SIGTERM])
tracer.start_span("last words").end()
"""
    done, _ = run(then, arrived.url)
    assert done.returncode == 0
    assert arrived.names == [*ENDED, "last words"]


@pytest.mark.slow
def test_who_ends_in_an_orderly_way_is_let(arrived: Sink) -> None:
    """Spans that go on after SIGTERM are whole, and those after them are sent."""
    first = f"import signal, threading; stop = threading.Event(); signal.signal(15, lambda *_: stop.set())\n{INSTALL}"
    then = """
os.kill(os.getpid(), signal.SIGTERM)
stop.wait()
still.set_attribute("result", "fine")
still.end()
tracer.start_span("last words").end()
left = tracer.start_span("left open")
"""
    done, _ = run(then, arrived.url, first=first)
    assert done.returncode == 0
    assert arrived.names == [*ENDED, "last words", "left open", "open"]
    told = {span.name: span.status.message for span in arrived.spans}
    assert (told["open"], told["left open"]) == ("", "interrupted: SIGTERM")


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
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    done = subprocess.run(
        [instrument, sys.executable, "-c", program],
        env=environment(arrived.url, OTEL_TRACES_EXPORTER="console,otlp"),
        capture_output=True,
        text=True,
        timeout=60,
    )
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
    done, _ = run("still.end(); from otel_bridge.sdk import event; event('e')", arrived.url, **said)
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
    """Where it announces itself, unless somebody says where to send; and no longer when it has ended."""
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
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    with announced(tmp_path, {"otlp": {"http": arrived.url}}):
        done = subprocess.run(
            [instrument, sys.executable, "-c", program],
            env=environment("", OTEL_BRIDGE_DATA_DIR=str(tmp_path)),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert arrived.names == [*ENDED, "open"]


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
    done, _ = run("print('done')", arrived.url, OTEL_CONFIG_FILE="/nowhere.yaml", OTEL_PYTHON_ID_GENERATOR="random")
    assert (done.returncode, done.stdout) == (0, "ready\ndone\n")
    assert "OTEL_CONFIG_FILE can not be used" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_providers_that_a_file_set_up_are_flushed_shut_down_and_told_what_is_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By processors that know no spool, which is said."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", LoggerProvider(shutdown_on_exit=False))  # type: ignore[attr-defined]
    monkeypatch.setattr(installing, "on_end", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda _: None)

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


def test_a_provider_around_the_sdks_gets_the_processors(
    arrived: Sink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Around()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(installing, "on_end", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda _: None)
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "threading")
    found = installing._set_up(arrived.url, None, None)
    provider.get_tracer("agent").start_span("a").end()
    assert found.flush(20)
    found.shutdown()
    assert arrived.names == ["a"]
    assert not caplog.records


def test_of_a_provider_that_takes_no_processors_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    monkeypatch.setattr(trace._TRACER_PROVIDER_SET_ONCE, "_done", True)
    monkeypatch.setattr(installing, "on_end", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda _: None)
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
    installing.Installed(open_spans=open_spans).shutdown()
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
    found = installing.Installed(providers=[Hung(shutdown_on_exit=False)])
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
