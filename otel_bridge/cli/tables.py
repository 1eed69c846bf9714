"""Lists on the terminal, a row each: what they hold is escaped, and the last column is cut to the width.

Where the output is no terminal there is no width: nothing is cut, and a row is one line.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otel_bridge.batch import DEFAULT_TENANT
from otel_bridge.cli.render import body, render_list
from otel_bridge.counts import plural
from otel_bridge.query.outline import brief, cost, facts
from otel_bridge.query.transcript import spoken
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

COLUMN_WIDTH = 32
"""Of a terminal, for any column but the last."""
LAST_WIDTH = 16
"""What the last column keeps of a narrow terminal, before others are cut to nothing but their beginning."""
LEAST_WIDTH = 8

STATS = {"value": "", "rate": "per second", "mean": "(mean)"}
LEVELS = {"ERROR": "red", "FATAL": "red", "WARN": "yellow", "WARNING": "yellow"}


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    *,
    numbers: Collection[str] = (),
    styles: Sequence[str] = (),
) -> "list[Text]":
    """Lines of columns that line up; those without a value are left out, and `numbers` stand on the right.

    styles: of each row.
    """
    from rich.cells import cell_len
    from rich.text import Text

    shown = [[printable(cell) for cell in row] for row in rows]
    longest = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    there = [i for i, most in enumerate(longest) if most]
    widths = {i: max(longest[i], len(header[i])) for i in there}
    if width is not None and there:
        *others, last = there
        widths |= {i: min(widths[i], COLUMN_WIDTH) for i in others if header[i] not in numbers}
        over = sum(widths[i] + 2 for i in others) + min(widths[last], LAST_WIDTH) - width
        for i in sorted(others, key=lambda i: -widths[i]):
            if over > 0 and header[i] not in numbers:
                cut = min(over, max(widths[i] - LEAST_WIDTH, 0))
                widths[i], over = widths[i] - cut, over - cut

    def line(cells: Sequence[str], style: str) -> Text:
        columns = []
        for i in there:
            columns.append(Text(cells[i]))
            columns[-1].truncate(widths[i], overflow="ellipsis")
            columns[-1].align("right" if header[i] in numbers else "left", widths[i])
        joined = Text("  ").join(columns)
        joined.stylize(style)
        joined.rstrip()
        if width is not None:
            joined.truncate(width, overflow="ellipsis")
        return joined

    return [line(header, "dim"), *map(line, shown, styles or [""] * len(shown))]


def render_events(found: dict[str, Any], width: int | None = None) -> "RenderableType":
    """Log records, the newest first."""
    rows = found["events"]
    if not rows:
        return _nothing("No such log record. Without a name and options, the newest of all are listed.")
    cells = [
        (
            _second(row["time"]),
            _of(row["tenant"]),
            row["severity"] or "",
            row["name"] or "",
            row["service"] or "",
            (row["traceId"] or "")[:8],
            " ".join(filter(None, (brief(row["body"]), *_pairs(row["attributes"], row["name"])))),
        )
        for row in rows
    ]
    header = ("time UTC", "tenant", "severity", "name", "service", "trace", "said")
    lines = table(header, cells, width, styles=[LEVELS.get((row["severity"] or "").upper(), "") for row in rows])
    return _lines(lines, found, "a name, --trace, --last or --limit chooses")


def render_metrics(found: dict[str, Any], width: int | None = None) -> "RenderableType":
    """The metrics there are."""
    if not found["metrics"]:
        return _nothing("No such metric. Without a name, all are listed; docs/agents.md says how a program sends some.")
    cells = [
        (
            _second(row["lastTime"]),
            _of(row["tenant"]),
            "counter" if row["monotonic"] else row["kind"],
            str(row["series"]),
            str(row["points"]),
            number(row["lastValue"]),
            row["unit"] or "",
            row["name"],
        )
        for row in found["metrics"]
    ]
    header = ("last UTC", "tenant", "kind", "series", "points", "last", "unit", "name")
    lines = table(header, cells, width, numbers=("series", "points", "last"))
    return _lines(lines, found, "a pattern or --limit chooses")


def render_metric(found: dict[str, Any], width: int | None = None) -> "RenderableType":
    """One metric over a time, a row for each series."""
    from rich.text import Text

    rows = found["series"]
    stat = STATS[rows[0]["stat"]] if rows else ""
    facts = ["counter" if found["monotonic"] else found["kind"], f"{printable(found['unit'] or '')} {stat}".strip()]
    heading = Text.assemble((printable(found["name"]), "bold"), "  ", " · ".join(filter(None, facts)))
    if not rows:
        since, last = _second(found["since"]), _second(found["lastTime"])
        return _lines(
            [heading, Text(f"nothing since {since} UTC, the last was at {last}: --last asks for more")], {}, ""
        )
    cells = [
        (
            _of(row["tenant"]),
            row["service"] or "",
            str(row["pointCount"]),
            *(number(row[key]) for key in ("avg", "min", "max", "last")),
            _trend(row["trend"]),
            " ".join(_pairs(row["attributes"])),
        )
        for row in rows
    ]
    numbers = ("points", "avg", "min", "max", "last")
    header = ("tenant", "service", *numbers, "trend", "attributes")
    styles = ["yellow" if row["trend"]["verdict"] == "rising" else "" for row in rows]
    lines = [heading, *table(header, cells, width, numbers=numbers, styles=styles)]
    more = {"nextCursor": found["seriesCount"] > len(rows)}
    return _lines(lines, more, f"{found['seriesCount']} series in all; --limit or --tenant chooses")


def render_sessions(found: dict[str, Any], width: int | None = None) -> "RenderableType":
    """Sessions, the most recent first."""
    if not found["sessions"]:
        return _nothing("No sessions: no trace names one. docs/agents.md says how a program does.")
    cells = [
        (
            _second(row["endTime"]),
            ", ".join(filter(None, map(_of, row["tenants"]))),
            str(row["traceCount"]),
            "" if row["totalTokens"] is None else str(row["totalTokens"]),
            "" if row["totalCost"] is None else cost(row["totalCost"]),
            str(row["errorCount"] or ""),
            ", ".join(row["userIds"]),
            row["id"],
        )
        for row in found["sessions"]
    ]
    header = ("last UTC", "tenants", "traces", "tokens", "cost", "errors", "users", "session")
    return _lines(table(header, cells, width, numbers=header[2:6]), found, "--limit or --tenant chooses")


def render_session(found: dict[str, Any], width: int | None = None) -> "RenderableType":
    """One session with its traces; with what was said in each, where that was asked for."""
    from rich.console import Group
    from rich.text import Text

    said = [plural(found["traceCount"], "trace"), facts(found)]
    parts: list[RenderableType] = [Text(printable(found["id"]), "bold"), Text(" · ".join(said))]
    if found["userIds"]:
        parts.append(Text.assemble(("user: ", "dim"), printable(", ".join(found["userIds"]))))
    parts.append(Text())
    if not any("input" in trace for trace in found["traces"]):
        rows = [{**trace, "sessionId": None} for trace in found["traces"]]
        return Group(*parts, render_list({**found, "traces": rows}, width=width))
    for trace in found["traces"]:
        heading = ((printable(trace["name"] or "trace"), "bold"), "  ", (trace["id"], "dim"), "  ", facts(trace))
        parts.append(Text.assemble(*heading))
        for content in (trace["input"], trace["output"]):
            for label, text in spoken(content):
                parts += [Text(f"  {printable(label)}", "cyan")] if label else []
                parts.append(body(text, 4, width))
        parts.append(Text())
    return _lines(parts, found, "--limit chooses")


def render_scores(found: dict[str, Any], width: int | None = None) -> "RenderableType":
    """Scores, the newest first."""
    if not found["scores"]:
        return _nothing("No scores. `score()` in a program gives one, or a POST to /api/v1/scores: docs/api.md.")
    cells = [
        (
            _second(row["timestamp"]),
            row["name"],
            number(row["value"]) if isinstance(row["value"], float) else brief(row["value"]),
            (row["traceId"] or "")[:8],
            row["observationId"] or "",
            row["sessionId"] or "",
            brief(row["comment"]),
        )
        for row in found["scores"]
    ]
    header = ("time UTC", "name", "value", "trace", "observation", "session", "comment")
    return _lines(table(header, cells, width))


def number(value: float | None) -> str:
    """A measure for people: four digits that count, and thousands apart."""
    if value is None:
        return ""
    if 1000 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _trend(trend: dict[str, Any]) -> str:
    if trend["verdict"] in ("rising", "falling"):
        return f"{trend['verdict']} {trend['change']:+.0%}"
    return "too few points" if trend["verdict"] == "unknown" else str(trend["verdict"])


def _lines(lines: "Sequence[RenderableType]", found: Mapping[str, Any] = {}, chooses: str = "") -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    more = [Text(f"… and more: {chooses}", "dim")] if found.get("nextCursor") else []
    return Group(*lines, *more)


def _nothing(said: str) -> "RenderableType":
    from rich.text import Text

    return Text(said)


def _second(time: str) -> str:
    return time[5:19].replace("T", " ")


def _of(tenant: str) -> str:
    return "" if tenant == DEFAULT_TENANT else tenant


def _pairs(attributes: Any, name: str | None = None) -> list[str]:
    """Attributes as `key=value`; without the one that says the name again."""
    if not isinstance(attributes, dict):  # too long to be shown whole
        return [brief(attributes)]
    return [f"{key}={brief(value)}" for key, value in attributes.items() if (key, value) != ("event.name", name)]
