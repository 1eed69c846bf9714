"""`otel-bridge run -- CMD`: run any program instrumented towards the bridge, then say in a line what was seen.

It stands in the program's way, so nothing heavy is imported before the program has started.
"""

import errno
import gc
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from otel_bridge.announcement import Found, find
from otel_bridge.cli.found import Viewer, place, viewer_of
from otel_bridge.cli.own import (
    LOOK_EVERY_S,
    BorrowedBridge,
    OwnBridge,
    Use,
    begin,
    coming,
    heard,
    lent,
    one_at_a_time,
    signal_name,
    use,
)
from otel_bridge.cli.streams import say
from otel_bridge.errors import BridgeError, CommandError, FilesError, UnreachableError, UsageError

if TYPE_CHECKING:
    from otel_bridge.cli.refused import Refused

SITE = Path(__file__).parents[1] / "sdk" / "site"
BEFORE_TIMEOUT_S = 1.0  # the program waits meanwhile
AFTER_TIMEOUT_S = 3.0  # and whoever waits for its end
END_S = 60.0  # of a bridge, which takes some seconds where its disk is well
GENERAL = "OTEL_EXPORTER_OTLP_ENDPOINT"
USAGE = "otel-bridge run [--config FILE] [--json] -- COMMAND [ARGUMENT …]"


def main(words: list[str]) -> int:
    """Run a command; returns its exit code, or ours where it could not be run, which is said."""
    try:
        return run(words)
    except BridgeError as error:
        _say(f"otel-bridge: {error}")
        return error.exit_code


def run(words: list[str]) -> int:
    """Run a command; returns its exit code.

    Raises:
        UsageError: there is none. CommandError: it can not be run.
        UnreachableError: the bridge can not be started, or has no OTLP/HTTP receiver.
    """
    asked = _parse(words)
    at = place(asked.config)
    seen: dict[str, Any] | None = None
    with (
        _Signals() as signals,
        use(at.data_dir, lambda: signals.asked is not None) as using,
        _bridge(at.data_dir, asked.config, using, signals) as (bridge, ending),
    ):
        if signals.asked is not None:
            return 128 + signals.asked
        _tell_of_another(asked, bridge, at.data_dir)
        otlp = bridge.address("otlp", name="http")
        if otlp is None:
            raise UnreachableError("the bridge that runs has no OTLP/HTTP receiver; stop it, then try again")
        viewer = viewer_of(at.data_dir, address) if (address := bridge.address("viewer")) else None
        before = _refused_before(viewer, ending)
        began = datetime.now(UTC)
        grpc = bridge.address("otlp", name="grpc")
        with lent(at.data_dir) as used:
            program = _start(asked.command, environment(os.environ, otlp, grpc), used)
            with signals.to(program):
                code = _wait(program, ending)
        from otel_bridge.cli.refused import refused, since
        from otel_bridge.cli.seen import not_taken, seen_by_bridge, seen_in_store, told
        from otel_bridge.undelivered import NOTHING_SAID, undelivered

        ends = ending is not None and using.is_last()
        if viewer and not ends:
            seen = seen_by_bridge(viewer, began, before, stopped=lambda: signals.asked is not None)
            if ending is not None and find(at.data_dir) is None:
                while not (ending.has_ended() or signals.asked is not None):
                    time.sleep(LOOK_EVERY_S)  # another command was the last, and ends it: it is not ours to hurry
        refusals = (
            since(before, refused(viewer, timeout_s=AFTER_TIMEOUT_S)) if viewer and ends and before is not None else {}
        )
    ended = heard(at.data_dir, bridge.pid) if ending is not None else None
    if viewer and ended:  # its end makes traces whole, and is quicker than to wait for that
        seen = seen_in_store(at.store, began, refusals)
    elif ending is not None and ends and not ended and not signals.hurried:
        how = "" if ending.code is None else f" ({ending.code})"
        seen = {"error": f"the bridge has failed{how}; what it had taken is in {at.data_dir}"}
    said = ended or NOTHING_SAID
    if asked.as_json and (seen is not None or said["waiting"] or said["deadLettered"]):
        _say(json.dumps({**said, **(seen or {})}))
    elif not asked.as_json:
        lines = undelivered(said, asked.again)
        if seen is not None:
            why_none = None if seen.get("traces") else otherwise(os.environ, otlp, grpc) or ended_by(code)
            lines = [told(seen, asked.again, why_none, code), *not_taken(seen, asked.again), *lines]
        for line in lines:
            _say(f"otel-bridge: {line}")
    gc.freeze()  # Python then ends without going over all that was imported
    return code if code >= 0 else 128 - code


