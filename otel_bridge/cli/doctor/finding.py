"""What a check finds: that something is as it should be, or what is wrong and what to do."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(slots=True, frozen=True)
class Finding:
    """What a check found, in a sentence that says what to do.

    exit_code: of a fault, what the command ends with if it is the first. facts: the same for programs.
    """

    check: str
    level: Level
    said: str
    exit_code: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)


def ok(check: str, said: str, **facts: Any) -> Finding:
    """It is as it should be."""
    return Finding(check, Level.OK, said, 0, facts)


def warning(check: str, said: str) -> Finding:
    """It works, and is probably not meant."""
    return Finding(check, Level.WARNING, said, 0)


def fault(check: str, said: str, exit_code: int = 1) -> Finding:
    """It does not work."""
    return Finding(check, Level.FAULT, said, exit_code)


def ms_since(began_s: float) -> int:
    """Milliseconds, of a monotonic clock."""
    return round((time.monotonic() - began_s) * 1000)
