"""A share of all traces, on which everybody agrees who goes by their ids: agents and bridges, at whatever rates.

A greater share holds all that a smaller one does: what an agent has sampled at a rate a bridge keeps at the same one.
"""

RANDOM_BITS = (
    56  # the last of a trace id: https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling
)
RANDOM = (1 << RANDOM_BITS) - 1


def is_kept(trace_id: int, rate: float) -> bool:
    """Whether a share (0 to 1) of all traces holds this one."""
    return trace_id & RANDOM >= round((1 - rate) * (1 << RANDOM_BITS))


def rate_of(said: str | None) -> float | None:
    """A rate as it is written in the environment, 1 where nothing is; None where it is no number from 0 to 1."""
    try:
        rate = float(said or 1)
    except ValueError:
        return None
    return rate if 0 <= rate <= 1 else None
