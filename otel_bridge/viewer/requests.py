"""Reading what was asked, and answering it; the same for all routes."""

from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from otel_bridge.errors import UsageError


def asked(request: Request, *known: str) -> dict[str, str]:
    """The query parameters; one that is not known would otherwise be taken for one that holds for everything."""
    for key in request.query_params:
        if key not in known:
            there = f"there are {', '.join(known)}" if known else "none is taken here"
            raise UsageError(f"no parameter {key[:50]!r}, {there}")
    return dict(request.query_params)


def tenant_query(request: Request) -> str:
    """What a link says of whose a trace is, for the address that it leads to: `?tenant=acme`, or nothing."""
    tenant = request.query_params.get("tenant")
    return "" if tenant is None else f"?{urlencode({'tenant': tenant})}"


def one_of(said: dict[str, str], name: str, default: str, *others: str) -> str:
    """A parameter that has one of a few values."""
    text = said.get(name, default)
    if text not in (default, *others):
        raise UsageError(f"no {name} {text[:50]!r}, there are {', '.join((default, *others))}")
    return text


def limit_of(said: dict[str, str], default: int) -> int:
    """How many rows are asked for."""
    text = said.get("limit", str(default))
    if not (text.isdecimal() and len(text) <= 9):
        raise UsageError("limit is a number of rows")
    return int(text)


async def body_of(request: Request, max_bytes: int) -> bytes:
    """The body, if it is no longer than that."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > max_bytes:
            raise HTTPException(413, f"{max_bytes} bytes at most")
    return bytes(body)


def answer_json(answer: Any, status: int = 200) -> Response:
    """An answer as JSON."""
    return Response(orjson.dumps(answer), status, media_type="application/json")
