"""A bridge that `otel-bridge run` has started, and who else sends to it: it goes on until the last of them has gone.

Each `run` holds a shared lock on a file in the data dir, also where it found a bridge, and lends its program another.
Whoever is the last ends the bridge, and reads in a file what it said then. If a `run` is killed, its program goes on
and has the lock that it was lent; once nobody has one, the bridge ends itself: it notices by its standard input, which
ends with whoever started it, and by the locks.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from otel_bridge.announcement import Found, find, is_alive, write
from otel_bridge.errors import FilesError, PlanError, UnreachableError
from otel_bridge.files import reason, remedy

LOCK, START_LOCK = "runs.lock", "runs-start.lock"
LAST_WORDS = "runs-end.json"
OWNER = "lock"  # of the folder, as `otel_bridge.journal.disk` has it, which is not imported before the program starts
START_S = 20.0
LOOK_EVERY_S = 0.005  # people wait for their program, or for the prompt
LENT_FROM = 64  # shells and scripts open by number, and take what they find below for theirs


class Use:
    """That this process sends to the bridge of a data dir; made by `use`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def is_last(self) -> bool:
        """Whether nobody else does. If so, nobody begins to until this use is over; if not, it is over now."""
        return _locked(self._fd, fcntl.LOCK_EX)


@contextmanager
def use(data_dir: Path, stopped: Callable[[], bool]) -> Iterator[Use]:
    """Send to the bridge of a data dir, once nobody is ending it any more or it is `stopped`.

    Raises:
        FilesError: the folder can not be used.
    """
    with _holding(data_dir, LOCK, fcntl.LOCK_SH, stopped) as fd:
        yield Use(fd)


@contextmanager
def lent(data_dir: Path) -> Iterator[int]:
    """A descriptor for a program, by which it uses the bridge of a data dir too: until this is over, whatever the
    program has left behind by then; and until its own end, where this process is killed.

    Raises:
        FilesError: the folder can not be used.
    """
    fd = _high(_opened(data_dir, LOCK, os.O_RDONLY))  # who writes to what it finds open writes nothing here
    try:
        _locked(fd, fcntl.LOCK_SH)  # as this process has one, nobody's is in its way
        yield fd
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


@contextmanager
def one_at_a_time(data_dir: Path, stopped: Callable[[], bool]) -> Iterator[None]:
    """Look for a bridge and start one, while no other does; or it is `stopped`.

    Raises:
        FilesError: the folder can not be used.
    """
    with _holding(data_dir, START_LOCK, fcntl.LOCK_EX, stopped):
        yield


@contextmanager
def _holding(data_dir: Path, name: str, how: int, stopped: Callable[[], bool]) -> Iterator[int]:
    fd = _opened(data_dir, name)
    try:
        while not _locked(fd, how) and not stopped():
            time.sleep(LOOK_EVERY_S)
        yield fd
    finally:
        os.close(fd)


def seized(data_dir: Path) -> bool:
    """Whether nobody uses the bridge of a data dir, which is this process; nobody begins to until it has ended."""
    fd = _opened(data_dir, LOCK)
    if _locked(fd, fcntl.LOCK_EX):
        return True
    os.close(fd)
    return False


def _opened(data_dir: Path, name: str, how: int = os.O_RDWR) -> int:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(data_dir / name, how | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FilesError(
            f"{data_dir} can not be used by uid {os.getuid()}: {reason(data_dir, error)}; {remedy(error)}"
        ) from error


def _high(fd: int) -> int:
    """The same by a number that nobody counts on, as far as the limit of open files has any."""
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LENT_FROM)
    except OSError:
        return fd
    os.close(fd)
    return high


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def begin_to_speak(data_dir: Path) -> None:
    """As the bridge of a data dir: what one before it said last is not ours."""
    (data_dir / LAST_WORDS).unlink(missing_ok=True)


def say_last(data_dir: Path, said: Mapping[str, Any]) -> None:
    """As the bridge of a data dir that has ended."""
    with suppress(OSError):  # then it is not known how it ended
        write(data_dir / LAST_WORDS, {**said, "pid": os.getpid()})


def heard(data_dir: Path, pid: int) -> dict[str, Any] | None:
    """What a bridge said when it had ended; None where it has not, or has failed."""
    with suppress(OSError, ValueError):
        said = json.loads((data_dir / LAST_WORDS).read_text(encoding="utf-8"))
        if isinstance(said, dict) and said.pop("pid", None) == pid:
            return said
    return None


