"""The bridge that runs: whether it answers, how it is, and what time it is there."""

import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

from otel_bridge import __version__
from otel_bridge.cli.asking import ask, connection_to, running
from otel_bridge.cli.doctor import here
from otel_bridge.cli.doctor.finding import Finding, fault, ok, warning
from otel_bridge.cli.findings import faults, findings
from otel_bridge.cli.found import Viewer
from otel_bridge.errors import BridgeError, UnreachableError

TIMEOUT_S = 10.0


class Running:
    """The one that the options lead to; status: what it says of itself, None where it does not."""

    def __init__(self, url: str | None, config: Path | None, data_dir: Path | None, folder: Path | None) -> None:
        self.viewer: Viewer | None = None
        self.status: dict[str, Any] | None = None
        self._asked = (url, config, data_dir)
        self._folder = folder

    def checked(self, *, is_elsewhere: bool) -> Iterator[Finding]:
        """Whether it answers, how it is, and what time it is there; is_elsewhere: none is needed here."""
        try:
            self.viewer = running(*self._asked)
            self.status = ask(self.viewer, "/api/v1/status")
            folder, pid, version = (str(self.status[key]) for key in ("data_dir", "pid", "version"))
            wrong, notes = faults(self.status), findings(self.status)
        except BridgeError as error:
            if is_elsewhere:
                yield warning("bridge", f"{error}; programs with this environment send to another")
            else:
                yield fault("bridge", str(error), error.exit_code)
            return
        except (LookupError, TypeError, AttributeError):
            yield fault(
                "bridge",
                f"what answers at {self.viewer and self.viewer.url} is not the viewer of a bridge",
                UnreachableError.exit_code,
            )
            return
        where = f"{self.viewer.url} answers: process {pid}, on {folder}"
        if version != __version__:
            yield warning("bridge", f"{where}; it is version {version} and this is {__version__}: restart it")
        elif self._asked[0] is None and self._folder is not None and Path(folder).resolve() != self._folder.resolve():
            yield warning(
                "bridge",
                f"{where}, and this configuration says {self._folder}: restart it, or name the other by --data-dir",
            )
        else:
            yield ok("bridge", where, url=self.viewer.url, dataDir=folder)
        yield from (fault("bridge", one) for one in wrong)
        yield from (warning("bridge", one) for one in notes if one not in wrong)
        with suppress(OSError, HTTPException, BridgeError, ValueError):
            yield from clock_of("the bridge", _date(self.viewer))


def _date(viewer: Viewer) -> str:
    connection, base = connection_to(viewer, TIMEOUT_S)
    try:
        connection.request("GET", f"{base}/healthz")
        return connection.getresponse().headers.get("Date", "")
    finally:
        connection.close()


def clock_of(who: str, date: str) -> Iterator[Finding]:
    """What its `Date` says of the clocks; nothing where that says nothing."""
    with suppress(ValueError, TypeError):  # it is no time
        yield here.clock(who, parsedate_to_datetime(date).timestamp(), time.time())
