"""A request goes on in its sender's trace, and says which that is; through a real server and a real client."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import uvicorn
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from otel_bridge.sdk import correlation, span, stream
from otel_bridge.sdk.context import ContextProcessor
from otel_bridge.sdk.web import App, Message, Receive, Scope, Send, TraceMiddleware, outgoing
from tests.sdk.conftest import Spans


async def ids(_request: Request) -> Response:
    async with span("work"):
        return JSONResponse({"session": baggage.get_baggage("session.id")})


async def broken(_request: Request) -> Response:
    return JSONResponse({}, status_code=503)


async def events(_request: Request) -> Response:
    async def words() -> AsyncIterator[str]:
        for word in ("data: a\n\n", "data: b\n\n"):
            await asyncio.sleep(0)
            yield word

    return StreamingResponse(stream(words(), "llm_stream"), media_type="text/event-stream")


async def for_ever(_request: Request) -> Response:
    async def words() -> AsyncIterator[str]:
        async with span("thinking"):
            while True:
                await asyncio.sleep(0)
                yield "data: a\n\n"

    return StreamingResponse(stream(words(), "endless"), media_type="text/event-stream")


@pytest.fixture
async def url(spans: Spans) -> AsyncIterator[str]:
    spans.provider.add_span_processor(ContextProcessor())
    routes = [Route("/ids", ids), Route("/broken", broken), Route("/events", events)]
    routes.append(Route("/for-ever", for_ever))
    async with serving(TraceMiddleware(Starlette(routes=routes))) as found:
        yield found


@contextlib.asynccontextmanager
async def serving(app: App) -> AsyncIterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listening]), context=None)
        while not server.started:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await task


async def test_client_and_server_are_one_trace_with_the_same_ids(url: str, spans: Spans) -> None:
    async with aiohttp.ClientSession() as client, span("client") as mine, correlation(session="s1", user="u1"):
        answer = await client.get(f"{url}/ids", headers=outgoing())
        assert await answer.json() == {"session": "s1"}
        assert answer.headers["x-trace-id"] == mine.trace_id
        version, trace_id, span_id, flags = answer.headers["traceresponse"].split("-")

    assert (version, trace_id) == ("00", mine.trace_id)
    assert int(flags, 16) & trace.TraceFlags.SAMPLED
    served = spans["GET /ids"]
    assert span_id == trace.format_span_id(served.context.span_id)  # type: ignore[union-attr]
    assert spans.parent("GET /ids") == "client"
    assert spans.parent("work") == "GET /ids"
    for name in ("GET /ids", "work"):
        attributes = spans[name].attributes or {}
        assert (attributes["session.id"], attributes["user.id"]) == ("s1", "u1")
    assert (served.attributes or {})["http.response.status_code"] == 200


@pytest.mark.parametrize("is_outer", [True, False], ids=["CORS around it", "it around CORS"])
async def test_a_page_of_another_origin_may_read_the_trace(spans: Spans, is_outer: bool) -> None:
    """Beside what the application lets it read; others are told nothing of that."""
    app: Any = Starlette(routes=[Route("/ids", ids)])
    if is_outer:
        app = CORSMiddleware(TraceMiddleware(app), allow_origins=["https://page.test"])
    else:
        app = TraceMiddleware(CORSMiddleware(app, allow_origins=["https://page.test"], expose_headers=["x-own"]))
    async with serving(app) as url, aiohttp.ClientSession() as client:
        from_page = await client.get(f"{url}/ids", headers={"Origin": "https://page.test"})
        from_program = await client.get(f"{url}/ids")
        _ = await from_page.read(), await from_program.read()
    exposed = ", ".join(from_page.headers.getall("Access-Control-Expose-Headers"))
    assert set(exposed.split(", ")) == {"traceresponse", "x-trace-id"} | (set() if is_outer else {"x-own"})
    assert from_page.headers["Access-Control-Allow-Origin"] == "https://page.test"
    assert from_program.headers["x-trace-id"]
    assert "traceresponse" not in from_program.headers.get("Access-Control-Expose-Headers", "")


async def test_plain_headers_name_session_and_user(url: str, spans: Spans) -> None:
    async with aiohttp.ClientSession(headers={"X-Session-Id": "s2", "X-User-Id": "u2"}) as client:
        async with client.get(f"{url}/ids") as answer:
            await answer.read()
        async with client.get(f"{url}/broken") as answer:
            await answer.read()

    assert (spans["work"].attributes or {})["session.id"] == "s2"
    assert spans["GET /broken"].status.description == "HTTP 503"
    assert len(spans.traces()) == 2


async def test_a_stream_of_events_is_one_child_and_says_its_trace_first(url: str, spans: Spans) -> None:
    async with aiohttp.ClientSession() as client, client.get(f"{url}/events") as answer:
        trace_id = answer.headers["x-trace-id"]
        assert await answer.text() == "data: a\n\ndata: b\n\n"

    assert trace.format_trace_id(spans["llm_stream"].context.trace_id) == trace_id  # type: ignore[union-attr]
    assert spans.parent("llm_stream") == "GET /events"
    assert (spans["llm_stream"].attributes or {})["otel_bridge.stream.chunks"] == 2


async def test_a_client_that_goes_before_the_end_has_abandoned_the_request(url: str, spans: Spans) -> None:
    """The server cancels what nobody reads any more: no failure, and told apart from an answer that is whole."""
    ended = asyncio.Event()
    spans.provider.add_span_processor(_Ending("GET /for-ever", ended))
    async with aiohttp.ClientSession() as client:
        answer = await client.get(f"{url}/for-ever")
        await answer.content.readany()
        answer.close()
        async with client.get(f"{url}/events") as whole:
            await whole.read()
        await asyncio.wait_for(ended.wait(), 20)

    told = {found.name: (found.attributes or {}).get("otel_bridge.outcome") for found in spans.all}
    assert (told.pop("GET /events"), told.pop("llm_stream")) == (None, None)
    assert told == dict.fromkeys(("GET /for-ever", "endless", "thinking"), "abandoned")
    assert all(found.status.status_code is trace.StatusCode.UNSET for found in spans.all)


BODY = "http.response.body"


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        ([{"type": "http.response.pathsend", "path": "/etc/hostname"}], None),
        ([{"type": "http.response.zerocopysend", "file": 3}], None),
        ([{"type": "http.response.zerocopysend", "file": 3, "more_body": True}], "abandoned"),
        ([{"type": BODY, "body": b"a", "more_body": True}, {"type": BODY, "body": b""}], None),
        ([{"type": BODY, "body": b"a", "more_body": True}], "abandoned"),
    ],
)
async def test_an_answer_is_whole_however_it_is_sent(
    spans: Spans, sent: list[dict[str, Any]], outcome: str | None
) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        for message in sent:
            await send(message)
        await receive()

    await asked(app)
    assert (spans["GET /"].attributes or {}).get("otel_bridge.outcome") == outcome


async def test_what_fails_by_itself_after_the_client_has_gone_is_a_failure(spans: Spans) -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await asked(app)
    assert spans["GET /"].status.description == "ValueError: broken"
    assert "otel_bridge.outcome" not in (spans["GET /"].attributes or {})


async def test_what_is_cancelled_after_the_client_has_gone_is_abandoned(spans: Spans) -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await asked(app)
    assert (spans["GET /"].attributes or {})["otel_bridge.outcome"] == "abandoned"
    assert spans["GET /"].status.status_code is trace.StatusCode.UNSET


@pytest.mark.parametrize(
    ("raises", "outcome"), [(None, "abandoned"), (asyncio.CancelledError(), "abandoned"), (ValueError(), None)]
)
async def test_the_span_that_somebody_else_made_for_the_request_is_told_too(
    spans: Spans, raises: BaseException | None, outcome: str | None
) -> None:
    """FastAPI ends its own as failed when the client has gone."""

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        if raises is not None:
            raise raises

    with trace.get_tracer("fastapi").start_as_current_span("theirs", kind=trace.SpanKind.SERVER) as theirs:
        with contextlib.suppress(asyncio.CancelledError, ValueError):
            await asked(app)
        theirs.set_status(trace.StatusCode.ERROR)
    assert (spans["theirs"].attributes or {}).get("otel_bridge.outcome") == outcome
    assert spans["theirs"].status.is_ok is (outcome is not None)


async def asked(app: App) -> None:
    """A request whose client goes as soon as the application looks."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None: ...

    await TraceMiddleware(app)({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)


class _Ending(SpanProcessor):
    def __init__(self, name: str, ended: asyncio.Event) -> None:
        self._name = name
        self._ended = ended

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == self._name:
            self._ended.set()


async def test_what_an_application_sends_is_left_as_it_is(spans: Spans) -> None:
    """It may be one message for all: the next client would hear of the traces of those before."""
    start = {"type": "http.response.start", "status": 204, "headers": []}

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start)
        await send({"type": "http.response.body"})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    for _ in range(2):
        await TraceMiddleware(app)({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)
    assert start["headers"] == []
    assert [[name for name, _ in message["headers"]] for message in sent[::2]] == [
        [b"traceresponse", b"x-trace-id"]
    ] * 2
