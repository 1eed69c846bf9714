"""`otel-bridge version`, `dialects`, and the entries of `healthcheck` and `run` in the list of commands."""

from typing import Annotated

import typer

from otel_bridge import __version__
from otel_bridge.cli.output import ConfigOption, JsonOption, print_json


def version(json: JsonOption = False) -> None:
    """Print the version, and those of Python and of what it stands on."""
    import platform
    from importlib.metadata import version as installed

    others = {package: installed(package) for package in ("opentelemetry-sdk", "langfuse")}
    if json:
        print_json({"version": __version__, "python": platform.python_version(), **others})
    else:
        on = ", ".join(f"{package} {number}" for package, number in others.items())
        print(f"otel-bridge {__version__} (Python {platform.python_version()}, {on})")


def dialects(json: JsonOption = False) -> None:
    """List the instrumentations that are understood, in the order in which they are heard."""
    from otel_bridge.translate import dialects as every

    if json:
        shown = ("name", "summary", "scopes", "marks", "rank", "checked")
        print_json([{field: getattr(dialect, field) for field in shown} for dialect in every()])
        return
    for dialect in every():
        print(f"{dialect.name}  {dialect.summary}")
        rows = [
            ("scopes", ", ".join(dialect.scopes)),
            ("marks", ", ".join(dialect.marks)),
            ("rank", str(dialect.rank)),
            ("checked", dialect.checked),
        ]
        print("\n".join(f"  {name:8}{said}" for name, said in rows if said) + "\n")


def healthcheck(context: typer.Context) -> None:
    """Is the bridge alive? Exit 0 healthy, 1 ill, 3 not there."""
    from otel_bridge.cli.healthcheck import check

    raise typer.Exit(check(context.args))


def run(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="With its arguments, after --.")
    ] = None,
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="Say at the end in JSON what was seen, for programs.")] = False,
) -> None:
    """Run a program instrumented towards the bridge: `otel-bridge run -- python agent.py`.

    A bridge is started for as long if none runs. What was seen is said at the end, on standard error.

    The exit code is the program's, and 128 and the signal where one ended it. Where it did not run: 127 there is no
    such program, 126 it can not be run; 2, 3, 73 or 78 this command or its bridge could not begin, as everywhere.
    """
    from otel_bridge.cli.run import main

    ours = ["--config", str(config)] if config else []
    raise typer.Exit(main([*ours, *(["--json"] if json else []), "--", *(command or ())]))
