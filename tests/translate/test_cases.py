"""The case files in `cases/<dialect>/`: one real span each, and what is to become of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.translate import to_json, translate

CASES = Path(__file__).parent / "cases"
FIELDS = {"usage": "usageDetails", "cost": "costDetails"}


@pytest.mark.parametrize("path", sorted(CASES.glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_case(path: Path, otlp: Any) -> None:
    case = json.loads(path.read_text())
    record = otlp.span(
        name=case.get("name", "a span"),
        scope=case.get("scope", "test"),
        attrs=case["attrs"],
        events=[(event["name"], event.get("attrs", {})) for event in case.get("events", [])],
        status=tuple(case.get("status", (0, ""))),
    )
    logs = [
        otlp.log(name=log["name"], attrs=log.get("attrs"), body=log.get("body"), at_ms=place)
        for place, log in enumerate(case.get("logs", []), 1)
    ]

    seen = to_json(translate(otlp.trace(record, *logs)))["observations"][0]

    for field, wanted in case["expect"].items():
        found = seen[FIELDS.get(field, field)]
        if field in FIELDS and wanted is not None:
            found = {bucket: found[bucket] for bucket in found if bucket in wanted or bucket != "total"}
        assert found == wanted, f"{case['about']}: {field}"
    if "metadata" in case:
        left = {key: item for key, item in seen["metadata"].items() if key not in ("resourceAttributes", "scope")}
        assert left == case["metadata"], case["about"]
