"""Delivery, as an operator sees it: `audit`, `dead-letter`, `pause`, `resume`, `give-up`, `replay`."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from otel_bridge.announcement import find
from otel_bridge.cli.asking import ask, running
from otel_bridge.cli.found import Place, Viewer, place, viewer_of
from otel_bridge.cli.output import ConfigOption, DataDirOption, JsonOption, UrlOption, print_json, print_table
from otel_bridge.counts import plural
from otel_bridge.errors import UsageError
from otel_bridge.sides import side_of
from otel_bridge.telemetry import printable
from otel_bridge.undelivered import configured

if TYPE_CHECKING:
    import apsw

    from otel_bridge.journal.exporters import Account

LETTERS = "/api/v1/dead-letters"
AT_ONCE = 10  # letters in one request, each of which may take as long as its exporter waits for an answer
HANDING_OUT_S = 300.0
GIVING_UP_S = 300.0  # all that waits is read
FOLLOW_EVERY_S = 0.5

ExporterOption = Annotated[
    str | None, typer.Option("--exporter", help="Of this exporter, as the configuration calls it.")
]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Of this tenant.")]
PauseTenantOption = Annotated[str | None, typer.Option("--tenant", help="For this tenant alone.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="With this reason, as refused or too_large.")]
AllOption = Annotated[bool, typer.Option("--all", help="All that the other options let through.")]
IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids, or their beginnings.")]

dead_letter = typer.Typer(
    name="dead-letter",
    help="What a destination would not take: look at it, hand it out again, give it up.",
    no_args_is_help=True,
)


def audit(
    span: Annotated[
        str | None,
        typer.Option(
            "--span", metavar="ID", help="Where a span is, for each exporter; the beginning of its id will do."
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option("--trace", metavar="ID", help="Where the spans of a trace are; the beginning of its id will do."),
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Prove that nothing accepted was lost, else exit 1; or say where a span or trace is, exit 1 if nowhere."""
    folder = place(config, data_dir).data_dir
    if span is not None or trace is not None:
        _locate(folder, span, trace, as_json=json)
        return
    from otel_bridge.delivery import audit as counted
    from otel_bridge.telemetry import Outcome

    found = counted(folder)
    if json:
        print_json(found.to_dict())
    else:
        heads = ("pipeline", "exporter", "tenant", "signal", "accepted", *Outcome, "waiting", "missing")
        rows = [
            (*line.account, line.accepted, *(line.outcomes.get(one, 0) for one in Outcome), line.waiting, line.missing)
            for line in found.lines
        ]
        print_table([heads, *([str(cell) for cell in row] for row in rows)])
        for line in found.lines:
            for reason, items in line.reasons.items():
                print(f"  {_owner(line.account)}: {items} {printable(reason)}")
            for outcome, items in line.replayed.items():
                print(f"  {_owner(line.account)}: {items} sent again, {outcome}")
        if found.unknown:
            print(
                f"\n{plural(found.unknown, 'entry')} of the journal damaged so that nobody knows whose:"
                " accepted lacks them, and missing is below 0 where they had been delivered"
            )
        verdict = "yes" if found.balanced else "NO, as far as can be known for that damage"
        if not (found.balanced or found.explained):
            verdict = "NO; please report this, with the data dir if you can"
        print(f"\nbalanced: {verdict}")
    if not found.balanced:
        raise typer.Exit(1)


def _owner(account: "Account") -> str:
    from otel_bridge.batch import DEFAULT_TENANT

    tenant = "" if account.tenant == DEFAULT_TENANT else f" {account.tenant}"
    return printable(f"{account.exporter}{tenant} {account.signal}")


def _locate(folder: Path, span: str | None, trace: str | None, *, as_json: bool) -> None:
    from otel_bridge.delivery import locate

    found = locate(folder, trace_id=trace, span_id=span)
    if as_json:
        print_json(found.to_dict())
    else:
        rows = [
            (one.tenant, one.span_id or str(one.signal), one.name, at.exporter, at.where, at.said)
            for one in found.items
            for at in one.places
        ]
        if rows:
            print_table([("tenant", "span", "name", "exporter", "where", ""), *rows])
        for line in found.notes:
            print(printable(line))
    if not found.items:
        raise typer.Exit(1)


@dead_letter.command("list")
def list_letters(
    exporter: ExporterOption = None,
    tenant: TenantOption = None,
    reason: ReasonOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    url: UrlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """List dead letters, the newest first; from the file where no bridge runs."""
    chosen = {"exporter": exporter, "tenant": tenant, "reason": reason}
    found = _letters(_place_of(url, config, data_dir), chosen, limit)
    if json:
        print_json(found)
        return
    rows = [
        *(("id", "at", "exporter", "tenant", "kind", "items", "reason", "answer"),),
        *(
            (
                *(one["id"], one["at"], one["exporter"], one["tenant"], one["kind"], str(one["items"])),
                *("DAMAGED" if one["damaged"] else one["reason"], one["answer"][:100]),
            )
            for one in found["letters"]
        ),
    ]
    if found["letters"]:
        print_table(rows)
    else:
        print("no dead letters")
    if found["nextCursor"]:
        print(f"\nand more: --limit {limit * 2}")


@dead_letter.command("show")
def show_letter(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="An id, or the beginning of one.")],
    url: UrlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Print a dead letter with what it holds; from the file where no bridge runs."""
    letter = _letter(_place_of(url, config, data_dir), letter_id)
    if json:
        print_json(letter)
        return
    import orjson

    content = letter.pop("content")
    for key, value in letter.items():
        print(f"{key + ':':10} {printable(str(value))}")
    if content is None:
        print("\nits content is damaged")
    else:
        print("\n" + printable(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode(), keep="\n"))


@dead_letter.command("retry")
def retry_letters(
    ids: IdsArgument = None,
    every: AllOption = False,
    exporter: ExporterOption = None,
    tenant: TenantOption = None,
    reason: ReasonOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Hand dead letters to their exporters again, through the running bridge; exit 1 if one of them stays."""
    viewer = running(url, config, data_dir)
    wanted = _wanted(viewer, ids, every, {"exporter": exporter, "tenant": tenant, "reason": reason})
    results: list[dict[str, Any]] = []
    for some in (wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE)):
        results += ask(viewer, f"{LETTERS}/retry", change={"ids": some}, timeout_s=HANDING_OUT_S)["letters"]
        _progress(f"{len(results)} of {len(wanted)}")
    if json:
        print_json({"letters": results})
    elif not results:
        print("no dead letters")
    else:
        print_table([(one["id"], one["result"], one["why"] or "") for one in results])
    if any(one["result"] not in ("delivered", "filtered", "sampled_out") for one in results):
        raise typer.Exit(1)


