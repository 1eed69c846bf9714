"""Translations as the exporter gets them."""

from typing import Any

from otel_bridge.model import Observation, ObservationType, TraceAttributes, Translation

SECOND = 1_000_000_000
START_NS = 1_790_000_000 * SECOND


def seen(id_: str, kind: str = "GENERATION", *, at: float = 0.0, trace_id: str = "t1", **said: Any) -> Observation:
    """An observation that took 250 ms, `at` seconds after the first."""
    start_ns = START_NS + int(at * SECOND)
    whole: dict[str, Any] = {
        "id": id_,
        "trace_id": trace_id,
        "parent_id": None,
        "type": ObservationType(kind),
        "name": "chat gpt-5.2",
        "start_ns": start_ns,
        "end_ns": start_ns + SECOND // 4,
        "trace": TraceAttributes(trace_id, name="plan a week"),
    }
    return Observation(**{**whole, **said})


def translated(*observations: Observation, tenant: str = "default") -> Translation:
    return Translation(observations=list(observations), tenant=tenant)
