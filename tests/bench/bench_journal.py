"""What a batch costs on its way to disk: µs of wall clock and CPU per batch, beside SQLite doing the same.

python tests/bench/bench_journal.py [directory on the disk to measure]
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import apsw

from otel_bridge.batch import Batch, Signal
from otel_bridge.journal.segments import Segments, open_segments

SIZES = {"1 small span": 400, "64 small": 25_600, "64 llm": 488_000}


class Cost(NamedTuple):
    wall_us: float
    cpu_us: float


def measured(count: int, work: Callable[[], None]) -> Cost:
    """The cost of each of `count` things that `work` does."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost((time.perf_counter() - wall) / count * 1e6, (time.process_time() - cpu) / count * 1e6)


def segments(directory: Path, size: int, count: int, producers: int, durability: Literal["fsync", "os"]) -> Cost:
    """`producers` tasks, each waiting for its batch to be durable before it sends the next."""
    batch = Batch.from_wire(Signal.TRACES, bytes(size), item_count=1)

    async def produce(journal: Segments, times: int) -> None:
        for _ in range(times):
            await journal.append([("main", batch)])

    async def run() -> None:
        async with (
            open_segments(directory, max_bytes=64 << 30, durability=durability) as journal,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(producers):
                tasks.create_task(produce(journal, count // producers))

    return measured(count, lambda: asyncio.run(run()))


def sqlite(path: Path, size: int, count: int, per_transaction: int) -> Cost:
    """WAL and synchronous FULL: durable at each commit."""
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE batch (seq INTEGER PRIMARY KEY, tenant TEXT, wire BLOB)")
    wire = bytes(size)

    def work() -> None:
        for _ in range(0, count, per_transaction):
            with db:
                for _ in range(per_transaction):
                    db.execute("INSERT INTO batch (tenant, wire) VALUES ('default', ?)", (wire,))

    cost = measured(count, work)
    db.close()
    return cost


LOADS: tuple[tuple[int, Literal["fsync", "os"]], ...] = ((1, "fsync"), (8, "fsync"), (64, "fsync"), (64, "os"))


def main(root: Path) -> None:
    """Print the costs, with the files under `root`."""
    for name, size in SIZES.items():
        count = max(64, min(20_000, (64 << 20) // size)) // 64 * 64
        print(f"{name}: {size} bytes, {count} batches")
        references = {}
        for per in (1, 8, 64):
            label = f"sqlite WAL FULL, {per} in a transaction"
            with tempfile.TemporaryDirectory(dir=root) as directory:
                cost = sqlite(Path(directory) / "batches.db", size, count, per)
            print(f"  {label:40} {cost.wall_us:9.1f} µs wall {cost.cpu_us:8.1f} µs CPU")
            references[per] = cost
        for producers, durability in LOADS:
            with tempfile.TemporaryDirectory(dir=root) as directory:
                cost = segments(Path(directory) / "journal", size, count, producers, durability)
            label = f"segments, {producers} waiting, {durability}"
            print(
                f"  {label:40} {cost.wall_us:9.1f} µs wall {cost.cpu_us:8.1f} µs CPU"
                f"   {cost.wall_us / references[producers].wall_us:.2f} of sqlite's wall,"
                f" {cost.cpu_us / references[producers].cpu_us:.2f} of its CPU"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()))
