"""`otel-bridge audit`: that nothing accepted was lost, or where a span or trace is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otel_bridge.cli.found import place
from otel_bridge.cli.output import ConfigOption, DataDirOption, JsonOption, print_json, print_table
from otel_bridge.counts import plural
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    from otel_bridge.journal.exporters import Account


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
