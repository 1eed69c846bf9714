"""The files that a configuration is read from: how they are read, and whether they have changed since."""

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

MAX_REFERENCED_BYTES = 64 << 10  # a key, a certificate: whatever is larger is another file than was meant

Stamp: TypeAlias = tuple[int, int, int, int, int] | None
"""Device, inode, size and times of change (of what is in it; of that, its owner or its rights) of what a path leads to,
through all links; None where there is nothing."""

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE})

FOLDER, FILE = "folder", "file"
KINDS = {
    stat.S_IFDIR: FOLDER,
    stat.S_IFREG: FILE,
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


@dataclass(slots=True)
class Files:
    """Reads the files that a configuration refers to; relative paths begin at `folder`.

    stamps: what was read, or looked for in vain, as it was then.
    """

    folder: Path = field(default_factory=Path)
    stamps: dict[Path, Stamp] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """The content of a file without its trailing newline; None where there is no such file.

        Raises:
            ValueError: it can not be read, or not be meant; says why.
        """
        path = local(name, self.folder).absolute()
        self.stamps[path] = None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold up a start
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {reason(path, error)}") from error
        try:
            found = os.fstat(fd)
            self.stamps[path] = _stamp(found)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"{path} is a {KINDS[stat.S_IFMT(found.st_mode)]}, and no file")
            content = os.read(fd, MAX_REFERENCED_BYTES + 1)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {reason(path, error)}") from error
        finally:
            os.close(fd)
        if len(content) > MAX_REFERENCED_BYTES:
            raise ValueError(f"{path} is larger than {MAX_REFERENCED_BYTES >> 10}KiB")
        try:
            return content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text (byte {error.start})") from None


def local(name: str | Path, folder: Path = Path()) -> Path:
    """Where a name of a file or folder leads that somebody wrote: relative ones begin at `folder`, `~` is the home.

    Raises:
        ValueError: nowhere; says why.
    """
    try:
        return folder / Path(name).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with ~ and the name of nobody here: write the whole path") from error


def content(path: Path) -> bytes:
    """All of a file that somebody named; of a pipe what is written into it, as by the `<(…)` of a shell, and of a
    terminal what is typed.

    Raises:
        OSError: it can not be read; also of a pipe that nobody writes into, as its end would never come.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(fd, "rb") as file:
        begin = b""
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            with suppress(BlockingIOError):  # somebody has it open, and has not written yet
                if not (begin := os.read(fd, 1 << 16)):
                    raise OSError(errno.ENXIO, "it is a pipe, and nobody writes into it")
        os.set_blocking(fd, True)
        return begin + file.read()


def kind(path: Path) -> str | None:
    """What a path leads to, in a word; None where that is nothing, or can not be seen."""
    try:
        return KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except OSError:
        return None


def reason(path: Path, error: OSError) -> str:
    """Why a file or folder can not be used, for a person: as the system says it, and where it is of the wrong kind, or
    not there, which part of its name that is."""
    path = path.absolute()
    for part in reversed(path.parents):
        there = kind(part)
        if there is None and error.errno == errno.ENOENT:
            return f"there is no folder {part}"
        if there not in (FOLDER, None):
            return f"{part} is a {there}, and no folder"
    there = kind(path)
    if error.errno == errno.EISDIR:
        return "it is a folder, and no file"
    if error.errno in (errno.EEXIST, errno.ENOTDIR) and there is not None:
        return f"it is a {there}, and no folder"
    said = error.strerror or str(error)
    closed = next((part for part in reversed(path.parents) if not os.access(part, os.X_OK)), None)
    return f"{said} by {closed}" if error.errno == errno.EACCES and closed is not None else said


def remedy(error: OSError) -> str:
    """What to do where the files of a bridge can not be used."""
    if error.errno in TOO_MANY:
        return "raise the limit of open files (`ulimit -n`)"
    if error.errno in NO_SPACE:
        return "make room there, or name another data_dir"
    return "give that user the directory, or name another data_dir"


def stamp(path: Path) -> Stamp:
    """As a path is now."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def as_now(stamps: Mapping[Path, Stamp]) -> dict[Path, Stamp]:
    """The same paths as they are now."""
    return {path: stamp(path) for path in stamps}


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
