"""After recovery: damaged bytes are put aside, torn ends cut off, missing indexes written, and all of it reported."""

import os
from pathlib import Path

from otel_bridge.journal.disk import Disk
from otel_bridge.journal.recovery import Recovered, Scan
from otel_bridge.journal.segment import INDEX_SUFFIX, Segment, read_at
from otel_bridge.telemetry import Counters, logger

QUARANTINE_BYTES = 64 << 20


class Quarantine:
    """Damaged bytes, for whoever wants to look, as long as they are not too many."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._directory = directory / "quarantine"
        self._disk = disk
        self._bytes = sum(path.stat().st_size for path in self._directory.iterdir()) if self._directory.is_dir() else 0

    def keep(self, path: Path, offset: int, raw: bytes) -> None:
        """Copy bytes of a segment, found damaged at an offset; the same again replaces the copy."""
        self._bytes += len(raw)
        if self._bytes > QUARANTINE_BYTES:
            return
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            _write(self._disk, self._directory / f"{path.stem}-{offset}.bin", raw)
        except OSError as error:
            logger("journal").warning("damaged bytes could not be kept", segment=path.name, error=str(error))

    def move(self, path: Path) -> None:
        """Put a whole file aside."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._disk.rename(path, self._directory / path.name)


def repair(found: Recovered, directory: Path, disk: Disk, quarantine: Quarantine) -> None:
    """Leave the directory as if nothing had happened; may be interrupted anywhere and done again.

    Raises:
        OSError: the directory cannot be written.
    """
    for path in found.unreadable:
        quarantine.move(path)
    for result in found.scans:
        _repair_segment(result, disk, quarantine)
    stems = {segment.path.stem for segment in found.segments}
    for path in directory.iterdir():
        if path.suffix == ".tmp" or (path.suffix == INDEX_SUFFIX and path.stem not in stems):
            disk.unlink(path)


def _repair_segment(result: Scan, disk: Disk, quarantine: Quarantine) -> None:
    segment = result.segment
    fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for offset, length in result.damage:
            quarantine.keep(segment.path, offset, read_at(fd, length, offset))
        if result.torn:
            disk.truncate(fd, segment.size)
            disk.sync(fd)
    finally:
        os.close(fd)
    write_index(segment, disk)  # last: it says that all is in order


def write_index(segment: Segment, disk: Disk) -> OSError | None:
    """Write a sealed segment's index; returns what kept it from being written, for it is only a short cut."""
    packed = segment.pack_index()
    try:
        _write(disk, segment.index_path, packed)
    except OSError as error:
        return error
    segment.index_bytes = len(packed)
    return None


def _write(disk: Disk, path: Path, content: bytes) -> None:
    fd = disk.create(path)
    try:
        disk.write(fd, [content])
    finally:
        os.close(fd)


def report(found: Recovered, directory: Path, counters: Counters) -> None:
    """Count what recovery found, and say what a human should know."""
    counts = {
        "journal_corrupt_records": found.corrupt,
        "journal_missing_records": found.missing,
        "journal_unknown_records": found.unknown,
        "journal_torn_bytes": sum(result.torn for result in found.scans),
        "journal_unreadable_segments": len(found.unreadable),
        "journal_stray_files": len(found.strays),
    }
    for name, count in counts.items():
        if count:
            counters.add(name, count)
    log = logger("journal")
    if found.corrupt or found.missing or found.unreadable:
        log.error(
            "the journal was damaged; what could not be read is kept in its quarantine folder",
            directory=str(directory),
            corrupt_records=found.corrupt,
            missing_records=found.missing,
            unreadable_segments=len(found.unreadable),
            of_unknown_owners=found.unknown,
        )
    if found.strays:
        log.warning("files in the journal's directory are not its own", names=", ".join(found.strays[:5]))