def _tell_of_another(asked: "_Asked", bridge: Found, data_dir: Path) -> None:
    """Configuration, by which the bridge that runs goes on; what is printed for programs is one document."""
    theirs = bridge.configuration
    if not asked.as_json and asked.config and theirs and not _is_same(asked.config, theirs):
        _say(f"otel-bridge: the bridge that runs on {data_dir} has another configuration: {theirs}")


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file; where one leads nowhere any more, whether they are one path."""
    try:
        return one.samefile(other)
    except OSError:
        return one.absolute() == other.absolute()


def _refused_before(viewer: Viewer | None, ending: OwnBridge | BorrowedBridge | None) -> "Refused | None":
    """What the bridge has refused to others until now; None where it does not tell, which nothing waits for long."""
    if viewer is None or isinstance(ending, OwnBridge):
        return {}
    from otel_bridge.cli.refused import refused

    return refused(viewer, timeout_s=BEFORE_TIMEOUT_S)


def _wait(program: "subprocess.Popen[bytes]", ending: OwnBridge | BorrowedBridge | None) -> int:
    """Until it has ended; returns its exit code. While it starts, what is needed then is imported."""
    try:
        import otel_bridge.cli.seen

        if ending is not None:
            import otel_bridge.query.traces
            import otel_bridge.store.reader  # noqa: F401
    finally:
        code = program.wait()
    return code


def otherwise(given: Mapping[str, str], *bridge: str | None) -> str | None:
    """What the environment says against it that spans come to the bridge at these addresses."""
    if given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "OTEL_SDK_DISABLED=true is set"
    if given.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return "OTEL_TRACES_EXPORTER=none is set"
    here = {_port(address) for address in bridge if address}
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", GENERAL):
        if said := given.get(name):
            return None if _port(said) in here else f"{name} is set, and sends them to {said}"
    return None


def ended_by(code: int) -> str | None:
    """That a program was ended before it could send anything, where that is how it ended."""
    return f"the program was ended by {signal_name(-code)}" if code < 0 else None


def _port(address: str) -> str:
    """What is behind the last colon, as host names have many spellings."""
    return address.rstrip("/").removesuffix("/v1/traces").rpartition(":")[2]


class _Asked(NamedTuple):
    """What somebody typed; again: what names the configuration to another command."""

    config: Path | None
    again: str
    as_json: bool
    command: list[str]


class _Signalled(Protocol):
    def send_signal(self, signal: int, /) -> None:
        """Unless it has ended."""


class _Signals:
    """Who gets a signal: the command while it runs, then the bridge that ends; else we stop what we do.

    asked: the signal that came to us and nobody has had yet. hurried: whether the bridge was not let end in peace.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.hurried = False
        self._process: _Signalled | None = None
        self._always: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup: the command inherits that
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *_left: object) -> None:
        """As it was before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if self._process is None:
            self.asked = number
        elif self._always is not None:
            self._process.send_signal(signal.SIGKILL if self.hurried else self._always)
            self.hurried = True
        elif number != signal.SIGINT or not _is_at_terminal():  # which sends that to the command as well
            self._process.send_signal(number)

    @contextmanager
    def to(self, process: "_Signalled", *, always: int | None = None) -> Iterator[None]:
        """They are this process's meanwhile; always: as this signal, as it is not the terminal's, and then SIGKILL."""
        self._process, self._always = process, always
        if self.asked is not None:
            process.send_signal(self.asked)
        try:
            yield
        finally:
            self._process = self.asked = None


def _is_at_terminal() -> bool:
    """Whether what is typed comes here, and so to all of this group of processes."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # as where it has hung up
        return False
    finally:
        os.close(terminal)


def environment(given: Mapping[str, str], http: str, grpc: str | None = None) -> dict[str, str]:
    """The variables of a program that is to send to a bridge at these addresses; what somebody has set stays.

    Raises:
        UnreachableError: it is to speak gRPC, and the bridge does not.
    """
    wanted = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_LOG_USER_PROMPTS": "1",  # the same for Claude Code
    }
    if not given.get(GENERAL):
        wanted[GENERAL] = _address(given.get("OTEL_EXPORTER_OTLP_PROTOCOL"), http, grpc)
        for kind in ("TRACES", "LOGS"):
            spoken = given.get(f"OTEL_EXPORTER_OTLP_{kind}_PROTOCOL")
            if spoken and _address(spoken, http, grpc) != wanted[GENERAL]:
                path = "" if spoken == "grpc" else f"/v1/{kind.lower()}"
                wanted[f"OTEL_EXPORTER_OTLP_{kind}_ENDPOINT"] = f"{_address(spoken, http, grpc)}{path}"
    said = {name: value for name, value in given.items() if value or name != GENERAL}
    return {**wanted, **said, "PYTHONPATH": os.pathsep.join([str(SITE), *_python_path(given)])}


