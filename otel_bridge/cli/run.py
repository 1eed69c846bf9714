"""`otel-bridge run -- CMD`: run any program instrumented towards the bridge, then say in a line what was seen.

It stands in the program's way, so nothing heavy is imported before the program has started.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self

from otel_bridge.cli.found import Found, Viewer, find, place, viewer_of
from otel_bridge.errors import BridgeError, UnreachableError, UsageError

SITE = Path(__file__).parents[1] / "sdk" / "site"
GENERAL = "OTEL_EXPORTER_OTLP_ENDPOINT"
START_S = 20.0
SEEN_S, SETTLED_S, LOOK_EVERY_S = 3.0, 12.0, 0.2
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
        UsageError: there is none. UnreachableError: the bridge can not be started, or has no OTLP/HTTP receiver.
    """
    config, as_json, command = _parse(words)
    data_dir = place(config).data_dir
    runs_already = find(data_dir) is not None
    with _Signals() as signals, _bridge(data_dir, config, signals) as bridge:
        if signals.asked is not None:
            return 128 + signals.asked
        otlp = bridge.address("otlp", name="http")
        if otlp is None:
            raise UnreachableError("the bridge that runs has no OTLP/HTTP receiver; stop it, then try again")
        began = datetime.now(UTC)
        code = _run(command, environment(os.environ, otlp, bridge.address("otlp", name="grpc")), signals)
        if viewer := bridge.address("viewer"):
            seen = _seen(viewer_of(data_dir, viewer), began, signals, whole=not runs_already)
            _say(json.dumps(seen) if as_json else f"otel-bridge: {_told(seen)}")
    return code


class _Signals:
    """Who gets a signal: the command while it runs; before and after it we stop what we do.

    asked: the signal that came to us and nobody has had yet.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._command: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup: the command inherits that
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *_left: object) -> None:
        """As it was before; what comes now ends us at once."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if self._command is None:
            self.asked = number
        elif number != signal.SIGINT:  # the terminal sends that to the command as well
            self._command.send_signal(number)

    @contextmanager
    def to(self, command: "subprocess.Popen[bytes]") -> Iterator[None]:
        """They are the command's meanwhile."""
        self._command = command
        if self.asked is not None:
            command.send_signal(self.asked)
        try:
            yield
        finally:
            self._command = self.asked = None


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


def _parse(words: list[str]) -> tuple[Path | None, bool, list[str]]:
    ours, command = [], words
    if "--" in words:
        at = words.index("--")
        ours, command = words[:at], words[at + 1 :]
    named = os.environ.get("OTEL_BRIDGE_CONFIG")
    as_json = "--json" in ours
    ours = [word for word in ours if word != "--json"]
    if len(ours) == 2 and ours[0] in ("--config", "-c"):
        named = ours[1]
    elif ours:
        raise UsageError(f"{' '.join(ours)} is not understood: {USAGE}")
    if not command or command[0].startswith("-"):
        raise UsageError(f"no command to run: {USAGE}")
    return (Path(named) if named else None), as_json, command


@contextmanager
def _bridge(data_dir: Path, config: Path | None, signals: _Signals) -> Iterator[Found]:
    """The bridge that runs, else one for as long as the command does."""
    if found := find(data_dir):
        yield found
        return
    options = ["--config", str(config)] if config else []
    with tempfile.TemporaryFile() as said:  # a pipe that nobody reads would hold it up
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "otel_bridge", "serve", *options],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=_uninstrumented(os.environ),
            start_new_session=True,  # Ctrl-C is the command's
        )
        try:
            yield _started(process, data_dir, said, signals)
        finally:
            process.terminate()
            signals.__exit__()
            process.wait()


def _started(process: "subprocess.Popen[bytes]", data_dir: Path, said: IO[bytes], signals: _Signals) -> Found:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        if signals.asked is not None:
            return Found(process.pid, {})
        if process.poll() is not None:
            said.seek(0)
            why = said.read().decode("utf-8", "replace").strip()
            raise UnreachableError(f"no bridge runs, and none can be started: {why}")
        if (found := find(data_dir)) is not None and found.pid == process.pid:
            return found
        time.sleep(0.02)
    raise UnreachableError(f"the bridge was not up after {START_S:.0f} s")


def _run(command: list[str], variables: Mapping[str, str], signals: _Signals) -> int:
    try:
        process = subprocess.Popen(command, env=dict(variables))  # noqa: S603 - what the user typed
    except OSError as error:
        raise UsageError(f"{command[0]} can not be run: {error.strerror}") from error
    with signals.to(process):
        code = process.wait()
    return code if code >= 0 else 128 - code


def _seen(viewer: Viewer, began: datetime, signals: _Signals, *, whole: bool) -> dict[str, Any]:
    """What has come since, in sums; the last batch is on its way when the program ends.

    whole: wait until traces have settled: a bridge that ends with the program would not see them whole any more.
    """
    from otel_bridge.cli.questions import load_traces

    traces: list[dict[str, Any]] = []
    until_s = time.monotonic() + SEEN_S
    whole_until_s = time.monotonic() + (SETTLED_S if whole else 0)
    since = began.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        while (not traces and time.monotonic() < until_s) or (
            traces and time.monotonic() < whole_until_s and not all(found["settled"] for found in traces)
        ):
            if signals.asked is not None:
                break
            time.sleep(LOOK_EVERY_S)
            traces = load_traces(viewer, f"start:>{since}", limit=200)["traces"]
        refused = {} if traces else _refused(viewer)
    except BridgeError as error:
        return {"error": str(error)}
    sums = {
        "spans": sum(found["observationCount"] for found in traces),
        "tokens": sum(found["totalTokens"] or 0 for found in traces),
        "cost": sum(found["totalCost"] or 0 for found in traces),
        "errors": sum(found["errorCount"] for found in traces),
    }
    return {"traces": [found["id"] for found in traces], **sums, "refused": refused}


def _refused(viewer: Viewer) -> dict[str, int]:
    """Why the bridge has taken in nothing of what it was asked to, if it was: reason → how often, since its start."""
    from otel_bridge.cli.asking import ask

    counters = ask(viewer, "/api/v1/status")["counters"]
    return {one["reason"]: one["value"] for one in counters if one["name"] in ("refused", "tls_refused")}


def _told(seen: dict[str, Any]) -> str:
    """What was seen, in a line."""
    if "error" in seen:
        return str(seen["error"])
    if not seen["traces"] and seen["refused"]:
        return f"no spans came, and the bridge has refused some: {', '.join(seen['refused'])}; docs/access.md says more"
    if not seen["traces"]:
        return "no spans came; is the program instrumented? opentelemetry-bootstrap -a requirements says what it lacks"
    told = [_count(len(seen["traces"]), "trace"), _count(seen["spans"], "span")]
    told += [f"{seen['tokens']} tokens"] if seen["tokens"] else []
    told += [f"${seen['cost']:.2g}"] if seen["cost"] else []
    told += [_count(seen["errors"], "error")] if seen["errors"] else []
    return f"{' · '.join(told)} · otel-bridge trace {seen['traces'][0][:8]}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _say(line: str) -> None:
    from otel_bridge.telemetry import printable

    print(printable(line), file=sys.stderr)
