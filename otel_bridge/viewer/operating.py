"""What an operator asks of a running bridge: dead letters, pause and resume, give up, replay.

It is the bridge that does it; here is only how it is asked.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictStr, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otel_bridge.batch import INT64
from otel_bridge.component import Bridge, Operator
from otel_bridge.errors import UsageError
from otel_bridge.mistakes import said
from otel_bridge.viewer.requests import answer_json, asked, body_of, limit_of

MAX_BODY_BYTES = 16 << 10
MOST_IDS = 100

Name = Annotated[StrictStr, Field(min_length=1, max_length=500)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class LetterIds(_Asked):
    """Which dead letters."""

    ids: Annotated[
        list[Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{16}$")]], Field(min_length=1, max_length=MOST_IDS)
    ]


class Lane(_Asked):
    """Which exporter, as the configuration calls it, and for whom; for all where no tenant is named."""

    exporter: Name
    tenant: Name | None = None


class NewReplay(_Asked):
    """What is to be sent again: what was received from `since` on and before `until`."""

    exporter: Name
    since: AwareDatetime
    until: AwareDatetime | None = None
    tenant: Name | None = None


M = TypeVar("M", bound=_Asked)


def operating(bridge: Bridge | None) -> list[Route]:
    """The routes under /api/v1; without a bridge they answer 503."""

    def there() -> Operator:
        operator = bridge.operator if bridge is not None else None  # another one after each reload
        if operator is None:
            raise HTTPException(503, "no bridge is running" if bridge is None else "ask again in a moment: it reloads")
        return operator

    def changing(path: str, model: type[M], do: Callable[[Operator, M], Awaitable[dict[str, Any]]]) -> Route:
        async def change(request: Request) -> Response:
            asked(request)
            return answer_json(await do(there(), await _read(request, model)))

        return Route(path, change, methods=["POST"])

    async def letters(request: Request) -> Response:
        said = asked(request, "exporter", "tenant", "reason", "limit", "cursor")
        return answer_json(
            await there().letters(
                exporter=said.get("exporter"),
                tenant=said.get("tenant"),
                reason=said.get("reason"),
                limit=limit_of(said, 50),
                cursor=said.get("cursor"),
            )
        )

    async def letter(request: Request) -> Response:
        asked(request)
        found = await there().letter(request.path_params["letter_id"])
        if found is None:
            raise HTTPException(404, "there is no such dead letter")
        return answer_json(found)

    async def replays(request: Request) -> Response:
        asked(request)
        return answer_json(there().replays())

    async def replay(to: Operator, wanted: NewReplay) -> dict[str, Any]:
        until_ns = None if wanted.until is None else _ns(wanted.until)
        since_ns = _ns(wanted.since)
        if since_ns >= min(until_ns or since_ns + 1, time.time_ns()):
            raise UsageError("since: it must lie in the past, and before until")
        return await to.replay(wanted.exporter, since_ns=since_ns, until_ns=until_ns, tenant=wanted.tenant)

    return [
        Route("/api/v1/dead-letters", letters),
        changing("/api/v1/dead-letters/retry", LetterIds, lambda to, wanted: to.retry(wanted.ids)),
        changing("/api/v1/dead-letters/drop", LetterIds, lambda to, wanted: to.drop(wanted.ids)),
        Route("/api/v1/dead-letters/{letter_id}", letter),
        changing("/api/v1/exporters/pause", Lane, lambda to, wanted: to.pause(wanted.exporter, wanted.tenant)),
        changing("/api/v1/exporters/resume", Lane, lambda to, wanted: to.resume(wanted.exporter, wanted.tenant)),
        changing("/api/v1/exporters/give-up", Lane, lambda to, wanted: to.give_up(wanted.exporter, wanted.tenant)),
        Route("/api/v1/replays", replays),
        changing("/api/v1/replays", NewReplay, replay),
    ]


async def _read(request: Request, model: type[M]) -> M:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send it as application/json")
    try:
        return model.model_validate_json(await body_of(request, MAX_BODY_BYTES))
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, found['loc'])) or 'body'}: {said(found, model)}" for found in error.errors()]
        raise UsageError("; ".join(mistakes)) from None


def _ns(at: datetime) -> int:
    """In the years that nanoseconds of 64 bits can tell, 1970 to 2262."""
    return min(max(int(at.timestamp() * 1e6) * 1000, 0), INT64[-1])
