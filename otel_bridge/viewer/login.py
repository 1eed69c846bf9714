"""Who may see what the viewer shows: a password for people and programs, and a token for the commands on this machine.

A browser gets a session for the password. Whoever may not see the traces is told nothing but that; the token can not be
guessed, so only passwords are counted when they are wrong.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from otel_bridge.viewer.plain import plain_page
from otel_bridge.viewer.requests import answer_json, asked, body_of, tenant_query

OPEN = frozenset({"/healthz", "/readyz"})  # for probes, which are told no more than that
PATH = "/api/v1/login"
COOKIE = "otel_bridge_session"
SESSION_S = 12 * 3600
MAX_SESSIONS = 1000
FAILURES = 5  # of one address, within:
WITHIN_S = 60.0
MAX_ADDRESSES = 4096
MAX_FORM_BYTES = 4 << 10
FORM = "application/x-www-form-urlencoded"

BODY = """<h1>otel-bridge</h1><p role="status">{said}</p>
<form method="post"><label>Password <input type="password" name="password" autocomplete="current-password" required
autofocus></label><button>Log in</button></form>
{hint}
"""
# Sent as a form, since that keeps what stands behind the # of the address, and from here the session comes along.
HINT = """<form method="post"><p>Already logged in? After a link on another site that takes one more click:
<button>Open the page</button></p></form>"""
ASK = "Log in to see traces."
NONE_SET = " No password is configured, so it is the token in viewer.json of the data dir."
TOO_MANY = f"Too many wrong passwords from this address: wait a minute, {FAILURES} are allowed in one."
REASONS = {
    "wrong": (401, "This is not the password."),
    "often": (429, TOO_MANY),
    "nobody": (401, "You are not logged in here."),
    "out": (401, "You are logged out."),
}
"""What may have led to the page but its address; the browser that is led there says which it was, once."""

REASON_S = 60
PROGRAMS = "log in by loading this page anew; programs send the viewer's password as `Authorization: Bearer PASSWORD`"


class TooManyFailuresError(Exception):
    """An address has said too many wrong passwords to be listened to."""


class Login:
    """Knows password, token and sessions.

    password: None where there is none; then the token is asked for in its place.
    token: for commands on this machine, which find it in the data dir.
    needed: whether anybody is asked at all, which may change while it runs.
    secure: whether the port speaks TLS, so that browsers are to keep the session to it.
    """

    def __init__(self, password: str | None, token: str, needed: Callable[[], bool], *, secure: bool) -> None:
        self._key = secrets.token_bytes(32)
        # Cookies know no ports, so each viewer of a host has one of its own; its sessions end with it anyway.
        self._cookie = f"{COOKIE}_{secrets.token_hex(4)}"
        self._password = self._digest(token if password is None else password)
        self._token = self._digest(token)
        self._needed = needed
        self.asks = ASK if password is not None else ASK + NONE_SET
        self._secure = secure
        self._sessions: OrderedDict[bytes, float] = OrderedDict()  # digest → until when
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def allows(self, headers: Headers, address: str) -> bool:
        """Whether a request shows that it may be answered.

        Raises:
            TooManyFailuresError: it shows a password, after too many wrong ones.
        """
        if not self._needed() or self._session(headers) is not None:
            return True
        said = _said(headers.get("authorization", ""))
        if said is None:
            return False
        return hmac.compare_digest(self._digest(said), self._token) or self._is_password(said, address)

    def knows(self, request: Request) -> bool:
        """Whether a probe may be told more than any other."""
        try:
            return self.allows(request.headers, address_of(request))
        except TooManyFailuresError:
            return False

    def open_session(self, password: str, headers: Headers, address: str) -> str | None:
        """The cookie of a new session, None for a wrong password; a session that was there before ends.

        Raises:
            TooManyFailuresError: after too many wrong ones.
        """
        if not self._is_password(password, address):
            return None
        if (before := self._session(headers)) is not None:
            del self._sessions[before]
        name = secrets.token_urlsafe(32)
        self._sessions[self._digest(name)] = time.monotonic() + SESSION_S
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return self._session_cookie(name, SESSION_S)

    def has_session(self, headers: Headers) -> bool:
        """Whether a request is of a session, which can be ended."""
        return self._session(headers) is not None

    def end_session(self, headers: Headers) -> str:
        """The cookie that takes a session back; who kept a copy of it gets in by that no more."""
        if (digest := self._session(headers)) is not None:
            del self._sessions[digest]
        return self._session_cookie("", 0)

    def _session_cookie(self, name: str, max_age_s: int) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{self._cookie}={name}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"

    def reason(self, why: str, max_age_s: int = REASON_S) -> str:
        """The cookie that says why somebody is asked; without an age it is taken back."""
        return f"{self._cookie}_reason={why}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict"

    def reason_of(self, headers: Headers) -> str | None:
        """Which of the `REASONS` a browser was led to the page with."""
        why = _cookie(headers, f"{self._cookie}_reason")
        return why if why in REASONS else None

    def _session(self, headers: Headers) -> bytes | None:
        """The digest of the session that a request is of."""
        name = _cookie(headers, self._cookie)
        digest = self._digest(name) if name is not None else b""
        until_s = self._sessions.get(digest)
        if until_s is None:
            return None
        if until_s < time.monotonic():
            del self._sessions[digest]
            return None
        return digest

    def _is_password(self, said: str, address: str) -> bool:
        now_s = time.monotonic()
        failures = self._failures.setdefault(address, deque())
        self._failures.move_to_end(address)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        while failures and failures[0] < now_s - WITHIN_S:
            failures.popleft()
        if len(failures) >= FAILURES:
            raise TooManyFailuresError
        if hmac.compare_digest(self._digest(said), self._password):
            return True
        failures.append(now_s)
        return False

    def _digest(self, said: str) -> bytes:
        return hmac.digest(self._key, said.encode(errors="replace"), hashlib.sha256)


class Entry:
    """Stands before the routes: all but those for probes are for who is logged in, and that there is nothing at an
    address is no secret."""

    def __init__(self, app: Starlette, login: Login) -> None:
        self._app = app
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal or a login, or pass the request on."""
        request = Request(scope, receive)
        address = address_of(request)
        try:
            answer = await self._answer(request, address)
        except TooManyFailuresError:
            answer = self._back(request, self._login.reason("often")) if is_login(scope) else _refuse(request, "often")
        await (answer or self._app)(scope, receive, send)

    async def _answer(self, request: Request, address: str) -> Response | None:
        if request.scope["path"] in OPEN:
            return None
        if is_login(request.scope):
            return self._back(request, await self._log_in(request, address))
        if self._login.allows(request.headers, address) or self._is_nowhere(request.scope):
            return None
        why = self._login.reason_of(request.headers) if _is_page(request.scope["path"]) else None
        answer = _refuse(request, why, self._login.asks)
        if why is not None:
            answer.headers["Set-Cookie"] = self._login.reason(why, 0)
        return answer

    def _is_nowhere(self, scope: Scope) -> bool:
        """Programs are asked who they are first: a wrong address of the API is told to those alone who may use it."""
        api = scope["path"].startswith("/api/")
        return not api and all(route.matches(scope)[0] is Match.NONE for route in self._app.routes)

    async def _log_in(self, request: Request, address: str) -> str | None:
        """The cookie to answer with; none for who was logged in."""
        try:
            form = parse_qs((await body_of(request, MAX_FORM_BYTES)).decode(errors="replace"))
        except HTTPException:  # it is too long to be a password
            return self._login.reason("wrong")
        if "password" not in form:  # it is the form of the hint
            return None if self._login.has_session(request.headers) else self._login.reason("nobody")
        return self._login.open_session(form["password"][0], request.headers, address) or self._login.reason("wrong")

    def _back(self, request: Request, cookie: str | None) -> Response:
        """To the page that was asked for, in or not: so that to load it anew is not to send the form again."""
        here = quote(request.scope["path"].rpartition("/")[2], safe="")
        there = f"./{here}{tenant_query(request)}"  # a proxy may have a prefix before it
        return Response(
            status_code=303, headers={"Location": there} | ({} if cookie is None else {"Set-Cookie": cookie})
        )


