"""`otel-bridge run -- CMD`: any program, instrumented, and a line of what was seen."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from otel_bridge.announcement import Found, announce, find
from otel_bridge.cli.app import app
from otel_bridge.cli.asking import LateError
from otel_bridge.cli.found import Viewer
from otel_bridge.cli.own import coming, say_last, use
from otel_bridge.cli.questions import load_traces
from otel_bridge.cli.refused import refused, since
from otel_bridge.cli.run import _parse, _refused_before, _Signals, _start, ended_by, environment, main, otherwise
from otel_bridge.cli.seen import ABOUT_ACCESS, not_taken, seen_by_bridge, told
from otel_bridge.errors import CommandError, UnreachableError
from otel_bridge.journal.disk import held
from otel_bridge.testing.fake_langfuse import FakeLangfuse
from otel_bridge.tls import REASONS, VERIFY_CODES, reason_of

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


def run(data_dir: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-m", "otel_bridge", "run", *words],
        env={**kept, **ANYWHERE, "OTEL_BRIDGE_DATA_DIR": str(data_dir), "OTEL_BRIDGE_EXIT_SECONDS": "20", **more},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.slow
def test_an_unchanged_program_is_seen(tmp_path: Path) -> None:
    """Its output and its exit code are its own; no bridge has to run."""
    done = run(tmp_path, "--", sys.executable, "-c", PROGRAM, "--its", "own")
    assert (done.returncode, done.stdout) == (3, "said ['--its', 'own']\n"), done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("otel-bridge: 1 trace · 1 span · 7 tokens · $")
    assert " · otel-bridge trace " in line


@pytest.mark.slow
def test_a_bridge_for_as_long_as_the_program_runs_leaves_its_traces_whole(tmp_path: Path) -> None:
    assert run(tmp_path, "--", sys.executable, "-c", PROGRAM).returncode == 3
    [trace] = load_traces(tmp_path / "store.db")["traces"]
    assert (trace["settled"], trace["totalTokens"]) == (True, 7)


@pytest.mark.slow
def test_what_was_seen_is_told_to_programs_too(tmp_path: Path) -> None:
    done = run(tmp_path, "--json", "--", sys.executable, "-c", PROGRAM)
    seen = json.loads(done.stderr)
    assert (len(seen["traces"]), seen["spans"], seen["tokens"], seen["errors"]) == (1, 1, 7, 0)


@pytest.mark.slow
def test_a_program_without_spans_is_told_so(tmp_path: Path) -> None:
    done = run(tmp_path, "true")
    assert done.returncode == 0
    assert done.stderr.startswith("otel-bridge: no spans came; is the program instrumented?")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--"], "no command to run"),
        (["--nonsense", "--", "true"], "--nonsense is not understood"),
    ],
)
def test_what_is_not_understood_is_said(tmp_path: Path, words: list[str], said: str) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.slow
def test_a_command_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, "--", "no-such-program")
    assert (done.returncode, done.stderr) == (
        127,
        "otel-bridge: no-such-program can not be run: No such file or directory\n",
    )


def test_what_can_not_be_run_has_the_exit_code_of_shells(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    for name, script in (("interpreted", "#!/no/such/program\n"), ("data", "no program\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o700)
    for name, code, why in (
        ("text", 126, f"it is no program for this user; `chmod +x {tmp_path}/text` makes it one"),
        ("interpreted", 126, "the program that its first line names is not there"),
        ("data", 126, "it is no program, and its first line names none"),
        (".", 126, "it is a folder"),
        ("nothing", 127, "No such file or directory"),
    ):
        with pytest.raises(CommandError, match=f"can not be run: {re.escape(why)}") as error:
            _start([f"{tmp_path}/{name}"], {})
        assert error.value.exit_code == code


def test_what_somebody_has_set_stays() -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere:4318", "PYTHONPATH": "mine", "OTEL_LOGS_EXPORTER": "none"}
    made = environment(given, "http://127.0.0.1:1")
    assert made["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://elsewhere:4318"
    assert made["PYTHONPATH"].endswith(f"{os.pathsep}mine")
    assert made["OTEL_LOGS_EXPORTER"] == "none"
    assert environment({}, "http://127.0.0.1:1")["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:1"


def test_of_a_bridge_that_goes_on_it_is_asked_when_nothing_is_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest trace is the one to look at; what tokens an open one has is not known yet."""
    one = {"totalTokens": None, "totalCost": None, "errorCount": 0, "settled": True, "tenant": "default"}
    pages = {
        None: {"traces": [{**one, "id": "small", "observationCount": 1}], "nextCursor": "more"},
        "more": {
            "traces": [{**one, "id": "large", "observationCount": 9, "totalTokens": 7, "settled": False}],
            "nextCursor": None,
        },
    }
    left, asked = [0, 2, 1], []

    def answer(_viewer: Viewer, path: str, query: dict[str, str] | None = None, **_more: Any) -> dict[str, Any]:
        asked.append(path)
        if query is not None:
            return pages[query.get("cursor")]
        lane = {"waiting": left.pop(), "parked": None, "why": None}
        return {"counters": [], "outcomes": [], "exporters": {"a/b/store": {"default": lane}}}

    monkeypatch.setattr("otel_bridge.cli.seen.ask", answer)
    monkeypatch.setattr("otel_bridge.cli.questions.ask", answer)
    seen = seen_by_bridge(Viewer.at("http://127.0.0.1:1"), datetime.now(UTC), {}, stopped=lambda: False)
    assert seen is not None
    assert asked == ["/api/v1/status"] * 3 + ["/api/v1/traces"] * 2
    assert (seen["largest"], seen["spans"], seen["tokens"], seen["all"]) == ("large", 10, None, True)
    assert told(seen) == "2 traces · 10 spans · open for some seconds more · otel-bridge trace large"