def _address(protocol: str | None, http: str, grpc: str | None) -> str:
    if protocol != "grpc":
        return http
    if grpc is None:
        raise UnreachableError(
            "the bridge that runs has no OTLP/gRPC receiver, which OTEL_EXPORTER_OTLP_PROTOCOL asks for"
        )
    return grpc


def _python_path(given: Mapping[str, str]) -> list[str]:
    """Without ours: a program that is run may run another."""
    return [part for part in given.get("PYTHONPATH", "").split(os.pathsep) if part and part != str(SITE)]


def _uninstrumented(given: Mapping[str, str]) -> dict[str, str]:
    """The variables of a bridge, which must not send to itself."""
    kept = {
        name: said for name, said in given.items() if not name.startswith("OTEL_") or name.startswith("OTEL_BRIDGE_")
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(_python_path(given))}


def _parse(words: list[str]) -> _Asked:
    ours, command = [], words
    if "--" in words:
        at = words.index("--")
        ours, command = words[:at], words[at + 1 :]
    named, again = os.environ.get("OTEL_BRIDGE_CONFIG"), ""
    as_json = "--json" in ours
    ours = [word for word in ours if word != "--json"]
    if len(ours) == 2 and ours[0] in ("--config", "-c"):
        named, again = ours[1], f" --config {shlex.quote(ours[1])}"
    elif ours:
        raise UsageError(f"{' '.join(ours)} is not understood: {USAGE}")
    if not command or command[0].startswith("-"):
        raise UsageError(f"no command to run: {USAGE}")
    return _Asked(Path(named) if named else None, again, as_json, command)


@contextmanager
def _bridge(
    data_dir: Path, config: Path | None, using: Use, signals: _Signals
) -> Iterator[tuple[Found, OwnBridge | BorrowedBridge | None]]:
    """The bridge that runs, else one of our own, for as long as this command or another sends to it.

    With it what ends when nobody does any more; None: it goes on by itself.
    """

    def stopped() -> bool:
        return signals.asked is not None

    with ExitStack() as stack:
        ending: OwnBridge | BorrowedBridge | None = None
        with one_at_a_time(data_dir, stopped):
            found = find(data_dir)
            if found is None:
                own = stack.enter_context(begin(config, _uninstrumented(os.environ)))
                beginning = stack.enter_context(ExitStack())
                beginning.callback(_end, own, using, signals)
                try:
                    found, ending = own.started(data_dir, stopped), own
                except FilesError:
                    found = coming(data_dir, stopped)  # as of a bridge that was started at the same time
                    if found is None:
                        raise
                    beginning.pop_all()
            if ending is None and found.while_used:
                ending = BorrowedBridge(data_dir, found.pid)
                stack.callback(_end, ending, using, signals)
        yield found, ending


def _end(bridge: OwnBridge | BorrowedBridge, using: Use, signals: _Signals) -> None:
    """Unless another command sends to it."""
    if using.is_last():
        bridge.send_signal(signal.SIGTERM)
        signals.asked = None  # that was it; another one ends the bridge at once
        with signals.to(bridge, always=signal.SIGTERM):
            if not bridge.wait(END_S):  # what it has acknowledged is on disk
                bridge.send_signal(signal.SIGKILL)
                bridge.wait(END_S)


def _start(command: list[str], variables: Mapping[str, str], *lent: int) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, env=dict(variables), pass_fds=lent)  # noqa: S603 - what the user typed
    except OSError as error:
        path = Path(command[0])
        is_there = "/" in command[0] and path.exists()
        why = error.strerror
        if is_there and path.is_dir():
            why = "it is a folder"
        elif is_there and isinstance(error, FileNotFoundError):
            why = "the program that its first line names is not there"
        elif is_there and isinstance(error, PermissionError):
            why = f"it is no program for this user; `chmod +x {shlex.quote(command[0])}` makes it one"
        elif error.errno == errno.ENOEXEC:
            why = "it is no program, and its first line names none, as #!/bin/sh does"
        is_missing = isinstance(error, FileNotFoundError) and not is_there
        raise CommandError(f"{command[0]} can not be run: {why}", 127 if is_missing else 126) from error


def _say(line: str) -> None:
    from otel_bridge.telemetry import printable

    say(printable(line, keep="\n"), sys.stderr)
