"""How a time is written."""

from datetime import UTC, datetime

MAX_NS = 2**64 - 1  # what OTLP's fixed64 holds


def clamp(ns: int) -> int:
    """A time that OTLP can hold."""
    return min(max(ns, 0), MAX_NS)


def iso(ns: int, digits: int = 3) -> str:
    """Nanoseconds since 1970 as ISO 8601 in UTC: `2026-11-20T12:34:56.123Z`; of the fraction as many digits, 1 to 9."""
    seconds, rest = divmod(clamp(ns), 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{f'{rest:09d}'[:digits]}Z"
