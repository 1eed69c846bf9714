"""What the page on processors shows can be run."""

import re
from pathlib import Path

import pytest

from otel_bridge import plan
from otel_bridge.condition import SpanCondition

PAGE = (Path(__file__).parents[2] / "docs" / "processors.md").read_text(encoding="utf-8")
WHOLE, *SECTIONS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
AROUND = """\
receivers: {in_process: {}}
exporters: {debug: {}}
service: {pipelines: {main: {receivers: [in_process], exporters: [debug]}}}
"""


def test_the_example_is_a_configuration() -> None:
    read = plan.parse(WHOLE, "bridge.yaml", environ={"HASH_KEY": "a-secret-of-yours"})

    assert read.service.pipelines["main"].processors == ["filter", "attributes", "trace_attributes"]
    assert read.warnings == ()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition(":")[0])
def test_each_processor_is_shown_as_it_can_be_written(section: str) -> None:
    indented = "".join(f"  {line}\n" for line in section.splitlines())

    assert plan.parse(f"{AROUND}processors:\n{indented}", "bridge.yaml", environ={}).processors


@pytest.mark.parametrize("line", PAGE.partition("## Conditions")[2].split("```")[1].strip().splitlines())
def test_each_condition_is_one(line: str) -> None:
    assert SpanCondition(line).text == line


def test_the_actions_that_are_shown_are_read() -> None:
    shown = re.findall(r"`(\{action: .*?\})`", PAGE)
    spans = "".join(f"      - {one}\n" for one in shown)

    assert len(shown) >= 2
    plan.parse(f"{AROUND}processors:\n  attributes:\n    spans:\n{spans}", "bridge.yaml", environ={})
