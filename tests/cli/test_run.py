"""`otel-bridge run -- CMD`: any program, instrumented, and a line of what was seen."""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otel_bridge.cli.app import app
from otel_bridge.cli.questions import load_traces
from otel_bridge.cli.run import _start
from otel_bridge.errors import CommandError
from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.cli.programs import PROGRAM, run


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


@pytest.mark.slow
def test_a_program_that_fails_at_once_is_not_only_asked_about_its_instrumentation(tmp_path: Path) -> None:
    done = run(tmp_path, "false")
    assert done.returncode == 1
    assert done.stderr.startswith("otel-bridge: no spans came; the program ended with exit code 1; ")


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


@pytest.mark.parametrize("words", [["run", "--help"], ["-c", "bridge.yaml", "run", "--help"]])
def test_its_options_are_listed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BRIDGE_CONFIG", "")  # which -c sets: it is as it was afterwards
    done = CliRunner().invoke(app, words)
    assert "--config" in done.stdout
    assert "--json" in done.stdout
    assert "127" in done.stdout, "what no program answers for"


@pytest.mark.slow
def test_a_bridge_that_has_failed_meanwhile_is_told_of(tmp_path: Path) -> None:
    program = "import json, os, sys; os.kill(json.load(open(sys.argv[1]))['pid'], 9)"
    done = run(tmp_path, "--", sys.executable, "-S", "-c", program, str(tmp_path / "bridge.json"))
    assert done.returncode == 0
    assert f"the bridge has failed (-9); what it had taken is in {tmp_path}" in done.stderr


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
