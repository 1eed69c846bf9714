"""A translation as events for `/api/public/ingestion`: all that server 2 knows, and scores for servers before 4.59."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias
from uuid import UUID, uuid5

import orjson

from otel_bridge.answers import error, excerpt
from otel_bridge.errors import ConsumeError, ParkedError, RefusedError, RetryableError
from otel_bridge.exporters.langfuse import scores, values, versions
from otel_bridge.exporters.langfuse.otlp import is_root, trace_io, typed
from otel_bridge.exporters.langfuse.versions import Version
from otel_bridge.model import Observation, ObservationType, Score, TraceAttributes, Translation
from otel_bridge.moments import iso
from otel_bridge.plain_json import dump

Event: TypeAlias = dict[str, Any]

PATH = "/api/public/ingestion"
NAMESPACE = UUID("6d4b1d0e-0f0b-5a57-9a3c-3f2f6f7f9a11")
NOT_ACCEPTED = "not accepted"  # how server 4 refuses the event types that earlier ones took

TYPES = {ObservationType.GENERATION: "generation-create", ObservationType.EVENT: "event-create"}


def events(translation: Translation, *, environment: str | None = None) -> list[Event]:
    """Traces, observations and scores as server 2 takes them; ids come from the content, so twice is once."""
    made = [*_traces(translation.observations, environment)]
    made += [_observation(observation, environment) for observation in translation.observations]
    return made + score_events(translation.scores, version=(2, 0, 0))


def score_events(given: Iterable[Score], *, version: Version) -> list[Event]:
    """Scores as `score-create`, which every server takes; the time of the event is the score's."""
    return [
        _event("score-create", score.timestamp_ns, scores.body(score, typed_text=version >= versions.V4))
        for score in given
    ]


def batch(given: Sequence[Event]) -> bytes:
    """The body of one request."""
    return dump({"batch": list(given)}).encode()


def outcome(sent: Sequence[Event], body: bytes) -> tuple[set[str], ConsumeError | None]:
    """What a 207 says item by item: the ids of the events that were taken, and the error that stands for the rest.

    With errors of several kinds the one that keeps most data comes first: parked, then retryable, then refused.
    """
    try:
        answer = orjson.loads(body)
        taken = {item["id"] for item in answer["successes"]}
        errors = {item["id"]: item for item in answer["errors"]}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return set(), ParkedError(f"{PATH} gave an answer that is not Langfuse's: {excerpt(body)}", "unknown_answer")
    found = [_item_error(event, errors.get(event["id"])) for event in sent if event["id"] not in taken]
    for kind in (ParkedError, RetryableError, RefusedError):
        for refusal in found:
            if isinstance(refusal, kind):
                return taken, refusal
    return taken, None


def _item_error(event: Event, item: dict[str, Any] | None) -> ConsumeError:
    who = f"{PATH} ({event['type']})"
    if item is None:
        return RetryableError(f"{who}: no word about this event")
    said = excerpt(f"{item.get('message') or ''} {item.get('error') or ''}".strip())
    status = item.get("status")
    if NOT_ACCEPTED in said:
        return RetryableError(f"{who} answered {status}: {said} - the server is another version now")
    if status in (400, 404, 422):
        return RefusedError(f"{who} answered {status}: {said}")
    found = error(status, {}, said.encode(), who=who) if isinstance(status, int) else None
    return found or RetryableError(f"{who} answered {excerpt(str(status))}: {said}")


def _event(kind: str, timestamp_ns: int, body: dict[str, Any]) -> Event:
    said = {key: value for key, value in body.items() if value is not None}
    identity = f"{kind} {dump(said)}"
    return {
        "id": str(uuid5(NAMESPACE, identity.encode(errors="replace").decode())),
        "timestamp": iso(timestamp_ns),
        "type": kind,
        "body": said,
    }


