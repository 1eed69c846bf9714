"""`otel-bridge healthcheck`: is the bridge alive? With nothing but the standard library, as containers ask often."""

import argparse
import json
import os
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from otel_bridge.cli.found import find

FALLBACK = "http://127.0.0.1:4319"
TIMEOUT_S = 3.0


def check(arguments: Sequence[str]) -> int:
    """Ask `/healthz` and say so; returns the exit code: 0 healthy, 1 not, 3 nobody answers."""
    parser = argparse.ArgumentParser("otel-bridge healthcheck", description="Is the bridge alive?")
    parser.add_argument("--url", help="the viewer's address; without it, that of the bridge that uses the data dir")
    parser.add_argument("--data-dir", default=os.environ.get("OTEL_BRIDGE_DATA_DIR", "~/.otel-bridge"), type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    options = parser.parse_args(arguments)
    bridge = find(options.data_dir)
    url = options.url or (bridge and bridge.address("viewer", "health")) or FALLBACK
    code, said = ask(url)
    print(json.dumps({"url": url, "healthy": code == 0, "answer": said}) if options.json else f"{url}: {said}")
    return code


def ask(url: str) -> tuple[int, str]:
    """(exit code, a sentence) for the bridge at an address."""
    try:
        where = urlsplit(url)
        host, port = where.hostname, where.port or 80
    except ValueError:
        host = None
    if host is None or where.scheme != "http":
        return 2, "is no address, write it as http://127.0.0.1:4319"
    connection = HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return 3, f"nobody answers ({str(error) or type(error).__name__})"
    finally:
        connection.close()
    return (0, "healthy") if status == 200 else (1, f"answered {status}")
