"""`otel-bridge healthcheck`: is the bridge alive and well? With next to nothing imported, as containers ask often."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from otel_bridge.announcement import find, last
from otel_bridge.cli.findings import findings, is_to_move
from otel_bridge.cli.found import Viewer, place, viewer_of
from otel_bridge.cli.streams import say
from otel_bridge.errors import BridgeError, UsageError
from otel_bridge.telemetry import printable

TIMEOUT_S = 3.0
MAX_ANSWER = 1000
MAX_STATUS = 16 << 20
MAX_NAME = 300
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def check(arguments: Sequence[str]) -> int:
    """Ask `/readyz` and say so; returns the exit code: 0 healthy, 1 not, 3 nobody answers; 2 and 78 as everywhere."""
    parser = argparse.ArgumentParser("otel-bridge healthcheck", description="Is the bridge alive and well?")
    parser.add_argument("--url", help="the viewer's address; without it, that of the bridge that uses the data dir")
    parser.add_argument("--config", "-c", default=os.environ.get("OTEL_BRIDGE_CONFIG") or None, type=Path)
    parser.add_argument("--data-dir", type=Path, help="without it, where the configuration says")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    options = parser.parse_args(arguments)
    url, code, said = options.url, 0, ""
    try:
        viewer, expected = (Viewer.at(url), None) if url else _viewer(options.config, options.data_dir)
        url = viewer.url
        code, said = ask(viewer, expected)
    except BridgeError as error:
        code, said = error.exit_code, str(error)
    if options.json:
        say(json.dumps({"url": url, "healthy": code == 0, "answer": said}), sys.stdout)
    else:
        say(f"{url}: {said}" if url else said, sys.stdout)
    return code


def _viewer(config: Path | None, data_dir: Path | None) -> tuple[Viewer, Path | None]:
    """Where the bridge said that it listens, killed since or not; else where it would.

    With the data dir, unless it is that bridge that runs: another one may have the address.

    Raises:
        PlanError: the configuration cannot be read.
        UsageError: it has nothing that answers.
    """
    where = place(config, data_dir)
    bridge = last(where.data_dir)
    url = (bridge and bridge.address("viewer", "health")) or where.url
    if url is None:
        raise UsageError(f"{config} has no viewer and no health extension to ask; add one, or name one with --url")
    return viewer_of(where.data_dir, url), None if find(where.data_dir) else where.data_dir


def ask(viewer: Viewer, expected: Path | None = None) -> tuple[int, str]:
    """(exit code, a sentence) for the bridge at an address.

    expected: its data dir; one that says that it has another is not the one that was asked for.
    """
    try:
        where = urlsplit(viewer.url)
        host, port = where.hostname, where.port
    except ValueError:
        host = None
    if host is None or where.scheme not in ("http", "https"):
        return 2, "is no address, write it as http://127.0.0.1:4319"
    # `health` leaves no certificate to know it by; it is told nothing, and what it says is no secret.
    verified = viewer.certificate is not None or host not in LOOPBACK
    connection = _connection(viewer, host, port, verified=verified, secure=where.scheme == "https")
    headers = viewer.headers() if verified or where.scheme == "http" else {}
    try:
        connection.request("GET", "/readyz", headers=headers)
        answer = connection.getresponse()
        said = answer.read(MAX_ANSWER).decode(errors="replace").strip()
        status = _status(connection, headers) if expected or ", " in said else {}
    except (OSError, HTTPException) as error:
        return 3, f"nobody answers ({str(error) or type(error).__name__})"
    finally:
        connection.close()
    if expected and (other := _other(status, expected)):
        who = f"the bridge on {printable(other[:MAX_NAME])} answers, and none runs on {printable(str(expected))}"
        return 3, f"{who}; --data-dir, --config or --url names the one to ask"
    told = _told(status)
    if answer.status != 200:
        return 1, f"answered {answer.status}: {printable(told or said)}"
    notes = told or said.partition(", ")[2]
    return 0, f"healthy, but {printable(notes)}" if notes else "healthy"


def _status(connection: HTTPConnection, headers: Mapping[str, str]) -> dict[str, Any]:
    """All that the bridge says of itself; nothing where nobody tells, as `health` does not."""
    with suppress(OSError, HTTPException, ValueError, RecursionError):
        connection.request("GET", "/api/v1/status", headers=headers)
        answer = connection.getresponse()
        said = json.loads(answer.read(MAX_STATUS))
        if answer.status == 200 and isinstance(said, dict):
            return said
    return {}


def _other(status: Mapping[str, Any], expected: Path) -> str | None:
    """The data dir of a bridge that is not the one on the expected one, as far as it has told of itself."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        folder = status["data_dir"]
        if Path(folder).resolve() != expected.resolve() and not is_to_move(status, expected):
            return str(folder)
    return None


def _told(status: Mapping[str, Any]) -> str:
    """What `/readyz` says in a word, in sentences, as far as a bridge has told of itself."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        return "; ".join(findings(status))
    return ""


def _connection(viewer: Viewer, host: str, port: int | None, *, verified: bool, secure: bool) -> HTTPConnection:
    if not secure:
        return HTTPConnection(host, port, timeout=TIMEOUT_S)
    from http.client import HTTPSConnection

    return HTTPSConnection(host, port, timeout=TIMEOUT_S, context=viewer.tls(verified=verified))
