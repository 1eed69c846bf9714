"""`otel-bridge runs`: what the exporter `call_log` has written of each run, from its files."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otel_bridge import call_log_names
from otel_bridge.cli.found import place
from otel_bridge.cli.output import ConfigOption, DataDirOption, JsonOption, print_json, print_table
from otel_bridge.errors import FilesError, UsageError
from otel_bridge.files import reason
from otel_bridge.telemetry import printable

if TYPE_CHECKING:
    from otel_bridge.exporters.call_log.runs import Call, Run

FolderOption = Annotated[
    Path | None, typer.Option("--dir", help="Where calls are logged, instead of where the configuration says.")
]
LimitOption = Annotated[int, typer.Option(min=1, help="How many.")]

runs = typer.Typer(
    name="runs",
    help="Runs whose calls were logged by the exporter call_log, the newest first.",
    invoke_without_command=True,
)


@runs.callback()
def without_command(
    context: typer.Context,
    limit: LimitOption = 20,
    folder: FolderOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, or `show` one."""
    if context.invoked_subcommand is None:
        list_runs(limit, folder, config, data_dir, as_json)


@runs.command("list")
def list_runs(
    limit: LimitOption = 20,
    folder: FolderOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest first: calls, failures, tokens, cost."""
    from otel_bridge.exporters.call_log.runs import summary

    where = folder or place(config, data_dir).call_log
    found = [{"folder": path.name, **summary(run)} for path, run in _first(where, limit)]
    if as_json:
        print_json({"dir": str(where), "runs": found})
        return
    if not found:
        print(printable(f"No runs in {where}. {call_log_names.LEVEL}=standard or the exporter call_log logs them."))
        return
    print_table([("run", "started UTC", "calls", "failed", "tokens", "cost", "name"), *map(_row, found)])


@runs.command("show")
def show(
    run_id: Annotated[str, typer.Argument(metavar="[ID|last]", help="An id, or the beginning of one.")] = "last",
    folder: FolderOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what its summary says of a run, and each call with its file."""
    from otel_bridge.exporters.call_log.documents import encoded
    from otel_bridge.exporters.call_log.runs import summary

    path, run = _found(folder or place(config, data_dir).call_log, run_id)
    calls = [call for call in run.calls if call.number is not None]
    if as_json:
        print_json({"folder": str(path), "summary": summary(run), "calls": [_told(call) for call in calls]})
        return
    print(printable(encoded(summary(run), "yaml").decode(), keep="\n"))
    print_table([("call", "agent", "model", "took", "tokens", "cost", "file"), *map(_call, calls)])
    print()
    print(printable(f"in {path}"))


def _first(where: Path, limit: int | None = None) -> "Iterator[tuple[Path, Run]]":
    from otel_bridge.exporters.call_log.runs import listed

    try:
        for count, found in enumerate(listed(where)):
            if count == limit:
                return
            yield found
    except FileNotFoundError:
        return
    except OSError as error:
        raise FilesError(f"{where} can not be read: {reason(where, error)}") from error


def _found(where: Path, run_id: str) -> "tuple[Path, Run]":
    """The run that is meant: the newest, or by its id or folder, or by the beginning of one of them."""
    begin = []
    for path, run in _first(where):
        if run_id in ("last", run.run_id, path.name):
            return path, run
        if run.run_id.startswith(run_id) or path.name.startswith(run_id):
            begin.append((path, run))
    if not begin:
        which = "no run" if run_id == "last" else f"no run {run_id[:100]!r}"
        raise UsageError(f"there is {which} in {where}: `otel-bridge runs` lists them, --dir names another folder")
    if len(begin) > 1:
        several = ", ".join(path.name for path, _ in begin[:5])
        raise UsageError(f"several runs begin with {run_id!r}: {several}; write more of it")
    return begin[0]


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    from otel_bridge.query.outline import cost

    dollars, name = run["cost"].get("total"), run.get("name") or ""
    return (
        run["folder"],
        run["started"][:16].replace("T", " "),
        str(run["calls"]),
        str(run["failed"] or ""),
        str(run["tokens"].get("total", "")),
        "" if dollars is None else cost(dollars),
        name,
    )


def _call(call: "Call") -> tuple[str, ...]:
    from otel_bridge.query.outline import cost, duration

    dollars = call.cost.get("total")
    return (
        f"{call.number:03d}{'' if call.ok else ' !'}",
        call.agent,
        call.model or "",
        duration((call.end_ns - call.start_ns) / 1e6),
        str(call.tokens.get("total", "")),
        "" if dollars is None else cost(dollars),
        call.file or "no room for it",
    )


def _told(call: "Call") -> dict[str, Any]:
    return {
        "call": call.number,
        "observation_id": call.id,
        "trace_id": call.trace_id,
        "agent": call.agent,
        "model": call.model,
        "ok": call.ok,
        "latency_ms": round((call.end_ns - call.start_ns) / 1e6, 3),
        "tokens": call.tokens,
        "cost": call.cost,
        "file": call.file,
    }
