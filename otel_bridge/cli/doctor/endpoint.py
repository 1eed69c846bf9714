"""Where programs with this environment send to, and whether somebody there takes spans."""

import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from otel_bridge.announcement import find, from_here
from otel_bridge.cli.doctor import secured
from otel_bridge.cli.doctor.environment import GENERAL, GRPC, HEADERS, NOT_SENT, OTLP, can_be_sent, headers
from otel_bridge.cli.doctor.finding import Finding, fault, ms_since, ok, warning
from otel_bridge.errors import UnreachableError
from otel_bridge.sdk.saying import public

TIMEOUT_S = 10.0
MAX_ANSWER = 1000
PATH = "/v1/traces"
UNREACHABLE = UnreachableError.exit_code
START = "start a bridge with `otel-bridge`, or set OTEL_EXPORTER_OTLP_ENDPOINT to where one is"

# What it says is not shown: of a password that is not escaped a part may stand where the port should.
NO_ADDRESS = "where programs send to is no address: write it as http://HOST:4318"


class Endpoint:
    """Of spans.

    url: with its path, of OTLP over HTTP; of gRPC as it is, which is only connected to.
    is_said: whether the environment names it.
    """

    def __init__(self, url: str, *, by_http: bool, is_said: bool) -> None:
        self.url = url
        self.is_said = is_said
        self._by_http = by_http

    def checked(self, status: Mapping[str, Any] | None) -> Iterator[Finding]:
        """Whether somebody there takes spans."""
        shown = public(self.url)
        if not self._by_http:
            yield self._connected(shown)
            if status is not None:
                self._use(status)
            return
        began_s = time.monotonic()
        if (wrong := self.send(b"")) is not None:
            # What only senders have to show is not missing where nobody sends from.
            yield warning("endpoint", wrong.said) if wrong.facts.get("asks") and not self.is_said else wrong
        else:
            yield ok("endpoint", f"{shown} takes spans", url=shown, roundTripMs=ms_since(began_s))

    def send(self, body: bytes) -> Finding | None:
        """Send a request of spans; what is wrong, None where it was taken."""
        from otel_bridge.answers import answered

        shown = public(self.url)
        if not self._by_http:
            return fault(
                "endpoint",
                f"a test is sent over HTTP, and {shown} is gRPC's: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            )
        try:
            parts = urlsplit(self.url)
            is_address = parts.scheme in ("http", "https") and (parts.port is None or parts.port > 0)
        except ValueError:
            return fault("endpoint", NO_ADDRESS)
        if not is_address:
            return fault("endpoint", f"{shown} is no address: write it as http://HOST:4318")
        name = next((name for name in HEADERS if os.environ.get(name)), "")
        if not can_be_sent(shows := headers(os.environ.get(name, ""))):
            return fault("endpoint", f"{name} {NOT_SENT}")
        try:
            connection, path = self._connection()
            try:
                connection.request("POST", path, body, {"Content-Type": "application/x-protobuf", **shows})
                response = connection.getresponse()
                status, told = response.status, response.read(MAX_ANSWER)
            finally:
                connection.close()
        except HTTPException as error:
            return fault(
                "endpoint",
                f"{shown} does not speak HTTP ({type(error).__name__}): is it the port of gRPC? HTTP's is 4318",
            )
        except secured.UnusableError as unusable:
            return fault("endpoint", str(unusable))
        except ssl.SSLError as error:
            return secured.failed(shown, error)
        except (ConnectionResetError, BrokenPipeError) as error:  # as it may where who is refused goes on speaking
            asks = f", and does it ask for {OTLP}{secured.CLIENT_CERTIFICATE}" if parts.scheme == "https" else ""
            return fault("endpoint", f"{shown} hangs up ({error}): is it a bridge{asks}?")
        except (OSError, ValueError) as error:
            return fault("endpoint", f"nobody answers at {shown} ({error}): {START}", UNREACHABLE)
        if 200 <= status < 300:
            return None
        said = answered(shown, str(status), told)
        hints = {
            401: "set OTEL_EXPORTER_OTLP_HEADERS='authorization=Bearer <the tenant's key>'",
            403: "the key is another's",
            404: f"the path is {PATH} once, at the address of OTLP/HTTP",
        }
        facts = {"asks": True} if status in (401, 403) else {}
        return replace(fault("endpoint", f"{said}: {hints.get(status, 'is it a bridge?')}"), facts=facts)

    def _connection(self) -> tuple[HTTPConnection, str]:
        parts = urlsplit(self.url)
        host, port, path = parts.hostname or "", parts.port, parts.path or "/"
        if parts.scheme != "https":
            return HTTPConnection(host, port, timeout=TIMEOUT_S), path
        return HTTPSConnection(host, port, timeout=TIMEOUT_S, context=secured.context()), path

    def _connected(self, shown: str) -> Finding:
        try:
            parts = urlsplit(self.url if "://" in self.url else f"//{self.url}")
            with socket.create_connection((parts.hostname or "", parts.port or 4317), TIMEOUT_S):
                return ok("endpoint", f"somebody listens at {shown}, for gRPC", url=shown)
        except ValueError:
            return fault("endpoint", NO_ADDRESS)
        except OSError as error:
            return fault("endpoint", f"nobody listens at {shown} ({error}): {START}", UNREACHABLE)

    def _use(self, status: Mapping[str, Any]) -> None:
        """Send to the bridge's own address of HTTP, where it has one."""
        for addresses in status["endpoints"].values():
            if "http" in addresses:
                self.url, self._by_http = f"{from_here(addresses['http'])}{PATH}", True


def endpoint(folder: Path | None) -> Endpoint:
    """Where this environment says; else where the bridge on the data dir announces it, else where any is by default."""
    from otel_bridge.sdk import installing

    spoken = installing.protocol("TRACES")
    by_http = spoken != GRPC
    own, general = os.environ.get(f"{OTLP}TRACES_ENDPOINT", ""), os.environ.get(GENERAL, "")
    if own:
        return Endpoint(own.strip(), by_http=by_http, is_said=True)
    if general:
        base = general.strip().rstrip("/")
        return Endpoint(f"{base}{PATH}" if by_http else base, by_http=by_http, is_said=True)
    found = None if folder is None else find(folder)
    announced = found and found.address("otlp", name="http" if by_http else "grpc")
    base = announced or (installing.ENDPOINT if by_http else installing.GRPC_ENDPOINT)
    return Endpoint(f"{base}{PATH}" if by_http else base, by_http=by_http, is_said=False)
