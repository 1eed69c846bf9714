"""Scores, feedback and events as plain OpenTelemetry log records, which any backend takes."""

import time
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, SupportsFloat

from opentelemetry import _logs, trace
from opentelemetry import context as otel
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from otel_bridge.sdk.correlation import DOWNSTREAM, correlated
from otel_bridge.sdk.saying import log
from otel_bridge.sdk.spans import SCOPE, Parent, context_of, span_context_of
from otel_bridge.sdk.values import attributes_of, number, words

EVALUATION = "gen_ai.evaluation.result"


def event(name: str, payload: object = None, *, on: Parent | None = None, **named: Any) -> None:
    """Something that happened, with the current span (or `on`), and with the ids of `correlation`.

    name: in dots, as `file.upload`, `task.start`, `cache.hit`.
    payload: its attributes: a mapping, or a dataclass or Pydantic model of somebody's own, whose fields they are. With
        anything else the event is without them, and a warning says so.
    named: attributes, dots written as two underscores.
    """
    given = {**_fields(name, payload), **{key.replace("__", "."): value for key, value in named.items()}}
    _emit(name, given, context_of(on) if on is not None else otel.get_current())


def score(
    name: str,
    value: float | bool | str | SupportsFloat,
    *,
    label: str | None = None,
    comment: str | None = None,
    on: Parent | None = None,
    session: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """A judgement: of the current span, of `on` (a span, or the ids of one in any process), or of a whole session.

    value: a number (of numpy's or torch's, too), yes or no, or a word.
    on: of the id of a trace alone it is of the trace.
    """
    said = value if isinstance(value, str | int | float) else number(value)
    if said is None:
        log.warning(
            "otel-bridge: the value of a score is a number, yes, no or a word, and not %r: it is left out", value
        )
        return
    given: dict[str, Any] = {
        **(metadata or {}),
        "gen_ai.evaluation.name": name,
        "gen_ai.evaluation.score.label": label,
        "gen_ai.evaluation.explanation": comment,
    }
    given[f"gen_ai.evaluation.score.{'label' if isinstance(said, str) else 'value'}"] = said
    context = _judged(on) if on is not None else otel.get_current()
    if session is not None:
        given["session.id"] = session
        context = trace.set_span_in_context(trace.INVALID_SPAN, context)
    _emit(EVALUATION, given, context)


def feedback(
    value: float | bool | Literal["up", "down"],
    *,
    comment: str | None = None,
    on: Parent | None = None,
    user: str | None = None,
) -> None:
    """What a user thought of an answer; a thumb is yes or no."""
    thumb = {"up": True, "down": False}.get(value) if isinstance(value, str) else value
    if thumb is None:
        log.warning("otel-bridge: feedback is up, down, yes, no or a number, and not %r: it is left out", value)
        return
    score("user-feedback", thumb, comment=comment, on=on, metadata={"user.id": user} if user else None)


def _fields(name: str, payload: object) -> Mapping[str, Any]:
    try:
        if payload is None or isinstance(payload, Mapping):
            return payload or {}
        if is_dataclass(payload) and not isinstance(payload, type):
            return {field.name: getattr(payload, field.name) for field in fields(payload)}
        if isinstance(said := payload.model_dump(mode="json"), dict):  # type: ignore[attr-defined]  # Pydantic's
            return said
    except Exception:  # noqa: BLE001, S110 - somebody's own methods: the warning below is what becomes of it
        pass
    log.warning(
        "otel-bridge: the payload of the event %r is a mapping, a dataclass or a Pydantic model, and not %s: it is left"
        " out",
        name,
        type(payload).__name__,
    )
    return {}


def _judged(on: Parent) -> Context:
    found = span_context_of(on)
    if isinstance(on, str) and "-" not in on and found.is_valid:  # a span id would be one that nobody has
        return trace.set_span_in_context(
            trace.NonRecordingSpan(SpanContext(found.trace_id, 0, is_remote=True)), Context()
        )
    return context_of(on, Context())


def _emit(name: str, given: Mapping[str, Any], context: Context) -> None:
    attributes = {**correlated(context, DOWNSTREAM), **given}
    _logs.get_logger(SCOPE).emit(
        LogRecord(
            timestamp=time.time_ns(),
            context=context,
            severity_number=SeverityNumber.INFO,
            event_name=words(name),
            attributes=attributes_of(attributes),
        )
    )
