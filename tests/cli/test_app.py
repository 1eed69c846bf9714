"""How the program starts and ends: quickly, with a sentence and the right exit code, and without a traceback."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from otel_bridge import __version__
from otel_bridge.telemetry import printable

Run = Callable[..., subprocess.CompletedProcess[str]]

HEAVY = {"grpc", "langfuse", "pydantic", "apsw", "uvicorn", "aiohttp", "google.protobuf", "opentelemetry"}


def modules_after(statement: str) -> set[str]:
    shown = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(shown.stdout.split())


@pytest.mark.slow
def test_help_imports_nothing_heavy() -> None:
    """Start-up is a promise: what a command needs is imported when it is called."""
    assert not modules_after("import otel_bridge.cli.app") & HEAVY


@pytest.mark.slow
def test_healthcheck_imports_next_to_nothing() -> None:
    """A container asks every few seconds."""
    loaded = modules_after("import otel_bridge.__main__; from otel_bridge.cli.found import place; place(None)")

    assert not loaded & {*HEAVY, "typer", "rich", "asyncio"}


@pytest.mark.slow
def test_version(run: Run) -> None:
    assert run("version").stdout.startswith(f"otel-bridge {__version__}")
    found = json.loads(run("version", "--json").stdout)
    assert (found["version"], found["langfuse"]) == (__version__, version("langfuse"))


@pytest.mark.slow
def test_help_lists_every_command(run: Run) -> None:
    shown = run("--help").stdout

    for command in ("serve", "demo", "translate", "traces", "trace", "validate", "config", "audit", "healthcheck"):
        assert f"  {command}" in shown


@pytest.mark.slow
@pytest.mark.parametrize("words", [["no-such-command"], ["serve", "--no-such-option"], ["translate"]])
def test_wrong_words_end_with_2(run: Run, words: list[str]) -> None:
    result = run(*words)

    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_file_that_is_not_there(run: Run) -> None:
    """A sentence that names it, not a traceback."""
    result = run("translate", "nowhere.traces.pb")

    assert result.returncode == 73
    assert "nowhere.traces.pb" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_closed_pipe_is_quiet(environ: dict[str, str], tmp_path: Path) -> None:
    """As with `| head -1`: whoever reads has enough."""
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_bridge", "config", "schema"],
        env=environ,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()

    said = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)

    assert said == b""


def test_what_comes_from_elsewhere_cannot_move_the_cursor() -> None:
    assert printable("a\x1b[2Jb\x07\n", keep="\n") == "a\\x1b[2Jb\\x07\n"
    assert printable("naïve · 漢") == "naïve · 漢"


@pytest.mark.slow
@pytest.mark.parametrize("words", [["no-such-command"], ["traces", "--no-such-option"], ["translate"]])
def test_wrong_words_are_said_to_programs_too(run: Run, words: list[str]) -> None:
    said = json.loads(run(*words, "--json").stderr)

    assert said["exitCode"] == 2
    assert said["error"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["traces"], ["trace"], ["audit"]])
def test_looking_into_the_files_of_a_configuration(run: Run, tmp_path: Path, words: list[str]) -> None:
    """Given before the command, after it, or in the environment; else another bridge's figures would be shown."""
    (tmp_path / "mine.yaml").write_text("service: {data_dir: over-there}")

    for given, more in (
        (["-c", "mine.yaml", *words], {}),
        ([*words, "-c", "mine.yaml"], {}),
        (words, {"OTEL_BRIDGE_CONFIG": "mine.yaml"}),
    ):
        result = run(*given, more=more)
        assert result.returncode == 73, result.stdout
        assert "over-there" in result.stderr
