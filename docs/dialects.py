"""Write the generated part of dialects.md from the dialects: `python docs/dialects.py`."""

import re
from pathlib import Path

from otel_bridge.translate import dialects
from otel_bridge.translate.dialect import Dialect

PAGE = Path(__file__).with_suffix(".md")
BEGIN, END = "<!-- from here on written by docs/dialects.py -->", "<!-- to here -->"
AS_IT_IS = re.compile(r"(`[^`]*`|https?://[^\s)]*[^\s).,;])")


def page(now: str) -> str:
    """The page with its generated part written anew."""
    before, _, rest = now.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generated()}\n\n{END}{after}"


def generated() -> str:
    """A table of all dialects, then a section for each."""
    every = sorted(dialects(), key=lambda dialect: dialect.name)
    table = ["| dialect | speaks for | checked against |", "|---|---|---|"]
    table += [f"| [{d.name}](#{d.name}) | {_cell(_title(d))} | {_cell(d.checked)} |" for d in every]
    return "\n\n".join(["\n".join(table), *map(_section, every)])


def _section(dialect: Dialect) -> str:
    known_by = [("Scopes", dialect.scopes), ("Marks", [mark for mark in dialect.marks if mark != "*"])]
    lines = [
        f"- {name}: {', '.join(f'`{pattern}`' for pattern in patterns)}" for name, patterns in known_by if patterns
    ]
    if "*" in dialect.marks:
        lines.append("- Reads every span, last.")
    if dialect.checked:
        lines.append(f"- Checked against: {_text(dialect.checked)}")
    return "\n\n".join([f"### {dialect.name}", _text(dialect.about), "\n".join(lines)])


def _title(dialect: Dialect) -> str:
    return dialect.summary.partition(":")[0].removesuffix(".")


def _text(said: str) -> str:
    """Prose with its addresses as links, and nothing that Markdown would take for its own."""
    shown = []
    for place, part in enumerate(AS_IT_IS.split(said)):
        if place % 2:
            shown.append(part if part.startswith("`") else f"<{part}>")
        else:
            shown.append(part.replace("*", r"\*").replace("_", r"\_"))
    return "".join(shown)


def _cell(said: str) -> str:
    return _text(said).replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
