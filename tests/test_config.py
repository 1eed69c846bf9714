"""Amounts carry their unit, and senseless ones are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from otel_bridge.config import WRITTEN, Bytes, Config, Seconds


class Limits(Config):
    wait: Seconds = 1
    room: Bytes = 1


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("6s", 6), ("2m", 120), ("12h", 43200), ("7d", 604800), (3, 3), (0.5, 0.5)]
)
def test_durations_are_read(written: object, seconds: float) -> None:
    assert Limits.model_validate({"wait": written}).wait == seconds


@pytest.mark.parametrize(("written", "size"), [("64KiB", 65536), ("20 MiB", 20 << 20), ("1GB", 10**9), (7, 7)])
def test_sizes_are_read(written: object, size: int) -> None:
    assert Limits.model_validate({"room": written}).room == size


@pytest.mark.parametrize(
    "wrong", [0, -5, "0s", "-5s", float("inf"), float("nan"), True, "soon", "5 potatoes", None, []]
)
def test_a_senseless_duration_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate({"wait": wrong})


@pytest.mark.parametrize("wrong", [0, -1, "0B", True, 1.5, "64 potatoes", None])
def test_a_senseless_size_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate({"room": wrong})


@given(st.integers(1, 10**9), st.integers(1, 1 << 50))
def test_what_is_shown_can_be_read_again(milliseconds: int, size: int) -> None:
    limits = Limits(wait=milliseconds / 1000, room=size)

    again = Limits.model_validate(limits.model_dump(mode="json"))

    assert again.wait == pytest.approx(limits.wait)
    assert again.room == limits.room


@pytest.mark.parametrize("written", [{"wait": 30}, {"wait": 0.5}, {"wait": "30"}, {"room": 7}, {"room": "7"}])
def test_what_is_written_needs_a_unit(written: dict[str, object]) -> None:
    """`max_age: 30` was meant as days by one, and taken as seconds."""
    with pytest.raises(ValidationError, match="write it as"):
        Limits.model_validate(written, context=WRITTEN)


def test_defaults_are_numbers() -> None:
    assert Limits.model_validate({}, context=WRITTEN) == Limits(wait=1, room=1)
