"""Traces on the terminal: a list, a tree, one observation; what they hold is escaped, rows are cut to the width.

Where the output is no terminal there is no width: nothing is cut, and a row is one line.
"""

from collections.abc import Callable
from textwrap import indent
from typing import TYPE_CHECKING, Any, TypeAlias

from otel_bridge.batch import DEFAULT_TENANT
from otel_bridge.query.outline import (
    cost,
    duration,
    facts,
    failure,
    heading,
    left_out,
    observation_facts,
    scored,
    scores_by_observation,
    state,
    whose,
)
from otel_bridge.query.transcript import transcript
from otel_bridge.query.tree import GUIDED_LEVELS, guides
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    Render: TypeAlias = Callable[[int | None], RenderableType]

COLOURS = {
    "AGENT": "magenta",
    "CHAIN": "magenta",
    "GENERATION": "blue",
    "TOOL": "yellow",
    "RETRIEVER": "cyan",
    "EMBEDDING": "cyan",
}
LIST_HEADER = ("id", "tenant", "started UTC", "took", "tokens", "cost", "errors", "name", "session")
LIST_STYLES = ("dim", "", "", "", "", "", "red", "", "dim")
LIST_NUMBERS = range(3, 7)
NAME, SESSION = 7, 8

NAME_WIDTH = 24
"""What a name keeps of a narrow terminal before sessions are shown beside it."""
SESSION_WIDTH = 8
LEVEL_WIDTH = 8
"""Columns of the terminal for each level of a tree that is drawn."""


