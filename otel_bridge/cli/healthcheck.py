"""`otel-bridge healthcheck`: is the bridge alive and well? With next to nothing imported, as containers ask often."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from otel_bridge.announcement import last
from otel_bridge.cli.findings import findings
from otel_bridge.cli.found import Viewer, place, viewer_of
from otel_bridge.cli.streams import say
from otel_bridge.errors import BridgeError, UsageError
from otel_bridge.telemetry import printable

TIMEOUT_S = 3.0
MAX_ANSWER = 1000
MAX_STATUS = 16 << 20
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
        viewer = Viewer.at(url) if url else _viewer(options.config, options.data_dir)
        url = viewer.url
        code, said = ask(viewer)
    except BridgeError as error:
        code, said = error.exit_code, str(error)
    if options.json:
        say(json.dumps({"url": url, "healthy": code == 0, "answer": said}), sys.stdout)
    else:
        say(f"{url}: {said}" if url else said, sys.stdout)
    return code


def _viewer(config: Path | None, data_dir: Path | None) -> Viewer:
    """Where the bridge said that it listens, killed since or not; else where it would.

    Raises:
        PlanError: the configuration cannot be read.
        UsageError: it has nothing that answers.
    """
    where = place(config, data_dir)
    bridge = last(where.data_dir)
    url = (bridge and bridge.address("viewer", "health")) or where.url
    if url is None:
        raise UsageError(f"{config} has no viewer and no health extension to ask; add one, or name one with --url")
    return viewer_of(where.data_dir, url)


def ask(viewer: Viewer) -> tuple[int, str]:
    """(exit code, a sentence) for the bridge at an address."""
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
        told = _told(connection, headers) if ", " in said else ""
    except (OSError, HTTPException) as error:
        return 3, f"nobody answers ({str(error) or type(error).__name__})"
    finally:
        connection.close()
    if answer.status != 200:
        return 1, f"answered {answer.status}: {printable(told or said)}"
    notes = told or said.partition(", ")[2]
    return 0, f"healthy, but {printable(notes)}" if notes else "healthy"


def _told(connection: HTTPConnection, headers: Mapping[str, str]) -> str:
    """What `/readyz` says in a word, in sentences; empty where nobody tells, as `health` does not."""
    with suppress(OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError):
        connection.request("GET", "/api/v1/status", headers=headers)
        answer = connection.getresponse()
        if answer.status == 200:
            return "; ".join(findings(json.loads(answer.read(MAX_STATUS))))
    return ""


def _connection(viewer: Viewer, host: str, port: int | None, *, verified: bool, secure: bool) -> HTTPConnection:
    if not secure:
        return HTTPConnection(host, port, timeout=TIMEOUT_S)
    from http.client import HTTPSConnection

    return HTTPSConnection(host, port, timeout=TIMEOUT_S, context=viewer.tls(verified=verified))
