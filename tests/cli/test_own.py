"""Who uses a bridge that `run` has started."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from otel_bridge.announcement import announce
from otel_bridge.cli.own import (
    OwnBridge,
    begin_to_speak,
    coming,
    heard,
    lent,
    one_at_a_time,
    say_last,
    seized,
    use,
)
from otel_bridge.errors import FilesError, PlanError, UnreachableError
from otel_bridge.journal.disk import held


def never() -> bool:
    return False


def test_the_last_is_told_so_and_nobody_begins_until_it_is_over(tmp_path: Path) -> None:
    folder = tmp_path / "not there yet"
    with use(folder, never) as second:
        with use(folder, never) as first:
            assert not first.is_last()
        assert second.is_last()
        asked: list[bool] = []
        with use(folder, lambda: asked.append(True) or len(asked) > 2):
            assert len(asked) == 3, "it has waited, and was stopped"
        assert not seized(folder)
    assert seized(folder)


KILLED = """
import signal, subprocess, sys
from pathlib import Path
from otel_bridge.cli.own import lent, use
folder = Path(sys.argv[1])
with use(folder, lambda: False), lent(folder) as fd:
    subprocess.Popen([sys.executable, "-S", "-c", "print('up', flush=True); input()"], pass_fds=[fd])
    signal.pause()
"""


def test_a_program_whose_run_was_killed_goes_on_to_use_the_bridge(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as killed:
        assert killed.stdin is not None
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"up\n"
        killed.kill()
        killed.wait()
        assert not seized(tmp_path)
        killed.stdin.write(b"go on\n")
        killed.stdin.close()
        assert killed.stdout.read() == b"", "until it has ended"
    assert seized(tmp_path)


def test_what_a_program_leaves_behind_holds_up_nobody(tmp_path: Path) -> None:
    """Once the program itself has ended, as far as its run has seen that."""
    with lent(tmp_path) as fd:
        left = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[fd])
        assert not seized(tmp_path)
    with left:
        assert seized(tmp_path)
        left.communicate(b"\n")


def test_what_a_program_is_lent_is_in_nobodys_way(tmp_path: Path) -> None:
    """A script that writes to a descriptor which it finds open does not write into the lock."""
    with lent(tmp_path) as fd:
        assert fd >= 64
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"progress")
        assert not seized(tmp_path)


def test_a_program_is_lent_one_within_any_limit_of_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_bridge.cli.own.LENT_FROM", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    with lent(tmp_path):
        assert not seized(tmp_path)


def test_a_bridge_that_is_starting_is_waited_for(tmp_path: Path) -> None:
    """Whose folder it is says the lock, also where it has been left by a process that is gone."""
    asked: list[bool] = []

    def stopped() -> bool:
        asked.append(True)
        if len(asked) == 3:
            announce(tmp_path, {})
        return False

    assert coming(tmp_path, stopped) is None
    (tmp_path / "lock").write_text("99999999")
    assert coming(tmp_path, stopped) is None
    assert not asked
    with held(tmp_path):
        found = coming(tmp_path, stopped)
    assert found is not None
    assert found.pid == os.getpid()
    assert len(asked) == 3


def test_only_one_looks_for_a_bridge_and_starts_it(tmp_path: Path) -> None:
    """Of several that begin together the others find it then."""
    asked: list[bool] = []
    with one_at_a_time(tmp_path, never), one_at_a_time(tmp_path, lambda: asked.append(True) or len(asked) > 2):
        assert len(asked) == 3, "it has waited, and was stopped"
    with one_at_a_time(tmp_path, never):
        pass


SAYS = "import sys; print('a line before', file=sys.stderr); print({!r}, file=sys.stderr); sys.exit({})"
KILLS = "import os; os.kill(os.getpid(), {})"  # as a library that crashes does


@pytest.mark.parametrize(
    ("program", "error", "why"),
    [
        (
            SAYS.format(r'{"error": "a key is wrong\nand another", "exitCode": 78}', 78),
            PlanError,
            "a key is wrong\nand another",
        ),
        (SAYS.format('{"error": "it is in use", "exitCode": 73}', 73), FilesError, "it is in use"),
        (SAYS.format("Killed", 137), UnreachableError, "Killed"),
        (SAYS.format("    | OSError: no more\n    +-------------------\n", 1), UnreachableError, "OSError: no more"),
        (KILLS.format(11), UnreachableError, "it was ended by SIGSEGV, without a word"),
        (KILLS.format(35), UnreachableError, "it was ended by signal 35, without a word"),
    ],
)
def test_why_none_can_be_started_is_said_in_words(
    tmp_path: Path, program: str, error: type[Exception], why: str
) -> None:
    with (tmp_path / "err").open("w+b") as err:
        with subprocess.Popen([sys.executable, "-S", "-c", program], stderr=err) as process:
            own = OwnBridge(process, err)
        with pytest.raises(error, match=f"no bridge runs, and none can be started: {why}$"):
            own.started(tmp_path, never)


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(FilesError, match=r"file can not be used by uid .*: it is a file, and no folder"),
        use(tmp_path / "file", never),
    ):
        pass


def test_what_a_bridge_says_last_is_heard_as_its_own(tmp_path: Path) -> None:
    """Not as that of another, nor of one before it that had the same id, as in a container."""
    say_last(tmp_path, {"waiting": {"langfuse": {"spans": 3}}})
    assert heard(tmp_path, os.getpid()) == {"waiting": {"langfuse": {"spans": 3}}}
    assert heard(tmp_path, os.getpid() + 1) is None
    begin_to_speak(tmp_path)
    assert heard(tmp_path, os.getpid()) is None
