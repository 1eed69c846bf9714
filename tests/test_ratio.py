"""A share of all traces, on which whoever goes by their ids agrees."""

import random

import pytest

from otel_bridge.ratio import is_kept, rate_of

IDS = [random.Random(number).getrandbits(128) for number in range(4000)]


def test_a_greater_share_holds_all_of_a_smaller_one_and_each_is_as_large_as_it_says() -> None:
    kept = {rate: {one for one in IDS if is_kept(one, rate)} for rate in (0, 0.1, 0.5, 1)}
    assert kept[0] < kept[0.1] < kept[0.5] < kept[1]
    assert (len(kept[0]), kept[1]) == (0, set(IDS))
    assert 0.08 < len(kept[0.1]) / len(IDS) < 0.12


def test_the_last_56_bits_count_alone() -> None:
    limit = 0xE6666666666666  # 90 % of them
    assert is_kept(limit + 2, 0.1)
    assert not is_kept((1 << 128) - (1 << 56) + limit - 2, 0.1)


@pytest.mark.parametrize(
    ("said", "rate"),
    [(None, 1), ("", 1), ("0", 0), ("0.5", 0.5), ("1.5", None), ("-1", None), ("nan", None), ("a", None)],
)
def test_a_rate_is_a_number_from_0_to_1(said: str | None, rate: float | None) -> None:
    assert rate_of(said) == rate
