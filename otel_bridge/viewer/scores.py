"""A score that somebody gives in the viewer, as the OpenTelemetry event that any agent could have sent."""

import time
from typing import Annotated

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from otel_bridge.batch import Batch
from otel_bridge.errors import UsageError
from otel_bridge.mistakes import said

MAX_BODY_BYTES = 64 << 10

Text = Annotated[StrictStr, Field(min_length=1, max_length=500)]
Whole = Annotated[StrictInt, Field(ge=-(1 << 63), lt=1 << 63)]
Value = StrictBool | Whole | Annotated[StrictFloat, Field(allow_inf_nan=False)] | Text


class NewScore(BaseModel):
    """What `POST /api/v1/scores` takes; a value is a number, a label, or true or false.

    tenant: whose trace; needed where several have one of this id.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    trace_id: Annotated[StrictStr, Field(alias="traceId", pattern=r"^[0-9a-f]{32}$")]
    observation_id: Annotated[StrictStr | None, Field(alias="observationId", pattern=r"^[0-9a-f]{16}$")] = None
    name: Text
    value: Value
    comment: Annotated[StrictStr, Field(max_length=10_000)] | None = None
    tenant: StrictStr | None = None


def read_score(body: bytes) -> NewScore:
    """A score from JSON.

    Raises:
        UsageError: it is no score; says where, and repeats nothing of the content.
    """
    try:
        return NewScore.model_validate_json(body)
    except ValidationError as error:
        found = [(".".join(map(str, one["loc"])) or "body", said(one, NewScore)) for one in error.errors()]
        mistakes = [f"{where}: {what}" for where, what in found]
        raise UsageError("; ".join(mistakes)) from None


def evaluation(score: NewScore, tenant: str, now_ns: int | None = None) -> Batch:
    """The batch with one `gen_ai.evaluation.result` event that says the score."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    request = ExportLogsServiceRequest()
    scoped = request.resource_logs.add().scope_logs.add()
    scoped.scope.name = "otel_bridge.viewer"
    record = scoped.log_records.add(
        event_name="gen_ai.evaluation.result",
        time_unix_nano=now_ns,
        observed_time_unix_nano=now_ns,
        trace_id=bytes.fromhex(score.trace_id),
        span_id=bytes.fromhex(score.observation_id or ""),
    )
    _say(record, "gen_ai.evaluation.name", score.name)
    match score.value:
        case bool():
            _say(record, "gen_ai.evaluation.score.value", float(score.value))
            _say(record, "gen_ai.evaluation.score.label", str(score.value).lower())
        case str():
            _say(record, "gen_ai.evaluation.score.label", score.value)
        case _:
            _say(record, "gen_ai.evaluation.score.value", float(score.value))
    if score.comment:
        _say(record, "gen_ai.evaluation.explanation", score.comment)
    return Batch.from_request(request, tenant=tenant, item_count=1)


def _say(record: LogRecord, key: str, value: str | float) -> None:
    said = record.attributes.add(key=key).value
    if isinstance(value, str):
        said.string_value = value
    else:
        said.double_value = value
