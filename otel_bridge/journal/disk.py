"""What changes the disk: a few operations in one place, so that tests can fail each of them and replay any crash."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from otel_bridge.errors import FilesError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
KEPT_FREE_BYTES = 16 << 20  # a sixteenth of a small disk
IOV_MAX: int = os.sysconf("SC_IOV_MAX")


class Disk:
    """Every operation raises OSError as the system does."""

    def create(self, path: Path) -> int:
        """Open an empty file for appending, 0600 whatever the umask; replaces what has the name."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.fchmod(fd, 0o600)
        return fd

    def write(self, fd: int, parts: Sequence[bytes]) -> None:
        """Append all parts."""
        for start in range(0, len(parts), IOV_MAX):
            some = parts[start : start + IOV_MAX]
            written = os.writev(fd, some)
            rest = memoryview(b"".join(some))[written:] if written < sum(map(len, some)) else b""
            while rest:  # a disk that fills up takes the beginning first, and only then says so
                rest = rest[os.write(fd, rest) :]

    def require(self, directory: Path, size: int) -> None:
        """Raise ENOSPC where that much can not be written and leave what the bridge's other files need: without room
        for the state nothing could be confirmed, and a journal that took all would never let go of anything."""
        found = os.statvfs(directory)
        kept = min(KEPT_FREE_BYTES, found.f_blocks * found.f_frsize // 16)
        if found.f_bavail * found.f_frsize < size + kept:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))

    def sync(self, fd: int) -> None:
        """Bring what was written to stable storage. After an error, what was written may be lost: never try again."""
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file off."""
        os.ftruncate(fd, size)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, replacing what had it."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def sync_directory(self, path: Path) -> None:
        """Bring what was created, renamed and deleted in a directory to stable storage."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class UnsyncedDisk(Disk):
    """For `durability: os`: what was written survives a kill of the process, not a loss of power."""

    def sync(self, fd: int) -> None:
        """Leave it to the operating system."""

    def sync_directory(self, path: Path) -> None:
        """Leave it to the operating system."""


def own_directory(directory: Path) -> None:
    """Make the directory where it is missing, for our eyes only.

    Raises:
        FilesError: it cannot be used; says which, and as whom we tried.
    """
    try:
        if directory.is_symlink():
            raise FilesError(f"{directory} is a symbolic link: name the directory that it leads to")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(directory.stat().st_mode) != 0o700:
            directory.chmod(0o700)
    except OSError as error:
        raise unusable(directory, error) from error


def unusable(path: Path, error: OSError) -> FilesError:
    """What to tell when files cannot be used."""
    return FilesError(
        f"{path} cannot be used by uid {os.getuid()}: {error.strerror or error}; "
        "give that user the directory, or name another data_dir"
    )


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the directory alone, until let go or killed.

    Raises:
        FilesError: another process holds it (says which), or it cannot be locked.
    """
    path = directory / "lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        except BlockingIOError as error:
            pid = os.pread(fd, 20, 0).decode("ascii", "replace") or "unknown"
            raise FilesError(
                f"{directory} is in use by another otel-bridge, process {pid}: stop it, or name another data_dir"
            ) from error
        except OSError as error:
            raise unusable(path, error) from error
        yield
    finally:
        os.close(fd)
