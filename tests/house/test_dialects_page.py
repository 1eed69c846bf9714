"""The page on dialects says what the dialects say."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_generated_part_is_up_to_date() -> None:
    """If it is not: `python docs/dialects.py`."""
    now = (DOCS / "dialects.md").read_text(encoding="utf-8")

    assert runpy.run_path(str(DOCS / "dialects.py"))["page"](now) == now


def test_its_addresses_can_be_followed() -> None:
    """The page puts them in brackets: a docstring has them bare."""
    assert "<<" not in (DOCS / "dialects.md").read_text(encoding="utf-8")
