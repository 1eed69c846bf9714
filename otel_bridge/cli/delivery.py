"""What an operator changes of delivery while a bridge runs: `pause`, `resume`, `give-up`, `replay`."""

import sys
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from otel_bridge.cli.asking import ask, running
from otel_bridge.cli.found import Viewer
from otel_bridge.cli.output import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    TenantOption,
    UrlOption,
    print_json,
    progress,
)
from otel_bridge.counts import plural
from otel_bridge.errors import UsageError
from otel_bridge.sides import side_of
from otel_bridge.telemetry import printable
from otel_bridge.undelivered import configured

GIVING_UP_S = 300.0  # all that waits is read
FOLLOW_EVERY_S = 0.5

PauseTenantOption = Annotated[str | None, typer.Option("--tenant", help="For this tenant alone.")]


def pause(
    exporter: Annotated[str, typer.Argument(help="As the configuration calls it.")],
    tenant: PauseTenantOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Send an exporter nothing until it is resumed, also after a restart; its data is kept."""
    _switch("pause", exporter, tenant, running(url, config, data_dir), as_json=json)


def resume(
    exporter: Annotated[str, typer.Argument(help="As the configuration calls it.")],
    tenant: PauseTenantOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Go on with an exporter where it was paused; who was paused alone is resumed alone."""
    _switch("resume", exporter, tenant, running(url, config, data_dir), as_json=json)


def _switch(what: str, exporter: str, tenant: str | None, viewer: Viewer, *, as_json: bool) -> None:
    answer = ask(viewer, f"/api/v1/exporters/{what}", change={"exporter": exporter, "tenant": tenant})
    if as_json:
        print_json(answer)
        return
    lane = exporter if tenant is None else f"{exporter} for {tenant}"
    alone = ", ".join(answer["pausedTenants"])
    if what == "pause":
        said = f"{lane} is paused: its data is kept"
    elif answer["paused"]:
        said = f"{exporter} is still paused for all: `otel-bridge resume {exporter}` lets it go on"
    elif alone and tenant is None:
        said = f"{exporter} is on again, but for {alone}: `--tenant` lets it go on for one of them"
    else:
        said = f"{lane} is on again"
    print(printable(said))


def give_up(
    exporter: Annotated[str, typer.Argument(help="As the configuration calls it, or did.")],
    tenant: TenantOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: UrlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Never send an exporter what waits for it, as of a tenant that is gone; it is counted as evicted (given_up)."""
    viewer = running(url, config, data_dir)
    waiting = [
        (of.partition("/")[2], name, lane["waiting"])
        for of, tenants in ask(viewer, "/api/v1/status")["exporters"].items()
        for name, lane in tenants.items()
        if configured(of) == exporter and tenant in (None, name) and lane["waiting"] > 0
    ]
    if waiting and not yes:
        _confirm([f"{name} has {plural(items, 'item')} waiting for {side}" for side, name, items in waiting])
    answer = ask(
        viewer, "/api/v1/exporters/give-up", change={"exporter": exporter, "tenant": tenant}, timeout_s=GIVING_UP_S
    )
    if json:
        print_json(answer)
        return
    for row in answer["givenUp"]:
        print(printable(f"given up: {plural(row['items'], 'item')} of {row['tenant']} for {row['exporter']}"))
    if not answer["givenUp"]:
        print("nothing waits that could be given up")
    if answer["waiting"]:
        print(
            f"still waiting: {plural(answer['waiting'], 'item')} of traces that are open or have come since:"
            " say it again later"
        )


def _confirm(what: list[str]) -> None:
    """Let a person decide.

    Raises:
        UsageError: nobody is there to ask.
        typer.Exit: they do not want it.
    """
    if not _is_asked():
        raise UsageError(f"{', '.join(what)}, never to be sent then: say --yes if that is meant")
    for line in what:
        print(printable(line), file=sys.stderr)
    try:
        meant = typer.confirm("Never send them?", err=True)
    except typer.Abort:
        meant = False
    if not meant:
        print("nothing is given up", file=sys.stderr)
        raise typer.Exit(1)


def _is_asked() -> bool:
    """Whether somebody is there who can answer."""
    return sys.stdin is not None and sys.stdin.isatty()  # None: it was closed


def replay(
    exporter: Annotated[str, typer.Option("--exporter", help="As the configuration calls it.")],
    since: Annotated[str, typer.Option(help="How long ago, as 2h or 30m, or a time, as 2026-01-31T12:00:00Z.")],
    until: Annotated[str | None, typer.Option(help="The same; now unless said.")] = None,
    tenant: TenantOption = None,
    follow: Annotated[bool, typer.Option(help="Wait until it is done; it goes on without being waited for.")] = True,
    url: UrlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Send again to an exporter what it has had and the journal still holds."""
    viewer = running(url, config, data_dir)
    now = datetime.now(UTC)
    change = {"exporter": exporter, "since": _time(since, now), "tenant": tenant}
    change["until"] = None if until is None else _time(until, now)
    before = _replayed(ask(viewer, "/api/v1/replays"), exporter)
    begun = ask(viewer, "/api/v1/replays", change=change)
    held = begun["heldSince"]
    if not json:
        print(f"to {printable(exporter)} again: from {begun['since']} until {begun['until']}")
        print(f"the journal holds what came since {held}" if held else "the journal holds nothing")
        if held and held > begun["since"]:
            print("what came before that is not sent again", file=sys.stderr)
    if follow:
        _follow(viewer, begun["replays"])
        after = _replayed(ask(viewer, "/api/v1/replays"), exporter)
        begun["sent"] = {outcome: after[outcome] - before.get(outcome, 0) for outcome in after}
    if json:
        print_json(begun)
    elif follow:
        sent = ", ".join(f"{items} {outcome}" for outcome, items in begun["sent"].items() if items)
        print(f"done: {sent or 'nothing to send'}")
    else:
        print("it goes on in the bridge; `otel-bridge audit` counts what was sent again")


def _follow(viewer: Viewer, replays: Collection[Any]) -> None:
    """Wait until they are done, and say what they wait for."""
    told = ""
    with progress() as show:
        while waiting := [one for one in ask(viewer, "/api/v1/replays")["replays"] if one["id"] in replays]:
            trouble = "; ".join(dict.fromkeys(one["why"] for one in waiting if one["why"]))
            show(trouble or "sending")
            if trouble not in ("", told) and not sys.stderr.isatty():
                told = trouble
                print(printable(f"it waits: {trouble}"), file=sys.stderr, flush=True)
                print("it goes on in the bridge, also if this command is ended", file=sys.stderr, flush=True)
            time.sleep(FOLLOW_EVERY_S)


def _replayed(status: dict[str, Any], exporter: str) -> dict[str, int]:
    counted: dict[str, int] = {}
    for row in status["replayed"]:
        if side_of(row["exporter"]) == exporter:
            for outcome, items in row.items():
                if isinstance(items, int):
                    counted[outcome] = counted.get(outcome, 0) + items
    return counted


def _time(said: str, now: datetime) -> str:
    """A duration before now, or a time, as ISO 8601 with its zone."""
    from otel_bridge.config import AMOUNT, SECONDS

    if (found := AMOUNT.fullmatch(said.strip())) and found[2] in SECONDS:
        ago_s = min(float(found[1]) * SECONDS[found[2]], now.timestamp())  # there is nothing before 1970
        return datetime.fromtimestamp(now.timestamp() - ago_s, UTC).isoformat()
    try:
        at = datetime.fromisoformat(said.strip())
    except ValueError:
        raise UsageError(f"{said!r} is no time: write it as 2h, 30m or 2026-01-31T12:00:00Z") from None
    return (at if at.tzinfo else at.astimezone()).isoformat()
