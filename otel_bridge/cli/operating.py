"""`otel-bridge version` and the entry of `healthcheck` in the list of commands."""

import typer

from otel_bridge import __version__
from otel_bridge.cli.output import JsonOption, print_json


def version(json: JsonOption = False) -> None:
    """Print the version, and that of Python."""
    import platform

    if json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        print(f"otel-bridge {__version__} (Python {platform.python_version()})")


def healthcheck(context: typer.Context) -> None:
    """Is the bridge alive? Exit 0 healthy, 1 ill, 3 not there."""
    from otel_bridge.cli.healthcheck import check

    raise typer.Exit(check(context.args))