class BorrowedBridge:
    """A bridge that another `run` has started."""

    code = None  # how it has ended, nobody knows but who started it

    def __init__(self, data_dir: Path, pid: int) -> None:
        self._data_dir = data_dir
        self._pid = pid

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def has_ended(self) -> bool:
        """Whether it has, as far as it says so or is gone."""
        return not is_alive(self._pid) or heard(self._data_dir, self._pid) is not None

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended in this time."""
        return _comes_true(self.has_ended, timeout_s)


class OwnBridge:
    """A bridge that we have started; made by `begin`."""

    def __init__(self, process: "subprocess.Popen[bytes]", err: IO[bytes]) -> None:
        self.process = process
        self._err = err

    @property
    def code(self) -> int | None:
        """How it has ended; None where it goes on."""
        return self.process.returncode

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        self.process.send_signal(number)

    def has_ended(self) -> bool:
        """Whether it has."""
        return self.process.poll() is not None

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended in this time."""
        return _comes_true(self.has_ended, timeout_s)  # Popen looks less and less often, 20 times a second in the end

    def started(self, data_dir: Path, stopped: Callable[[], bool]) -> Found:
        """Where it listens, once it does; nowhere where it is `stopped` before.

        Raises:
            PlanError, FilesError, UnreachableError: it does not; says why.
        """
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            if stopped():
                return Found(self.process.pid, {})
            if (code := self.process.poll()) is not None:
                why, *mistakes = _error(_read(self._err), code)
                reason = f"no bridge runs, and none can be started: {why}"
                if self.code == PlanError.exit_code:
                    raise PlanError([reason, *mistakes])
                if self.code == FilesError.exit_code:
                    raise FilesError(reason)
                raise UnreachableError(reason)
            if (found := find(data_dir)) is not None and found.pid == self.process.pid:
                return found
            time.sleep(LOOK_EVERY_S)
        raise UnreachableError(f"the bridge was not up after {START_S:.0f} s")


def _comes_true(is_so: Callable[[], bool], timeout_s: float) -> bool:
    until_s = time.monotonic() + timeout_s
    while not (true := is_so()) and time.monotonic() < until_s:
        time.sleep(LOOK_EVERY_S)
    return true


def coming(data_dir: Path, stopped: Callable[[], bool]) -> Found | None:
    """The bridge of somebody else that has a data dir, once it is up; None where none has it, or none comes up."""
    until_s = time.monotonic() + START_S
    while (pid := _owner(data_dir)) is not None and time.monotonic() < until_s:
        if stopped():
            return Found(pid, {})
        if (found := find(data_dir)) is not None and found.pid == pid:
            return found
        time.sleep(LOOK_EVERY_S)
    return None


def _owner(data_dir: Path) -> int | None:
    """The process that wrote itself into the lock of a data dir, if it lives.

    It is not asked for by locking: a bridge that begins at that moment would be told that another has the folder.
    """
    with suppress(OSError, ValueError):
        pid = int((data_dir / OWNER).read_text(encoding="ascii"))
        return pid if pid > 0 and is_alive(pid) else None
    return None


@contextmanager
def begin(config: Path | None, environ: Mapping[str, str]) -> Iterator[OwnBridge]:
    """Start a bridge, which goes on after this while others use it."""
    options = ["--config", str(config)] if config else []
    with tempfile.TemporaryFile() as err:  # a pipe that nobody reads would hold it up
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "otel_bridge", "serve", "--json", "--settle-at-end", "--while-used", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=err,
            env=dict(environ),
            start_new_session=True,  # Ctrl-C is the command's
        )
        try:
            yield OwnBridge(process, err)
        finally:
            if process.stdin is not None:
                process.stdin.close()


def signal_name(number: int) -> str:
    """What people call a signal; most of those for real time have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _error(said: str, code: int) -> list[str]:
    """The lines of what a bridge said when it could not start, as JSON unless it came to no more."""
    lines = [line.strip(" |+-") for line in said.splitlines()]  # which frame the error of a group
    how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    last = next((line for line in reversed(lines) if line), f"it {how}, without a word")
    try:
        return str(json.loads(last)["error"]).split("\n")
    except (ValueError, TypeError, KeyError):
        return [last]


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
