"""`otel-bridge dead-letter`: what a destination would not take, by the bridge that runs or from its file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from otel_bridge.announcement import find
from otel_bridge.cli.asking import ask, running
from otel_bridge.cli.found import Place, Viewer, place, viewer_of
from otel_bridge.cli.output import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    TenantOption,
    UrlOption,
    print_json,
    print_table,
    progress,
)
from otel_bridge.errors import UsageError
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    import apsw

LETTERS = "/api/v1/dead-letters"
AT_ONCE = 10  # letters in one request, each of which may take as long as its exporter waits for an answer
HANDING_OUT_S = 300.0

ExporterOption = Annotated[
    str | None, typer.Option("--exporter", help="Of this exporter, as the configuration calls it.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="With this reason, as refused or too_large.")]
AllOption = Annotated[bool, typer.Option("--all", help="All that the other options let through.")]
IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids, or their beginnings.")]

dead_letter = typer.Typer(
    name="dead-letter",
    help="What a destination would not take: look at it, hand it out again, give it up.",
    no_args_is_help=True,
)


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
    for answer in _some_at_once(viewer, "retry", wanted):
        results += answer["letters"]
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
    for answer in _some_at_once(viewer, "drop", wanted):
        dropped += answer["dropped"]
    if json:
        print_json({"dropped": dropped})
    else:
        print(f"{len(dropped)} dropped")


def _some_at_once(viewer: Viewer, what: str, ids: list[str]) -> Iterator[dict[str, Any]]:
    """The answers to one request after another, telling meanwhile how far they are."""
    with progress() as show:
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            yield ask(viewer, f"{LETTERS}/{what}", change={"ids": some}, timeout_s=HANDING_OUT_S)
            show(f"{start + len(some)} of {len(ids)}")


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