def sessions(login: Login) -> list[Route]:
    """Whether a browser has logged in, and how it logs out."""

    async def tell(request: Request) -> Response:
        asked(request)
        return answer_json({"loggedIn": login.has_session(request.headers)})

    async def log_out(request: Request) -> Response:
        asked(request)
        answer = answer_json({"loggedIn": False})
        answer.headers["Set-Cookie"] = login.end_session(request.headers)
        answer.headers.append("Set-Cookie", login.reason("out"))
        return answer

    return [Route(PATH, tell), Route(PATH, log_out, methods=["DELETE"])]


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return None if cookie is None else cookie.value


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


def is_login(scope: Scope) -> bool:
    """Whether this is the form of the login page, which is sent to the page that was asked for."""
    content_type = Headers(scope=scope).get("content-type", "").partition(";")[0].strip()
    return scope["method"] == "POST" and _is_page(scope["path"]) and content_type == FORM


def _is_page(path: str) -> bool:
    return path == "/" or path.startswith("/t/")


def _said(authorization: str) -> str | None:
    """The password or token in an Authorization header; of Basic whatever the user is called."""
    scheme, _, said = authorization.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return said.strip()
        case "basic":
            try:
                return base64.b64decode(said, validate=True).decode(errors="replace").partition(":")[2]
            except (binascii.Error, ValueError):
                return None
        case _:
            return None


def _refuse(request: Request, why: str | None, asks: str = "") -> Response:
    status, said = (401, asks) if why is None else REASONS[why]
    if _is_page(request.scope["path"]):
        # Other ways here are known not to be a link; where there is no TLS browsers tell of none.
        linked = why is None and request.headers.get("sec-fetch-site") not in ("none", "same-origin")
        page = plain_page(BODY.format(said=said, hint=HINT if linked else ""), status)
        page.headers["Referrer-Policy"] = "same-origin"  # without a referrer browsers send forms with `Origin: null`
        answer: Response = page
    else:
        answer = JSONResponse({"error": said if status == 429 else PROGRAMS}, status)
    if status == 429:
        answer.headers["Retry-After"] = str(round(WITHIN_S))
    answer.headers["WWW-Authenticate"] = 'Bearer realm="otel-bridge"'
    return answer
