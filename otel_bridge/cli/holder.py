"""Who has an address that we wanted: the system tells, of this user's processes; a viewer may tell more."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from otel_bridge.announcement import last

PROC = Path("/proc")
LISTENS = "0A"  # of a socket's states
LOCK = "lock"  # that a bridge holds in its data dir


def holder(endpoint: str, *, is_viewer: bool) -> str:
    """Who listens on a `host:port`, in words, or how to find out.

    Nobody is asked but a viewer, where the system does not tell, as of what another user has started.
    """
    port = int(endpoint.rpartition(":")[2])
    if (pid := _listener(port)) is not None:
        folder = _data_dir(pid)
        return (
            f"it is process {pid} ({_name(pid)})" if folder is None else f"it is the bridge on {folder}, process {pid}"
        )
    if is_viewer:
        from otel_bridge.cli.asking import holder as as_it_says

        if told := as_it_says(endpoint):
            return told
    how = f"ss -ltnp 'sport = :{port}'" if sys.platform == "linux" else f"lsof -nP -iTCP:{port} -sTCP:LISTEN"
    return f"`{how}` says which, as root also of other users"


def _listener(port: int) -> int | None:
    """The process that listens on a port, if there is one only, and it is one that we may look at."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    found = {pid for pid in _processes() if sockets.intersection(_open(pid))} if sockets else set()
    return found.pop() if len(found) == 1 else None


def _inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                if state == LISTENS and int(local.rpartition(":")[2], 16) == port:
                    yield inode


def _processes() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(path.name) for path in PROC.iterdir() if path.name.isdecimal())


def _open(pid: int) -> Iterator[str]:
    """What a process has open, by name."""
    with suppress(OSError):
        for path in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):  # it has been closed meanwhile
                yield str(path.readlink())


def _data_dir(pid: int) -> Path | None:
    """The data dir of a bridge of this user, which holds the lock there, and has announced itself."""
    with suppress(OSError):
        if (PROC / str(pid)).stat().st_uid == os.geteuid():  # what others have written is not read, by root either
            folders = (Path(name).parent for name in _open(pid) if name.endswith(f"/{LOCK}"))
            return next((folder for folder in folders if (found := last(folder)) and found.pid == pid), None)
    return None


def _name(pid: int) -> str:
    with suppress(OSError):
        return (PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    return "gone"