def _traces(observations: Sequence[Observation], environment: str | None) -> Iterator[Event]:
    """One event for each trace, from its root where it is here."""
    speakers: dict[str, Observation] = {}
    for observation in observations:
        known = speakers.get(observation.trace_id)
        if known is None or (is_root(observation) and not is_root(known)):
            speakers[observation.trace_id] = observation
    for observation in speakers.values():
        yield _trace(observation.trace, observation, environment)


def _trace(trace: TraceAttributes, speaker: Observation, environment: str | None) -> Event:
    observed, produced = trace.input, trace.output
    if is_root(speaker):
        own_input, own_output = trace_io(speaker)
        observed = own_input if observed is None else observed
        produced = own_output if produced is None else produced
    where = environment or trace.environment
    body = {
        "id": trace.trace_id,
        "timestamp": iso(speaker.start_ns) if is_root(speaker) else None,
        "name": trace.name[: values.MAX_NAME] if trace.name else None,
        "userId": trace.user_id,
        "sessionId": trace.session_id,
        "release": trace.release,
        "version": trace.version,
        "tags": list(trace.tags) or None,
        "public": trace.public,
        "input": observed,
        "output": produced,
        "metadata": values.metadata(trace.metadata | ({"environment": where} if where else {})) or None,
    }
    return _event("trace-create", speaker.start_ns, body)


def _observation(observation: Observation, environment: str | None) -> Event:
    kind = typed(observation, (2, 0, 0))
    where = environment or observation.trace.environment
    observed, produced = trace_io(observation)
    extra: dict[str, Any] = {"resource": observation.resource} if observation.resource else {}
    if kind is not observation.type:
        extra["type"] = str(observation.type)
    if where:
        extra["environment"] = where
    if len(observation.name) > values.MAX_NAME:
        extra["name"] = observation.name
    body = {
        "id": observation.id,
        "traceId": observation.trace_id,
        "parentObservationId": observation.parent_id,
        "name": observation.name[: values.MAX_NAME],
        "startTime": iso(observation.start_ns),
        "input": observed,
        "output": produced,
        "level": str(observation.level),
        "statusMessage": observation.status_message or None,
        "version": observation.version or observation.trace.version,
    }
    if kind is not ObservationType.EVENT:
        body["endTime"] = iso(observation.end_ns or observation.start_ns)
    if kind is ObservationType.GENERATION:
        body |= _generation(observation)
        if observation.usage or observation.cost:
            extra |= {"usage_details": observation.usage, "cost_details": observation.cost}
    body["metadata"] = values.metadata(observation.metadata | extra) or None
    return _event(TYPES.get(kind, "span-create"), observation.start_ns, body)


def _generation(observation: Observation) -> dict[str, Any]:
    linked = observation.prompt_name is not None and observation.prompt_version is not None
    return {
        "completionStartTime": iso(observation.completion_start_ns) if observation.completion_start_ns else None,
        "model": observation.model,
        "modelParameters": values.parameters(observation.model_parameters) or None,
        "usage": _usage(observation),
        "promptName": observation.prompt_name if linked else None,
        "promptVersion": observation.prompt_version if linked else None,
    }


def _usage(observation: Observation) -> dict[str, Any] | None:
    """Server 2 counts input, output and total only: our buckets say in their names which of the two they are."""
    tokens, _ = values.sound(observation.usage)
    dollars, _ = values.sound(observation.cost)
    said = {
        "input": _sum(tokens, "input"),
        "output": _sum(tokens, "output"),
        "total": tokens.get("total"),
        "unit": "TOKENS" if tokens else None,
        "inputCost": _sum(dollars, "input"),
        "outputCost": _sum(dollars, "output"),
        "totalCost": dollars.get("total"),
    }
    return {key: value for key, value in said.items() if value is not None} or None


def _sum(buckets: dict[str, Any], word: str) -> Any:
    counted = [amount for name, amount in buckets.items() if word in name]
    return sum(counted) if counted else None
