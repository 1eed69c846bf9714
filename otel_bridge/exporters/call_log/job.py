"""What a program says of its log of calls in a job file of its own, JSON with a block `llm_logging`."""

from pathlib import Path
from typing import Any

import orjson

from otel_bridge import call_log_names
from otel_bridge.mistakes import hint

KEYS = ("enabled", "level", "format", "dir", "sanitize")


def in_job(text: str | None, name: str | Path) -> dict[str, Any]:
    """What the `llm_logging` of a job file says, in the keys of the configuration.

    Raises:
        ValueError: it cannot be read, or not be done; says what to do.
    """
    where = f"{name} llm_logging"
    if text is None:
        raise ValueError(f"there is no file {name}")
    try:
        job = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{name} is not JSON: {error}") from None
    said = job.get("llm_logging") if isinstance(job, dict) else None
    said = said if isinstance(said, dict) else {}
    if not said:
        raise ValueError(f"{name} has no llm_logging with keys and values in it")
    if unknown := [key for key in said if key not in KEYS]:
        raise ValueError(f"{where}::{unknown[0]}: no such key{hint(unknown[0], KEYS)}")
    for key in ("enabled", "sanitize"):
        if type(said.get(key, False)) is not bool:
            raise ValueError(f"{where}::{key}: must be true or false")
    if said.get("sanitize"):
        raise ValueError(f"{where}::sanitize: it is the processor redact that does this, put that into the pipeline")
    level = {} if said.get("enabled", True) else {"level": call_log_names.OFF}
    return {key: said[key] for key in ("level", "format", "dir") if key in said} | level
