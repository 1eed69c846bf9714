"""Ctrl-C while a program is being instrumented, which takes seconds, and after that."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_bridge.cli.run import SITE
from tests.cli.programs import run

CTRL_C = "import os, signal, threading; os.kill(os.getpid(), signal.SIGINT); threading.Event().wait(20)"


@pytest.fixture(autouse=True)
def _as_in_the_foreground() -> Iterator[None]:
    """In the background it is ignored, which programs inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _instrumented_by(tmp_path: Path, does: str) -> Path:
    """In the place of OpenTelemetry's own: what it does before the program begins."""
    package = tmp_path / "path" / "opentelemetry" / "instrumentation"
    package.mkdir(parents=True)
    (package.parent / "util").mkdir()
    for folder in (package.parent, package, package.parent / "util"):
        (folder / "__init__.py").touch()
    (package / "auto_instrumentation.py").write_text(f"def initialize(): {does}\n")
    return package.parents[1]


def _program(text: str, path: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": f"{SITE}{os.pathsep}{path}"}
    command = [sys.executable, "-c", text]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20)


def test_before_a_program_has_begun_ctrl_c_ends_it_without_a_word(tmp_path: Path) -> None:
    done = _program("print('begun')", _instrumented_by(tmp_path, CTRL_C))
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("pass", "KeyboardInterrupt"),
        ("import signal; signal.signal(2, lambda *_: print('theirs') or exit())", "theirs"),
    ],
)
def test_once_it_has_begun_ctrl_c_is_its_own(tmp_path: Path, does: str, said: str) -> None:
    text = f"try:\n    {CTRL_C}\nexcept KeyboardInterrupt: print('KeyboardInterrupt')"
    done = _program(text, _instrumented_by(tmp_path, does))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{said}\n", "")


def test_a_python_that_knows_no_types_of_collections_is_instrumented_too(tmp_path: Path) -> None:
    """As before 3.9, where none of them takes one in brackets."""
    path = _instrumented_by(tmp_path, "print('instrumented')")
    older = "import collections.abc, contextlib, runpy; collections.abc.Iterator = type('Iterator', (), {})"
    command = [sys.executable, "-c", f"{older}; runpy.run_path({str(SITE / 'sitecustomize.py')!r})"]
    environ = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "instrumented\n", "")


@pytest.mark.slow
def test_run_says_how_it_ended(tmp_path: Path) -> None:
    path = _instrumented_by(tmp_path, CTRL_C)
    script = f'PYTHONPATH="$PYTHONPATH:{path}" exec "{sys.executable}" -c pass'
    done = run(tmp_path / "data", "--", "sh", "-c", script)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == "otel-bridge: no spans came: the program was ended by SIGINT\n"
