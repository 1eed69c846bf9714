"""The HTTP application: the JSON API under /api/v1, the page that shows it, and what probes ask."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from otel_bridge.component import Bridge
from otel_bridge.errors import BridgeError, ConsumeError, FilesError, UsageError
from otel_bridge.query.answer import Answer
from otel_bridge.query.detect import LAST, detect
from otel_bridge.query.events import list_events
from otel_bridge.query.find import HEX, NotFoundError, find_trace, left_out
from otel_bridge.query.metrics import list_metrics, one_metric
from otel_bridge.query.observations import one_observation
from otel_bridge.query.outline import markdown, outline
from otel_bridge.query.scores import list_scores
from otel_bridge.query.sessions import list_sessions, one_session
from otel_bridge.query.traces import MAX_OBSERVATIONS, list_traces, one_trace
from otel_bridge.store.reader import Reader, SlowQuestionError, reading
from otel_bridge.tenants import ONLY, Tenants
from otel_bridge.viewer.guard import Guard
from otel_bridge.viewer.links import links
from otel_bridge.viewer.login import Entry, Login, sessions
from otel_bridge.viewer.operating import operating
from otel_bridge.viewer.plain import nothing_here, wants_page
from otel_bridge.viewer.probes import probes
from otel_bridge.viewer.requests import answer_json, asked, body_of, limit_of, one_of, tenant_query
from otel_bridge.viewer.scores import MAX_BODY_BYTES, evaluation, read_score

SCRIPTS = sorted(file.name for file in (files("otel_bridge.viewer") / "ui").iterdir() if file.name.endswith(".js"))
UI = {
    "/": ("ui/index.html", "text/html"),
    **{f"/{name}": (f"ui/{name}", "text/javascript") for name in SCRIPTS},
    "/style.css": ("ui/style.css", "text/css"),
    "/openapi.json": ("openapi.json", "application/json"),
}
"""The only files that are served."""

NOWHERE = "there is nothing at this address: the page is at /, and what programs can ask is in /openapi.json"
IDS = "one has 32 characters, 0 to 9 and a to f, of which the first few will do; `last` is the newest trace"
STATUSES: dict[type[BridgeError], int] = {
    UsageError: 400,
    NotFoundError: 404,
    SlowQuestionError: 503,
    FilesError: 503,
    ConsumeError: 503,
}


def application(
    store: Path,
    bridge: Bridge | None,
    thread: Executor,
    login: Login,
    hosts: Iterable[str] = (),
    tenants: Tenants = ONLY,
) -> ASGIApp:
    """The application over the store at `store`.

    bridge: takes scores in and knows its status; without it these two answer 503.
    thread: runs the questions, so that none is ever asked on the event loop.
    login: knows who may ask.
    hosts: names besides those of the loopback by which it may be asked for.
    tenants: those of the newest configuration.
    """
    app = Starlette(
        routes=routes(store, bridge, thread, login, tenants),
        exception_handlers={BridgeError: _refused, HTTPException: _refused},
    )
    return Guard(Entry(app, login), hosts)


def routes(store: Path, bridge: Bridge | None, thread: Executor, login: Login, tenants: Tenants = ONLY) -> list[Route]:
    """All that can be asked for."""
    asking = _Store(store, thread)
    told = probes(bridge, login.knows)
    return [
        *_api(asking, bridge, tenants),
        *_bridge(bridge, asking),
        *told,
        *operating(bridge),
        *sessions(login),
        *_page(),
    ]


class _Store:
    """Asks the store in a thread; what is being asked when the time is up is interrupted there."""

    def __init__(self, path: Path, thread: Executor) -> None:
        self._path = path
        self._thread = thread

    async def ask(self, question: Callable[[Reader], Any]) -> Any:
        def answer() -> Any:
            with reading(self._path) as reader:
                return question(reader)

        return await asyncio.get_running_loop().run_in_executor(self._thread, answer)


def _api(store: _Store, bridge: Bridge | None, tenants: Tenants) -> list[Route]:
    async def traces(request: Request) -> Response:
        said = asked(request, "filter", "sort", "limit", "cursor", "tenant")
        filter_text, sort, cursor = said.get("filter", ""), said.get("sort", "-start"), said.get("cursor")
        limit, tenant = limit_of(said, 50), said.get("tenant")
        return answer_json(
            await store.ask(
                lambda reader: list_traces(
                    reader, filter_text, sort, limit, cursor, tenant=tenant, tenants=tenants.configs
                )
            )
        )

    async def trace(request: Request) -> Response:
        said = asked(request, "format", "full", "tenant", "limit", "cursor")
        trace_id = request.path_params["trace_id"]
        limit, cursor, tenant = limit_of(said, MAX_OBSERVATIONS), said.get("cursor"), said.get("tenant")
        form, full = one_of(said, "format", "json", "text", "md"), one_of(said, "full", "false", "true") == "true"
        found: Answer = await store.ask(
            lambda reader: one_trace(reader, trace_id, tenant=tenant, limit=limit, cursor=cursor, full=full)
        )
        if form == "json":
            return answer_json({**found, "links": links(bridge, found)})
        name = f"trace-{found['id']}.{'md' if form == 'md' else 'txt'}"
        return PlainTextResponse(
            markdown(found) if form == "md" else outline(found),
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    async def observation(request: Request) -> Response:
        ids, tenant = request.path_params, asked(request, "tenant").get("tenant")
        return answer_json(
            await store.ask(lambda reader: one_observation(reader, ids["trace_id"], ids["observation"], tenant=tenant))
        )

    async def events(request: Request) -> Response:
        said = asked(request, "name", "trace", "last", "limit", "cursor", "tenant")
        pattern, limit, cursor = said.pop("name", ""), limit_of(said, 50), said.get("cursor")
        narrowed = {key: said.get(key) for key in ("trace", "last", "tenant")}
        return answer_json(
            await store.ask(
                lambda reader: list_events(reader, pattern, limit, cursor, **narrowed, tenants=tenants.configs)
            )
        )

    async def metrics(request: Request) -> Response:
        said = asked(request, "name", "limit", "cursor", "tenant")
        pattern, limit, cursor = said.get("name", ""), limit_of(said, 50), said.get("cursor")
        tenant = said.get("tenant")
        return answer_json(
            await store.ask(
                lambda reader: list_metrics(reader, pattern, limit, cursor, tenant=tenant, tenants=tenants.configs)
            )
        )

    async def metric(request: Request) -> Response:
        said = asked(request, "last", "limit", "tenant")
        last, limit, tenant = said.get("last", "1h"), limit_of(said, 50), said.get("tenant")
        name = request.path_params["name"]
        return answer_json(await store.ask(lambda reader: one_metric(reader, name, last, limit, tenant=tenant)))

    async def sessions(request: Request) -> Response:
        said = asked(request, "limit", "cursor", "tenant")
        limit, cursor, tenant = limit_of(said, 50), said.get("cursor"), said.get("tenant")
        return answer_json(
            await store.ask(lambda reader: list_sessions(reader, limit, cursor, tenant=tenant, tenants=tenants.configs))
        )

    async def session(request: Request) -> Response:
        said = asked(request, "limit", "cursor", "tenant", "sort", "turns")
        limit, cursor, tenant = limit_of(said, 50), said.get("cursor"), said.get("tenant")
        sort, turns = said.get("sort", "-start"), one_of(said, "turns", "false", "true") == "true"
        session_id = request.path_params["session_id"]
        return answer_json(
            await store.ask(
                lambda reader: one_session(reader, session_id, limit, cursor, tenant=tenant, sort=sort, turns=turns)
            )
        )

    async def scores(request: Request) -> Response:
        limit = limit_of(asked(request, "limit"), 50)
        return answer_json(await store.ask(lambda reader: list_scores(reader, limit)))

    async def findings(request: Request) -> Response:
        said = asked(request, "kind", "last", "tenant")
        kinds, last, tenant = said.get("kind", ""), said.get("last", LAST), said.get("tenant")
        names = [name for name in kinds.split(",") if name]
        return answer_json(
            await store.ask(lambda reader: detect(reader, names, last, tenant=tenant, tenants=tenants.configs))
        )

    return [
        Route("/api/v1/traces", traces),
        Route("/api/v1/traces/{trace_id}", trace),
        Route("/api/v1/traces/{trace_id}/observations/{observation:path}", observation),
        Route("/api/v1/events", events),
        Route("/api/v1/metrics", metrics),
        Route("/api/v1/metrics/{name:path}", metric),
        Route("/api/v1/sessions", sessions),
        Route("/api/v1/sessions/{session_id:path}", session),
        Route("/api/v1/scores", scores),
        Route("/api/v1/findings", findings),
    ]


def _bridge(bridge: Bridge | None, store: _Store) -> list[Route]:
    async def score(request: Request) -> Response:
        asked(request)
        if bridge is None:
            raise HTTPException(503, "no bridge is running that could take a score")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise HTTPException(415, "send the score as application/json")
        given = read_score(await body_of(request, MAX_BODY_BYTES))
        _, tenant = await store.ask(lambda reader: find_trace(reader, given.trace_id, given.tenant, to_read=False))
        omitted = await store.ask(lambda reader: left_out(reader, given.trace_id, tenant))
        await bridge.consume(evaluation(given, tenant))
        return answer_json({"accepted": True} | ({"omitted": omitted} if omitted else {}), 202)

    async def status(request: Request) -> Response:
        asked(request)
        if bridge is None:
            raise HTTPException(503, "no bridge is running")
        return answer_json(bridge.status())

    return [Route("/api/v1/scores", score, methods=["POST"]), Route("/api/v1/status", status)]


def _page() -> list[Route]:
    async def link(request: Request) -> Response:
        trace_id = request.path_params["trace_id"]
        if not HEX.fullmatch(trace_id) and trace_id != "last":
            if wants_page(request):
                return nothing_here(request, "There is no such trace", f"{trace_id[:100]} is no trace id: {IDS}.")
            raise HTTPException(404, f"this is no trace id: {IDS}")
        # Relative, so that it holds under a path prefix as well.
        return RedirectResponse(f"../#/t/{trace_id}{tenant_query(request)}")

    return [*(_file(path, *what) for path, what in UI.items()), Route("/t/{trace_id}", link)]


def _file(path: str, name: str, media_type: str) -> Route:
    content = (files("otel_bridge.viewer") / name).read_bytes()

    async def serve(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, serve)


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        nowhere = error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase  # as the router says it
        if nowhere and wants_page(request):
            return nothing_here(request, "There is no such page", f"There is nothing at {request.url.path[:100]}.")
        return answer_json({"error": NOWHERE if nowhere else error.detail}, error.status_code)
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 500)
    return answer_json({"error": str(error)}, status)
