"""The files that a configuration is read from: how they are read, and whether they have changed since."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

MAX_REFERENCED_BYTES = 64 << 10  # a key, a certificate: whatever is larger is another file than was meant

Stamp: TypeAlias = tuple[int, int, int, int, int] | None
"""Device, inode, size and times of change (of what is in it; of that, its owner or its rights) of what a path leads to,
through all links; None where there is nothing."""


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
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        try:
            found = os.fstat(fd)
            self.stamps[path] = _stamp(found)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"{path} is no regular file")
            content = os.read(fd, MAX_REFERENCED_BYTES + 1)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
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
