"""Standard streams that are closed, full, or read by nobody change nothing of what a command does."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from otel_bridge.cli.app import run
from otel_bridge.store.database import open_writing

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")


@pytest.mark.parametrize(
    ("words", "redirected", "code", "said"),
    [
        ("version", ">&-", 0, ""),
        ("run --nonsense -- true", "2>&-", 2, ""),  # and not on standard output in its place
        pytest.param("dialects", ">/dev/full", 73, "standard output can not be used: No space", marks=FULL),
        pytest.param("nonsense", "2>/dev/full", 2, "", marks=FULL),
        pytest.param("healthcheck --url http://127.0.0.1:1", ">/dev/full", 3, "", marks=FULL),
        pytest.param("run --nonsense -- true", "2>/dev/full", 2, "", marks=FULL),
    ],
)
def test_a_command_ends_as_it_does(words: str, redirected: str, code: int, said: str) -> None:
    command = f'exec "$0" -m otel_bridge {words} {redirected}'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stdout or done.stderr) == bool(said)


def test_no_file_gets_the_number_of_a_stream_that_is_closed() -> None:
    program = (
        "import os; from otel_bridge.cli.streams import open_standard_streams; open_standard_streams();"
        " number = os.open('/dev/null', 0); os._exit(number if number > 2 else 99)"
    )
    command = 'exec "$0" -c "$1" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable, program], timeout=60)
    assert done.returncode == 3


def test_a_width_of_nothing_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`COLUMNS=0` is what some containers say; everything was cut to that."""
    open_writing(tmp_path / "store.db").close()
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setattr(sys, "argv", ["otel-bridge", "traces", "--data-dir", str(tmp_path)])
    with pytest.raises(SystemExit):
        run()
    assert capsys.readouterr().out.startswith("No traces.")


def test_of_too_many_open_files_nobody_says_that_it_is_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a connection the system names no file; and it has none to let go of what is still to be written."""

    def fails(*_given: object, **_named: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("otel_bridge.cli.app.app", fails)
    monkeypatch.setattr("os.open", fails)
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 73
    assert capsys.readouterr().err == (
        "otel-bridge: no more files or connections can be opened: Too many open files;"
        " raise the limit of open files (`ulimit -n`)\n"
    )
