"""The variables that say how calls are logged to files, and where those lie where nobody says."""

import re
from collections.abc import Mapping

LEVEL, FORMAT, DIR = "OTEL_BRIDGE_LLM_LOG", "OTEL_BRIDGE_LLM_LOG_FORMAT", "OTEL_BRIDGE_LLM_LOG_DIR"
PREFIX = "OTEL_BRIDGE_LLM_LOG_PREFIX"
"""Holds what a program's own variables begin with: with `ACME_`, `ACME_LLM_LOG` is read where ours is not set."""

OURS = "OTEL_BRIDGE_"
OFF = "off"
EXPORTER = "call_log"
FOLDER = "llm_log"  # in the data dir
A_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def variable(name: str, environ: Mapping[str, str]) -> str:
    """Which variable says what `name` is to say: itself, or the one with a program's own prefix if only that is set."""
    prefix = environ.get(PREFIX, "")
    other = prefix + name.removeprefix(OURS)
    is_other = name.startswith(OURS) and A_PREFIX.fullmatch(prefix) and not environ.get(name) and environ.get(other)
    return other if is_other else name


def is_on(environ: Mapping[str, str]) -> bool:
    """Whether the environment asks for calls to be logged; a word that is none is told of where it is read."""
    return environ.get(variable(LEVEL, environ), "") not in ("", OFF)