def show(render: "Render") -> None:
    """Print what `render` makes of the terminal's width, or of None where nothing has a width."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(render(console.width if console.is_terminal else None), soft_wrap=not console.is_terminal)


def render_list(found: dict[str, Any], filter_text: str = "", width: int | None = None) -> "RenderableType":
    """Traces, a row each; columns without a value are left out, and sessions where names need the room."""
    from rich.cells import cell_len
    from rich.console import Group
    from rich.text import Text

    if not found["traces"] and filter_text.strip():
        return Text(f"No trace matches {printable(filter_text)}. Without a filter, the newest are listed.")
    if not found["traces"]:
        return Text("No traces. Send some, or try `otel-bridge demo`.")
    tenants = any(row["tenant"] != DEFAULT_TENANT for row in found["traces"])
    rows = [_cells(row, tenants=tenants) for row in found["traces"]]
    longest = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    widths = [max(most, len(title)) if most else 0 for title, most in zip(LIST_HEADER, longest, strict=True)]
    if width is not None:
        room = width - sum(each + 2 for each in widths[:NAME] if each)
        beside = room - 2 - min(widths[NAME], NAME_WIDTH)
        widths[SESSION] = min(widths[SESSION], beside) if beside >= SESSION_WIDTH else 0
        widths[NAME] = max(min(widths[NAME], room - (widths[SESSION] and widths[SESSION] + 2)), len("name"))

    def line(cells: tuple[str, ...], styles: tuple[str, ...]) -> Text:
        columns = []
        for i, (cell, style, wide) in enumerate(zip(cells, styles, widths, strict=True)):
            if wide:
                columns.append(Text(cell, style))
                columns[-1].truncate(wide, overflow="ellipsis")
                columns[-1].align("right" if i in LIST_NUMBERS else "left", wide)
        joined = Text("  ").join(columns)
        joined.rstrip()
        if width is not None:
            joined.truncate(width, overflow="ellipsis")
        return joined

    styles = [(*LIST_STYLES[:NAME], "" if row["settled"] else "italic", "dim") for row in found["traces"]]
    more = [Text("… and more: a filter or --limit chooses", "dim")] if found.get("nextCursor") else []
    return Group(line(LIST_HEADER, ("dim",) * len(LIST_HEADER)), *map(line, rows, styles), *more)


def _cells(row: dict[str, Any], *, tenants: bool) -> tuple[str, ...]:
    return (
        row["id"][:8],
        printable(row["tenant"]) if tenants else "",
        row["startTime"][5:16].replace("T", " "),
        duration(row["durationMs"]),
        _tokens(row),
        "" if row["totalCost"] is None else cost(row["totalCost"]),
        str(row["errorCount"] or ""),
        printable(row["name"] or "") + (f" {state(row)}" if row["partial"] else ""),
        printable(row["sessionId"] or ""),
    )


def _tokens(row: dict[str, Any]) -> str:
    if not row["settled"]:
        return left_out(row)[0] or "open"  # nobody has counted yet
    return "" if row["totalTokens"] is None else str(row["totalTokens"])


def render_tree(found: dict[str, Any], width: int | None = None) -> "RenderableType":
    """A trace as a tree; each row begins with as much of the observation's id as tells it from the others."""
    from rich.console import Group
    from rich.text import Text

    scores = scores_by_observation(found)
    observations = found["observations"]
    stands = state(found)
    name = Text(printable(found["name"] or "trace"), "bold")
    if width is not None:
        name.truncate(max(width - len(f"  {found['id']}  {stands}"), NAME_WIDTH), overflow="ellipsis")
    lines = [Text.assemble(name, "  ", (found["id"], "dim"), (f"  {stands}" if stands else "", "cyan"))]
    lines.append(Text(facts(found)))
    lines += [Text.assemble((f"{label}: ", "dim"), said) for label, said in heading(found)]
    lines += [Text.assemble(("score: ", "dim"), (scored(score), "green")) for score in scores.get(None, ())]
    lines.append(Text())
    depths = [row["depth"] for row in observations]
    drawn = guides(depths, GUIDED_LEVELS if width is None else min(GUIDED_LEVELS, width // LEVEL_WIDTH))
    telling = _telling([row["id"] for row in observations])
    for row, guide, following in zip(observations, drawn, [*depths[1:], 0], strict=True):
        lines.append(_row(row, f"{row['id'][:telling]} ", guide, width))
        notes = [(scored(score), "green") for score in scores.get(row["id"], ())]
        if failed := failure(row):
            notes.insert(0, (failed, "red" if row["level"] == "ERROR" else "yellow"))
        below = guide.replace("├─ ", "│  ").replace("└─ ", "   ") + ("│  " if following > row["depth"] else "   ")
        lines += [Text.assemble((" " * (telling + 1) + below, "dim"), note) for note in notes]
    if found["nextCursor"]:
        lines.append(Text("… and more observations than are shown here", "dim"))
    if width is not None:
        for line in lines:
            line.truncate(width, overflow="ellipsis")
    return Group(*lines)


def _row(row: dict[str, Any], short_id: str, guide: str, width: int | None) -> "Text":
    """One line of a tree; where it is too long, first the model is left out, then the name is cut."""
    from rich.text import Text

    name, known = Text(printable(row["name"])), observation_facts(row)
    if width is not None:
        room = width - len(f"{short_id}{guide}{row['type']}   ")
        if name.cell_len + len(known) > room:
            known = observation_facts({**row, "model": None})
        name.truncate(max(room - len(known), NAME_WIDTH // 2), overflow="ellipsis")
    kind = (row["type"], COLOURS.get(row["type"], "dim"))
    left_out = (f"  {printable(row['omitted'])}" if row["omitted"] else "", "cyan")
    return Text.assemble((short_id + guide, "dim"), kind, " ", name, "  ", (known, "dim"), left_out)


def _telling(ids: list[str]) -> int:
    """How many characters tell the ids apart, 4 at least."""
    most = max(map(len, ids), default=4)
    return next((length for length in range(4, most) if len({each[:length] for each in ids}) == len(ids)), most)


def render_observation(found: dict[str, Any], width: int | None = None) -> "RenderableType":
    """One observation with all it holds; texts are wrapped to the width, below their labels."""
    from rich.console import Group
    from rich.text import Text

    kind, name = found["type"], printable(found["name"])
    parts: list[RenderableType] = [
        Text.assemble((kind, COLOURS.get(kind, "dim")), " ", (name, "bold"), "  ", (found["id"], "dim")),
        Text(observation_facts(found)),
    ]
    if found.get("otherTenants"):  # of one that was asked for alone
        parts += [Text.assemble((f"{label}: ", "dim"), printable(said)) for label, said in whose(found)]
    if failed := failure(found):
        parts.append(Text(failed, "red" if found["level"] == "ERROR" else "yellow"))
    for title, said in transcript(found):
        parts += [Text(), Text(title, "bold")]
        for label, text in said:
            brief = title != "Input" and title != "Output" and "\n" not in text
            if brief and label:
                parts.append(Text.assemble("  ", (f"{printable(label)}: ", "cyan"), printable(text)))
                continue
            if label:
                parts.append(Text(f"  {printable(label)}", "cyan"))
            if text:
                parts.append(body(text, 4 if label else 2, width))
    return Group(*parts)


def body(text: str, by: int, width: int | None) -> "RenderableType":
    """A text of any length, set in, so that no line of it can be taken for a label or a heading."""
    from rich.padding import Padding
    from rich.text import Text

    shown = printable(text, keep="\n\t").expandtabs(4)
    return Text(indent(shown, " " * by)) if width is None else Padding(Text(shown), (0, 0, 0, by), expand=False)
