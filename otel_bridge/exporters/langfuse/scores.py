"""Scores as Langfuse's API takes them, and the array endpoint of servers from 4.59 on, through the langfuse package."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from otel_bridge.answers import excerpt
from otel_bridge.errors import ParkedError
from otel_bridge.exporters.langfuse import values
from otel_bridge.model import Score, as_environment
from otel_bridge.moments import iso
from otel_bridge.plain_json import dump

if TYPE_CHECKING:
    from langfuse.api import AsyncLangfuseAPI

    from otel_bridge.exporters.langfuse.client import Client

PATH = "/api/public/scores"
PARTLY = 207
ALL_ACCEPTED = b'{"accepted":0,"rejected":0,"errors":[]}'  # the counts are not looked at
UNKNOWN_ANSWER = f"{PATH} gave an answer that is not Langfuse's"
MAX_TEXT = 500  # longer TEXT values are refused
MAX_LIST = 50
MAX_LIST_BYTES = 512 << 10  # the endpoint takes 1 MiB


def body(score: Score, *, typed_text: bool = True) -> dict[str, Any]:
    """One score in the API's field names, on exactly one target; `typed_text`: the server knows the type TEXT."""
    metadata = score.metadata
    value, data_type = score.value, score.data_type
    if data_type == "TEXT" and isinstance(value, str) and len(value) > MAX_TEXT:
        value, metadata = value[:MAX_TEXT], metadata | {"value": value}
    if data_type == "TEXT" and not typed_text:
        data_type = "CATEGORICAL"
    said = {
        "id": score.id,
        "name": score.name,
        "value": value,
        "dataType": data_type,
        "traceId": score.trace_id,
        "observationId": score.observation_id if score.trace_id else None,
        "sessionId": None if score.trace_id else score.session_id,
        "comment": score.comment,
        "environment": as_environment(score.environment),
        "metadata": values.metadata(metadata) or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def lists(given: Sequence[Score]) -> Iterator[list[Score]]:
    """The scores in lists that the array endpoint takes, by count and bytes."""
    cut: list[Score] = []
    size = 0
    for score in given:
        added = len(dump(body(score)))
        if cut and (len(cut) == MAX_LIST or size + added > MAX_LIST_BYTES):
            yield cut
            cut, size = [], 0
        cut.append(score)
        size += added
    if cut:
        yield cut


class ScoreList:
    """`POST /api/public/scores` with an array."""

    def __init__(self, api: "AsyncLangfuseAPI") -> None:
        self._api = api

    @classmethod
    async def connect(cls, client: "Client") -> "ScoreList":
        """Import the package in a thread, for it takes most of a second, and put it on the client's connections."""
        return cls(await asyncio.to_thread(_connect, client))

    async def send(self, scores: Sequence[Score]) -> list[str]:
        """Send a list; returns why some of it were rejected, one sentence each: the server does not say which.

        Raises:
            RetryableError, RefusedError, TooLargeError, ParkedError: nothing is known to have been taken.
        """
        from langfuse.api.core.api_error import ApiError
        from langfuse.api.scores.types import CreateScoreBatchResults

        request: Any = [body(score) | {"timestamp": iso(score.timestamp_ns)} for score in scores]
        try:
            answer = await self._api.scores.create(request=request)
        except (ApiError, ValidationError) as error:
            raise ParkedError(UNKNOWN_ANSWER, "unknown_answer") from error
        if not isinstance(answer, CreateScoreBatchResults):
            raise ParkedError(UNKNOWN_ANSWER, "unknown_answer")
        said = [excerpt(error.message) for error in answer.errors]
        return (said + ["no reason given"] * answer.rejected)[: answer.rejected]


def _connect(client: "Client") -> "AsyncLangfuseAPI":
    import httpx
    from langfuse.api import AsyncLangfuseAPI

    class Transport(httpx.AsyncBaseTransport):
        """The package's requests over our own connections: one set of limits, one reading of answers.

        What is no 2xx is raised here, before the package sees it and would try again by itself.
        """

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            path = str(request.url).removeprefix(client.base_url)
            answer = await client.post(path, await request.aread(), content_type="application/json")
            told = answer.body if answer.status == PARTLY else ALL_ACCEPTED  # else the status says all
            return httpx.Response(answer.status, headers={"content-type": "application/json"}, content=told)

    return AsyncLangfuseAPI(
        base_url=client.base_url, httpx_client=httpx.AsyncClient(transport=Transport(), trust_env=False)
    )
