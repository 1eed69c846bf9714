"""Numbers, durations and times as somebody types them into a filter; what can not be read raises a UsageError."""

import math
import re
from datetime import UTC, datetime

from otel_bridge.errors import UsageError

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def number(text: str) -> float:
    """A number, which may be infinite."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise UsageError(f"{text!r} is no number: write it as tokens:>1000 or cost:>0.1")
    return found


def duration_ns(text: str) -> float:
    """A duration in nanoseconds; without a unit it is in seconds."""
    found = DURATION.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no duration: write it as 500ms, 10s, 2m, 12h or 7d")
    return float(found[1]) * SECONDS[found[2]] * 1e9


def since_ns(last: str, now_ns: int) -> int:
    """When the last `1h` began, or 1970 where that was later."""
    return now_ns - int(min(duration_ns(last), now_ns))


def time_ns(text: str) -> float:
    """A day or a time in nanoseconds since 1970; in UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time: write it as 2026-01-31, 2026-01-31T12:00 (UTC) or 2026-01-31T12:00+01:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e9


def after_ns(text: str) -> float:
    """The first moment after the day, hour, minute or second that is named."""
    digits = len(re.findall(r"\d", re.sub(r"(Z|[+-]\d\d(:?\d\d)?)$", "", text[len("2026-01-31") :])))
    named = next((seconds for most, seconds in ((0, 86400), (2, 3600), (4, 60), (6, 1)) if digits <= most), 1e-6)
    return time_ns(text) + named * 1e9
