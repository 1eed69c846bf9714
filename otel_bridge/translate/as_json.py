"""A translation in the field names of Langfuse's public API, as `otel-bridge translate` prints it."""

from typing import Any

from otel_bridge.model import Observation, Omitted, Score, TraceAttributes, Translation, renamed
from otel_bridge.moments import iso


def _time(time_ns: int | None) -> str | None:
    """With milliseconds, and as many digits more as it takes: `2026-11-20T12:34:56.123456789Z`."""
    if time_ns is None:
        return None
    return iso(time_ns, 3 if time_ns % 1_000_000 == 0 else 6 if time_ns % 1000 == 0 else 9)


def to_json(translation: Translation) -> dict[str, Any]:
    """{traces, observations, scores, rejected, dropped}, plain JSON."""
    return {
        "traces": [_trace(trace) for trace in translation.traces],
        "observations": [_observation(observation) for observation in translation.observations],
        "scores": [_score(score) for score in translation.scores],
        "rejected": [_omitted(omitted) for omitted in translation.rejected],
        "dropped": [_omitted(omitted) for omitted in translation.dropped],
    }


def _trace(trace: TraceAttributes) -> dict[str, Any]:
    return {
        "id": trace.trace_id,
        "name": trace.name,
        "userId": trace.user_id,
        "sessionId": trace.session_id,
        "tags": trace.tags,
        "environment": trace.environment,
        "release": trace.release,
        "version": trace.version,
        "public": trace.public,
        "input": trace.input,
        "output": trace.output,
        "metadata": trace.metadata,
    }


def _observation(seen: Observation) -> dict[str, Any]:
    trace = seen.trace
    return {
        "id": seen.id,
        "traceId": seen.trace_id,
        "parentObservationId": seen.parent_id,
        "type": seen.type,
        "name": seen.name,
        "startTime": _time(seen.start_ns),
        "endTime": _time(seen.end_ns),
        "completionStartTime": _time(seen.completion_start_ns),
        "level": seen.level,
        "statusMessage": seen.status_message,
        "model": seen.model,
        "modelParameters": seen.model_parameters,
        "input": seen.input,
        "output": seen.output,
        "usageDetails": seen.usage,
        "costDetails": seen.cost,
        "promptName": seen.prompt_name,
        "promptVersion": seen.prompt_version,
        "metadata": _metadata(seen),
        "environment": trace.environment,
        "release": trace.release,
        "version": seen.version or trace.version,
        "userId": trace.user_id,
        "sessionId": trace.session_id,
        "traceName": trace.name,
        "tags": trace.tags,
    }


def _metadata(seen: Observation) -> dict[str, Any]:
    """Langfuse's own keys beside the rest, where the same words get a `_` before them, as when they are sent."""
    own = {"resourceAttributes": seen.resource, "scope": {"name": seen.scope_name, "version": seen.scope_version}}
    return renamed(seen.metadata, own) | own


def _score(score: Score) -> dict[str, Any]:
    return {
        "id": score.id,
        "traceId": score.trace_id,
        "observationId": score.observation_id,
        "sessionId": score.session_id,
        "name": score.name,
        "value": score.value,
        "dataType": score.data_type,
        "comment": score.comment,
        "timestamp": _time(score.timestamp_ns),
        "environment": score.environment,
        "metadata": score.metadata,
    }


def _omitted(omitted: Omitted) -> dict[str, str]:
    return {"spanId": omitted.span_id, "traceId": omitted.trace_id, "reason": omitted.reason}
