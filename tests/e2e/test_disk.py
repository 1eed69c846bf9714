"""The bridge on disks that are full, slow, read-only, or not its own."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.e2e.load import Load
from tests.e2e.process import BridgeProcess, until_there

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


async def full_and_back(bridge: BridgeProcess, langfuse: FakeLangfuse, chars: int = 20_000) -> None:
    """Fill the disk while Langfuse is away; then everything that was taken arrives, and new data is taken again."""
    for door in ("health", "otlp"):
        langfuse.always(door, Fault(does="disconnect"))
    bridge.start(wait_s=60)
    load = Load(bridge.url, chars=chars)
    await fill(load, 300)
    assert load.acked, "nothing was ever taken"

    for door in ("health", "otlp"):
        langfuse.always(door, None)
    assert await asyncio.to_thread(until_there, langfuse, load.acked, 90) == set()
    again = Load(bridge.url, next_number=1_000_000)
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
@pytest.mark.parametrize("chars", [250, 20_000])
@pytest.mark.timeout(600)
async def test_full_disks_of_other_sizes_and_with_small_spans(
    bridge: BridgeProcess, langfuse: FakeLangfuse, small_disk: MountDisk, size: str, chars: int
) -> None:
    bridge.data = small_disk(f"size={size}") / "data"
    await full_and_back(bridge, langfuse, chars)
