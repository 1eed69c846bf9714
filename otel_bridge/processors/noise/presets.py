"""What frameworks and libraries send that nobody wants to see who looks at agents, by scope and shape."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opentelemetry.proto.trace.v1.trace_pb2 import Span

PYTHON, NODE = "opentelemetry.instrumentation.", "@opentelemetry/instrumentation-"
HTTP = ("http.request.method", "http.method")
DATABASE = ("db.system.name", "db.system")
IN_CHAINS = re.compile(  # `.task` and `.workflow` are OpenLLMetry's
    r"(Runnable(Sequence|Lambda|Parallel|Assign|Passthrough|Callable|Branch|Each|Binding)|ChannelWrite|ChannelRead|Branch)"
    r"(<.*>)?(\.task|\.workflow)?|(_write|__start__|__end__)(\.task)?|\w*(OutputParser|PromptTemplate)(\.task)?"
)


@dataclass(slots=True, frozen=True)
class Preset:
    """Spans that are probably noise: those of its scopes (names, or `prefix*`) that have its shape.

    scopes: of which instrumentations; empty: of any.
    """

    scopes: tuple[str, ...] = ()
    shape: Callable[[Span], bool] = lambda _span: True

    def is_from(self, scope: str) -> bool:
        """Whether the scope is one of its own."""
        return not self.scopes or any(
            scope.startswith(one[:-1]) if one.endswith("*") else scope == one for one in self.scopes
        )


def _says(span: Span, keys: tuple[str, ...]) -> bool:
    return any(pair.key in keys for pair in span.attributes)


def _serves_http(span: Span) -> bool:
    """A request that came in, or one of the messages that it came and went in."""
    return (span.kind == Span.SPAN_KIND_SERVER and _says(span, HTTP)) or _says(span, ("asgi.event.type",))


def _asks_http(span: Span) -> bool:
    return span.kind == Span.SPAN_KIND_CLIENT and _says(span, HTTP)


def _asks_database(span: Span) -> bool:
    return _says(span, DATABASE)


def _in_chains(span: Span) -> bool:
    return IN_CHAINS.fullmatch(span.name) is not None


def _of(python: tuple[str, ...] = (), node: tuple[str, ...] = (), others: tuple[str, ...] = ()) -> Preset:
    return Preset((*(PYTHON + name for name in python), *(NODE + name for name in node), *others))


PRESETS: Mapping[str, Preset] = {
    "http_server": Preset(shape=_serves_http),
    "http_client": Preset(shape=_asks_http),
    "database": Preset(shape=_asks_database),
    "asgi": _of(("asgi",)),
    "wsgi": _of(("wsgi",)),
    "fastapi": _of(("fastapi", "asgi")),
    "starlette": _of(("starlette", "asgi")),
    "django": _of(("django", "asgi", "wsgi")),
    "flask": _of(("flask", "wsgi")),
    "tornado": _of(("tornado",)),
    "express": _of(node=("express", "http")),
    "nestjs": _of(node=("nestjs-core", "express", "http")),
    "nextjs": _of(others=("next.js",)),
    "httpx": _of(("httpx",)),
    "requests": _of(("requests", "urllib3")),
    "urllib3": _of(("urllib3", "urllib")),
    "aiohttp": _of(("aiohttp_client", "aiohttp-client", "aiohttp_server", "aiohttp-server")),
    "undici": _of(node=("undici", "http")),
    "grpc": _of(("grpc",), ("grpc",)),
    "sqlalchemy": _of(("sqlalchemy", "psycopg", "psycopg2", "asyncpg", "sqlite3", "pymysql", "mysql", "dbapi")),
    "postgres": _of(("psycopg", "psycopg2", "asyncpg", "aiopg"), ("pg", "pg-pool")),
    "mysql": _of(("mysql", "mysqlclient", "pymysql"), ("mysql", "mysql2")),
    "sqlite": _of(("sqlite3",)),
    "mongodb": _of(("pymongo",), ("mongodb", "mongoose")),
    "redis": _of(("redis",), ("redis", "redis-4", "ioredis")),
    "net": _of(node=("net", "dns", "fs")),
    "langchain_internals": Preset(
        (
            "openinference.instrumentation.langchain",
            "opentelemetry.instrumentation.langchain*",
            "langfuse-sdk*",
            "langsmith",
        ),
        _in_chains,
    ),
}
