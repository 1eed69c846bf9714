"""What every proof stands on: a bridge in a scratch folder, a counting Langfuse behind it, and an eye on both."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests.e2e.load import Load
from tests.e2e.process import BridgeProcess, Vitals
from tests.e2e.sink import Sink, sink_process

EVERY_S = 0.5


@dataclass(slots=True)
class Rig:
    """A bridge, up, and the Langfuse that it delivers to."""

    bridge: BridgeProcess
    sink: Sink

    def check(self, *loads: Load, wait_s: float = 120) -> int:
        """All that was acknowledged is at Langfuse and in the store, and the accounts balance; returns how many.

        Raises:
            AssertionError: with what is missing where.
        """
        for load in loads:
            missing = self.sink.until_there(load, wait_s)
            assert not missing, f"{len(missing)} acknowledged spans are not at Langfuse: {missing[:5]} of {load.sender}"
            missing = self.until_stored(load, wait_s)
            assert not missing, (
                f"{len(missing)} acknowledged spans are not in the store: {missing[:5]} of {load.sender}"
            )
        self.bridge.audit()
        return sum(load.acked_count for load in loads)

    def until_stored(self, load: Load, wait_s: float) -> list[int]:
        """The same wait for the local store, which has them before Langfuse has, unless it was held up."""
        until = time.monotonic() + wait_s
        while (missing := load.lost(self.bridge.stored(load.sender))) and time.monotonic() < until:
            time.sleep(1)
        return missing


@contextmanager
def rig(*, on_sink: Sequence[str] = (), **bridge: Any) -> Iterator[Rig]:
    """Start both; the folder is kept where something went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="otel-bridge-proof-"))
    with sink_process(*on_sink) as sink:
        made = Rig(BridgeProcess(folder, sink.url, **bridge), sink)
        try:
            made.bridge.start()
            yield made
            if made.bridge.running:
                made.bridge.stop()
        except BaseException:
            print(f"data and log of the bridge are kept in {folder}", file=sys.stderr)
            raise
        finally:
            if made.bridge.running:
                made.bridge.kill()
    shutil.rmtree(folder)


@dataclass(slots=True)
class Watch:
    """A process over a time: (seconds, vitals) as they were seen, and the most that the journal took."""

    seen: list[tuple[float, Vitals]] = field(default_factory=list)
    journal_mib: float = 0.0

    def look(self, bridge: BridgeProcess) -> None:
        """Once; a bridge that is just not there is not seen."""
        try:
            self.seen.append((time.monotonic(), bridge.vitals))
            self.journal_mib = max(self.journal_mib, bridge.journal_mib)
        except (OSError, ValueError):
            return

    @property
    def peak_mib(self) -> float:
        return max(vitals.rss_mib for _, vitals in self.seen)

    @property
    def most_fds(self) -> int:
        return max(vitals.fds for _, vitals in self.seen)

    @property
    def cpu_s(self) -> float:
        """Between the first look and the last, at one and the same process."""
        return self.seen[-1][1].cpu_s - self.seen[0][1].cpu_s

    @property
    def cpu_share(self) -> float:
        """Of one core."""
        return self.cpu_s / max(self.seen[-1][0] - self.seen[0][0], 1e-9)

    @property
    def mib_per_hour(self) -> float:
        """The slope of resident memory, by least squares."""
        times = [at_s / 3600 for at_s, _ in self.seen]
        sizes = [vitals.rss_mib for _, vitals in self.seen]
        time_mean, size_mean = sum(times) / len(times), sum(sizes) / len(sizes)
        spread = sum((at - time_mean) ** 2 for at in times)
        pairs = zip(times, sizes, strict=True)
        return sum((at - time_mean) * (size - size_mean) for at, size in pairs) / spread if spread else 0.0


@asynccontextmanager
async def watching(bridge: BridgeProcess) -> AsyncIterator[Watch]:
    """Look at the bridge twice a second."""
    watch, over = Watch(), asyncio.Event()

    async def look() -> None:
        while not over.is_set():
            watch.look(bridge)
            try:
                await asyncio.wait_for(over.wait(), EVERY_S)
            except TimeoutError:
                continue

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        yield watch
        over.set()
        watch.look(bridge)


def arguments(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options of a proof; its docstring is its help."""
    as_written = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"python -m tests.proofs.{name}", description=about, formatter_class=as_written)


def verdict(failures: Sequence[str]) -> NoReturn:
    """Say whether what was to be shown was shown; the exit code says it too."""
    print("\n".join(f"NOT SHOWN: {failure}" for failure in failures) or "shown")
    sys.exit(bool(failures))
