"""`*` stands for anything."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.patterns import Pattern


@given(st.text("ab*", max_size=6), st.text("ab\n", max_size=8))
def test_it_fits_what_the_same_expression_fits(text: str, name: str) -> None:
    expression = ".*".join(map(re.escape, text.split("*")))

    assert Pattern(text).fits(name) is bool(re.fullmatch(expression, name, re.DOTALL))


def test_it_takes_linear_time() -> None:
    assert not Pattern("*a" * 100 + "b").fits("a" * 1_000_000)


@pytest.mark.parametrize(
    ("pattern", "name", "target", "renamed"),
    [
        ("acme.*", "acme.user.id", "app.*", "app.user.id"),
        ("acme.*.id", "acme.user.id", "*", "user"),
        ("*", "a", "b.*.c", "b.a.c"),
        ("acme", "acme", "app", "app"),
        ("acme.*", "acme.x", "one", "one"),
    ],
)
def test_what_the_star_stood_for_is_kept(pattern: str, name: str, target: str, renamed: str) -> None:
    assert Pattern(pattern).like(name, target) == renamed
