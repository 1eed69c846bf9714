"""docs/api.md keeps up with what there is."""

import json
import re
from importlib.resources import files
from pathlib import Path

from otel_bridge.query.filter import FIELDS, compile_filter

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def test_it_names_every_path() -> None:
    described = json.loads((files("otel_bridge.viewer") / "openapi.json").read_text())["paths"]

    assert set(re.findall(r"^\| `(\w+ \S+)`", PAGE, re.MULTILINE)) == {
        f"{method.upper()} {path}" for path, methods in described.items() for method in methods
    }


def test_it_names_every_field_of_the_filter_with_examples_that_work() -> None:
    rows = re.findall(r"^\| ([^`|]+) \| `([^`]+)` \|$", PAGE, re.MULTILINE)
    named = " ".join(fields.partition(":")[0] for fields, _ in rows)

    assert set(re.findall(r"[\w.]+", named.replace("(or ", ""))) >= set(FIELDS)
    assert all(compile_filter(example).sql != "1" for _, example in rows)
