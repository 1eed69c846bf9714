"""Whether a measure goes up, as memory that leaks does, or only up and down: by the straight line through its points.

It rises or falls where that line tells most of what makes the points differ, and leads somewhere: noise has no such
line, and what goes up and down within the time (as memory that is collected) none that leads far.
"""

from collections.abc import Sequence
from statistics import StatisticsError, correlation, fmean, linear_regression

from otel_bridge.query.answer import Answer

LEAST_POINTS = 15
"""Of fewer, noise would be taken for a trend more often than once in some hundred times."""
LEAST_FIT = 0.5
LEAST_CHANGE = 0.05


def trend(moments_ns: Sequence[int], values: Sequence[float]) -> Answer:
    """`verdict` (rising, falling, flat, or unknown of fewer than 15 points), `slopePerHour`, `change` and `fit`.

    change: from the first point of the line to its last, as a part of the mean size of the values (0.05 is 5 %).
    fit: the part of how the values differ that the line explains, 0 to 1 (r²).
    moments_ns: in order, and no two the same.
    """
    size = fmean(map(abs, values)) if values else 0.0
    if len(values) < LEAST_POINTS:
        return {"verdict": "unknown", "slopePerHour": None, "change": None, "fit": None}
    hours = [(moment_ns - moments_ns[0]) / 3.6e12 for moment_ns in moments_ns]
    shares = [value / size for value in values] if size else list(values)  # squares of which are never too large
    try:
        fit = correlation(hours, shares) ** 2
    except StatisticsError:  # they are all the same
        fit = 0.0
    slope = linear_regression(hours, shares).slope if fit else 0.0
    change = slope * hours[-1]
    moves = fit >= LEAST_FIT and abs(change) >= LEAST_CHANGE
    return {
        "verdict": ("rising" if slope > 0 else "falling") if moves else "flat",
        "slopePerHour": slope * size,
        "change": round(change, 4),
        "fit": round(fit, 4),
    }
