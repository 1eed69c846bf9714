"""What changes the disk: a few operations in one place, so that tests can fail each of them and replay any crash."""

import errno
import fcntl
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from otel_bridge.errors import FilesError, InUseError
from otel_bridge.files import reason, remedy

KEPT_FREE_BYTES = 64 << 20  # a quarter of a small disk
LOCK = "lock"
IN_MEMORY = frozenset({"tmpfs", "ramfs"})
FAR = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "vboxsf"})
IOV_MAX: int = os.sysconf("SC_IOV_MAX")


class Space(NamedTuple):
    """The bytes of a file system.

    kept: what the journal leaves free. Without room for the state nothing could be confirmed, and a journal that took
        all would never let go of anything. Half of it is the local store's, which needs less than that to go on.
    """

    total: int
    free: int
    kept: int

    @classmethod
    def of(cls, directory: Path) -> "Space":
        """As it is now."""
        found = os.statvfs(directory)
        total = found.f_blocks * found.f_frsize
        if not total:  # some network file systems do not say
            return cls(sys.maxsize, sys.maxsize, 0)
        return cls(total, found.f_bavail * found.f_frsize, min(KEPT_FREE_BYTES, total // 4))


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
        """Raise ENOSPC where that much can not be written and leave what the bridge's other files need."""
        space = Space.of(directory)
        if space.free < size + space.kept:
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

    def doubt(self, directory: Path) -> str | None:
        """Why what is synced may not be safe in a directory that we hold; None if nothing is known against it."""
        kind, options = _file_system(directory)
        if kind in IN_MEMORY:
            return f"{kind} is gone when the machine is"
        if kind in FAR or kind.startswith("fuse"):
            return f"{kind} may answer before it has written, and may not lock"
        if "volatile" in options:
            return f"{kind} is mounted as volatile: it does not write what is synced"
        return None if _keeps_locks(directory) else f"{kind} does not keep locks: nothing holds a second bridge off"

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

    def doubt(self, directory: Path) -> str | None:
        """Nothing is promised that could be doubted."""
        return None


def _file_system(directory: Path) -> tuple[str, list[str]]:
    """The kind of file system that a directory lies on, and the options it is mounted with; empty if nobody tells."""
    path = str(directory.resolve())
    found: tuple[int, str, list[str]] = (0, "", [])
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "", []
    for line in mounts:
        mount, _, source = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), mount.split(" ")[4])
        if len(point) >= found[0] and (path == point or path.startswith(point.rstrip("/") + "/")):
            kind, _, options = source.split(" ", 2)
            found = (len(point), kind, options.split(","))
    return found[1:]


def _keeps_locks(directory: Path) -> bool:
    """Whether the lock of a directory that is held keeps others away."""
    fd = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


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
    return FilesError(f"{path} cannot be used by uid {os.getuid()}: {reason(path, error)}; {remedy(error)}")


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the directory alone, until let go or killed.

    Raises:
        InUseError: another process holds it (says which). FilesError: it cannot be locked.
    """
    path, owner = directory / LOCK, os.getpid()
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
            raise InUseError(
                f"{directory} is in use by another otel-bridge, process {pid}: stop it, or name another data_dir"
            ) from error
        except OSError as error:
            raise unusable(path, error) from error
        _held.add(fd)
        yield
    finally:
        if fd in _held or os.getpid() == owner:
            _held.discard(fd)
            os.close(fd)


def _let_go() -> None:
    """A forked child has the lock as well, and would keep it when its parent has ended."""
    for fd in _held:
        os.close(fd)
    _held.clear()


_held: set[int] = set()
os.register_at_fork(after_in_child=_let_go)
