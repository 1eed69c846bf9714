"""Keep everything in a local SQLite file, for the viewer, the command line and the API to ask."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from otel_bridge.batch import Batch
from otel_bridge.clock import Clock
from otel_bridge.component import Host, Sinks, Takes, exporter
from otel_bridge.config import Bytes, Config, LocalPath, Seconds
from otel_bridge.errors import RetryableError
from otel_bridge.model import Translation
from otel_bridge.tasks import owned_tasks

HEAR_EVERY_S = 1.0


class StoreConfig(Config):
    """path: the file; `store.db` in the data folder unless said otherwise. Past the limits, the oldest traces go."""

    path: LocalPath | None = None
    max_age: Seconds = 30 * 24 * 3600
    max_bytes: Bytes = 4 << 30


@exporter(StoreConfig, takes=Takes.BOTH, max_batch_age_s=0.1)
async def store(config: StoreConfig, host: Host) -> AsyncIterator[Sinks]:
    """Keep spans as they come and observations as they settle in a local SQLite file."""
    from otel_bridge.store.writer import Writer

    loop = asyncio.get_running_loop()
    path = config.path or host.data_dir / "store.db"
    with ThreadPoolExecutor(1, thread_name_prefix="store") as thread:
        opened = partial(
            Writer,
            path,
            max_age_s=config.max_age,
            max_bytes=config.max_bytes,
            counters=host.counters,
            now_ns=Clock().steady_ns,
        )
        writer = await loop.run_in_executor(thread, opened)

        async def batches(batch: Batch) -> None:
            await loop.run_in_executor(thread, writer.batch, batch)

        async def settled(translation: Translation) -> None:
            await loop.run_in_executor(thread, writer.settled, translation)

        async def hear() -> None:
            while True:
                await asyncio.sleep(HEAR_EVERY_S)
                try:
                    await loop.run_in_executor(thread, writer.hear)
                except RetryableError:  # as delivery says, which writes to the same file
                    continue
                except Exception:  # a bug costs what one trace says while it is open, and not the flow
                    host.log.exception("what the spans of an open trace say can not be read")

        try:
            async with owned_tasks() as tasks:
                tasks.create_task(hear(), name=f"hear:{host.id}")
                yield Sinks(batches=batches, settled=settled)
        finally:
            await loop.run_in_executor(thread, writer.close)
