"""`detect` asks what is wrong with the traces of the last hour, say: what was found, and what to do about it."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otel_bridge.cli.output import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    TenantOption,
    UrlOption,
    print_json,
    print_table,
    print_wrapped,
)
from otel_bridge.cli.questions import answered, source_of
from otel_bridge.counts import plural

if TYPE_CHECKING:
    from otel_bridge.store.reader import Reader

SHOWN_IDS = 3


def detect(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Of detectors; without one, all that look for faults."),
    ] = None,
    last: Annotated[str, typer.Option(help="How far to look back, as 30m, 12h or 7d.")] = "1h",
    list_them: Annotated[bool, typer.Option("--list", help="Say which detectors there are.")] = False,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    url: UrlOption = None,
) -> int:
    """Look for what is wrong with traces: runs that stand still, and so on; ends with 1 where something was found."""
    if list_them:
        _list(as_json=as_json)
        return 0
    source, tenants = source_of(url, config, data_dir)
    found = load_findings(source, names or (), last, tenant=tenant, tenants=tenants)
    if as_json:
        print_json(found)
    else:
        _show(found)
    return 1 if found["findings"] else 0


def load_findings(
    source: Path | str,
    names: Collection[str] = (),
    last: str = "1h",
    *,
    tenant: str | None = None,
    tenants: Collection[str] = (),
) -> dict[str, Any]:
    """What detectors find in a store's file, or say to the viewer at a URL that they find.

    tenants: those that are configured; the viewer knows them.

    Raises:
        UsageError: there is no such detector or tenant, or `last` or the URL can not be used.
        FilesError: there is no store.
        UnreachableError: no viewer answers at the URL, or it has no store to ask.
    """

    def question(reader: "Reader") -> dict[str, Any]:
        from otel_bridge.query.detect import detect as find

        return find(reader, names, last, tenant=tenant, tenants=tenants)

    said = {"last": last, "kind": ",".join(names) or None, "tenant": tenant}
    return answered(source, "/api/v1/findings", said, question)


def _list(*, as_json: bool) -> None:
    from otel_bridge.query.detect import detectors

    if as_json:
        print_json([{"name": one.name, "finds": one.finds, "isAdvice": one.is_advice} for one in detectors()])
        return
    print_table([(one.name, one.finds + (" (where it is named)" if one.is_advice else "")) for one in detectors()])


def _show(found: dict[str, Any]) -> None:
    for finding in found["findings"]:
        print_wrapped(finding["says"], f"{finding['severity']:<8} {finding['kind']}: ")
        print_wrapped(finding["remedy"], "         ")
        print_wrapped(_evidence(finding), "         ")
        print()
    looked = f"{plural(len(found['detectors']), 'detector')} looked at {plural(found['traceCount'], 'trace')}"
    newest = ", the newest that are not too large, as there are more" if found["partial"] else ""
    count = plural(len(found["findings"]), "finding") if found["findings"] else "nothing found"
    print(f"{count}: {looked}{newest}")


def _evidence(finding: dict[str, Any]) -> str:
    said = []
    for ids, one, several, length in (
        (finding["traceIds"], "trace", "traces", 8),
        (finding["observationIds"], "observation", "observations", 16),
    ):
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        shown = ", ".join(each[:length] for each in ids[:SHOWN_IDS])
        said += [f"{one if len(ids) == 1 else several} {shown}{more}"] if ids else []
    return " · ".join([*said, *([finding["tenant"]] if finding["tenant"] != "default" else [])])
