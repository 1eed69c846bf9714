"""All commands by name, and the one place where the program ends: a refusal becomes a sentence and an exit code."""

import json
import os
import re
import sys
from contextlib import suppress
from typing import Any

import typer

from otel_bridge.cli import (
    audit,
    configuration,
    dead_letters,
    delivery,
    demo,
    detect,
    doctor,
    lists,
    operating,
    questions,
    runs,
    serve,
    status,
    translate,
)
from otel_bridge.cli.output import ConfigOption
from otel_bridge.cli.streams import nowhere, say
from otel_bridge.errors import AddressInUseError, BridgeError, FilesError, PlanError, UsageError
from otel_bridge.files import NO_SPACE, TOO_MANY, remedy
from otel_bridge.telemetry import printable

app = typer.Typer(
    name="otel-bridge",
    help="OpenTelemetry from AI agents in, whole Langfuse traces out.",
    epilog="Exit codes: 0 fine, 1 a finding or failure, 2 usage, 3 unreachable, 73 cannot use its files or addresses, "
    "78 bad configuration. Every command takes --json.",
    add_completion=False,
    rich_markup_mode=None,  # plain help starts quicker, and reads the same in a pipe
    pretty_exceptions_enable=False,
)

THEIRS = (
    (re.compile(r"^Value error, "), ""),
    (re.compile(r"is not one of ('.*')\.$"), r"is not among \1"),
    (re.compile(r"^Input should be a valid integer.*", re.DOTALL), "it must be a whole number"),
    (re.compile(r"^Input should be a valid number.*", re.DOTALL), "it must be a number"),
    (re.compile(r"^Input should be (greater|less) than or equal to (\S+)"), r"it must be \2, or \1"),
    (re.compile(r"^Input should be "), "it must be "),
)

LIMITS = NO_SPACE | TOO_MANY

WrongWords: Any = typer.BadParameter.__base__  # what typer raises for words it does not know


@app.callback(invoke_without_command=True)
def without_command(context: typer.Context, config: ConfigOption = None) -> None:
    """OpenTelemetry from AI agents in, whole Langfuse traces out. Without a command: `serve`."""
    if context.invoked_subcommand is None:
        serve.serve(config)
    elif config is not None:
        os.environ["OTEL_BRIDGE_CONFIG"] = str(config)  # `-c bridge.yaml traces` means `traces -c bridge.yaml`


app.command()(serve.serve)
app.command()(demo.demo)
app.command()(translate.translate)
app.command()(questions.traces)
app.command()(questions.trace)
app.add_typer(runs.runs)
app.command()(lists.events)
app.command()(lists.metrics)
app.command()(lists.sessions)
app.command()(lists.scores)
app.command()(detect.detect)
app.command()(configuration.validate)
app.add_typer(configuration.config)
app.command()(configuration.components)
app.command()(operating.dialects)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(audit.audit)
app.add_typer(dead_letters.dead_letter)
app.command()(delivery.pause)
app.command()(delivery.resume)
app.command()(delivery.give_up)
app.command()(delivery.replay)
app.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(
    operating.healthcheck
)
app.command(context_settings={"allow_interspersed_args": False})(operating.run)  # what follows is the program's
app.command()(operating.version)


def run() -> None:
    """Run the command that was typed, and end the process."""
    if not os.environ.get("COLUMNS", "").strip("0 "):  # as containers say that there is no terminal
        os.environ.pop("COLUMNS", None)
    try:
        try:
            code = app(standalone_mode=False)
        finally:
            _flush_log()
            sys.stdout.flush()
    except WrongWords as error:
        error.message = in_words(error.message)
        if "--json" in sys.argv:
            sys.exit(_end(UsageError(error.format_message())))
        with suppress(OSError):
            error.show()
        _flush_log()
        sys.exit(UsageError.exit_code)
    except (BridgeError, BrokenPipeError) as error:
        sys.exit(_end(error))
    except OSError as error:
        if error.errno not in LIMITS:
            raise
        if error.errno in NO_SPACE:  # what is left to be written there Python would try again
            nowhere(sys.stdout)
        sys.exit(_end(_limited(error)))
    except BaseExceptionGroup as group:  # what a task raised comes in a group, however deep
        expected, bugs = group.split(_is_expected)
        if bugs is not None or expected is None:
            raise
        one = _first(expected)
        sys.exit(_end(one if isinstance(one, BridgeError | BrokenPipeError) else _limited(one)))
    sys.exit(code if isinstance(code, int) else 0)


def in_words(said: str) -> str:
    """What typer says of a value that an option does not take, without the words of what it is made of."""
    for theirs, ours in THEIRS:
        said = theirs.sub(ours, said)
    return said


def _flush_log() -> None:
    """Where nobody reads the log any more, Python would end with 120 over what is left of it."""
    try:
        sys.stderr.flush()
    except OSError:
        nowhere(sys.stderr)


def _end(error: BridgeError | BrokenPipeError) -> int:
    """Say what is to be said, to a person or to a program that asked for JSON; returns the exit code."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has enough, as `head` does
        nowhere(sys.stdout)
        return 1
    said = str(error)
    if isinstance(error, AddressInUseError):
        from otel_bridge.cli.holder import holder

        said += f"; {holder(error.endpoint, is_viewer=error.is_viewer)}"
    if "--json" in sys.argv:
        mistakes = {"mistakes": error.mistakes} if isinstance(error, PlanError) else {}
        say(json.dumps({"error": said, "exitCode": error.exit_code, **mistakes}), sys.stderr)
    else:
        lines = error.mistakes if isinstance(error, PlanError) else (f"otel-bridge: {said}",)
        say("\n".join(printable(line) for line in lines), sys.stderr)
    return error.exit_code


def _is_expected(error: BaseException) -> bool:
    return isinstance(error, BridgeError | BrokenPipeError) or (isinstance(error, OSError) and error.errno in LIMITS)


def _limited(error: OSError) -> FilesError:
    """What a system says that has no more of something."""
    what = f"{error.filename or 'standard output'} can not be used"
    if error.filename is None and error.errno in TOO_MANY:  # no output has that, but a connection, say
        what = "no more files or connections can be opened"
    return FilesError(f"{what}: {error.strerror}; {remedy(error)}")


def _first(group: BaseExceptionGroup[Any]) -> Any:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
