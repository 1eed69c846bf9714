"""Killed, or failed by its disk, at a system call that is named: what was acknowledged is there all the same.

The program is the bridge's journal and state without its doors: it says what it has accepted, what it has delivered,
and what it has refused. `strace` ends it, or fails the call, when the call is made for the nth time. The long matrix is
by hand: `pytest -m long tests/e2e/test_points.py -s`.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from otel_bridge.journal import Entry
from otel_bridge.journal.reader import read_segments
from otel_bridge.journal.state import open_state
from otel_bridge.telemetry import Counters

PROGRAM = """
import asyncio, os, sys
from collections import Counter
from pathlib import Path
from otel_bridge.batch import Batch, Signal
from otel_bridge.errors import FilesError, JournalFullError
from otel_bridge.journal.segments import open_segments
from otel_bridge.journal.state import open_state
from otel_bridge.telemetry import Counters, Outcome

sys.stdout = sys.stderr  # the logs: a line of them may be written in two pieces

def say(what, wire):
    os.write(1, what + b" " + wire.split(b" ")[0] + b"\\n")

async def produce(journal, name, times):
    for n in range(times):
        wires = [b"%d.%d.%d.%d " % (os.getpid(), name, n, member) for member in range(name + 1)]
        try:
            await journal.append([("main", Batch.from_wire(Signal.TRACES, wire * 20, item_count=1)) for wire in wires])
        except JournalFullError:
            for wire in wires:
                say(b"refused", wire)
            journal._no_space_until = 0.0
        else:
            for wire in wires:
                say(b"accepted", wire)

async def deliver(journal, state):
    while True:
        position = state.exporters.position("main", "store", "default")
        await journal.wait(position + 1)
        for entry in journal.scan(position + 1, "main", max_bytes=3000):
            say(b"delivered", entry.batch.wire)
            outcomes = Counter({(Signal.TRACES, Outcome.DELIVERED, ""): 1})
            state.exporters.confirm("main", "store", "default", entry.seq, outcomes)
        if await state.flush(durable=True):
            journal.trim(state.exporters.position("main", "store", "default") + 1)

async def main():
    root, times = Path(sys.argv[1]), int(sys.argv[2])
    async with open_state(root / "state.db", Counters()) as state:
        async with open_segments(root / "journal", segment_bytes=3000, least_seq=state.least_seq) as journal:
            state.exporters.register("main", "store", settled=False, start_seq=1, accepted={})
            delivering = asyncio.create_task(deliver(journal, state))
            async with asyncio.TaskGroup() as tasks:
                for name in range(3):
                    tasks.create_task(produce(journal, name, times))
            delivering.cancel()

try:
    asyncio.run(main())
except FilesError as error:
    raise SystemExit(error.exit_code)
"""

FAILS = {"writev": "ENOSPC", "fdatasync": "EIO", "rename": "EIO", "unlink": "EIO", "fsync": "EIO", "ftruncate": "EIO"}
KILLS = ("writev", "fdatasync", "sendto", "rename", "fsync", "unlink", "pwrite64", "ftruncate")


class Said(NamedTuple):
    accepted: set[bytes]
    delivered: set[bytes]
    refused: set[bytes]


@pytest.fixture(scope="module", autouse=True)
def _traceable() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed here")
    tried = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-o", os.devnull, "-e", "trace=fsync", "true"], capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"processes can not be traced here: {tried.stderr.strip()}")


class Points:
    """A folder over several runs of the program, and all that they have said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = Said(set(), set(), set())

    def run(self, call: str = "", inject: str = "", times: int = 12) -> int:
        """Run it, with an injection into a system call if one is named; what it ended with."""
        tracing = ["strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:{inject}"]
        if "signal" not in inject:
            tracing.append("--seccomp-bpf")  # ten times faster, but it injects no signals
        program = [sys.executable, "-B", "-c", PROGRAM, str(self.folder), str(times)]
        done = subprocess.run([*(tracing if call else []), *program], capture_output=True, timeout=100)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        assert b"error" not in done.stderr or "error=" in inject, done.stderr.decode()
        for line in done.stdout.splitlines():
            what, wire = line.split()
            getattr(self.said, what.decode()).add(wire)
        return done.returncode

    def look(self) -> None:
        """What was accepted and not delivered is there once, what was refused is not, and the state knows no more."""
        for _ in range(2):
            journal = self.folder / "journal"
            found = read_segments(journal).scan(0, "main", max_bytes=1 << 30) if journal.exists() else []
            held = [(entry.seq, entry.batch.wire.split(b" ")[0]) for entry in found if isinstance(entry, Entry)]
            assert len(held) == len(found), "nothing is damaged"
            wires = [wire for _, wire in held]
            assert len(wires) == len(set(wires))
            assert self.said.accepted - self.said.delivered <= set(wires)
            assert not self.said.refused & set(wires)
            position = asyncio.run(position_in(self.folder / "state.db"))
            assert {wire for seq, wire in held if seq <= position} <= self.said.delivered


