"""The versions of a Langfuse server, and what came with each."""

import re
from typing import TypeAlias

Version: TypeAlias = tuple[int, int, int]

MEDIA: Version = (3, 0, 0)  # /api/public/media
OTLP: Version = (3, 22, 0)  # /api/public/otel/v1/traces
GZIP: Version = (3, 30, 0)
TYPES: Version = (3, 98, 2)  # agent, tool, chain, retriever, evaluator, embedding, guardrail
V4: Version = (4, 0, 0)  # immutable observations, no trace entity
SCORE_LISTS: Version = (4, 59, 0)  # an array at /api/public/scores
NEWEST: Version = SCORE_LISTS


def parse(text: str) -> Version | None:
    """`4.61.0`, `v3.98.2-rc.1` → three numbers; None for anything else."""
    found = re.match(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None
