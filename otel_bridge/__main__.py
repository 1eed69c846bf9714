"""Where the program starts: quick answers before anything heavy is imported, then the commands."""

import sys

from otel_bridge.cli.streams import open_standard_streams


def main() -> None:
    """Run the command line; ends the process with the exit code of the command."""
    open_standard_streams()
    if sys.argv[1:2] == ["healthcheck"]:  # a container asks every few seconds
        from otel_bridge.cli.healthcheck import check

        sys.exit(check(sys.argv[2:]))
    if sys.argv[1:2] == ["run"] and sys.argv[2:3] not in (["--help"], []):  # a program waits to be started
        from otel_bridge.cli.run import main as run_program

        sys.exit(run_program(sys.argv[2:]))
    if sys.argv[1:] == ["--version"]:  # what everybody tries first
        sys.argv[1:] = ["version"]
    from otel_bridge.cli.app import run

    run()


if __name__ == "__main__":
    main()
