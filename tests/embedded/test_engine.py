"""The engine in the agent's process: what it took is delivered whole, at the end or by the next run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_bridge import telemetry
from otel_bridge.embedded.engine import HANDED, NO_THREADS, Engine
from otel_bridge.plan import parse
from otel_bridge.sdk.batch import BatchSpanProcessor
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from otel_bridge.viewer.scores import NewScore, evaluation

CONFIG = """
receivers: {{in_process: {{}}}}
exporters: {{langfuse: {{base_url: "{url}", public_key: pk-lf-fake, secret_key: sk-lf-fake}}}}
service: {{data_dir: "{data_dir}", pipelines: {{main: {{receivers: [in_process], exporters: [langfuse]}}}}}}
"""
LOGGING = """
receivers: {in_process: {}}
exporters: {call_log: {dir: logs, level: "off"}}
service: {data_dir: data, pipelines: {main: {receivers: [in_process], exporters: [call_log]}}}
"""
PATIENT_S = 20.0  # this machine may be busy
delivers_at_its_end = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3),
    reason="Python 3.12.0 to 3.12.2 start no thread once a program ends (cpython #113964): the next run delivers",
)


@pytest.fixture(autouse=True)
def logs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine sets where logs go, for the whole process."""
    monkeypatch.setattr(telemetry, "_joined", False)


def config(url: str, folder: Path) -> str:
    return CONFIG.format(url=url, data_dir=folder / "data")


def engine(url: str, folder: Path) -> Engine:
    return Engine(parse(config(url, folder), "test", environ={}))


def a_trace() -> list[ReadableSpan]:
    """A child and its root, in the order in which they ended."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("agent")
    root = tracer.start_span("root", attributes={"session.id": "s-1"})
    child = tracer.start_span("child", context=trace.set_span_in_context(root))
    child.end()
    root.end()
    return [span for span in (child, root) if isinstance(span, ReadableSpan)]


def test_a_wrong_configuration_is_told_also_where_the_program_is_over_before_it_is_read(
    fake: FakeLangfuse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was taken until then waits for a right one."""
    written = tmp_path / "bridge.yaml"
    written.write_text(config(fake.url, tmp_path).replace("exporters: {langfuse", "exporters: {langfyse", 1))
    wrong = Engine(written)
    child, root = a_trace()
    assert wrong.spans.export([child, root]) is SpanExportResult.SUCCESS
    assert wrong.close(PATIENT_S)

    assert len(list((tmp_path / "data" / HANDED).iterdir())) == 1
    [told] = [record.getMessage() for record in caplog.records if "otel-bridge: " in record.getMessage()]
    assert "langfyse" in told
    assert f"what ends goes to files in {tmp_path / 'data' / HANDED}" in told


@pytest.mark.slow
def test_what_ends_where_the_configuration_is_wrong_is_delivered_once_that_is_mended(
    fake: FakeLangfuse, tmp_path: Path
) -> None:
    """Also what ends long after the mistake was found; the program is told once, and nothing that does not help."""
    path, right = tmp_path / "bridge.yaml", config(fake.url, tmp_path)
    path.write_text(right.replace("exporters: {langfuse", "exporters: {langfyse", 1))
    ends = f"""
import logging; logging.basicConfig()
from otel_bridge.sdk import install, span
installed = install(__import__("pathlib").Path({str(path)!r}))
assert not installed.engine.wait(20)
with span("late"):
    pass
print(installed.flush(20))
"""
    done = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n"
    [line] = done.stderr.splitlines()
    assert f"as its configuration {path} is wrong: bridge.yaml:3 exporters::langfyse: no such exporter" in line
    assert "and the next run delivers it, once that is mended" in line

    path.write_text(right)
    mended = Engine(path)
    mended.start()
    assert mended.wait(PATIENT_S)
    assert mended.close(PATIENT_S)
    assert names(fake) == ["late"]


