"""Nothing acknowledged is lost: over any schedule, at any crash, and when a real process is killed."""

import asyncio
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from otel_bridge.batch import Batch, Signal
from otel_bridge.errors import JournalFullError
from otel_bridge.journal import Entry
from otel_bridge.journal.disk import Disk, UnsyncedDisk
from otel_bridge.journal.reader import read_segments
from otel_bridge.journal.segments import Segments, open_segments
from otel_bridge.telemetry import Counters

PIPELINES = ("main", "audit")
TENANTS = ("default", "blue", "grün")


class JournalMachine(RuleBasedStateMachine):
    """Appends, trims, restarts and crashes with a torn tail, against a dictionary that remembers everything."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.directory = self.root / "0"
        self.runner = asyncio.Runner()
        self.durable: dict[int, tuple[str, str, bytes, int]] = {}
        self.accepted: dict[tuple[str, str, Signal], int] = defaultdict(int)
        self.trimmed_below = 0
        self.crashes = 0

    @initialize()
    def open(self) -> None:
        self.stack = AsyncExitStack()
        self.counters = Counters()
        self.journal: Segments = self.runner.run(
            self.stack.enter_async_context(
                open_segments(
                    self.directory,
                    max_bytes=40_000,
                    segment_bytes=1500,
                    commit_bytes=600,
                    counters=self.counters,
                    disk=UnsyncedDisk(),
                )
            )
        )

    def close(self) -> None:
        self.runner.run(self.stack.aclose())

    @rule(
        appends=st.lists(
            st.lists(
                st.tuples(
                    st.sampled_from(PIPELINES), st.sampled_from(TENANTS), st.binary(max_size=300), st.integers(0, 5)
                ),
                min_size=1,
                max_size=3,
            ),
            min_size=1,
            max_size=6,
        )
    )
    def append(self, appends: list[list[tuple[str, str, bytes, int]]]) -> None:
        async def run() -> list[BaseException | None]:
            return await asyncio.gather(
                *(
                    self.journal.append(
                        [
                            (pipeline, Batch.from_wire(Signal.TRACES, wire, tenant=tenant, item_count=items))
                            for pipeline, tenant, wire, items in group
                        ]
                    )
                    for group in appends
                ),
                return_exceptions=True,
            )

        seq = self.journal.next_seq
        for group, result in zip(appends, self.runner.run(run()), strict=True):
            assert result is None or isinstance(result, JournalFullError)
            if result is None:
                for entry in group:
                    self.durable[seq] = entry
                    self.accepted[entry[0], entry[1], Signal.TRACES] += entry[3]
                    seq += 1
        assert self.journal.next_seq == seq

    @rule(part=st.floats(0, 1))
    def trim(self, part: float) -> None:
        self.trimmed_below = max(self.trimmed_below, int(self.journal.next_seq * part))
        self.journal.trim(self.trimmed_below)
        self.settle()

    def settle(self) -> None:
        """Wait for the thread that trims."""
        self.journal._thread.submit(int).result(5)

    @rule()
    def restart(self) -> None:
        self.close()
        self.open()

    @rule(torn=st.binary(max_size=200), index=st.booleans())
    def crash(self, torn: bytes, index: bool) -> None:
        """The files as they are while it runs, with an unfinished write behind them."""
        self.crashes += 1
        copy = self.root / str(self.crashes)
        shutil.copytree(self.directory, copy)
        self.close()
        with max(copy.glob("*.seg")).open("ab") as file:
            file.write(torn)
        if not index:
            for path in copy.glob("*.idx"):
                path.unlink()
        self.directory = copy
        before = self.journal.next_seq
        self.open()
        assert self.journal.next_seq >= before

    @invariant()
    def everything_durable_is_there(self) -> None:
        if not hasattr(self, "journal"):
            return
        kept = {seq: entry for seq, entry in self.durable.items() if seq >= self.trimmed_below}
        for pipeline in PIPELINES:
            found = {
                entry.seq: (pipeline, entry.batch.tenant, entry.batch.wire, entry.batch.item_count)
                for entry in self.journal.scan(0, pipeline, max_bytes=1 << 30)
            }
            assert found.items() <= self.durable.items()
            assert found.keys() >= {seq for seq, entry in kept.items() if entry[0] == pipeline}
            for tenant in TENANTS:
                of_tenant = [entry.seq for entry in self.journal.scan(0, pipeline, tenant, max_bytes=1 << 30)]
                assert of_tenant == [seq for seq, entry in found.items() if entry[1] == tenant]
        for seq, (pipeline, tenant, wire, _) in list(kept.items())[-3:]:
            entry = self.journal.read(seq)
            assert entry is not None
            assert (entry.pipeline, entry.batch.tenant, entry.batch.wire) == (pipeline, tenant, wire)
        assert self.journal.accepted()[1] == self.accepted
        assert self.counters.value("journal_corrupt_records") == 0
        assert self.counters.value("journal_missing_records") == 0

    def teardown(self) -> None:
        self.close()
        self.runner.close()
        shutil.rmtree(self.root)


JournalMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestJournal = pytest.mark.slow(JournalMachine.TestCase)


class RecordingDisk(Disk):
    """Writes down every operation, so that the disk can be rebuilt as any crash may leave it.

    failing: some syncs fail, so that segments are abandoned.
    """

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.failing = False
        self._files: dict[int, int] = {}
        self._next_file = 0
        self._syncs = 0

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self._next_file += 1
        self._files[fd] = self._next_file
        self.done.append(("create", path.name, self._next_file))
        return fd

    def write(self, fd: int, parts: Sequence[bytes]) -> None:
        super().write(fd, parts)
        self.done.append(("write", self._files[fd], b"".join(parts)))

    def sync(self, fd: int) -> None:
        self._syncs += 1
        if self.failing and self._syncs % 11 == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.done.append(("sync", self._files[fd]))

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self.done.append(("truncate", self._files[fd], size))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self.done.append(("rename", source.name, target.name))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.done.append(("unlink", path.name))

    def sync_directory(self, path: Path) -> None:
        self.done.append(("sync_directory",))


class CrashedDisk:
    """The files as a crash after some operations may leave them.

    What was synced is there. Of what was written to a file since, any pieces are: the others are zeros, or the file
    ends. Of what was done to the directory since, any beginning is.
    """

    def __init__(self, done: Sequence[tuple[Any, ...]]) -> None:
        self.content: dict[int, bytearray] = {}
        self.synced: dict[int, int] = {}
        self.loose: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.names: dict[str, int] = {}
        self.loose_names: list[tuple[str, str, int | str | None]] = []
        for operation, *details in done:
            if replay := getattr(self, operation, None):
                replay(*details)

    def create(self, name: str, file: int) -> None:
        self.content[file] = bytearray()
        self.synced[file] = 0
        self.loose_names.append(("create", name, file))

    def rename(self, source: str, target: str) -> None:
        self.loose_names.append(("rename", source, target))

    def unlink(self, name: str) -> None:
        self.loose_names.append(("unlink", name, None))

    def write(self, file: int, written: bytes) -> None:
        at = len(self.content[file])
        self.content[file] += written
        end = at + len(written)
        self.loose[file] += [(start, min(start + 256, end)) for start in range(at, end, 256)]

    def truncate(self, file: int, size: int) -> None:
        del self.content[file][size:]
        self.loose[file] = [(start, min(end, size)) for start, end in self.loose[file] if start < size]

    def sync(self, file: int) -> None:
        self.synced[file] = len(self.content[file])
        self.loose[file].clear()

    def sync_directory(self) -> None:
        self.name_files(len(self.loose_names))

    def name_files(self, count: int) -> None:
        for operation, name, other in self.loose_names[:count]:
            if operation == "create":
                self.names[name] = int(other or 0)
            elif name in self.names:
                file = self.names.pop(name)
                if operation == "rename":
                    self.names[str(other)] = file
        self.loose_names.clear()

    def lay_out(self, directory: Path, chance: random.Random) -> None:
        self.name_files(chance.randint(0, len(self.loose_names)))
        for name, file in self.names.items():
            left = self.content[file]
            for start, end in self.loose[file]:
                if chance.random() < 0.4:
                    left[start:end] = bytes(end - start)
            if self.loose[file] and chance.random() < 0.6:
                del left[chance.randint(self.synced[file], len(left)) :]
            (directory / name).write_bytes(left)


async def recorded(directory: Path) -> list[tuple[Any, ...]]:
    """What a journal does to its disk over a while, with what was acknowledged and let go in between."""
    disk = RecordingDisk()
    wires: dict[bytes, int] = {}

    async def append(journal: Segments, name: int, members: int) -> None:
        group = [b"%d/%d " % (name, member) * 30 for member in range(members)]
        disk.done.append(("attempted", group))
        try:
            await journal.append([("main", Batch.from_wire(Signal.TRACES, wire, item_count=1)) for wire in group])
        except JournalFullError:
            return
        disk.done.append(("acknowledged", group))

    name = below = 0
    for _ in range(3):
        async with open_segments(
            directory, max_bytes=1 << 20, segment_bytes=2500, commit_bytes=1500, disk=disk
        ) as journal:
            disk.failing = True
            for turn in range(6):
                await asyncio.gather(*(append(journal, name + n, n % 3 + 1) for n in range(5)))
                name += 5
                if turn % 3 == 2:
                    below = journal.next_seq - 15
                    disk.done.append(("let go", [wire for wire, seq in wires.items() if seq < below]))
                    journal.trim(below)
                wires |= {entry.batch.wire: entry.seq for entry in journal.scan(below, "main")}
            disk.failing = False
    return disk.done


def check_crash_states(tmp_path: Path, count: int, seed: int) -> None:
    print(f"\n{count} crash states of seed {seed}")
    done = asyncio.run(recorded(tmp_path / "recorded"))
    chance = random.Random(seed)
    attempted = {wire for operation in done if operation[0] == "attempted" for wire in operation[1]}
    assert attempted > {wire for operation in done if operation[0] == "acknowledged" for wire in operation[1]}
    for state in range(count):
        point = chance.randint(1, len(done))
        directory = tmp_path / "state"
        directory.mkdir()
        CrashedDisk(done[:point]).lay_out(directory, chance)
        acknowledged: set[bytes] = set()
        for operation, *details in done[:point]:
            if operation == "acknowledged":
                acknowledged |= set(details[0])
            elif operation == "let go":
                acknowledged -= set(details[0])
        (held, lost), after = asyncio.run(reopened_twice(directory))

        assert acknowledged <= set(held), f"state {state} of seed {seed}: {point} operations"
        assert set(held) <= attempted
        assert len(held) == len(set(held))
        assert after == ([*held, b"new"], lost), "recovering again gives the same"
        groups = defaultdict(set)
        for wire in held:
            groups[wire.split(b"/")[0]].add(wire)
        torn = sum(int(name) % 5 % 3 + 1 - len(found) for name, found in groups.items())
        assert torn <= lost, "all or none, or lost and accounted for where a mark tells of it"
        shutil.rmtree(directory)


async def reopened_twice(directory: Path) -> list[tuple[list[bytes], int]]:
    """What it held each time, and how many entries were lost."""
    found = []
    for _ in range(2):
        async with open_segments(directory, disk=UnsyncedDisk()) as journal:
            entries = journal.scan(0, "main")
            held = [entry.batch.wire for entry in entries if isinstance(entry, Entry)]
            found.append((held, len(entries) - len(held)))
            await journal.append([("main", Batch.from_wire(Signal.TRACES, b"new", item_count=1))])
    return found


@pytest.mark.slow
def test_no_crash_state_loses_what_was_acknowledged(tmp_path: Path) -> None:
    check_crash_states(tmp_path, 500, seed=random.SystemRandom().randrange(1 << 32))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_crash_states(tmp_path: Path) -> None:
    check_crash_states(tmp_path, 10_000, seed=random.SystemRandom().randrange(1 << 32))


LOAD = """
import asyncio, os, sys
from pathlib import Path
from otel_bridge.batch import Batch, Signal
from otel_bridge.journal.segments import open_segments

