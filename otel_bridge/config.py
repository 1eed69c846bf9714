"""The base of everything a user writes in YAML, and the types that carry units."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)

from otel_bridge.files import local

__all__ = [
    "WRITTEN",
    "Bytes",
    "BytesOrNone",
    "Config",
    "LocalPath",
    "LocalPattern",
    "OfTenants",
    "Seconds",
    "SecretStr",
    "written_in",
]

WRITTEN = {"written": True}
"""The validation context of what a person wrote, in which amounts need a unit: who knows what `max_age: 30` means?"""


def written_in(folder: Path) -> dict[str, Any]:
    """The same of what stands in a file there: the names of files in it begin there."""
    return {**WRITTEN, "folder": folder}


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    return local(path, Path((info.context or {}).get("folder", "")))


def _pattern_from_folder(pattern: str, info: ValidationInfo) -> str:
    return str(_from_folder(Path(pattern), info))


LocalPath = Annotated[Path, AfterValidator(_from_folder)]
"""A file or folder of this machine. A relative name begins where the configuration file is, `~` is the home folder."""

LocalPattern = Annotated[str, AfterValidator(_pattern_from_folder)]
"""The same with `*` and `**` in it."""

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def _read(value: Any, info: ValidationInfo, units: dict[str, Any], example: str) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if (info.context or {}).get("written"):
            raise ValueError(f"{value} has no unit, write it as {example}")
        return value
    found = AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2] not in units:
        raise ValueError(f"write it as {example}")
    return float(found[1]) * units[found[2]]


def _seconds(value: Any, info: ValidationInfo) -> Any:
    return _read(value, info, SECONDS, "500ms, 6s, 2m, 12h or 7d")


def _bytes(value: Any, info: ValidationInfo) -> Any:
    read = _read(value, info, BYTES, "64KiB, 20MiB or 8GiB")
    return int(read) if isinstance(value, str) else read  # 1.5 of them is no size


def _show_seconds(value: float) -> str:
    for unit in ("d", "h", "m", "s"):
        if value >= SECONDS[unit] and value % SECONDS[unit] == 0:
            return f"{int(value / SECONDS[unit])}{unit}"
    return f"{value * 1000:.6f}".rstrip("0").rstrip(".") + "ms"


def _show_bytes(value: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % BYTES[unit] == 0:
            return f"{value // BYTES[unit]}{unit}"
    return f"{value}B"


def _text_of(units: dict[str, Any], *examples: str) -> WithJsonSchema:
    pattern = rf"^\s*\d+(\.\d+)?\s*({'|'.join(units)})\s*$"
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


Seconds = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False, strict=True),
    BeforeValidator(_seconds),
    PlainSerializer(_show_seconds, return_type=str),
    _text_of(SECONDS, "500ms", "6s", "2m", "12h", "7d"),
]
"""A duration above 0: a number of seconds in code, in a file text as `500ms`, `6s`, `2m`, `12h`, `7d`."""

Bytes = Annotated[
    int,
    Field(gt=0, strict=True),
    BeforeValidator(_bytes),
    PlainSerializer(_show_bytes, return_type=str),
    _text_of(BYTES, "64KiB", "20MiB", "8GiB"),
]
"""A size above 0: a number of bytes in code, in a file text as `64KiB`, `20MiB`, `8GiB`."""

BytesOrNone = Annotated[
    int,
    Field(ge=0, strict=True),
    BeforeValidator(_bytes),
    PlainSerializer(_show_bytes, return_type=str),
    _text_of(BYTES, "0B", "64MiB", "8GiB"),
]
"""The same, and `0B` for nothing."""


class Config(BaseModel):
    """What a user writes: unknown keys are errors, nothing changes after it was read, secrets never show.

    Defaults are numbers and are not validated again: only what was written has to carry units.

    INSTEAD: a key that others have, as the Collector does, and that people try here → what to do.
    ENVIRONMENT: a key → the variable of the environment that overrules what is written, where it is set.
    """

    INSTEAD: ClassVar[Mapping[str, str]] = {}
    ENVIRONMENT: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@runtime_checkable
class OfTenants(Protocol):
    """A configuration that says something else for some tenants."""

    @property
    def tenants(self) -> Mapping[str, Config]:
        """What is different, by tenant."""

    def of(self, tenant: str) -> Config:
        """The whole of what is so for a tenant."""
