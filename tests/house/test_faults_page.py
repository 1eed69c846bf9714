"""Every fault that the page on reliability tells of is shown by a test that exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| (?P<case>[A-Z]\d+) \| (?P<fault>.+) \| (?P<happens>.+) \| (?P<shown>.+) \|")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[re.Match[str]]:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    return [found for line in page.splitlines() if (found := ROW.fullmatch(line))]


@cache
def defined_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["case"])
def test_the_tests_of_a_fault_exist(row: re.Match[str]) -> None:
    named = TEST.findall(row["shown"])

    assert named, f"{row['case']} names no test"
    for path, test in named:
        assert test in defined_in(path), f"{path} has no {test}"


def test_no_case_is_told_of_twice() -> None:
    cases = [row["case"] for row in rows()]

    assert len(cases) == len(set(cases))
