"""A limit on the memory of a process, by what this machine has: cgroup 2, cgroup 1, or RLIMIT_DATA."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
JOIN = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


@dataclass(slots=True, frozen=True)
class Limit:
    """How the limit is set, and the words before a command that put it under the limit."""

    how: str
    under: tuple[str, ...]
    group: Path | None = None

    @property
    def kills(self) -> int:
        """How often the system killed for it."""
        if self.group is None:
            return 0
        for name in ("memory.events", "memory.oom_control"):
            if (file := self.group / name).exists():
                said = dict(line.split() for line in file.read_text().splitlines())
                return int(said.get("oom_kill", 0))
        return 0


@contextmanager
def memory_limit(mib: int) -> Iterator[Limit]:
    """The best that can be had; cgroups count the page cache too, and give it up before they kill."""
    for how, parent, file in (
        ("cgroup 2", ROOT, "memory.max"),
        ("cgroup 1", ROOT / "memory", "memory.limit_in_bytes"),
    ):
        group = parent / f"otel-bridge-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / file).exists():
                (group / file).write_text(str(mib << 20))
                yield Limit(f"{how}, {mib} MiB", ("sh", "-c", JOIN, str(group)), group)
                return
        finally:
            group.rmdir()
    yield Limit(f"RLIMIT_DATA, {mib} MiB (no cgroup can be written here)", ("prlimit", f"--data={mib << 20}"))
