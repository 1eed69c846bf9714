"""Counts as people write them."""

import pytest

from otel_bridge.counts import plural


@pytest.mark.parametrize(
    ("count", "thing", "said"),
    [
        (1, "span", "1 span"),
        (0, "span", "0 spans"),
        (2, "log record", "2 log records"),
        (1, "entry", "1 entry"),
        (3, "entry", "3 entries"),
    ],
)
def test_a_count_has_its_noun(count: int, thing: str, said: str) -> None:
    assert plural(count, thing) == said
