"""Write a file for each call of a model, in a folder for each run."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, model_validator

from otel_bridge import call_log_names
from otel_bridge.component import Host, Settle, Takes, exporter
from otel_bridge.config import Bytes, Config, LocalPath, Seconds
from otel_bridge.errors import FilesError, RetryableError
from otel_bridge.exporters.call_log.job import in_job
from otel_bridge.files import Files, reason
from otel_bridge.model import Translation


class CallLogConfig(Config):
    """dir: `llm_log` in the data folder unless said otherwise. run_key: the attribute that names a span's run; without
    it a trace is one.

    `minimal` has no content: tokens, cost, latency, model, whether it went well; `standard` has what was asked and
    answered as well, `full` all else that is known of a call. Past the limits, the oldest runs go.

    job: a program's own JSON file, whose `llm_logging` says what is not said here.
    """

    ENVIRONMENT: ClassVar = {"level": call_log_names.LEVEL, "format": call_log_names.FORMAT, "dir": call_log_names.DIR}

    job: LocalPath | None = None
    dir: LocalPath | None = None
    level: Literal["off", "minimal", "standard", "full"] = "standard"
    format: Literal["yaml", "json", "jsonl"] = "yaml"
    run_key: str = "run.id"
    max_runs: Annotated[int, Field(ge=1)] = 1000
    max_bytes: Bytes = 1 << 30
    max_age: Seconds = 30 * 24 * 3600
    fsync: bool = True

    @model_validator(mode="before")
    @classmethod
    def _as_its_job_says(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("job"), str | Path):
            return given
        folder = Path((info.context or {}).get("folder", ""))
        return {**in_job(Files(folder).text(str(given["job"])), given["job"]), **given}


@exporter(CallLogConfig, takes=Takes.SETTLED)
async def call_log(config: CallLogConfig, host: Host) -> AsyncIterator[Settle]:
    """Write a file for each call of a model, in a folder for each run, as YAML, JSON or JSON lines."""
    if config.level == "off":

        async def leave(_translation: Translation) -> None:
            """Take it, and write nothing."""

        yield leave
        return
    from otel_bridge.exporters.call_log.logs import Logs

    loop = asyncio.get_running_loop()
    folder = config.dir or host.data_dir / call_log_names.FOLDER
    with ThreadPoolExecutor(1, thread_name_prefix="call_log") as thread:
        opened = partial(
            Logs,
            folder,
            level=config.level,
            format=config.format,
            run_key=config.run_key,
            max_runs=config.max_runs,
            max_bytes=config.max_bytes,
            max_age_s=config.max_age,
            fsync=config.fsync,
            host=host,
        )
        try:
            logs = await loop.run_in_executor(thread, opened)
        except OSError as error:
            raise FilesError(f"{folder} cannot be written to: {reason(folder, error)}; name another dir") from error

        async def settle(translation: Translation) -> None:
            try:
                await loop.run_in_executor(thread, logs.settled, translation)
            except OSError as error:
                raise RetryableError(f"{folder} could not be written: {error.strerror or error}") from error

        try:
            yield settle
        finally:
            await asyncio.to_thread(thread.shutdown)  # it may wait for another process, seconds long