async def position_in(path: Path) -> int:
    async with open_state(path, Counters()) as state:
        return state.exporters.position("main", "store", "default") if state.exporters.registered else 0


@pytest.fixture
def points(tmp_path: Path) -> Points:
    return Points(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("writev", 6),  # before anything of it is written
        ("fdatasync", 12),  # written, not synced
        ("sendto", 4),  # synced, and nobody has been told
        ("rename", 2),  # a new segment is whole, and has no name
        ("unlink", 1),  # confirmed, and about to go
    ],
)
def test_killed_at_a_point_everything_acknowledged_is_there(points: Points, call: str, when: int) -> None:
    assert points.run(call, f"signal=KILL:when={when}") == -9
    points.look()
    assert points.run(times=2) == 0, "it goes on with the same files"
    points.look()
    assert points.said.accepted


@pytest.mark.slow
def test_killed_while_it_recovers_again_and_again(points: Points) -> None:
    """Each start is killed at another step of the same recovery."""
    points.run("fdatasync", "signal=KILL:when=14")
    for call in ("writev", "rename", "fsync"):
        assert points.run(call, "signal=KILL:when=1") == -9
        points.look()
    assert points.run(times=2) == 0
    points.look()


@pytest.mark.slow
@pytest.mark.parametrize(("call", "when"), [("writev", "5..7"), ("fdatasync", "14..16")])
def test_what_the_disk_fails_is_refused_and_never_comes_back(points: Points, call: str, when: str) -> None:
    assert points.run(call, f"error={FAILS[call]}:when={when}") == 0
    assert points.said.refused
    assert points.said.accepted
    points.look()


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_killed_at_every_point(tmp_path: Path) -> None:
    runs: dict[str, int] = {}
    for call in KILLS:
        for when in range(1, 9):
            folder = tmp_path / f"{call}-{when}"
            folder.mkdir()
            points = Points(folder)
            points.run(times=3)
            killed = points.run(call, f"signal=KILL:when={when}") == -9
            runs[call] = runs.get(call, 0) + killed
            points.look()
            assert points.run(times=2) == 0, (call, when)
            points.look()
            shutil.rmtree(folder)
    print(f"\nkilled at {sum(runs.values())} points, nothing lost: {runs}")
    assert all(runs.values())


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_failed_at_every_point(tmp_path: Path) -> None:
    runs = 0
    for call, error in FAILS.items():
        for when in range(1, 9):
            folder = tmp_path / f"{call}-{when}"
            folder.mkdir()
            points = Points(folder)
            points.run(times=3)
            code = points.run(call, f"error={error}:when={when}..{when + 2}")
            assert code in (0, 73), (call, when)
            points.look()
            assert points.run(times=2) == 0, (call, when)
            points.look()
            runs += 1
            shutil.rmtree(folder)
    print(f"\n{runs} failures of the disk, nothing lost and nothing refused came back")