def test_the_command_that_is_named_looks_where_the_program_was_seen(tmp_path: Path) -> None:
    """A configuration that was named is named there, too; one in a variable is there already."""
    seen = {"traces": ["abc"], "spans": 1, "tokens": 0, "cost": 0, "errors": 0, "all": True, "settled": True}
    for words, again in (
        (["--config", "my bridge.yaml", "--", "true"], " --config 'my bridge.yaml'"),
        (["--json", "-c", "bridge.yaml", "--", "true"], " --config bridge.yaml"),
        (["true"], ""),
    ):
        assert told({**seen, "largest": "abc"}, _parse(words).again).endswith(f"otel-bridge trace abc{again}")


@pytest.mark.parametrize("words", [["run", "--help"], ["-c", "bridge.yaml", "run", "--help"]])
def test_its_options_are_listed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BRIDGE_CONFIG", "")  # which -c sets: it is as it was afterwards
    done = CliRunner().invoke(app, words)
    assert "--config" in done.stdout
    assert "--json" in done.stdout
    assert "127" in done.stdout, "what no program answers for"


def test_what_is_refused_at_the_viewers_door_is_not_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = [
        {"name": "tls_refused", "component": "otlp", "reason": "no_certificate", "value": 3},
        {"name": "tls_refused", "component": "viewer", "reason": "no_certificate", "value": 4},
        {"name": "refused", "reason": "unauthenticated", "value": 2},
        {"name": "received", "value": 9},
    ]
    monkeypatch.setattr("otel_bridge.cli.refused.ask", lambda *_asked, **_more: {"counters": counters})
    assert refused(Viewer.at("http://127.0.0.1:1")) == {"no_certificate": 3, "unauthenticated": 2}


def test_who_lacks_a_key_is_told_so_and_not_that_nothing_is_instrumented() -> None:
    seen = {"traces": [], "refused": {"unauthenticated": 2}}

    assert told(seen) == (
        "no spans came, and the bridge refused 2 requests meanwhile: unauthenticated; see docs/access.md"
    )