def test_what_can_not_be_kept_anywhere_is_counted_and_told_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The mistake once, with the file; then how much it was."""
    monkeypatch.setattr("otel_bridge.sdk.saying._told", {})
    (tmp_path / "bridge.yaml").write_text("service: [")
    running = Engine(tmp_path / "bridge.yaml")
    running.start()
    assert not running.wait(PATIENT_S)
    sender = BatchSpanProcessor(running.spans, exit_s=PATIENT_S)
    for span in a_trace():
        sender.on_end(span)
    assert not sender.force_flush(20_000)
    sender.shutdown()

    assert sender.dropped == {"exit": 2}
    told, lost = [record.getMessage() for record in caplog.records if "otel-bridge: " in record.getMessage()]
    assert f"{tmp_path}/bridge.yaml is wrong: bridge.yaml:1 not valid YAML" in told
    assert "what ends is dropped until that is mended" in told
    assert lost.startswith("otel-bridge: not sent in time, and dropped: 2 spans to the bridge in this process (no")
    assert "otel-bridge` starts one" not in lost


@pytest.mark.slow
def test_what_is_probably_not_meant_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text(config("http://127.0.0.1:9", tmp_path) + "processors: {noise: {}}\n")
    running = Engine(path)
    running.start()
    assert running.wait(PATIENT_S)
    assert running.close(PATIENT_S)
    assert "otel-bridge: bridge.yaml:5 processors::noise: no pipeline uses it" in caplog.text


@pytest.mark.slow
def test_a_trace_that_came_in_pieces_is_delivered_whole_at_the_end(fake: FakeLangfuse, tmp_path: Path) -> None:
    """Without waiting for the quiet time after its root: nobody else sends."""
    child, root = a_trace()
    running = engine(fake.url, tmp_path)
    assert running.spans.export([child]) is SpanExportResult.SUCCESS  # it is not up yet: the span is in a file
    assert len(list((tmp_path / "data" / HANDED).iterdir())) == 1
    assert running.wait(PATIENT_S)
    assert running.spans.export([root]) is SpanExportResult.SUCCESS

    assert running.close(PATIENT_S)
    assert {seen["name"]: seen["sessionId"] for seen in fake.observations.values()} == {"child": "s-1", "root": "s-1"}
    assert fake.duplicates == 0
    assert list((tmp_path / "data" / HANDED).iterdir()) == []


@pytest.mark.slow
def test_what_a_destination_did_not_take_is_delivered_by_the_next_run(fake: FakeLangfuse, tmp_path: Path) -> None:
    fake.always("otlp", Fault(503))
    first = Engine(parse(config(fake.url, tmp_path), "test", environ={}), most_drain_s=0.2)
    first.spans.export(a_trace())
    assert first.wait(PATIENT_S)
    assert first.close(PATIENT_S)
    assert fake.observations == {}

    fake.always("otlp", None)
    second = engine(fake.url, tmp_path)
    second.start()
    assert second.wait(PATIENT_S)
    assert second.close(PATIENT_S)
    assert sorted(seen["name"] for seen in fake.observations.values()) == ["child", "root"]


@pytest.mark.slow
def test_a_trace_that_lacks_its_score_alone_is_not_sent_again_by_the_next_run(
    fake: FakeLangfuse, tmp_path: Path
) -> None:
    """What was taken of it is known by its content, which is the same when it is made again."""
    fake.always("scores", Fault(503))
    child, root = a_trace()
    judged = NewScore(traceId=f"{root.context.trace_id:032x}", name="helpful", value=0.5)
    first = Engine(parse(config(fake.url, tmp_path), "test", environ={}), most_drain_s=2)
    first.start()
    assert first.wait(PATIENT_S)
    first.spans.export([child, root])
    first.take("logs", evaluation(judged, "default").wire)
    assert first.close(PATIENT_S)
    assert (len(fake.observations), len(fake.scores)) == (2, 0)

    fake.always("scores", None)
    second = engine(fake.url, tmp_path)
    second.start()
    assert second.wait(PATIENT_S)
    assert second.close(PATIENT_S)
    assert (len(fake.observations), len(fake.scores), fake.duplicates) == (2, 1, 0)


@pytest.mark.slow
def test_processes_at_one_time_have_places_of_their_own(fake: FakeLangfuse, tmp_path: Path) -> None:
    here, there = engine(fake.url, tmp_path), engine(fake.url, tmp_path)
    here.start()
    assert here.wait(PATIENT_S)
    (tmp_path / "data").chmod(0o700)
    there._plan = parse(config(fake.url, tmp_path).replace("in_process", "in_process/2"), "test", environ={})
    there.start()
    assert there.wait(PATIENT_S)
    here.spans.export(a_trace())
    there.spans.export(a_trace())
    assert here.close(PATIENT_S)
    assert there.close(PATIENT_S)
    assert (tmp_path / "data" / "process-1" / "journal").is_dir()
    assert len(fake.observations) == 4


def test_it_delivers_at_the_end_for_as_long_as_it_is_given(tmp_path: Path) -> None:
    given = engine("http://127.0.0.1:9", tmp_path)
    assert given.close(1000)
    assert 990 < given._drain_s() < 1000
    assert given.close(1)  # again, at exit, which changes nothing
    assert 990 < given._drain_s() < 1000
    hurried = engine("http://127.0.0.1:9", tmp_path)
    assert hurried.close(0)
    assert hurried._drain_s() == 0


@pytest.mark.slow
def test_where_no_thread_can_be_started_at_the_end_the_next_run_delivers(
    fake: FakeLangfuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ending = engine(fake.url, tmp_path)
    ending.start()
    assert ending.wait(PATIENT_S)
    ending.spans.export(a_trace())
    with monkeypatch.context() as patched:
        patched.setattr("otel_bridge.embedded.engine._can_start_threads", lambda: False)
        assert not ending.close(PATIENT_S)
        assert not ending.close(PATIENT_S)
    [line] = [record.message for record in caplog.records if record.name == "otel_bridge.embedded"]
    assert line.startswith(f"otel-bridge: {NO_THREADS}: what waits lies in {tmp_path / 'data'}, and the next run")
    assert ending.close(PATIENT_S)
    assert len(fake.observations) == 2


@pytest.mark.slow
def test_an_engine_that_is_not_up_when_the_program_ends_comes_up_to_deliver(fake: FakeLangfuse, tmp_path: Path) -> None:
    ending = engine(fake.url, tmp_path)
    ending.spans.export(a_trace())
    assert ending.close(PATIENT_S)
    assert len(fake.observations) == 2


@pytest.mark.slow
def test_what_is_left_is_told_with_the_reason_and_where_it_lies(
    fake: FakeLangfuse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = Engine(parse(config(fake.url, tmp_path).replace("sk-lf-fake", "sk-lf-wrong"), "test", environ={}))
    refused.spans.export(a_trace())
    assert refused.close(PATIENT_S)
    [line] = [record.message for record in caplog.records if record.name == "otel_bridge.embedded"]
    assert line.startswith("otel-bridge: still to be delivered: 2 spans to langfuse (unauthorized: http://127.0.0.1:")
    assert f"it lies in {tmp_path / 'data'}, and the next run delivers it" in line


@pytest.mark.slow
def test_where_there_is_no_time_it_is_said_where_what_waits_lies(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not where nothing waits."""
    idle, hurried = engine("http://127.0.0.1:9", tmp_path / "idle"), engine("http://127.0.0.1:9", tmp_path)
    idle.start()
    hurried.spans.export(a_trace())
    idle.close(0)
    hurried.close(0)
    [line] = [record.message for record in caplog.records if record.name == "otel_bridge.embedded"]
    data_dir = tmp_path / "data"
    told = f"otel-bridge: there was no time to deliver all: what waits lies in {data_dir}, and the next run delivers it"
    assert line.startswith(told)
    assert len(list((data_dir / HANDED).iterdir())) == 1
    for one in (idle, hurried):
        one.close(PATIENT_S)


