"""`otel-bridge audit`: what became of everything that was accepted."""

import typer

from otel_bridge.cli.found import place
from otel_bridge.cli.output import ConfigOption, DataDirOption, JsonOption, print_json, print_table


def audit(config: ConfigOption = None, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Prove that nothing accepted was lost, else exit 1."""
    from otel_bridge.delivery import audit as counted
    from otel_bridge.telemetry import Outcome

    found = counted(place(config, data_dir).data_dir)
    if json:
        print_json(found.to_dict())
    else:
        heads = (
            "pipeline",
            "exporter",
            "tenant",
            "signal",
            "accepted",
            *Outcome,
            "waiting",
            "unknown" if found.unknown else "missing",
        )
        rows = [
            (*line.account, line.accepted, *(line.outcomes.get(one, 0) for one in Outcome), line.waiting, line.missing)
            for line in found.lines
        ]
        print_table([heads, *([str(cell) for cell in row] for row in rows)])
        for line in found.lines:
            for reason, items in line.reasons.items():
                print(f"  {line.account.exporter} {line.account.signal}: {items} {reason}")
        if found.unknown:
            print(
                f"\n{found.unknown} entries of the journal were damaged so that nobody knows whose they were:"
                " what is unknown above may have been in them"
            )
        print("\nbalanced: " + ("yes" if found.balanced else "NO; please report this, with the data dir if you can"))
    if not found.balanced:
        raise typer.Exit(1)
