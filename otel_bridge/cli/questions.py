"""Questions to the store: `traces` lists, `trace` shows one, or an observation; from the store's file or a bridge."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from otel_bridge.cli.asking import ANSWER_TIMEOUT_S, ask
from otel_bridge.cli.found import Viewer, place
from otel_bridge.cli.output import ConfigOption, DataDirOption, JsonOption, TenantOption, UrlOption, print_json

if TYPE_CHECKING:
    from otel_bridge.store.reader import Reader

FILE_BUDGET_S = 60.0
"""A question from the terminal keeps nobody else waiting."""


def traces(
    filter_text: Annotated[
        str, typer.Argument(metavar="[FILTER]", help="As: 'status:error duration:>10s name:chat* session:abc'")
    ] = "",
    sort: Annotated[str, typer.Option(help="start, duration, tokens, cost or errors; descending with a -.")] = "-start",
    limit: Annotated[int, typer.Option(help="How many, 200 at most.")] = 20,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
) -> None:
    """List traces, the newest first."""
    source, tenants = source_of(url, config, data_dir)
    found = load_traces(source, filter_text, sort=sort, limit=limit, tenant=tenant, tenants=tenants)
    if as_json:
        print_json(found)
        return
    from otel_bridge.cli.render import render_list, show

    show(partial(render_list, found, f"{filter_text} --tenant {tenant}" if tenant else filter_text))


def trace(
    trace_id: Annotated[str, typer.Argument(metavar="[ID|last]", help="An id, or the beginning of one.")] = "last",
    observation: Annotated[
        str | None,
        typer.Argument(metavar="[OBSERVATION]", help="An id or its beginning, a name or a part of it."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="With what every observation holds.")] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
) -> None:
    """Show one trace as a tree (types, durations, tokens, cost, errors, scores), or one observation's messages."""
    source = url or place(config, data_dir).store
    if observation is None:
        found = load_trace(source, trace_id, full=full, tenant=tenant)
    else:
        found = load_observation(source, trace_id, observation, tenant=tenant)
    if as_json:
        print_json(found)
        return
    from otel_bridge.cli.render import render_observation, render_tree, show

    if observation is not None:
        show(partial(render_observation, found))
        return
    show(partial(render_tree, found))
    for each in found["observations"] if full else ():
        print()
        show(partial(render_observation, each))


def load_traces(
    source: Path | str | Viewer,
    filter_text: str = "",
    *,
    sort: str = "-start",
    limit: int = 20,
    tenant: str | None = None,
    cursor: str | None = None,
    tenants: Collection[str] = (),
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> dict[str, Any]:
    """`{"traces": [...], "nextCursor": ...}` from a store's file, or from the viewer at a URL.

    tenants: those that are configured; the viewer knows them. timeout_s: for its answer.

    Raises:
        UsageError: the filter, sort, limit or URL can not be used, or there is no such tenant.
        FilesError: there is no store.
        UnreachableError: no viewer answers at the URL, or it has no store to ask.
    """

    def question(reader: "Reader") -> dict[str, Any]:
        from otel_bridge.query.traces import list_traces

        return list_traces(reader, filter_text, sort, limit, cursor, tenant=tenant, tenants=tenants)

    said = {"filter": filter_text, "sort": sort, "limit": limit, "tenant": tenant, "cursor": cursor}
    return answered(source, "/api/v1/traces", said, question, timeout_s=timeout_s)


def source_of(url: str | None, config: Path | None, data_dir: Path | None) -> tuple[Path | str, Collection[str]]:
    """Whom to ask, a viewer or a store's file; of the latter with the tenants that are configured."""
    if url:
        return url, ()
    where = place(config, data_dir)
    return where.store, where.tenants


def answered(
    source: Path | str | Viewer,
    path: str,
    said: Mapping[str, Any],
    question: "Callable[[Reader], dict[str, Any]]",
    *,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> dict[str, Any]:
    """What the viewer at a URL answers at a path, or a store's file to the question.

    said: parameters of the path; those that are None are left out. timeout_s: for the viewer's answer.
    """
    if not isinstance(source, Path):
        asked = {key: str(value) for key, value in said.items() if value is not None}
        return ask(source, path, asked, timeout_s=timeout_s)
    from otel_bridge.store.reader import reading

    with reading(source, FILE_BUDGET_S) as reader:
        return question(reader)


def load_trace(
    source: Path | str | Viewer, trace_id: str = "last", *, full: bool = False, tenant: str | None = None
) -> dict[str, Any]:
    """One trace with its observations, from a store's file, or from the viewer at a URL.

    full: every observation, with all it holds; else those of the first page, without their content.
    tenant: whose it is; None where any is meant.

    Raises:
        NotFoundError: there is no such trace.
        UsageError: several begin with this id, or the URL can not be used.
        FilesError: there is no store.
        UnreachableError: no viewer answers at the URL, or it has no store to ask.
    """
    if not isinstance(source, Path):
        path = f"/api/v1/traces/{quote(trace_id, safe='')}"
        asked = {**({"full": "true"} if full else {}), **_of(tenant)}
        return _every_page(lambda page: ask(source, path, {**asked, **page}), every=full)
    from otel_bridge.query.traces import one_trace
    from otel_bridge.store.reader import reading

    with reading(source, FILE_BUDGET_S) as reader:
        return _every_page(
            lambda page: one_trace(
                reader, trace_id, full=full, tenant=page.get("tenant", tenant), cursor=page.get("cursor")
            ),
            every=full,
        )


def _every_page(ask: Callable[[dict[str, str]], dict[str, Any]], *, every: bool) -> dict[str, Any]:
    found = ask({})
    while every and found["nextCursor"]:
        following = ask({"cursor": found["nextCursor"], "tenant": found["tenant"]})
        found["observations"] += following["observations"]
        found["nextCursor"] = following["nextCursor"]
    return found


def _of(tenant: str | None) -> dict[str, str]:
    return {} if tenant is None else {"tenant": tenant}


def load_observation(
    source: Path | str, trace_id: str, observation: str, *, tenant: str | None = None
) -> dict[str, Any]:
    """One observation with all it holds, by its id, the beginning of it or its name; raises as `load_trace`."""

    def question(reader: "Reader") -> dict[str, Any]:
        from otel_bridge.query.observations import one_observation

        return one_observation(reader, trace_id, observation, tenant=tenant)

    path = f"/api/v1/traces/{quote(trace_id, safe='')}/observations/{quote(observation, safe='', errors='replace')}"
    return answered(source, path, {"tenant": tenant}, question)