PROGRAM = """
import os, sys, time
from pathlib import Path
from otel_bridge.sdk import install, span
began = time.thread_time()
installed = install(Path({path!r}), service="agent")
took = time.thread_time() - began
with span("root"), span("child"):
    pass
{then}
"""
LIGHT = """
sent = installed.flush(20), installed.engine.wait(20)
heavy = sorted({"grpc", "langfuse", "starlette", "uvicorn", "typer", "otel_bridge.viewer"} & set(sys.modules))
print(took < 0.3, sent, heavy)
"""
KILLED = "assert installed.flush(20); os.kill(os.getpid(), 9)"
FORKED = """
child = os.fork()
with span("forked" if child == 0 else "parent"):
    pass
installed.flush(20), installed.engine.wait(20)
if child:
    os.waitpid(child, 0)
"""


def run(fake: FakeLangfuse, folder: Path, then: str) -> subprocess.CompletedProcess[str]:
    path = folder / "bridge.yaml"
    path.write_text(config(fake.url, folder))
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "LANGFUSE_"))}
    program = PROGRAM.format(path=str(path), then=then)
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**variables, "OTEL_BRIDGE_EXIT_SECONDS": "20", "PYTHONWARNINGS": "ignore::DeprecationWarning"},  # of forks
        capture_output=True,
        text=True,
        timeout=60,
    )


