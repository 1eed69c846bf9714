"""`otel-bridge run -- CMD`: run any program instrumented towards the bridge, then say in a line what was seen.

It stands in the program's way, so nothing heavy is imported before the program has started.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from otel_bridge.cli.found import Found, find, place
from otel_bridge.errors import BridgeError, UnreachableError, UsageError

SITE = Path(__file__).parents[1] / "sdk" / "site"
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
    with _bridge(data_dir, config) as bridge:
        otlp = bridge.address("otlp", name="http")
        if otlp is None:
            raise UnreachableError("the bridge that runs has no OTLP/HTTP receiver; stop it, then try again")
        began = datetime.now(UTC)
        code = _run(command, environment(os.environ, otlp))
        if viewer := bridge.address("viewer"):
            seen = _seen(viewer, began, whole=not runs_already)
            _say(json.dumps(seen) if as_json else f"otel-bridge: {_told(seen)}")
    return code


def environment(given: Mapping[str, str], otlp: str) -> dict[str, str]:
    """The variables of a program that is to send to an address; what somebody has set stays."""
    wanted = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
        "OTEL_PYTHON_CONTEXT": "otel_bridge",
        "OTEL_PYTHON_DISTRO": "otel_bridge",
        "OTEL_PYTHON_CONFIGURATOR": "otel_bridge",
    }
    if not any(name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT") for name in given):
        wanted["OTEL_EXPORTER_OTLP_ENDPOINT"] = otlp
    path = os.pathsep.join([str(SITE), *filter(None, [given.get("PYTHONPATH")])])
    return {**wanted, **given, "PYTHONPATH": path}


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
def _bridge(data_dir: Path, config: Path | None) -> Iterator[Found]:
    """The bridge that runs, else one for as long as the command does."""
    if found := find(data_dir):
        yield found
        return
    options = ["--config", str(config)] if config else []
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "otel_bridge", "serve", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is the command's
    )
    try:
        yield _started(process, data_dir)
    finally:
        process.terminate()
        process.communicate()


def _started(process: "subprocess.Popen[str]", data_dir: Path) -> Found:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        if process.poll() is not None:
            _, said = process.communicate()
            raise UnreachableError(f"no bridge runs, and none can be started: {said.strip()}")
        if (found := find(data_dir)) is not None and found.pid == process.pid:
            return found
        time.sleep(0.02)
    raise UnreachableError(f"the bridge was not up after {START_S:.0f} s")


def _run(command: list[str], variables: Mapping[str, str]) -> int:
    try:
        process = subprocess.Popen(command, env=dict(variables))  # noqa: S603 - what the user typed
    except OSError as error:
        raise UsageError(f"{command[0]} can not be run: {error.strerror}") from error
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda sent, _frame: process.send_signal(sent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the command as well
    code = process.wait()
    return code if code >= 0 else 128 - code


def _seen(viewer: str, began: datetime, *, whole: bool) -> dict[str, Any]:
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
            time.sleep(LOOK_EVERY_S)
            traces = load_traces(viewer, f"start:>{since}", limit=200)["traces"]
    except BridgeError as error:
        return {"error": str(error)}
    sums = {
        "spans": sum(found["observationCount"] for found in traces),
        "tokens": sum(found["totalTokens"] or 0 for found in traces),
        "cost": sum(found["totalCost"] or 0 for found in traces),
        "errors": sum(found["errorCount"] for found in traces),
    }
    return {"traces": [found["id"] for found in traces], **sums}


def _told(seen: dict[str, Any]) -> str:
    """What was seen, in a line."""
    if "error" in seen:
        return str(seen["error"])
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
