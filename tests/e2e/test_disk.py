"""The bridge on disks that are full, read-only or not its own, with a large backlog, and with too few descriptors."""

import asyncio
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_bridge.batch import Batch, Signal
from otel_bridge.journal.disk import UnsyncedDisk
from otel_bridge.journal.segments import open_segments
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.e2e.load import BULK, Body, Load, template
from tests.e2e.process import PLAN, BridgeProcess, until_there

MountDisk = Callable[[str], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[MountDisk]:
    """A file system of its own, by the options of tmpfs."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        at = tmp_path / f"disk{len(mounted)}"
        at.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a file system can not be mounted here, which takes root: {done.stderr.strip()}")
        mounted.append(at)
        return at

    if not shutil.which("mount"):
        pytest.skip("there is no mount here")
    yield mount
    for at in mounted:
        subprocess.run(["umount", "-l", str(at)], check=True)


async def fill(load: Load, wait_s: float) -> None:
    """Send until nothing has been taken for three seconds; what is refused is not tried again then."""
    running = asyncio.create_task(load.run(workers=4))
    until, acked, quiet_s = time.monotonic() + wait_s, 0, 0
    while time.monotonic() < until and quiet_s < 3:
        await asyncio.sleep(1)  # this is how long, not whether
        quiet_s = quiet_s + 1 if load.acked and len(load.acked) == acked else 0
        acked = len(load.acked)
    load.stopped = True
    await running
    assert quiet_s, "it never was full"


async def full_and_back(bridge: BridgeProcess, langfuse: FakeLangfuse, body: Body = "llm") -> None:
    """Fill the disk while Langfuse is away; then everything that was taken arrives, and new data is taken again."""
    for door in ("health", "otlp"):
        langfuse.always(door, Fault(does="disconnect"))
    bridge.start(wait_s=100)
    load = Load(bridge.url, bodies=(body,))
    await fill(load, 300)
    assert load.acked, "nothing was ever taken"

    for door in ("health", "otlp"):
        langfuse.always(door, None)
    assert await asyncio.to_thread(until_there, langfuse, load.acked, 90) == set()
    again = Load(bridge.url, sender=2)
    await asyncio.wait_for(again.run(traces=20), 60)
    assert await asyncio.to_thread(until_there, langfuse, again.acked, 60) == set()
    assert len(again.acked) == 100
    bridge.audit()
    assert bridge.stop()[0] == 0
    assert "Traceback" not in bridge.log


@pytest.mark.slow
async def test_a_full_disk_refuses_drains_and_accepts_again(
    bridge: BridgeProcess, langfuse: FakeLangfuse, small_disk: MountDisk
) -> None:
    bridge.data = small_disk("size=6m") / "data"
    await full_and_back(bridge, langfuse)


@pytest.mark.long
@pytest.mark.parametrize("size", ["8m", "16m", "64m"])
@pytest.mark.parametrize("body", ["light", "llm"])
@pytest.mark.timeout(600)
async def test_full_disks_of_other_sizes_and_with_small_spans(
    bridge: BridgeProcess, langfuse: FakeLangfuse, small_disk: MountDisk, size: str, body: Body
) -> None:
    bridge.data = small_disk(f"size={size}") / "data"
    await full_and_back(bridge, langfuse, body)


def refused(bridge: BridgeProcess) -> tuple[int, str]:
    """What a start that fails ends with, and what it says."""
    plan = bridge.folder / "bridge.yaml"
    plan.write_text(bridge.plan.format(**{**vars(bridge), "data_dir": bridge.data_dir}))
    done = subprocess.run(
        [sys.executable, "-m", "otel_bridge", "serve", "--config", str(plan)],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_read_only_disk_is_refused_by_name(bridge: BridgeProcess, small_disk: MountDisk) -> None:
    disk = small_disk("size=6m,ro")
    bridge.data = disk / "data"
    code, said = refused(bridge)

    assert code == 73
    assert f"{bridge.data} cannot be used by uid {os.getuid()}: Read-only file system" in said


@pytest.mark.slow
def test_what_the_bridge_writes_is_for_its_owner_alone_whatever_the_umask(
    bridge: BridgeProcess, langfuse: FakeLangfuse
) -> None:
    """The journal, the state, the store and the dead letters, with their logs."""
    before = os.umask(0)
    try:
        bridge.start(wait_s=100)
    finally:
        os.umask(before)
    asyncio.run(Load(bridge.url).run(traces=2))
    found = {path: path.stat() for path in (bridge.data_dir, *bridge.data_dir.rglob("*"))}

    assert {"state.db", "store.db", "dead_letters.db", "journal"} <= {path.name for path in found}
    for path, stat in found.items():
        assert stat.st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.slow
def test_a_second_bridge_is_refused_and_the_first_unharmed(bridge: BridgeProcess, langfuse: FakeLangfuse) -> None:
    bridge.start(wait_s=100)
    code, said = refused(bridge)
    assert code == 73
    assert f"in use by another otel-bridge, process {bridge.process and bridge.process.pid}" in said
    load = Load(bridge.url)
    asyncio.run(load.run(traces=2))

    assert until_there(langfuse, load.acked, 30) == set()


@pytest.mark.slow
def test_a_bridge_that_was_suspended_goes_on(bridge: BridgeProcess, langfuse: FakeLangfuse) -> None:
    """As a laptop that was closed: what it was doing is finished, once."""
    bridge.start(wait_s=100)
    first, second = Load(bridge.url), Load(bridge.url, sender=2)
    asyncio.run(first.run(traces=20))
    assert bridge.process is not None
    bridge.process.send_signal(signal.SIGSTOP)
    time.sleep(4)  # the fault itself
    bridge.process.send_signal(signal.SIGCONT)
    asyncio.run(second.run(traces=20))

    assert until_there(langfuse, first.acked | second.acked, 60) == set()
    assert langfuse.duplicates == 0
    assert bridge.stop()[0] == 0
    assert "Traceback" not in bridge.log


@pytest.mark.slow
def test_without_descriptors_nothing_is_lost_and_it_goes_on_when_it_has_some(
    bridge: BridgeProcess, langfuse: FakeLangfuse
) -> None:
    bridge.start(wait_s=100)
    assert bridge.process is not None
    pid = bridge.process.pid
    load = Load(bridge.url)
    asyncio.run(load.run(traces=5))
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) + 5, limits[1]))
    held = [socket.create_connection(("127.0.0.1", bridge.http)) for _ in range(30)]
    time.sleep(1)  # the fault itself: it can accept no more
    assert bridge.process.poll() is None
    for one in held:
        one.close()
    again = Load(bridge.url, sender=2)
    asyncio.run(again.run(traces=20))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)

    assert until_there(langfuse, load.acked | again.acked, 60) == set()
    bridge.audit()


LANGFUSE_ALONE = PLAN.replace("exporters: [store, langfuse]", "exporters: [langfuse]")


async def write_backlog(journal_dir: Path, size: int) -> int:
    """Fill a journal with traces of llm-size spans; returns how many spans that are."""
    journal_dir.parent.mkdir(mode=0o700)
    turn = 0
    made = template(BULK, "llm", BULK.parts[0])
    async with open_segments(journal_dir, disk=UnsyncedDisk()) as journal:
        while journal.used_bytes < size:
            wire = made.numbered(1, turn, time.time_ns())
            await journal.append([("main", Batch.from_wire(Signal.TRACES, wire, item_count=BULK.round_spans))])
            turn += 1
    return turn * BULK.round_spans


@pytest.mark.long
@pytest.mark.timeout(600)
def test_with_a_gibibyte_behind_it_a_start_takes_no_longer_and_little_memory(
    bridge: BridgeProcess, langfuse: FakeLangfuse
) -> None:
    """It is killed while it reads what it knows nothing of, and again while it assembles."""
    for door in ("health", "otlp"):
        langfuse.always(door, Fault(does="disconnect"))
    bridge.plan = LANGFUSE_ALONE
    bridge.data, data = bridge.folder / "empty", bridge.data
    began = time.monotonic()
    bridge.start(wait_s=60)
    empty_s = time.monotonic() - began
    bridge.kill()
    bridge.data = data
    spans = asyncio.run(write_backlog(bridge.data_dir / "journal", 1 << 30))
    ready: list[float] = []
    most = 0.0
    for _ in range(3):
        began = time.monotonic()
        bridge.start(wait_s=60)
        ready.append(time.monotonic() - began)
        until = time.monotonic() + 20
        while time.monotonic() < until:  # it reads what has not settled
            most = max(most, bridge.rss_mib())
            time.sleep(0.2)
        bridge.kill()
    print(f"\n1 GiB, {spans} spans: ready in {ready} s, empty in {empty_s} s, at most {most:.0f} MiB")
    assert min(ready) < max(2, 1.5 * empty_s)
    assert most < 180


FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


@pytest.mark.long
@pytest.mark.parametrize("jump", ["-30d", "+30d"])
@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed here")
def test_a_wall_clock_that_jumps_expires_nothing(bridge: BridgeProcess, langfuse: FakeLangfuse, jump: str) -> None:
    """While Langfuse is away, so that all that was accepted waits; `max_age` is seven days."""
    for door in ("health", "otlp"):
        langfuse.always(door, Fault(does="disconnect"))
    clock = bridge.folder / "clock"
    clock.write_text("+0")
    bridge.environ = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    bridge.start(wait_s=100)
    before, after = Load(bridge.url), Load(bridge.url, sender=2)
    asyncio.run(before.run(traces=20))
    clock.write_text(jump)
    asyncio.run(after.run(traces=20))
    time.sleep(7)  # tidying comes round every five seconds
    for door in ("health", "otlp"):
        langfuse.always(door, None)

    assert until_there(langfuse, before.acked | after.acked, 120) == set()
    accounts = bridge.audit()
    assert sum(int(str(one["expired"])) for one in accounts) == 0
    assert min(path.name for path in (bridge.data_dir / "journal").glob("*.seg")).startswith("0000000000000000")