@pytest.mark.parametrize("reason", ["too_large", "too_many_connections", "wrong_protocol", "refused", "of_a_plugin"])
def test_what_is_no_question_of_access_is_looked_up_elsewhere(reason: str) -> None:
    line = told({"traces": [], "refused": {reason: 1}})
    assert line.endswith(f"{reason}; see docs/operating.md#senders-that-ask-too-much")


def test_why_tls_does_not_come_about_is_a_question_of_access() -> None:
    unverified, alert = ssl.SSLCertVerificationError(), ssl.SSLError()
    unverified.verify_code, alert.reason = 1, "TLSV1_ALERT_UNKNOWN_CA"
    others = [reason_of(error) for error in (unverified, alert, ssl.SSLError())]
    words = [*REASONS.values(), *VERIFY_CODES.values(), *others]
    assert {word for word, _ in words} <= ABOUT_ACCESS


def test_what_the_bridge_has_refused_to_others_before_is_not_told_of() -> None:
    assert since({"unauthenticated": 2, "too_large": 1}, {"unauthenticated": 2, "too_large": 3}) == {"too_large": 2}


class _Refuses(BaseHTTPRequestHandler):
    """A bridge that takes nothing from anybody, and says so."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path.partition("?")[0])
        times = 5 + self.asked.count("/v1/traces")
        counters = [{"name": "refused", "reason": "unauthenticated", "value": times}]
        said = {"counters": counters, "outcomes": [], "exporters": {}, "traces": [], "nextCursor": None}
        self.send_response(401 if self.path == "/v1/traces" else 200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_said: Any) -> None:
        """Nobody asks."""


def announced_at(folder: Path, port: int) -> None:
    """As if this process were a bridge whose viewer is there."""
    at = {"http": f"http://127.0.0.1:{port}"}
    (folder / "bridge.json").write_text(json.dumps({"pid": os.getpid(), "endpoints": {"otlp": at, "viewer": at}}))


@pytest.mark.slow
def test_what_it_refuses_to_a_program_that_is_quick_is_told_of(tmp_path: Path) -> None:
    """What it had refused before is known before the program begins."""
    _Refuses.asked.clear()
    sends = "import os, urllib.request as u; u.urlopen(os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'] + '/v1/traces')"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as bridge:
        threading.Thread(target=bridge.serve_forever).start()
        announced_at(tmp_path, bridge.server_port)
        done = run(tmp_path, "--", sys.executable, "-S", "-c", sends)
        bridge.shutdown()
    assert _Refuses.asked == ["/api/v1/status", "/v1/traces", "/api/v1/status", "/api/v1/traces"]
    assert "no spans came, and the bridge refused 1 request meanwhile: unauthenticated" in done.stderr


def test_a_program_does_not_wait_long_for_a_viewer_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is not told what the bridge has refused, as that may have been to others."""
    monkeypatch.setattr("otel_bridge.cli.run.BEFORE_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = _refused_before(Viewer.at(f"http://127.0.0.1:{silent.getsockname()[1]}"), None)
    assert before is None
    assert since(before, {"unauthenticated": 2}) == {}


def test_a_viewer_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is asked, all of it together; and nobody is told to start a bridge, as one is there."""
    monkeypatch.setattr("otel_bridge.cli.seen.ANSWERS_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        seen = seen_by_bridge(Viewer.at(url), datetime.now(UTC), {}, stopped=lambda: False)
    assert time.monotonic() - began < 5
    assert seen is not None
    assert told(seen).startswith(f"what listens at {url} does not answer (")


def test_of_a_bridge_that_is_slow_it_is_told_what_it_has_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has many traces may not have told all of them when the time is up; it does not hang."""
    found = {"id": "a", "observationCount": 2, "totalTokens": 7, "totalCost": None, "errorCount": 0, "settled": True}

    def answer(_viewer: Viewer, path: str, query: dict[str, str] | None = None, **_more: Any) -> dict[str, Any]:
        if query is None:
            return {"counters": [], "outcomes": [], "exporters": {}}
        if "cursor" in query:
            raise LateError("no whole answer in 0.1 s")
        return {"traces": [{**found, "tenant": "default"}], "nextCursor": "more"}

    monkeypatch.setattr("otel_bridge.cli.seen.ask", answer)
    monkeypatch.setattr("otel_bridge.cli.questions.ask", answer)
    seen = seen_by_bridge(Viewer.at("http://127.0.0.1:1"), datetime.now(UTC), {}, stopped=lambda: False)
    assert seen is not None
    assert told(seen) == "more than 1 trace · 2 spans · 7 tokens · otel-bridge trace a"


def test_who_does_not_take_it_is_named_with_the_reason_that_the_status_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the tenants that were seen; and who has never taken anything yet may not."""
    well = {"waiting": 1, "parked": None, "why": None}
    status = {
        "counters": [],
        "outcomes": [{"pipeline": "main", "exporter": "copy", "tenant": "acme", "outcome": "delivered", "items": 1}],
        "exporters": {
            "main/langfuse": {
                "acme": {**well, "parked": "unauthorized", "why": "it answered 401"},
                "other": {**well, "parked": "no_keys", "why": "it has none"},
            },
            "main/copy": {"acme": well},
            "main/new": {"acme": well, "other": {**well, "why": "nobody answers"}},
        },
    }
    row = {"id": "a", "tenant": "acme", "observationCount": 1, "totalTokens": 0, "totalCost": 0, "errorCount": 0}
    page = {"traces": [{**row, "settled": False}], "nextCursor": None}
    monkeypatch.setattr("otel_bridge.cli.seen.ask", lambda *_asked, **_more: status)
    monkeypatch.setattr("otel_bridge.cli.seen.load_traces", lambda *_asked, **_more: page)

    seen = seen_by_bridge(Viewer.at("http://127.0.0.1:1"), datetime.now(UTC), {}, stopped=lambda: False)

    assert seen is not None
    known, unknown = not_taken(seen, " -c x")
    assert known == (
        "langfuse does not take it now (unauthorized: it answered 401): it is kept, and sent when that is over;"
        " `otel-bridge status -c x` says how it goes"
    )
    assert unknown == "whether new takes it is not known yet: `otel-bridge status -c x` says so in some seconds"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_who_asks_run_to_stop_asks_the_program_that_runs(number: int) -> None:
    """Each time; and after it the bridge that ends, for which it is always the signal to hurry."""
    program = "import signal; print('up', flush=True); print(signal.sigwait({1, 3, 15}), flush=True)"
    blocked = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {{1, 3, 15}}); {program}; {program}"
    before = signal.signal(number, signal.SIG_DFL)  # in the background SIGQUIT is ignored
    try:
        with subprocess.Popen([sys.executable, "-S", "-c", blocked], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                with _Signals() as signals:
                    for always in (None, signal.SIGTERM):
                        assert process.stdout.readline() == b"up\n"
                        with signals.to(process, always=always):
                            os.kill(os.getpid(), number)
                            assert int(process.stdout.readline()) == (always or number)
            finally:
                process.kill()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.slow
def test_sigterm_reaches_the_program(tmp_path: Path) -> None:
    program = "import signal, sys, threading; signal.signal(15, lambda *_: sys.exit(9)); print('up', flush=True)"
    command = [
        sys.executable,
        "-m",
        "otel_bridge",
        "run",
        "--",
        sys.executable,
        "-c",
        f"{program}; threading.Event().wait()",
    ]
    variables = {**os.environ, **ANYWHERE, "OTEL_BRIDGE_DATA_DIR": str(tmp_path)}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(60) == 9
        assert time.monotonic() - began < 50


def test_the_address_is_that_of_the_protocol() -> None:
    http, grpc = "http://127.0.0.1:1", "http://127.0.0.1:2"
    assert environment({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, http, grpc)["OTEL_EXPORTER_OTLP_ENDPOINT"] == grpc
    mixed = environment({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, http, grpc)
    assert mixed["OTEL_EXPORTER_OTLP_ENDPOINT"] == http
    assert mixed["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == grpc
    metrics = environment({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m"}, http)
    assert metrics["OTEL_EXPORTER_OTLP_ENDPOINT"] == http
    with pytest.raises(UnreachableError, match="gRPC"):
        environment({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, http)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, None),
        ({"OTEL_SDK_DISABLED": "True"}, "OTEL_SDK_DISABLED=true is set"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "OTEL_TRACES_EXPORTER=none is set"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:9"},
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and sends them to http://a:9",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:2/"}, None),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:1/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT": "x"},
            None,
        ),
    ],
)
def test_what_the_environment_says_against_it_is_named(given: dict[str, str], why: str | None) -> None:
    found = otherwise(given, "http://127.0.0.1:1", "http://127.0.0.1:2")
    assert found == why
    line = told({"traces": [], "refused": {}}, "", found)
    assert line == f"no spans came: {why}" if why else "is the program instrumented?" in line


def test_of_a_program_that_was_ended_nobody_says_that_it_lacks_instrumentation() -> None:
    assert told({"traces": [], "refused": {}}, "", ended_by(-9)) == "no spans came: the program was ended by SIGKILL"
    assert ended_by(-35) == "the program was ended by signal 35", "most of those for real time have no name"
    assert ended_by(1) is None


def test_a_run_in_a_run_is_instrumented_once() -> None:
    once = environment({}, "http://127.0.0.1:1")
    assert environment(once, "http://127.0.0.1:1") == once


@pytest.mark.slow
def test_a_bridge_that_has_failed_meanwhile_is_told_of(tmp_path: Path) -> None:
    program = "import json, os, sys; os.kill(json.load(open(sys.argv[1]))['pid'], 9)"
    done = run(tmp_path, "--", sys.executable, "-S", "-c", program, str(tmp_path / "bridge.json"))
    assert done.returncode == 0
    assert f"the bridge has failed (-9); what it had taken is in {tmp_path}" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("when", ["it starts", "it looks"])
def test_sigterm_before_and_after_the_program_ends_the_bridge_too(tmp_path: Path, when: str) -> None:
    program = PROGRAM.replace("sys.exit(3)", "").replace(
        '"said", sys.argv[1:]', "__import__('os').getpid(), flush=True"
    )
    command = [sys.executable, "-m", "otel_bridge", "run", "--", sys.executable, "-c", program]
    variables = {**os.environ, **ANYWHERE, "OTEL_BRIDGE_DATA_DIR": str(tmp_path)}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        until_s = time.monotonic() + 60
        if when == "it starts":
            serve: list[int] = []
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while not serve and time.monotonic() < until_s:
                serve = [int(pid) for pid in children.read_text().split()]
        else:
            program_is = Path(f"/proc/{int(process.stdout.readline())}")
            serve = [found.pid] if (found := find(tmp_path)) else []
            while program_is.exists() and time.monotonic() < until_s:
                time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == (128 + signal.SIGTERM if when == "it starts" else 0)
        assert serve
        assert not Path(f"/proc/{serve[0]}").exists()


WAITS = """
import sys
from opentelemetry import trace
print("up", flush=True)
sys.stdin.readline()
trace.get_tracer("agent").start_span("work").end()
"""


@contextmanager
def started(data_dir: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run whose program is up, and goes on when it is told to."""
    with subprocess.Popen(
        [sys.executable, "-m", "otel_bridge", "run", "--", sys.executable, "-c", WAITS],
        env={**os.environ, **ANYWHERE, "OTEL_BRIDGE_DATA_DIR": str(data_dir), "OTEL_BRIDGE_EXIT_SECONDS": "20"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n", process.communicate()
            yield process
        finally:
            process.kill()


def gone(pid: int) -> bool:
    """Whether a process ends within a minute."""
    until_s = time.monotonic() + 60
    while (there := Path(f"/proc/{pid}").exists()) and time.monotonic() < until_s:
        time.sleep(0.01)
    return not there


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to see the end of what is nobody's child")
def test_a_bridge_goes_on_until_the_last_who_uses_it_has_gone(tmp_path: Path) -> None:
    """Whoever started it ends first; another one is killed, whose program goes on; and a third begins and ends then."""
    with started(tmp_path) as first, started(tmp_path) as second:
        bridge = find(tmp_path)
        assert bridge is not None
        _, said = first.communicate(b"go on\n", timeout=60)
        assert (first.returncode, said[:21]) == (0, b"otel-bridge: 1 trace ")
        second.kill()
        assert run(tmp_path, "--", "true").returncode == 0
        assert find(tmp_path) == bridge
        assert second.stdin is not None
        second.stdin.close()  # by which its program goes on
        assert gone(bridge.pid)
    traces = load_traces(tmp_path / "store.db")["traces"]
    assert [trace["settled"] for trace in traces] == [True, True]


@pytest.mark.slow
def test_a_bridge_that_is_just_starting_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has its data dir before it can be found; the program is run with it, and not refused."""
    monkeypatch.setenv("OTEL_BRIDGE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("OTEL_BRIDGE_CONFIG", raising=False)

    def up(data_dir: Path, stopped: Callable[[], bool]) -> Found | None:
        announce(data_dir, {"otlp": {"http": "http://127.0.0.1:1"}})
        return coming(data_dir, stopped)

    monkeypatch.setattr("otel_bridge.cli.run.coming", up)
    with held(tmp_path):
        assert main(["--", "true"]) == 0
    assert capsys.readouterr().err == ""


ENDS = """
import json, os, signal, sys
from pathlib import Path
signal.pthread_sigmask(signal.SIG_BLOCK, {15})
folder, said = Path(sys.argv[1]), {"pid": os.getpid()}
where = {**said, "endpoints": {"otlp": {"http": "http://127.0.0.1:1"}}, "whileUsed": True}
(folder / "bridge.json").write_text(json.dumps(where))
print("up", flush=True)
signal.sigwait({15})
if "hangs" in sys.argv:
    signal.pause()
left = {"waiting": {"langfuse": {"spans": 1}}, "why": {"langfuse": ["nobody answers"]}, "deadLettered": {}}
dead = {"waiting": {}, "why": {}, "deadLettered": {"langfuse": {"refused": 1}}}
(folder / "runs-end.json").write_text(json.dumps({**said, **(dead if "dead" in sys.argv else left)}))
"""


@contextmanager
def started_by_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """A bridge that `run` finds there, and ends; it says `ENDS` of its end."""
    monkeypatch.setenv("OTEL_BRIDGE_DATA_DIR", str(folder))
    monkeypatch.delenv("OTEL_BRIDGE_CONFIG", raising=False)
    command = [sys.executable, "-S", "-c", ENDS, str(folder), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as bridge:
        assert bridge.stdout is not None
        assert bridge.stdout.readline() == b"up\n"
        yield bridge


def test_whoever_is_the_last_waits_for_the_end_of_a_bridge_that_another_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with started_by_another(tmp_path, monkeypatch) as bridge:
        assert main(["--", "true"]) == 0
        assert bridge.wait(20) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("otel-bridge: still to be delivered: 1 span to langfuse (nobody answers);")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--config", "b.yaml"], True),
        (["--config", "a.yaml"], False),
        (["--config", "link.yaml"], False),
        (["--config", "folder/../a.yaml"], False),
        ([], False),
    ],
)
def test_a_bridge_that_has_another_configuration_is_told_of(
    words: list[str], says: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the one that was named says is not what becomes of the program's spans."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_BRIDGE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("OTEL_BRIDGE_CONFIG", raising=False)
    for name in ("a.yaml", "b.yaml"):
        Path(name).write_text(f"service: {{data_dir: {tmp_path}}}")
    Path("folder").mkdir()
    Path("link.yaml").symlink_to("a.yaml")
    announce(tmp_path, {"otlp": {"http": "http://127.0.0.1:1"}}, config=Path("a.yaml"))
    assert main([*words, "--", "true"]) == 0
    told = f"otel-bridge: the bridge that runs on {tmp_path} has another configuration: {tmp_path}/a.yaml\n"
    assert capsys.readouterr().err == (told if says else "")


def test_a_bridge_that_hangs_at_its_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it has acknowledged is on disk; and nobody is held up for ever."""
    monkeypatch.setattr("otel_bridge.cli.run.END_S", 0.1)
    with started_by_another(tmp_path, monkeypatch, "hangs") as bridge:
        assert main(["--", "true"]) == 0
        assert bridge.wait(20) == -signal.SIGKILL
    assert capsys.readouterr().err == f"otel-bridge: the bridge has failed; what it had taken is in {tmp_path}\n"


def test_whoever_asks_twice_for_the_end_of_a_bridge_that_hangs_gets_it(tmp_path: Path) -> None:
    waits = "import signal; signal.signal(15, lambda *_: print('asked', flush=True)); print('up', flush=True)"
    command = [sys.executable, "-S", "-c", f"{waits}; [signal.pause() for _ in range(9)]"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as bridge, _Signals() as signals:
        assert bridge.stdout is not None
        assert bridge.stdout.readline() == b"up\n"
        with signals.to(bridge, always=signal.SIGTERM):
            os.kill(os.getpid(), signal.SIGHUP)
            assert bridge.stdout.readline() == b"asked\n"
            os.kill(os.getpid(), signal.SIGHUP)
            assert bridge.wait(20) == -signal.SIGKILL


def test_programs_are_told_of_dead_letters_alone_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a bridge without a viewer, of which nothing else is known."""
    with started_by_another(tmp_path, monkeypatch, "dead") as bridge:
        assert main(["--json", "--", "true"]) == 0
        assert bridge.wait(20) == 0
    assert json.loads(capsys.readouterr().err)["deadLettered"] == {"langfuse": {"refused": 1}}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to tell the end of somebody else's child")
def test_a_bridge_that_another_has_started_and_that_died_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where nobody has asked how it ended; and what one before it said last, by the same id, is not its word."""
    with started_by_another(tmp_path, monkeypatch) as bridge:
        say_last(tmp_path, {"waiting": {}})  # by this process's id
        assert main(["--", "kill", "-9", str(bridge.pid)]) == 0
    assert capsys.readouterr().err == f"otel-bridge: the bridge has failed; what it had taken is in {tmp_path}\n"


@pytest.mark.slow
def test_who_waits_for_the_end_of_a_bridge_that_another_ends_can_be_stopped(tmp_path: Path) -> None:
    """It has not begun that end, and so does not hurry it."""
    program = "import os, sys; os.remove(sys.argv[1]); print('up', flush=True)"
    where = tmp_path / "bridge.json"
    command = [sys.executable, "-m", "otel_bridge", "run", "--", sys.executable, "-S", "-c", program, str(where)]
    variables = {**os.environ, "OTEL_BRIDGE_DATA_DIR": str(tmp_path)}
    with (
        use(tmp_path, lambda: False),  # as the other one that sends to it
        subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as bridge,
    ):
        at = {"http": "http://127.0.0.1:1"}
        said = {"pid": bridge.pid, "endpoints": {"otlp": at, "viewer": at}, "whileUsed": True}
        where.write_text(json.dumps(said))
        with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            until_s = time.monotonic() + 10
            while process.poll() is None and time.monotonic() < until_s:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
            has_stopped = process.poll() is not None
            process.kill()
        assert has_stopped
        assert bridge.poll() is None
        bridge.communicate(b"\n")


@pytest.mark.slow
def test_why_langfuse_took_nothing_is_told_at_the_end(tmp_path: Path) -> None:
    with FakeLangfuse().in_thread() as fake:
        keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-fake", "LANGFUSE_SECRET_KEY": "sk-lf-wrong"}
        done = run(tmp_path, "--", sys.executable, "-c", PROGRAM, LANGFUSE_BASE_URL=fake.url, **keys)
    _, line = done.stderr.splitlines()
    assert line.startswith("otel-bridge: still to be delivered: 1 span to langfuse (unauthorized: http://127.0.0.1:")
    assert line.endswith(
        "check address and keys); the next bridge with these files does that, `otel-bridge audit` counts it"
    )
