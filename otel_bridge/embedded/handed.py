"""What an engine was handed before it was up: a file for each request, until the journal has it.

A file is whole or not there. Who reads it holds its lock, so of several engines one takes it.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from otel_bridge.sdk.saying import Log

if TYPE_CHECKING:
    from otel_bridge.receivers.in_process import InProcess

log = Log(logging.getLogger("otel_bridge.embedded"))

SIGNALS = ("traces", "logs")
MAX_BYTES = 256 << 20  # of what waits in the folder


def put(folder: Path, signal: str, wire: bytes) -> None:
    """Keep a request of a signal; it is on disk when this returns.

    Raises:
        OSError: as the system says, or there is too much already.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (there := _size(folder)) + len(wire) > MAX_BYTES:
        raise OSError(
            f"{folder} has {there >> 20} MiB that no bridge took, and gets no more than {MAX_BYTES >> 20} MiB"
        )
    written = folder / f"{time.time_ns()}-{os.getpid()}-{secrets.token_hex(4)}.part"
    fd = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(wire)
            file.flush()
            os.fsync(fd)
        written.rename(written.with_suffix(f".{signal}"))
    except BaseException:
        written.unlink(missing_ok=True)
        raise


def takes(folder: Path) -> bool:
    """Whether anything can be kept there, as far as can be told before."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


async def take_in(folder: Path, door: "InProcess") -> None:
    """Hand all of it to the journal, the oldest first; what it does not take stays for the next time."""
    from otel_bridge.batch import Batch, Signal
    from otel_bridge.errors import ConsumeError, MalformedError

    for path in await asyncio.to_thread(_files, folder):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not path.exists():  # another engine took it, between
                    continue
                taken: Future[object] = door.send(Batch.from_wire(Signal(path.suffix[1:]), file.read()))  # type: ignore[assignment]
                await asyncio.wrap_future(taken)
                path.unlink()
        except BlockingIOError:
            continue
        except (OSError, ConsumeError) as error:
            log.warning("otel-bridge: %s is kept for the next start: %s", path, error)
        except MalformedError as error:
            log.warning("otel-bridge: %s is no OTLP, and left where it is: %s", path, error)


def _files(folder: Path) -> list[Path]:
    """What is whole; what a process that is gone has left unfinished is removed."""
    for part in folder.glob("*-*-*.part"):
        try:
            os.kill(int(part.stem.split("-")[1]), 0)
        except ProcessLookupError:
            part.unlink(missing_ok=True)
        except (ValueError, OSError):
            continue  # none of ours, or another user's process
    return sorted(path for path in folder.glob("*") if path.suffix[1:] in SIGNALS)


def _size(folder: Path) -> int:
    size = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was taken meanwhile
            size += path.stat().st_size
    return size
