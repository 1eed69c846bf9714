"""A Langfuse to send to, on loopback: a real HTTP server that answers and stores as the real one of a version does.

`async with FakeLangfuse("4.61.0").running() as fake:` in a test's own loop, `with FakeLangfuse().in_thread() as fake:`
beside it, or `python -m otel_bridge.testing.fake_langfuse --port 0 --version 4` by hand. What it is told by `script`
comes before its own answers; `GET /fake/state`, `GET /fake/told` and `POST /fake/script` are for other processes.
"""

import argparse
import asyncio
import base64
import json
import signal
import sys
import threading
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from aiohttp import web
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.counts import plural
from otel_bridge.telemetry import printable
from otel_bridge.testing import langfuse_rules as rules
from otel_bridge.testing.fake_media import FakeMedia

Mode: TypeAlias = Literal["events_only", "dual", "legacy"]
Route: TypeAlias = Literal["health", "projects", "otlp", "ingestion", "scores", "media", "upload", "read"]

NEWEST = {"2": "2.95.12", "3": "3.120.0", "4": "4.61.0"}
"""Of each major version, the one to be where no other is named."""

MAX_INGESTION = 4_500_000
MAX_SCORES = 1 << 20
MAX_BODY = 256 << 20
ACCEPTED, CREATED, PARTLY = 202, 201, 207


@dataclass(slots=True, frozen=True)
class Fault:
    """An answer out of turn.

    does: `answer` it, `disconnect` without a word, or `hang` until the fake stops.
    stored: what was sent is stored as ever first, as when an answer is lost.
    """

    status: int = 500
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    does: Literal["answer", "disconnect", "hang"] = "answer"
    stored: bool = False


