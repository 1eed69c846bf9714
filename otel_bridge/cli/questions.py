"""Questions to the store: `traces` lists, `trace` shows one as a tree; from the store's file or a running bridge."""

import json
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from otel_bridge.cli.output import DEFAULT_DATA_DIR, DataDirOption, JsonOption, print_json
from otel_bridge.errors import UnreachableError, UsageError
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

FILE_BUDGET_S = 60.0
"""A question from the terminal keeps nobody else waiting."""

ANSWER_TIMEOUT_S = 10.0

COLOURS = {
    "AGENT": "magenta",
    "CHAIN": "magenta",
    "GENERATION": "blue",
    "TOOL": "yellow",
    "RETRIEVER": "cyan",
    "EMBEDDING": "cyan",
}

UrlOption = Annotated[
    str | None, typer.Option("--url", help="Ask the viewer of a running bridge, as http://127.0.0.1:4319.")
]


def traces(
    filter_text: Annotated[
        str, typer.Argument(metavar="[FILTER]", help="As: status:error duration:>10s name:chat* session:abc")
    ] = "",
    sort: Annotated[str, typer.Option(help="start, duration, tokens, cost or errors; descending with a -.")] = "-start",
    limit: Annotated[int, typer.Option(help="How many, 200 at most.")] = 20,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    url: UrlOption = None,
) -> None:
    """List traces, the newest first."""
    found = load_traces(url or _store(data_dir), filter_text, sort=sort, limit=limit)
    if as_json:
        print_json(found)
    else:
        _print(render_list(found))


def trace(
    trace_id: Annotated[str, typer.Argument(metavar="[ID|last]", help="An id, or the beginning of one.")] = "last",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    url: UrlOption = None,
) -> None:
    """Show one trace as a tree: types, durations, tokens, cost, errors, scores."""
    found = load_trace(url or _store(data_dir), trace_id)
    if as_json:
        print_json(found)
    else:
        _print(render_tree(found))


def _store(data_dir: Path) -> Path:
    return data_dir.expanduser() / "store.db"


def load_traces(source: Path | str, filter_text: str = "", *, sort: str = "-start", limit: int = 20) -> dict[str, Any]:
    """`{"traces": [...], "nextCursor": ...}` from a store's file, or from the viewer at a URL.

    Raises:
        UsageError: the filter, sort, limit or URL can not be used.
        FilesError: there is no store.
        UnreachableError: no viewer answers at the URL, or it has no store to ask.
    """
    if isinstance(source, str):
        return _ask(source, "/api/v1/traces", {"filter": filter_text, "sort": sort, "limit": str(limit)})
    from otel_bridge.query.traces import list_traces
    from otel_bridge.store.reader import reading

    with reading(source, FILE_BUDGET_S) as reader:
        return list_traces(reader, filter_text, sort, limit)


def load_trace(source: Path | str, trace_id: str = "last") -> dict[str, Any]:
    """One trace with its observations, from a store's file, or from the viewer at a URL.

    Raises:
        NotFoundError: there is no such trace.
        UsageError: several begin with this id, or the URL can not be used.
        FilesError: there is no store.
        UnreachableError: no viewer answers at the URL, or it has no store to ask.
    """
    if isinstance(source, str):
        return _ask(source, f"/api/v1/traces/{quote(trace_id, safe='')}", {})
    from otel_bridge.query.traces import one_trace
    from otel_bridge.store.reader import reading

    with reading(source, FILE_BUDGET_S) as reader:
        return one_trace(reader, trace_id)


def _ask(url: str, path: str, query: dict[str, str]) -> dict[str, Any]:
    connection, base = _connection(url)
    try:
        connection.request("GET", f"{base}{path}?{urlencode(query)}")
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, HTTPException) as error:
        raise UnreachableError(f"no bridge answers at {url} ({error}): start one with `otel-bridge`") from error
    except ValueError as error:
        raise UnreachableError(f"what answers at {url} is not the viewer of a bridge") from error
    finally:
        connection.close()
    if response.status == 200:
        return answer
    from otel_bridge.query.traces import NotFoundError

    refusals = {400: UsageError, 404: NotFoundError}
    raise refusals.get(response.status, UnreachableError)(f"{url}: {answer.get('error', response.status)}")


def _connection(url: str) -> tuple[HTTPConnection, str]:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is no address, write it as http://127.0.0.1:4319")
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return connect(host, port, timeout=ANSWER_TIMEOUT_S), parts.path.rstrip("/")


def _print(renderable: "RenderableType") -> None:
    from rich.console import Console

    Console(highlight=False).print(renderable)


def render_list(found: dict[str, Any]) -> "RenderableType":
    """A table of traces for the terminal; what traces say is escaped."""
    from rich.table import Table
    from rich.text import Text

    from otel_bridge.query.outline import cost, duration

    if not found["traces"]:
        return Text("No traces. Send some, or try `otel-bridge demo`.")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("id", no_wrap=True, min_width=8, style="dim")
    table.add_column("started", no_wrap=True, min_width=11)
    for title in ("took", "tokens", "cost", "errors"):
        table.add_column(title, no_wrap=True, min_width=6, justify="right")
    table.add_column("name", no_wrap=True, overflow="ellipsis")
    table.add_column("session", no_wrap=True, overflow="ellipsis", style="dim")
    for row in found["traces"]:
        table.add_row(
            Text(row["id"][:8]),
            Text(row["startTime"][5:16].replace("T", " ")),
            Text(duration(row["durationMs"])),
            Text("" if row["totalTokens"] is None else str(row["totalTokens"])),
            Text("" if row["totalCost"] is None else cost(row["totalCost"])),
            Text(str(row["errorCount"] or ""), style="red"),
            Text(printable(row["name"] or ""), style="" if row["settled"] else "italic"),
            Text(printable(row["sessionId"] or "")),
        )
    return table


def render_tree(found: dict[str, Any]) -> "RenderableType":
    """A trace as a tree for the terminal; what the trace says is escaped."""
    from rich.console import Group
    from rich.text import Text

    from otel_bridge.query.outline import (
        facts,
        failure,
        heading,
        observation_facts,
        scored,
        scores_by_observation,
    )
    from otel_bridge.query.tree import guides

    scores = scores_by_observation(found)
    state = "" if found["settled"] else "  (open)"
    lines = [
        Text.assemble((printable(found["name"] or "trace"), "bold"), "  ", (found["id"], "dim"), (state, "cyan")),
        Text(facts(found)),
    ]
    lines += [Text.assemble((f"{label}: ", "dim"), said) for label, said in heading(found)]
    lines += [Text.assemble(("score: ", "dim"), (scored(score), "green")) for score in scores.get(None, ())]
    lines.append(Text())
    observations = found["observations"]
    for guide, observation in zip(guides([row["depth"] for row in observations]), observations, strict=True):
        line = Text.assemble(
            (guide, "dim"),
            (observation["type"], COLOURS.get(observation["type"], "dim")),
            f" {printable(observation['name'])}  ",
            (observation_facts(observation), "dim"),
        )
        if failed := failure(observation):
            line.append(f"  {failed}", "red" if observation["level"] == "ERROR" else "yellow")
        for score in scores.get(observation["id"], ()):
            line.append(f"  {scored(score)}", "green")
        lines.append(line)
    if found["nextCursor"]:
        lines.append(Text("… and more observations than are shown here", "dim"))
    return Group(*lines)