async def produce(journal, name):
    n = 0
    while True:
        wire = b"%d.%d.%d " % (os.getpid(), name, n)
        await journal.append([(p, Batch.from_wire(Signal.TRACES, wire * 20, item_count=1)) for p in ("main", "audit")])
        os.write(1, wire + b"\\n")
        n += 1

async def main():
    async with open_segments(Path(sys.argv[1]), segment_bytes=20_000) as journal, asyncio.TaskGroup() as tasks:
        for name in range(8):
            tasks.create_task(produce(journal, name))

asyncio.run(main())
"""


def kill_and_look(directory: Path, runs: int) -> None:
    """Each run resumes where the last was killed; its lines are what it acknowledged."""
    acknowledged: list[bytes] = []
    chance = random.Random(7)
    for _ in range(runs):
        with subprocess.Popen([sys.executable, "-c", LOAD, str(directory)], stdout=subprocess.PIPE) as process:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 400))]
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().splitlines(keepends=True)
            acknowledged += [line.strip() for line in [*lines, *rest] if line.endswith(b"\n")]
        journal = read_segments(directory)
        for pipeline in ("main", "audit"):
            held = [entry.batch.wire for entry in journal.scan(0, pipeline, max_bytes=1 << 30)]
            assert set(acknowledged) <= {wire.split(b" ")[0] for wire in held}
            assert len(held) == len(set(held))


@pytest.mark.slow
def test_killed_under_load_it_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    kill_and_look(tmp_path / "journal", 8)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_a_hundred_times(tmp_path: Path) -> None:
    kill_and_look(tmp_path / "journal", 100)
