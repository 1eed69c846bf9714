"""A trace against what it should be."""

import re

import pytest

from otel_bridge.model import Observation, ObservationType, TraceAttributes
from otel_bridge.testing.tree import Expected, differences, expect, grown

TRACE = TraceAttributes("t")
MS = 1_000_000


def seen(name: str, start: int = 0, end: int = 100, under: str | None = None, **said: object) -> Observation:
    given = {"type": ObservationType.SPAN, **said}
    return Observation(name, "t", under, name=name, start_ns=start * MS, end_ns=end * MS, trace=TRACE, **given)  # type: ignore[arg-type]


def compared(expected: Expected, *observations: Observation) -> tuple[int, list[str]]:
    count, lines = differences(expected, grown(observations))
    return count, [line for line in lines.splitlines() if line[0] in "-+"]


ROOT = seen("root")


@pytest.mark.parametrize(
    "children",
    [
        [seen("a", 0, 50, "root"), seen("b", 10, 60, "root")],
        [seen("a", 10, 60, "root"), seen("b", 0, 50, "root")],
        [seen("a", 0, 10, "root"), seen("b", 10, 60, "root")],
    ],
    ids=["at one time", "the other first", "one after the other"],
)
def test_siblings_at_one_time_come_in_any_order(children: list[Observation]) -> None:
    assert compared(expect("root", expect("a"), expect("b")), ROOT, *children) == (0, [])


def test_siblings_one_after_the_other_come_in_theirs() -> None:
    after = [seen("b", 0, 10, "root"), seen("a", 20, 30, "root")]
    assert compared(expect("root", expect("a"), expect("b")), ROOT, *after) == (1, ["+     (it ran after b)"])


def test_what_is_missing_and_what_is_too_many_is_shown_whole() -> None:
    wanted = expect("root", expect("lost", expect("leaf", model="m")))
    assert compared(wanted, ROOT) == (1, ["-   lost", "-     leaf · model 'm'"])
    below = [seen("more", 0, 50, "root"), seen("leaf", 0, 50, "more")]
    assert compared(expect("root", alone=True), ROOT, *below) == (1, ["+   more · SPAN", "+     leaf · SPAN"])


def test_what_only_has_another_name_is_compared_all_the_same() -> None:
    below = [seen("more", 0, 50, "root"), seen("leaf", 0, 50, "more")]
    wanted = expect("root", expect("lost", expect("leaf", model="m")))
    assert compared(wanted, ROOT, *below) == (2, ["-   lost", "+   more", "-       model: 'm'", "+       model: None"])


def test_children_that_nobody_names_are_not_looked_at_unless_it_is_alone() -> None:
    below = seen("more", 0, 50, "root")
    assert compared(expect("root"), ROOT, below)[0] == 0
    assert compared(expect("root", alone=True), ROOT, below) == (1, ["+   more · SPAN"])


def test_of_many_alike_each_finds_its_own() -> None:
    """More than can be tried in every order."""
    below = [seen(f"call {n}", n, 90, "root", model=f"m{n}") for n in range(9)]
    wanted = [expect(re.compile("call"), model=f"m{n}") for n in reversed(range(9))]
    assert compared(expect("root", *wanted), ROOT, *below) == (0, [])


def test_values_are_compared_by_what_is_named() -> None:
    said = seen(
        "root", usage={"input": 3, "total": 3}, input={"a": [1, {"b": 2, "c": 3}]}, output="Oslo", status_message=None
    )
    assert (
        compared(expect("root", usage={"input": ...}, input={"a": [1, {"b": 2}]}, output=re.compile("sl")), said)[0]
        == 0
    )
    assert compared(expect("root", input={"a": [1]}, status="x"), said) == (
        2,
        ["-   status: 'x'", "+   status: None", "-   input.a: [1]", "+   input.a: [1, {'b': 2, 'c': 3}]"],
    )


def test_a_second_top_is_too_many() -> None:
    assert compared(expect("root"), ROOT, seen("orphan", under="elsewhere")) == (1, ["+ orphan · SPAN"])


def test_names_do_nothing_to_the_terminal() -> None:
    """Wherever they stand in it: a name is whatever somebody's span says."""
    hostile = "a\x1b[2J\nb\u202e"
    below = [seen(hostile, 0, 10, "root"), seen("late", 20, 30, "root")]
    wanted = expect("root", expect(re.compile("late")), expect(re.compile("^a")), expect(hostile, expect(hostile)))
    text = differences(wanted, grown([ROOT, *below]))[1] + str(grown(below)[0])
    assert "a\\x1b[2J\\nb\\u202e" in text
    assert "it ran after" in text
    assert text.replace("\n", "").isprintable()
