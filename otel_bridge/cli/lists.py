"""What the store holds besides traces: `events`, `metrics`, `sessions`, `scores`; from its file or a bridge."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from otel_bridge.cli.output import ConfigOption, DataDirOption, JsonOption, TenantOption, UrlOption, print_json
from otel_bridge.cli.questions import answered, source_of
from otel_bridge.errors import UsageError

if TYPE_CHECKING:
    from otel_bridge.store.reader import Reader

LimitOption = Annotated[int, typer.Option(help="How many, 200 at most.")]
LastOption = Annotated[str | None, typer.Option(help="Of so long a time until now, as 30m, 1h or 7d.")]


def events(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Of an event, or names with * in them: 'file.*'.")] = "",
    trace: Annotated[str | None, typer.Option(help="Of one trace: its id, the beginning of it, or last.")] = None,
    last: LastOption = None,
    limit: LimitOption = 20,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
) -> None:
    """List log records, the newest first: events and plain lines, of traces and of none."""

    def question(reader: "Reader", tenants: Collection[str]) -> dict[str, Any]:
        from otel_bridge.query.events import list_events

        return list_events(reader, name, limit, trace=trace, last=last, tenant=tenant, tenants=tenants)

    said = {"name": name or None, "trace": trace, "last": last, "limit": limit, "tenant": tenant}
    found = _answer("/api/v1/events", said, question, config, data_dir, url)
    if as_json:
        print_json(found)
        return
    from otel_bridge.cli.render import show
    from otel_bridge.cli.tables import render_events

    show(partial(render_events, found))


def metrics(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Of a metric; with * in it those that fit.")] = "",
    last: LastOption = None,
    limit: LimitOption = 50,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
) -> None:
    """List the metrics there are, or show one over the last hour: average, least, most, last and its trend."""
    is_list = not name or "*" in name
    if is_list and last is not None:
        raise UsageError("--last is for one metric: name it, as `otel-bridge metrics process.memory.usage --last 1h`")

    def question(reader: "Reader", tenants: Collection[str]) -> dict[str, Any]:
        from otel_bridge.query.metrics import list_metrics, one_metric

        if is_list:
            return list_metrics(reader, name, limit, tenant=tenant, tenants=tenants)
        return one_metric(reader, name, last or "1h", limit, tenant=tenant)

    path = "/api/v1/metrics" + ("" if is_list else f"/{quote(name, safe='', errors='replace')}")
    said = {"name": (name or None) if is_list else None, "last": last, "limit": limit, "tenant": tenant}
    found = _answer(path, said, question, config, data_dir, url)
    if as_json:
        print_json(found)
        return
    from otel_bridge.cli.render import show
    from otel_bridge.cli.tables import render_metric, render_metrics

    show(partial(render_metrics if is_list else render_metric, found))


def sessions(
    session_id: Annotated[str, typer.Argument(metavar="[ID]", help="Of one session, which is shown.")] = "",
    turns: Annotated[bool, typer.Option("--turns", help="With what was said in each of its traces.")] = False,
    sort: Annotated[
        str | None, typer.Option(help="Of its traces: start, duration, tokens, cost or errors; descending with a -.")
    ] = None,
    limit: LimitOption = 20,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
) -> None:
    """List sessions, the most recent first, or show one with its traces."""
    if not session_id and (turns or sort is not None):
        raise UsageError("--turns and --sort are for one session: name it, `otel-bridge sessions` lists them")
    order = sort or ("start" if turns else "-start")

    def question(reader: "Reader", tenants: Collection[str]) -> dict[str, Any]:
        from otel_bridge.query.sessions import list_sessions, one_session

        if not session_id:
            return list_sessions(reader, limit, tenant=tenant, tenants=tenants)
        return one_session(reader, session_id, limit, tenant=tenant, sort=order, turns=turns)

    path, said = "/api/v1/sessions", {"limit": limit, "tenant": tenant}
    if session_id:
        path += f"/{quote(session_id, safe='', errors='replace')}"
        said |= {"sort": order, "turns": "true" if turns else None}
    found = _answer(path, said, question, config, data_dir, url)
    if as_json:
        print_json(found)
        return
    from otel_bridge.cli.render import show
    from otel_bridge.cli.tables import render_session, render_sessions

    show(partial(render_session if session_id else render_sessions, found))


def scores(
    limit: LimitOption = 20,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
) -> None:
    """List scores, the newest first."""

    def question(reader: "Reader", _: Collection[str]) -> dict[str, Any]:
        from otel_bridge.query.scores import list_scores

        return list_scores(reader, limit)

    found = _answer("/api/v1/scores", {"limit": limit}, question, config, data_dir, url)
    if as_json:
        print_json(found)
        return
    from otel_bridge.cli.render import show
    from otel_bridge.cli.tables import render_scores

    show(partial(render_scores, found))


def _answer(
    path: str,
    said: Mapping[str, Any],
    question: "Callable[[Reader, Collection[str]], dict[str, Any]]",
    config: Path | None,
    data_dir: Path | None,
    url: str | None,
) -> dict[str, Any]:
    """As `answered`; the question is handed the tenants that are configured, too."""
    source, tenants = source_of(url, config, data_dir)
    return answered(source, path, said, lambda reader: question(reader, tenants))