@dataclass(slots=True, frozen=True)
class Request:
    """A request as it came over the wire; the body as it was compressed."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class FakeLangfuse:
    """The server's state: `observations`, `scores` and `traces` as Langfuse would show them, and what it was sent.

    duplicates: spans and scores that came again.
    dropped: (observation id, reason) of what the strict path lost without telling the sender.
    """

    def __init__(
        self,
        version: str = "4",
        *,
        mode: Mode = "events_only",
        public_key: str = "pk-lf-fake",
        secret_key: str = "sk-lf-fake",  # noqa: S107 - the key to nothing
        record: Path | None = None,
    ) -> None:
        self.version = NEWEST.get(version, version)
        self.mode = mode
        self.public_key = public_key
        self.secret_key = secret_key
        self.url = ""
        self.requests: deque[Request] = deque(maxlen=1000)
        self.observations: dict[str, dict[str, Any]] = {}
        self.scores: dict[str, dict[str, Any]] = {}
        self.traces: dict[str, dict[str, Any]] = {}
        self._media = FakeMedia()
        self.rows: list[rules.SpanRow] = []
        self.arrivals: Counter[str] = Counter()
        self.dropped: list[tuple[str, str]] = []
        self._record = record
        self._scripts: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._stopped = asyncio.Event()

    # --- for tests

    @property
    def media(self) -> dict[str, bytes]:
        """Bytes by media id, of the uploads that were closed well."""
        return self._media.kept

    @property
    def media_links(self) -> list[dict[str, Any]]:
        """Where media stand, as it was announced, in order."""
        return self._media.links

    @property
    def duplicates(self) -> int:
        """How often something came that had come before."""
        return sum(count - 1 for count in self.arrivals.values())

    def script(self, route: Route, *faults: Fault) -> None:
        """The next answers of a route, one for each request; after them it is itself again."""
        self._scripts.setdefault(route, deque()).extend(faults)

    def always(self, route: Route, fault: Fault | None) -> None:
        """Every answer of a route from now on, or an end to that."""
        if fault is None:
            self._always.pop(route, None)
        else:
            self._always[route] = fault

    def sent_to(self, path: str) -> list[Request]:
        """The requests whose path ends so, oldest first."""
        return [request for request in self.requests if request.path.endswith(path)]

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator["FakeLangfuse"]:
        """Serve on loopback in this loop; `url` says where."""
        app = web.Application(client_max_size=MAX_BODY)
        self._add_routes(app)
        runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=0, access_log=None)
        await runner.setup()
        self._stopped.clear()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            self._stopped.set()
            await runner.cleanup()

    @contextmanager
    def in_thread(self, port: int = 0) -> Iterator["FakeLangfuse"]:
        """Serve on loopback in a thread of its own."""
        ready = threading.Event()
        stop: list[Callable[[], object]] = []

        async def serve() -> None:
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            async with self.running(port):
                stop.append(lambda: loop.call_soon_threadsafe(done.set))
                ready.set()
                await done.wait()

        def run() -> None:
            try:
                asyncio.run(serve())
            finally:
                ready.set()

        thread = threading.Thread(target=run, name="fake-langfuse")
        thread.start()
        try:
            ready.wait()
            if not stop:
                raise OSError(f"the fake Langfuse did not start on port {port}: is it taken?")
            yield self
        finally:
            for call in stop:
                call()
            thread.join()

    # --- the server

    @property
    def _number(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("-")[0].split("."))

    def _since(self, *version: int) -> bool:
        return self._number >= version

    @property
    def _events_only(self) -> bool:
        return self._since(4) and self.mode == "events_only"

    def _add_routes(self, app: web.Application) -> None:
        public = "/api/public"
        table: list[tuple[str, str, Route, Callable[[web.Request, bytes], web.Response], bool]] = [
            ("GET", f"{public}/health", "health", self._health, False),
            ("GET", f"{public}/projects", "projects", self._projects, True),
            ("POST", f"{public}/otel/v1/traces", "otlp", self._otlp, True),
            ("POST", f"{public}/otel/v1/metrics", "otlp", lambda _request, _body: _json({}), True),
            ("POST", f"{public}/ingestion", "ingestion", self._ingestion, True),
            ("POST", f"{public}/scores", "scores", self._scores, True),
            ("POST", f"{public}/media", "media", self._new_media, True),
            ("PUT", "/upload/{id}", "upload", self._media.put, False),
            ("PATCH", f"{public}/media/{{id}}", "media", self._media.close, True),
            ("GET", f"{public}/v2/observations", "read", self._read_observations, True),
            ("GET", f"{public}/observations", "read", self._read_observations_of_old, True),
            ("GET", f"{public}/v3/scores", "read", self._read_scores, True),
        ]
        for method, path, route, answer, private in table:
            app.router.add_route(method, path, self._door(route, answer, private=private))
        app.router.add_get("/fake/state", self._state)
        app.router.add_get("/fake/told", self._tell)
        app.router.add_post("/fake/script", self._take_script)

    def _door(
        self, route: Route, answer: Callable[[web.Request, bytes], web.Response], *, private: bool
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            self.requests.append(Request(request.method, request.path, dict(request.headers), body))
            waiting = self._scripts.get(route)
            fault = waiting.popleft() if waiting else self._always.get(route)
            if fault is None or fault.stored:
                told = (self._denied(request) if private else None) or answer(request, body)
            if fault is None:
                return told
            return await self._act(fault, request)

        return serve

    async def _act(self, fault: Fault, request: web.Request) -> web.Response:
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.does == "hang":
            await self._stopped.wait()
        if fault.does != "answer" and request.transport is not None:
            request.transport.abort()
        return web.Response(status=fault.status, body=fault.body.encode(), headers=fault.headers)

    def _denied(self, request: web.Request) -> web.Response | None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and given == self.public_key:  # access level "scores"
            return None if request.path.endswith("/scores") else _refusal(403, "Access denied")
        basic = base64.b64encode(f"{self.public_key}:{self.secret_key}".encode()).decode()
        if scheme.lower() == "basic" and given == basic:
            return None
        return _refusal(401, "Invalid credentials. Confirm that you've configured the correct host.")

    def _health(self, _request: web.Request, _body: bytes) -> web.Response:
        return _json({"status": "OK", "version": self.version})

    def _projects(self, _request: web.Request, _body: bytes) -> web.Response:
        project = {"id": "fake-project", "name": "fake", "metadata": {}, "organization": {"id": "fake", "name": "fake"}}
        return _json({"data": [project]})

    # --- OTLP

    def _otlp(self, request: web.Request, body: bytes) -> web.Response:
        if not self._since(3, 22):
            return web.Response(status=404, text="<html>404</html>", content_type="text/html")
        wanted = request.headers.get("x-langfuse-ingestion-version", "0")
        if self._since(3, 154) and (not wanted.isdigit() or int(wanted) > 4):
            return _refusal(400, "Unsupported x-langfuse-ingestion-version")
        content_type = request.headers.get("Content-Type", "")
        if not any(known in content_type for known in ("application/x-protobuf", "application/json")):
            return _refusal(400, "Invalid content type")
        try:
            if "gzip" in request.headers.get("Content-Encoding", "") and self._since(3, 30):
                body = zlib.decompressobj(31).decompress(body, MAX_BODY)
            if "application/json" in content_type:
                spans = list(rules.rows_of_json(json.loads(body or b"{}")))
            else:
                spans = list(rules.rows(ExportTraceServiceRequest.FromString(body)))
        except (zlib.error, DecodeError, ValueError, AttributeError, TypeError):
            return _refusal(400, "Failed to parse OTLP trace")
        if not spans:
            return _json({})
        if self._since(4, 4) and any(span.bad_ids for span in spans):
            return _refusal(400, "Invalid trace or span id: the whole export is rejected")
        direct = self._since(4) and (self.mode == "events_only" or (self.mode == "dual" and wanted == "4"))
        for span in spans:
            self._store_span(span, direct=direct)
        return _json({"id": "job", "name": "otel-ingestion-job", "payload": {"spans": len(spans)}})

    def _store_span(self, span: rules.SpanRow, *, direct: bool) -> None:
        if span.bad_ids:
            self.dropped.append((span.id, "bad id: the worker gave up"))
            return
        self.rows.append(span)
        shown = rules.show(span, direct=direct, types=rules.TYPES if self._since(3, 98, 2) else rules.FIRST_TYPES)
        self._arrived("span", span.id)
        if shown.dropped:
            self.dropped += [(span.id, reason) for reason in shown.dropped]
            return
        if not direct:
            self._store_trace_of(span, shown)
        self._keep(self.observations, span.id, shown.fields, merge=not direct)

    def _store_trace_of(self, span: rules.SpanRow, shown: rules.Shown) -> None:
        if not rules.bears_trace(span) and span.trace_id in self.traces:
            return
        names = {"name": "traceName", "userId": "userId", "sessionId": "sessionId", "tags": "tags"}
        said = {field_: shown[source] for field_, source in names.items()}
        said |= {"id": span.trace_id, "release": shown["release"], "public": shown["public"]}
        root = not span.parent_id or span.attributes.get("langfuse.internal.as_root") == "true"
        for edge in ("input", "output"):
            explicit = span.attributes.get(f"langfuse.trace.{edge}")
            said[edge] = explicit if explicit is not None else shown[edge] if root else None
        if root and said["name"] is None:
            said["name"] = span.name
        self._keep(self.traces, span.trace_id, said, merge=True)

    # --- ingestion and scores

    def _ingestion(self, _request: web.Request, body: bytes) -> web.Response:
        if len(body) > MAX_INGESTION:
            return _refusal(413, "Body exceeded 4.5mb limit")
        try:
            batch = json.loads(body)["batch"]
        except (ValueError, KeyError, TypeError):
            return _refusal(400, "Invalid request data")
        successes, errors = [], []
        for event in batch:
            problem = self._event_problem(event)
            if problem is None:
                self._store_event(event)
                successes.append({"id": event["id"], "status": CREATED})
            else:
                errors.append(
                    {"id": event.get("id"), "status": 400, "message": "Invalid request data", "error": problem}
                )
        return _json({"successes": successes, "errors": errors}, PARTLY)

    def _event_problem(self, event: Mapping[str, Any]) -> str | None:
        kind, body = event.get("type"), event.get("body")
        if not isinstance(event.get("id"), str) or not isinstance(kind, str) or not isinstance(body, dict):
            return "id, type and body are required"
        if kind == "sdk-log":
            return None
        if kind == "score-create":
            return _score_problem(body)
        if self._events_only:
            return "Event type not accepted"
        known = rules.TYPES if self._since(3, 98, 2) else rules.FIRST_TYPES
        if kind != "trace-create" and kind.removesuffix("-create").removesuffix("-update") not in known:
            return f"unknown event type {kind}"
        times = (body.get(key) for key in ("startTime", "endTime", "completionStartTime"))
        if any(when is not None and not rules.ISO_WITH_ZONE.fullmatch(str(when)) for when in times):
            return "Invalid datetime"
        if len(body.get("name") or "") > rules.MAX_NAME:
            return "name is too long"
        return None

    def _store_event(self, event: Mapping[str, Any]) -> None:
        kind, body = event["type"], dict(event["body"])
        if kind == "score-create":
            self._store_score(body, event.get("timestamp"))
        elif kind == "trace-create":
            self._keep(self.traces, body["id"], body, merge=True)
        elif kind != "sdk-log":
            body["type"] = kind.partition("-")[0].upper()
            self._arrived("span", body["id"])
            self._keep(self.observations, body["id"], body, merge=True)

    def _scores(self, _request: web.Request, body: bytes) -> web.Response:
        if len(body) > MAX_SCORES:
            return _refusal(413, "Body exceeded 1mb limit")
        try:
            given = json.loads(body)
        except ValueError:
            return _refusal(400, "Invalid JSON")
        if isinstance(given, dict):
            problem = _score_problem(given)
            if problem is not None:
                return _refusal(400, problem)
            self._store_score(given, given.get("timestamp"))
            return _json({"id": given.get("id")})
        if not self._since(4, 59):
            return _refusal(400, "Invalid request data: expected object, received array")
        problems = [problem for score in given if (problem := _score_problem(score)) is not None]
        for score in given:
            if _score_problem(score) is None:
                self._store_score(score, score.get("timestamp"))
        if not problems:
            return _json({"message": "Accepted"}, ACCEPTED)
        errors = [{"message": problem} for problem in problems]
        return _json({"accepted": len(given) - len(problems), "rejected": len(problems), "errors": errors}, PARTLY)

    def _store_score(self, score: Mapping[str, Any], timestamp: Any) -> None:
        key = score.get("id") or f"score-{len(self.scores)}"
        self._arrived("score", key)
        self._keep(self.scores, key, {**score, "id": key, "timestamp": timestamp}, merge=False)

    # --- media and reading

    def _new_media(self, _request: web.Request, body: bytes) -> web.Response:
        return self._media.announce(self.url, body) if self._since(3) else _refusal(404, "Not found")

    def _read_observations(self, request: web.Request, _body: bytes) -> web.Response:
        return self._observations_of(request) if self._since(4) else _refusal(404, "Not found")

    def _read_observations_of_old(self, request: web.Request, _body: bytes) -> web.Response:
        return _refusal(404, "Not found") if self._events_only else self._observations_of(request)

    def _observations_of(self, request: web.Request) -> web.Response:
        wanted = request.query.get("traceId")
        found = [row for row in self.observations.values() if wanted in (None, row.get("traceId"))]
        return _json({"data": found, "meta": {}})

    def _read_scores(self, _request: web.Request, _body: bytes) -> web.Response:
        return _json({"data": list(self.scores.values()), "meta": {}}) if self._since(4) else _refusal(404, "Not found")

    async def _state(self, _request: web.Request) -> web.Response:
        return _json(
            {
                "observations": len(self.observations),
                "scores": len(self.scores),
                "traces": len({row.trace_id for row in self.rows} | self.traces.keys()),
                "duplicates": self.duplicates,
                "dropped": self.dropped,
                "requests": len(self.requests),
            }
        )

    async def _tell(self, _request: web.Request) -> web.Response:
        return web.Response(text=self.told())

    def told(self) -> str:
        """What came, for people: a line for each trace, then for each score."""
        of: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.observations.values():
            of[str(row.get("traceId"))].append(row)
        seen, scores = plural(len(self.observations), "observation"), plural(len(self.scores), "score")
        lines = [f"{seen} in {plural(len(of), 'trace')}, {scores}"]
        for trace_id, rows in of.items():
            named = {**self.traces.get(trace_id, {}), **rows[0]}
            said = [str(named[key]) for key in ("traceName", "name") if named.get(key)][:1]
            said += [
                f"{word} {named[key]}" for word, key in (("user", "userId"), ("session", "sessionId")) if named.get(key)
            ]
            types = Counter(str(row.get("type", "SPAN")) for row in rows)
            said += [f"{count} {kind}" for kind, count in types.items()]
            lines.append(f"  {trace_id[:8]}  {', '.join(said)}")
        lines += [f"  score {score['name']} = {score['value']}" for score in self.scores.values()]
        lines += [f"  lost: {identifier}, {reason}" for identifier, reason in self.dropped]
        if self.duplicates:
            lines.append(f"  {self.duplicates} came again")
        return "".join(f"{printable(line)}\n" for line in lines)

    async def _take_script(self, request: web.Request) -> web.Response:
        try:
            route, faults, always = _script(await request.read())
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            keys = ", ".join(one.name for one in fields(Fault))
            expected = f"{{route: one of {', '.join(get_args(Route))}; faults: each of {keys}; always: true or false}}"
            return _refusal(400, f"{type(error).__name__} {error}: write {expected}")
        if always:
            self.always(route, faults[0] if faults else None)
        else:
            self.script(route, *faults)
        return _json({})

    def _arrived(self, kind: str, key: str) -> None:
        self.arrivals[f"{kind} {key}"] += 1

    def _keep(self, shelf: dict[str, dict[str, Any]], key: str, said: Mapping[str, Any], *, merge: bool) -> None:
        """Server 3 merges what comes again under an id, absent fields keeping what they were; server 4 has one row."""
        before = shelf.get(key, {}) if merge else {}
        shelf[key] = {
            **before,
            **{name: value for name, value in said.items() if value is not None or name not in before},
        }
        if self._record is not None:
            with self._record.open("a") as out:
                out.write(json.dumps(shelf[key], default=str) + "\n")


def _script(body: bytes) -> tuple[Route, list[Fault], bool]:
    """The route, the faults, and whether they are for always; what it raises says what is wrong."""
    told = json.loads(body)
    route = told["route"]
    if route not in get_args(Route):
        raise ValueError(f"no route {route!r}")
    return route, [Fault(**fault) for fault in told.get("faults", ())], bool(told.get("always"))


def _score_problem(score: Any) -> str | None:
    if not isinstance(score, dict) or not isinstance(score.get("name"), str) or not score["name"]:
        return "name is required"
    targets = [key for key in ("traceId", "sessionId", "datasetRunId") if score.get(key)]
    if len(targets) != 1:
        return "exactly one of traceId, sessionId and datasetRunId is required"
    value, data_type = score.get("value"), score.get("dataType")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = isinstance(value, str)
    fits = {
        None: number or text,
        "NUMERIC": number,
        "BOOLEAN": number and value in (0, 1),
        "CATEGORICAL": text,
        "TEXT": text and 1 <= len(str(value)) <= 500,
        "CORRECTION": text,
    }
    return None if fits.get(data_type, False) else f"value does not fit dataType {data_type}"


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"message": message, "error": "Error"}, status=status)


async def _serve(fake: FakeLangfuse, port: int) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with fake.running(port):
        keys = f"LANGFUSE_PUBLIC_KEY={fake.public_key} LANGFUSE_SECRET_KEY={fake.secret_key}"
        sys.stdout.write(
            f"{fake.url}\n"
            f"A Langfuse {fake.version} that is none, until Ctrl-C: it keeps what comes in memory, and tells it then.\n"
            f"  to send to it:  export LANGFUSE_BASE_URL={fake.url} {keys}\n"
            f"  what has come:  curl {fake.url}/fake/told\n"
        )
        sys.stdout.flush()
        await stop.wait()
    sys.stdout.write(fake.told())


def main() -> None:
    """Serve until SIGINT or SIGTERM, then say what came; the first line on stdout is the address."""
    parser = argparse.ArgumentParser(prog="python -m otel_bridge.testing.fake_langfuse", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 is any free one")
    parser.add_argument("--version", default="4", help="the server's version: 2, 3 or 4, or as 3.22.0 (%(default)s)")
    parser.add_argument("--mode", choices=("events_only", "dual", "legacy"), default="events_only")
    parser.add_argument("--public-key", default="pk-lf-fake")
    parser.add_argument("--secret-key", default="sk-lf-fake")
    parser.add_argument("--record", type=Path, help="append what is stored, as JSON lines")
    given = parser.parse_args()
    fake = FakeLangfuse(
        given.version,
        mode=given.mode,
        public_key=given.public_key,
        secret_key=given.secret_key,
        record=given.record,
    )
    try:
        asyncio.run(_serve(fake, given.port))
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error.strerror or error}\n")


if __name__ == "__main__":
    main()