def names(fake: FakeLangfuse) -> list[str]:
    return sorted(seen["name"] for seen in fake.observations.values())


@pytest.mark.slow
@delivers_at_its_end
def test_a_program_delivers_at_its_end_and_imports_no_server(fake: FakeLangfuse, tmp_path: Path) -> None:
    done = run(fake, tmp_path, LIGHT)
    assert (done.stdout, done.stderr) == ("True (True, True) []\n", "")
    assert names(fake) == ["child", "root"]


@pytest.mark.slow
@delivers_at_its_end
def test_what_was_flushed_survives_a_kill(fake: FakeLangfuse, tmp_path: Path) -> None:
    """The engine was not up yet, or it was: the next run delivers it."""
    assert run(fake, tmp_path, KILLED).returncode == -9
    done = run(fake, tmp_path, "installed.engine.wait(20)")
    assert done.stderr == ""
    assert names(fake) == ["child", "child", "root", "root"]


@pytest.mark.slow
@delivers_at_its_end
def test_a_forked_child_delivers_its_own(fake: FakeLangfuse, tmp_path: Path) -> None:
    done = run(fake, tmp_path, FORKED)
    assert done.stderr == ""
    assert [name for name in names(fake) if name in ("forked", "parent")] == ["forked", "parent"]


@delivers_at_its_end
@pytest.mark.slow
def test_calls_are_logged_without_any_server(tmp_path: Path) -> None:
    """The files are there when the program has ended."""
    (tmp_path / "bridge.yaml").write_text(LOGGING)
    program = f"""
from otel_bridge.sdk import agent_run, answered, install, llm_call
install(__import__("pathlib").Path({str(tmp_path / "bridge.yaml")!r}))
with agent_run("planner"):
    with llm_call("gpt-4o-mini", messages=[{{"role": "user", "content": "Lisbon?"}}]) as call:
        call.tags.update(answered(output="Yes.", input_tokens=12, output_tokens=9))
"""
    environ = {**os.environ, "OTEL_BRIDGE_LLM_LOG": "full", "OTEL_BRIDGE_EXIT_SECONDS": str(PATIENT_S)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environ)
    assert (done.returncode, done.stderr) == (0, "")

    [call] = (tmp_path / "logs").glob("*/llm_calls/*")
    assert call.name == "call_001_planner.yaml"
    assert "Lisbon?" in call.read_text()
    assert "resource:" in call.read_text()
