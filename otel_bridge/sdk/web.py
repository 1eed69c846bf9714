"""Ids over HTTP: `TraceMiddleware` for ASGI servers, `outgoing()` for clients that nobody instruments."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from opentelemetry import context as otel
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from otel_bridge.sdk.correlation import correlation
from otel_bridge.sdk.spans import span

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

SESSION, USER, TRACE, RESPONSE = "x-session-id", "x-user-id", "x-trace-id", "traceresponse"
SERVER_ERROR = 500


class TraceMiddleware:
    """Around an ASGI application: each request goes on in its sender's trace, and its answer says which that is.

    Session and user come by baggage or by `x-session-id` and `x-user-id`, and stand on every span of the request. The
    answer has `traceresponse` and `x-trace-id`, also one that streams. Where an instrumentation has made a span for the
    request already, no second one is made.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        ids = correlation(session=headers.get(SESSION), user=headers.get(USER))
        if trace.get_current_span().get_span_context().is_valid:
            async with ids:
                await self._app(scope, receive, _telling(trace.get_current_span(), send))
            return
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        sender = ids.apply(propagate.extract(headers))
        name = f"{scope['method']} {scope['path']}"
        async with span(name, attributes, kind=SpanKind.SERVER, parent=sender) as request:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    request.tags["http.response.status_code"] = message["status"]
                    if message["status"] >= SERVER_ERROR:
                        request.set_status(trace.Status(trace.StatusCode.ERROR, f"HTTP {message['status']}"))
                await send(message)

            await self._app(scope, receive, _telling(request.otel, answer))
            if isinstance(route := getattr(scope.get("route"), "path", None), str):
                request.tags["http.route"] = route
                request.update_name(f"{scope['method']} {route}")


def outgoing(headers: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """Headers with the current trace, session and user in them, for a client that is not instrumented."""
    carrier = dict(headers)
    propagate.inject(carrier, otel.get_current())
    return carrier


def _telling(of: trace.Span, send: Send) -> Send:
    told = of.get_span_context()

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start" and told.is_valid:
            trace_id, span_id = trace.format_trace_id(told.trace_id), trace.format_span_id(told.span_id)
            flags = f"{int(told.trace_flags):02x}"
            message["headers"] = [
                *message.get("headers", ()),
                (RESPONSE.encode(), f"00-{trace_id}-{span_id}-{flags}".encode()),
                (TRACE.encode(), trace_id.encode()),
            ]
        await send(message)

    return answer
