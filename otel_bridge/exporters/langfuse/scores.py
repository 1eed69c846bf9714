"""Scores as Langfuse's API takes them, and the array endpoint of servers from 4.59 on."""

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
    from otel_bridge.exporters.langfuse.client import Client

PATH = "/api/public/scores"
PARTLY = 207
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


async def send(scores: Sequence[Score], client: "Client") -> list[str]:
    """Send a list to the array endpoint; returns why some of it were rejected, a sentence each: not which.

    The package reads what was rejected. It has no part in a list that was taken: importing it takes half a second, a
    third of what a program's end may wait for its scores.

    Raises:
        RetryableError, RefusedError, TooLargeError, ParkedError: nothing is known to have been taken.
    """
    request = [body(score) | {"timestamp": iso(score.timestamp_ns)} for score in scores]
    answer = await client.post(PATH, dump(request).encode(), content_type="application/json")
    return await asyncio.to_thread(_rejected, answer.body) if answer.status == PARTLY else []


def _rejected(told: bytes) -> list[str]:
    from langfuse.api.scores.types import CreateScoreBatchResults

    try:
        said = CreateScoreBatchResults.model_validate_json(told)
    except ValidationError as error:
        raise ParkedError(UNKNOWN_ANSWER, "unknown_answer") from error
    why = [excerpt(error.message) for error in said.errors]
    return (why + ["no reason given"] * said.rejected)[: said.rejected]
