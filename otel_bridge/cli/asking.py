"""Asking the viewer of a running bridge over HTTP."""

import json
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
from pathlib import Path
from socket import SHUT_RDWR
from threading import Event, Timer
from typing import Any
from urllib.parse import urlencode, urlsplit

from otel_bridge.announcement import find, from_here
from otel_bridge.cli.findings import is_to_move
from otel_bridge.cli.found import PASSWORD, Place, Viewer, place, viewer_of
from otel_bridge.errors import BridgeError, UnreachableError, UsageError

ANSWER_TIMEOUT_S = 10.0
HOLDER_TIMEOUT_S = 1.0
MAX_ANSWER_BYTES = 64 << 20
MAX_NAME = 300


class LockedError(UnreachableError):
    """Who asks has not shown who they are."""


class LateError(UnreachableError):
    """Somebody listens there, and has not answered in time."""


def running(url: str | None, config: Path | None, data_dir: Path | None) -> Viewer:
    """The viewer of the bridge that runs on a data dir, or the one that was named.

    Raises:
        UnreachableError: none runs there, or it has no viewer.
    """
    if url is not None:
        return Viewer.at(url)
    where = place(config, data_dir)
    folder = where.data_dir
    found = find(folder)
    if found is None:
        viewer_before = None if config is None or data_dir is not None else _before(where)
        if viewer_before is None:
            raise UnreachableError(
                f"no bridge runs on {folder}: start it with `otel-bridge`, it does this while it runs"
            )
        return viewer_before
    if (viewer := found.address("viewer")) is None:
        raise UnreachableError(f"the bridge on {folder} has no viewer to ask: add `viewer: {{}}` to its extensions")
    return viewer_of(folder, viewer)


def holder(endpoint: str) -> str | None:
    """Which bridge has its viewer on a `host:port`, as far as that tells anybody who it is; it is shown no password."""
    with suppress(BridgeError, LookupError):
        said = ask(Viewer(from_here(f"http://{endpoint}")), "/api/v1/status", timeout_s=HOLDER_TIMEOUT_S)
        folder, pid = said["data_dir"], said["pid"]
        if type(folder) is str and type(pid) is int:  # True is no process
            return f"it is the bridge on {folder[:MAX_NAME]}, process {pid}"
    return None


def _before(where: Place) -> Viewer | None:
    """The viewer of a bridge that has read that its data dir is this one, and stays on another until it is restarted.

    Raises:
        UnreachableError: there may be one, which does not tell.
    """
    if where.url is None:
        return None
    try:
        status = ask(where.url, "/api/v1/status")
        return viewer_of(Path(status["data_dir"]), where.url) if is_to_move(status, where.data_dir) else None
    except LockedError as error:
        raise UnreachableError(
            f"no bridge runs on {where.data_dir}; what answers at {where.url} asks who you are: if it is the one with"
            " this configuration, its data_dir was changed while it runs, which needs a restart; --data-dir names the"
            " old one"
        ) from error
    except (BridgeError, LookupError, TypeError):
        return None


def ask(
    viewer: Viewer | str,
    path: str,
    query: Mapping[str, str] | None = None,
    *,
    change: Mapping[str, Any] | None = None,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> dict[str, Any]:
    """What the viewer answers to a question, or to a request that it `change` something.

    viewer: or the address of one. timeout_s: for the whole answer, however it comes.

    Raises:
        UnreachableError: no viewer answers at the URL, or it has nothing to answer with, or it asks for a password
            (LockedError), or its answer is late (LateError).
        UsageError: what was asked can not be used.
        NotFoundError: there is nothing by this name.
    """
    viewer = Viewer.at(viewer) if isinstance(viewer, str) else viewer
    url = viewer.url
    connection, base = connection_to(viewer, timeout_s)
    target = f"{base}{path}" + (f"?{urlencode(query, errors='replace')}" if query else "")
    try:
        if change is None:
            status, body = _exchange(connection, timeout_s, "GET", target, None, viewer.headers())
        else:
            headers = {"Content-Type": "application/json", "X-Otel-Bridge": "1", **viewer.headers()}
            status, body = _exchange(connection, timeout_s, "POST", target, json.dumps(change), headers)
        answer: Any = json.loads(body)
    except TimeoutError as error:
        raise LateError(
            f"what listens at {url} does not answer ({error}): try again; of a bridge that hangs the log says more"
        ) from error
    except (OSError, HTTPException) as error:
        raise UnreachableError(f"no bridge answers at {url} ({error}): start one with `otel-bridge`") from error
    except (ValueError, RecursionError) as error:
        raise UnreachableError(f"what answers at {url} is not the viewer of a bridge") from error
    finally:
        connection.close()
    if status == 200 and isinstance(answer, dict):
        return answer
    if status == 401:
        why = "has another password than it was shown" if viewer.headers() else "asks for its password"
        raise LockedError(f"the viewer at {url} {why}: set {PASSWORD} to it")
    from otel_bridge.query.find import NotFoundError

    if not isinstance(answer, dict) or "error" not in answer:  # as an OTLP receiver, which speaks JSON too
        raise UnreachableError(
            f"what answers at {url} ({status}) is not the viewer of a bridge; `otel-bridge` prints its address"
        )
    refusals = {400: UsageError, 404: NotFoundError}
    raise refusals.get(status, UnreachableError)(f"{url}: {answer['error']}")


def _exchange(
    connection: HTTPConnection, timeout_s: float, method: str, target: str, body: str | None, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    """The status and the body of an answer.

    The timeout of a connection is for each piece of an answer: who sends one piece after the other is hung up on.

    Raises:
        OSError, HTTPException: there is no answer, or not all of it in time, or it is too long to be one.
    """
    connection.connect()
    socket, is_late = connection.sock, Event()

    def hang_up() -> None:
        is_late.set()
        with suppress(OSError):  # it has closed it meanwhile
            socket.shutdown(SHUT_RDWR)

    timer = Timer(timeout_s, hang_up)
    timer.daemon = True
    timer.start()
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        told = response.read(MAX_ANSWER_BYTES)
        is_whole = not response.length and not response.read(1)
    except (OSError, HTTPException):
        if not is_late.is_set():
            raise
    finally:
        timer.cancel()
    if is_late.is_set():
        raise TimeoutError(f"no whole answer in {timeout_s:g} s")
    if not is_whole:
        raise IncompleteRead(told)
    return response.status, told


def connection_to(viewer: Viewer, timeout_s: float) -> tuple[HTTPConnection, str]:
    """A connection, and what paths begin with there.

    Raises:
        UsageError: its URL is no address.
    """
    url = viewer.url
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is no address, write it as http://127.0.0.1:4319")
    base = parts.path.rstrip("/")
    if parts.scheme == "https":
        return HTTPSConnection(host, port, timeout=timeout_s, context=viewer.tls()), base
    return HTTPConnection(host, port, timeout=timeout_s), base
