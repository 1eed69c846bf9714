"""Ids over HTTP: `TraceMiddleware` for ASGI servers, `outgoing()` for clients that nobody instruments."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from opentelemetry import context as otel
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from otel_bridge.sdk.correlation import correlation
from otel_bridge.sdk.leaving import ABANDONED, CLIENT, OUTCOME, Client, is_cancelled
from otel_bridge.sdk.spans import ActiveSpan, span

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

ORIGIN, EXPOSED = "origin", b"access-control-expose-headers"
SESSION, USER, TRACE, RESPONSE = "x-session-id", "x-user-id", "x-trace-id", "traceresponse"
SERVER_ERROR = 500
WHOLE = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")  # with the last of them


class TraceMiddleware:
    """Around an ASGI application: each request goes on in its sender's trace, and its answer says which that is.

    Session and user come by baggage or by `x-session-id` and `x-user-id`, and stand on every span of the request. The
    answer has `traceresponse` and `x-trace-id`, also one that streams, and to a browser it says that a page of another
    origin may read them, if CORS lets that page read the answer at all. What is cancelled because the client has gone
    is abandoned. Where an instrumentation has made a span for the request already, no second one is made, and that one
    is told of it, too.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        ids = correlation(session=headers.get(SESSION), user=headers.get(USER))
        answering = _Answering(receive, send, is_of_page=ORIGIN in headers)
        if (current := trace.get_current_span()).get_span_context().is_valid:
            before = otel.attach(otel.set_value(CLIENT, answering.client, ids.apply()))
            try:
                await self._app(scope, answering.receive, answering.by(current))
                answering.tell_if_abandoned(current)
            except BaseException as error:
                if is_cancelled(error):
                    answering.tell_if_abandoned(current)
                raise
            finally:
                otel.detach(before)
            return
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        sender = otel.set_value(CLIENT, answering.client, ids.apply(propagate.extract(headers)))
        name = f"{scope['method']} {scope['path']}"
        async with span(name, attributes, kind=SpanKind.SERVER, parent=sender) as request:
            try:
                await self._app(scope, answering.receive, answering.by(request.otel))
                if answering.client.has_gone:  # what is raised tells for itself
                    request.tags[OUTCOME] = ABANDONED
            finally:
                answering.tell(request)
            if isinstance(route := getattr(scope.get("route"), "path", None), str):
                request.tags["http.route"] = route
                request.update_name(f"{scope['method']} {route}")


def outgoing(headers: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """Headers with the current trace, session and user in them, for a client that is not instrumented."""
    carrier = dict(headers)
    propagate.inject(carrier, otel.get_current())
    return carrier


class _Answering:
    """The answer to a request as it is being sent: what it says of its trace, and whether somebody is still there.

    is_of_page: a browser asks for one of its pages, which may be another's.
    """

    def __init__(self, receive: Receive, send: Send, *, is_of_page: bool) -> None:
        self._is_of_page = is_of_page
        self._receive = receive
        self._send = send
        self._is_whole = False
        self.client = Client()
        self.status: int | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._is_whole:
            self.client.has_gone = True
        return message

    def by(self, answerer: trace.Span) -> Send:
        """`send`, with the trace of this span in the headers."""
        told = answerer.get_span_context()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                if told.is_valid:
                    message = {
                        **message,
                        "headers": [*message.get("headers", ()), *_headers(told, exposed=self._is_of_page)],
                    }  # it may be sent again
            elif message["type"] in WHOLE and not message.get("more_body"):
                self._is_whole = True
            await self._send(message)

        return send

    def tell_if_abandoned(self, answerer: trace.Span) -> None:
        """On the request's span, which is somebody else's, and would be ended as failed because its client has gone."""
        if self.client.has_gone and getattr(answerer, "kind", None) is SpanKind.SERVER and answerer.is_recording():
            answerer.set_attribute(OUTCOME, ABANDONED)
            answerer.set_status(trace.StatusCode.OK)  # what is said after it is ignored

    def tell(self, request: ActiveSpan) -> None:
        """How it was answered, on the request's span."""
        if self.status is not None:
            request.tags["http.response.status_code"] = self.status
            if self.status >= SERVER_ERROR:
                request.set_status(trace.Status(trace.StatusCode.ERROR, f"HTTP {self.status}"))


def _headers(told: trace.SpanContext, *, exposed: bool) -> list[tuple[bytes, bytes]]:
    """exposed: to pages of other origins; who may read the answer says somebody else, perhaps further out."""
    trace_id, span_id = trace.format_trace_id(told.trace_id), trace.format_span_id(told.span_id)
    return [
        (RESPONSE.encode(), f"00-{trace_id}-{span_id}-{int(told.trace_flags):02x}".encode()),
        (TRACE.encode(), trace_id.encode()),
        *([(EXPOSED, f"{RESPONSE}, {TRACE}".encode())] if exposed else ()),
    ]