@dead_letter.command("drop")
def drop_letters(
    ids: IdsArgument = None,
    every: AllOption = False,
    exporter: ExporterOption = None,
    tenant: TenantOption = None,
    reason: ReasonOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Give dead letters up, through the running bridge; they stay counted as dead-lettered."""
    viewer = running(url, config, data_dir)
    wanted = _wanted(viewer, ids, every, {"exporter": exporter, "tenant": tenant, "reason": reason})
    dropped: list[str] = []
    for some in (wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE)):
        dropped += ask(viewer, f"{LETTERS}/drop", change={"ids": some})["dropped"]
    if json:
        print_json({"dropped": dropped})
    else:
        print(f"{len(dropped)} dropped")


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
        told = ""
        while waiting := [one for one in ask(viewer, "/api/v1/replays")["replays"] if one["id"] in begun["replays"]]:
            trouble = "; ".join(dict.fromkeys(one["why"] for one in waiting if one["why"]))
            _progress(trouble or "sending")
            if trouble not in ("", told) and not sys.stderr.isatty():
                told = trouble
                print(printable(f"it waits: {trouble}"), file=sys.stderr, flush=True)
                print("it goes on in the bridge, also if this command is ended", file=sys.stderr, flush=True)
            time.sleep(FOLLOW_EVERY_S)
        after = _replayed(ask(viewer, "/api/v1/replays"), exporter)
        begun["sent"] = {outcome: after[outcome] - before.get(outcome, 0) for outcome in after}
    if json:
        print_json(begun)
    elif follow:
        sent = ", ".join(f"{items} {outcome}" for outcome, items in begun["sent"].items() if items)
        print(f"done: {sent or 'nothing to send'}")
    else:
        print("it goes on in the bridge; `otel-bridge audit` counts what was sent again")


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


def _place_of(url: str | None, config: Path | None, data_dir: Path | None) -> Place | Viewer:
    """The viewer of the bridge that runs, else where its file of letters is."""
    if url is not None:
        return Viewer.at(url)
    where = place(config, data_dir)
    found = find(where.data_dir)
    viewer = found.address("viewer") if found is not None else None
    return viewer_of(where.data_dir, viewer) if viewer else where


def _letters(source: Place | Viewer, chosen: dict[str, str | None], limit: int | None) -> dict[str, Any]:
    """Letters, all of them unless there is a limit."""
    letters: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        size = min(200, limit - len(letters)) if limit else 200
        page = _page(source, chosen, size, cursor)
        letters += page["letters"]
        cursor = page["nextCursor"]
        if cursor is None or (limit and len(letters) >= limit):
            return {**page, "letters": letters}


def _page(source: Place | Viewer, chosen: dict[str, str | None], limit: int, cursor: str | None) -> dict[str, Any]:
    if isinstance(source, Viewer):
        query = {**chosen, "limit": str(limit), "cursor": cursor}
        return ask(source, LETTERS, {key: value for key, value in query.items() if value is not None})
    from otel_bridge.batch import DEFAULT_TENANT
    from otel_bridge.delivery.dead_letter import Chosen, check_chosen, page_of, read_letters, waiting_in

    def asked(connection: "apsw.Connection") -> dict[str, Any]:
        page = page_of(connection, Chosen(**chosen), limit, cursor)
        if not page.letters:
            check_chosen(chosen["tenant"], source.tenants or (DEFAULT_TENANT,), waiting_in(connection))
        return page.to_dict()

    return read_letters(_file(source), asked)


def _file(where: Place) -> Path:
    return where.data_dir / "dead_letters.db"


def _letter(source: Place | Viewer, letter_id: str) -> dict[str, Any]:
    if isinstance(source, Viewer):
        return ask(source, f"{LETTERS}/{quote(letter_id, safe='')}")
    from otel_bridge.delivery.dead_letter import letter_of, read_letters
    from otel_bridge.query.find import NotFoundError

    found = read_letters(_file(source), lambda connection: letter_of(connection, letter_id))
    if found is None:
        raise NotFoundError("there is no such dead letter")
    return found.to_dict(content=True)


def _wanted(viewer: Viewer, ids: list[str] | None, every: bool, chosen: dict[str, str | None]) -> list[str]:
    """The whole ids of the letters that are meant."""
    if bool(ids) == every:
        raise UsageError("name the letters, or say --all (with --exporter, --tenant or --reason, if not all of all)")
    if ids:
        return [_letter(viewer, letter_id)["id"] for letter_id in ids]
    return [one["id"] for one in _letters(viewer, chosen, None)["letters"]]


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{printable(what)[:100]}", end="", file=sys.stderr, flush=True)
