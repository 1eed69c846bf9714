"""How many bytes go to a destination at once: as configured, and less where it turned out to be too much."""

from otel_bridge.clock import Clock

LEARNED_FOR_S = 600.0
LEAST_BYTES = 16 << 10
LEAST_IN_TIME_BYTES = 256 << 10  # below this it is not the size that makes a destination slow


class SizeLimit:
    """What was refused as too large is remembered for ten minutes; what was not answered in time is grown back to."""

    def __init__(self, most_bytes: int, clock: Clock) -> None:
        self._most_bytes = most_bytes
        self._clock = clock
        self._taken_bytes = self._in_time_bytes = most_bytes
        self._until_s = 0.0

    @property
    def bytes(self) -> int:
        """As many at once."""
        if self._clock.monotonic() >= self._until_s:
            self._taken_bytes = self._most_bytes
        return min(self._taken_bytes, self._in_time_bytes)

    def too_large(self, size: int) -> None:
        """So many bytes were refused: half of them next."""
        self._taken_bytes = max(min(size, self.bytes) // 2, LEAST_BYTES)
        self._until_s = self._clock.monotonic() + LEARNED_FOR_S

    def too_slow(self, size: int) -> None:
        """So many bytes were not taken in time, more than once: half of them next."""
        least_bytes = min(LEAST_IN_TIME_BYTES, self._most_bytes)
        self._in_time_bytes = max(min(size, self.bytes) // 2, least_bytes)

    def taken(self, size: int) -> None:
        """So many bytes were taken: where that was nearly all that is allowed, a little more next time."""
        if self._in_time_bytes < self._most_bytes and size >= self._in_time_bytes // 2:
            self._in_time_bytes = min(self._in_time_bytes + self._in_time_bytes // 8, self._most_bytes)
