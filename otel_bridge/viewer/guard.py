"""Who may ask: requests for another host or from another site are refused, and every answer carries strict headers.

A page on the web can make a browser ask 127.0.0.1. The Host header tells a name that was rebound to this machine,
Origin and Sec-Fetch-Site tell where the request was made, and a header of our own can not be set across sites at all.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_bridge.viewer.login import is_login

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer, refusals included; the page that asks for a password has policies of its own."""

OTLP = ("/v1/traces", "/v1/logs", "/v1/metrics")
CHANGE_HEADER = "X-Otel-Bridge"


class Guard:
    """Stands before the whole application.

    hosts: names by which the viewer may be asked for, besides those of this machine's loopback.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = LOOPBACK | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or pass the request on."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({name: value for name, value in HEADERS.items() if name not in headers})
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host")
        if not host:
            return _refuse(400, "the request names no host")
        if _hostname(host) not in self._hosts:
            return _refuse(421, "this host name is not served: add it to the viewer's `allowed_hosts`")
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return _refuse(403, "requests from other sites are refused")
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and not _followed_link(scope, headers):
            return _refuse(403, "requests from other sites are refused")
        if scope["path"] in OTLP:
            return _refuse(
                404, "this is the viewer: OTLP goes to the bridge's receiver, on port 4318 unless configured"
            )
        if scope["method"] not in ("GET", "HEAD") and headers.get(CHANGE_HEADER) != "1" and not is_login(scope):
            return _refuse(403, f"what changes something needs the header {CHANGE_HEADER}: 1")
        return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _followed_link(scope: Scope, headers: Headers) -> bool:
    """Whether somebody followed a link to a page, as from a chat; the page's own requests are of one origin again."""
    return (
        scope["method"] == "GET"
        and not scope["path"].startswith("/api/")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _refuse(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)
