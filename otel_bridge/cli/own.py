"""A bridge of `otel-bridge run`'s own, and who else sends to it: it goes on until the last of them has gone.

Each `run` holds a shared lock on a file in the data dir, also where it found a bridge. Who started one ends it, if no
other holds the lock; else the bridge does so itself. It notices by its standard input, which ends with whoever started
it, also if that is killed.
"""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from otel_bridge.cli.found import Found, find
from otel_bridge.errors import FilesError, PlanError, UnreachableError

LOCK, START_LOCK = "runs.lock", "runs-start.lock"
START_S = 20.0
LOOK_EVERY_S = 0.02


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


def _opened(data_dir: Path, name: str) -> int:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(data_dir / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FilesError(f"{data_dir} can not be used: {error.strerror}") from error


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class OwnBridge:
    """A bridge that we have started; made by `begin`.

    waiting: what it said when it had ended that is still to be delivered, by exporter and signal.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", out: IO[bytes], err: IO[bytes]) -> None:
        self.process = process
        self.waiting: Mapping[str, Mapping[str, int]] = {}
        self._out = out
        self._err = err

    @property
    def code(self) -> int | None:
        """How it has ended; None where it goes on."""
        return self.process.returncode

    def started(self, data_dir: Path, stopped: Callable[[], bool]) -> Found:
        """Where it listens, once it does; nowhere where it is `stopped` before.

        Raises:
            PlanError, FilesError, UnreachableError: it does not; says why.
        """
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            if stopped():
                return Found(self.process.pid, {})
            if self.process.poll() is not None:
                why, *mistakes = _error(_read(self._err))
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

    def hear(self) -> None:
        """Read what it said, where it has ended well."""
        if self.code == 0:
            self.waiting = json.loads(_read(self._out).splitlines()[-1])["waiting"]


@contextmanager
def begin(config: Path | None, environ: Mapping[str, str]) -> Iterator[OwnBridge]:
    """Start a bridge, which goes on after this."""
    options = ["--config", str(config)] if config else []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # a pipe that nobody reads would hold it up
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "otel_bridge", "serve", "--json", "--settle-at-end", "--while-used", *options],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            env=dict(environ),
            start_new_session=True,  # Ctrl-C is the command's
        )
        own = OwnBridge(process, out, err)
        try:
            yield own
        finally:
            own.hear()


def _error(said: str) -> list[str]:
    """The lines of what a bridge said when it could not start, as JSON unless it came to no more."""
    last = said.strip().rpartition("\n")[2]
    try:
        return str(json.loads(last)["error"]).split("\n")
    except (ValueError, TypeError, KeyError):
        return [last]


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
