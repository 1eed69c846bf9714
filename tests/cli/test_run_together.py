"""A bridge that several `otel-bridge run` use, or that another has started."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_bridge.announcement import Found, announce, find
from otel_bridge.cli.own import coming, say_last
from otel_bridge.cli.questions import load_traces
from otel_bridge.cli.run import main
from otel_bridge.journal.disk import held
from tests.cli.programs import begin, run

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
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with begin(data_dir, "--", sys.executable, "-c", WAITS, **pipes) as process:
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
