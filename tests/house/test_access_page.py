"""The configurations on the page about access can be run: they are read as they stand there."""

import re
from pathlib import Path

import pytest

from otel_bridge import plan

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")
CONFIGURATIONS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
KEYS = ("ACME_KEY", "ACME_OLD_KEY", "BETA_KEY", "BETA_PUBLIC_KEY", "BETA_SECRET_KEY", "GATEWAY_KEY", "VIEWER_PASSWORD")
ENVIRON = {name: f"{name}-0123456789" for name in KEYS}


@pytest.mark.parametrize("text", CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
def test_a_configuration_is_good_as_it_stands(text: str) -> None:
    read = plan.parse(text, "access.md", environ=ENVIRON)

    assert read.service.tenants
    assert read.warnings == ()


def test_there_are_some() -> None:
    assert len(CONFIGURATIONS) == 3
