"""A translation as an OTLP request for Langfuse's own endpoint: everything explicit, nothing left for it to guess.

Server 4 knows no traces, only observations: what is true of a trace stands on every span. On server 3 each span with a
trace attribute is one more write of the trace: there they stand on the root, or on the first span where it is not here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from otel_bridge.answers import excerpt
from otel_bridge.batch import INT64
from otel_bridge.errors import RefusedError
from otel_bridge.exporters.langfuse import values, versions
from otel_bridge.exporters.langfuse.versions import Version
from otel_bridge.model import (
    EXPERIMENT,
    Level,
    Observation,
    ObservationType,
    TraceAttributes,
    Translation,
    as_environment,
)
from otel_bridge.moments import clamp, iso
from otel_bridge.plain_json import clean, dump

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8


def encode(
    translation: Translation, *, version: Version = versions.NEWEST, environment: str | None = None
) -> ExportTraceServiceRequest:
    """The observations as spans, grouped by resource and scope; the same translation gives the same bytes.

    `environment` overrules what the observations say.

    Raises:
        RefusedError: an id is not what OTLP calls one; the whole request would be refused for it.
    """
    request = ExportTraceServiceRequest()
    scopes = _Scopes(request)
    bearing = None if version >= versions.V4 else _bearers(translation.observations)
    traces: dict[int, _TraceSaid] = {}
    for observation in translation.observations:
        trace = observation.trace
        if id(trace) not in traces:
            traces[id(trace)] = _TraceSaid.of(trace, environment)
        span = scopes.of(observation).spans.add()
        _frame(span, observation)
        carries_trace = bearing is None or id(observation) in bearing
        _write(span.attributes, _attributes(observation, version, traces[id(trace)], carries_trace=carries_trace))
    return request


def is_root(observation: Observation) -> bool:
    """Nothing that is sent stands above it."""
    return observation.parent_id is None or observation.app_root


def trace_io(observation: Observation) -> tuple[Any, Any]:
    """Input and output of an observation; a root without takes its trace's."""
    if not is_root(observation):
        return observation.input, observation.output
    trace = observation.trace
    return (
        trace.input if observation.input is None else observation.input,
        trace.output if observation.output is None else observation.output,
    )


def typed(observation: Observation, version: Version) -> ObservationType:
    """The type, as far as the server knows types; those it does not know become generations if they count tokens."""
    known = (ObservationType.SPAN, ObservationType.EVENT, ObservationType.GENERATION)
    if version >= versions.TYPES or observation.type in known:
        return observation.type
    return ObservationType.GENERATION if observation.usage or observation.model else ObservationType.SPAN


class _Scopes:
    """The groups of a request by resource and scope, in the order first seen."""

    def __init__(self, request: ExportTraceServiceRequest) -> None:
        self._request = request
        self._dumped: dict[int, str] = {}  # most observations of a trace have one and the same
        self._blocks: dict[str, Any] = {}
        self._scopes: dict[tuple[str, str, str], ScopeSpans] = {}

    def of(self, observation: Observation) -> ScopeSpans:
        resource = self._dumped.get(id(observation.resource))
        if resource is None:
            resource = self._dumped[id(observation.resource)] = dump(observation.resource)
        key = (resource, observation.scope_name, observation.scope_version)
        if key not in self._scopes:
            block = self._blocks.get(resource)
            if block is None:
                block = self._blocks[resource] = self._request.resource_spans.add()
                _write(block.resource.attributes, observation.resource, foreign=True)
            scoped = self._scopes[key] = block.scope_spans.add()
            scoped.scope.name = clean(observation.scope_name)
            scoped.scope.version = clean(observation.scope_version)
        return self._scopes[key]


def _bearers(observations: Sequence[Observation]) -> set[int]:
    """Of each trace the roots, or the first observation where no root is here."""
    roots = [observation for observation in observations if is_root(observation)]
    rooted = {observation.trace_id for observation in roots}
    first: dict[str, Observation] = {}
    for observation in observations:
        if observation.trace_id not in rooted:
            first.setdefault(observation.trace_id, observation)
    return {id(observation) for observation in (*roots, *first.values())}


def _frame(span: Span, observation: Observation) -> None:
    span.trace_id = _id(observation.trace_id, TRACE_ID_BYTES)
    span.span_id = _id(observation.id, SPAN_ID_BYTES)
    if observation.parent_id is not None:
        span.parent_span_id = _id(observation.parent_id, SPAN_ID_BYTES)
    span.name = clean(observation.name[: values.MAX_NAME])
    span.start_time_unix_nano = clamp(observation.start_ns)
    span.end_time_unix_nano = clamp(observation.end_ns or observation.start_ns)
    if observation.level is Level.ERROR:
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = clean(observation.status_message or "")


def _id(text: str, size: int) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != size or not any(raw):
        raise RefusedError(f"not an id of {size} bytes in hex: {excerpt(text, 80)}")
    return raw


@dataclass(slots=True, frozen=True)
class _TraceSaid:
    """What stands on each span of a trace alike."""

    environment: str | None
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, trace: TraceAttributes, environment: str | None) -> "_TraceSaid":
        return cls(as_environment(trace.environment if environment is None else environment), _trace_attributes(trace))


def _attributes(
    observation: Observation, version: Version, of_trace: _TraceSaid, *, carries_trace: bool
) -> dict[str, Any]:
    """Attribute → value, None where it is not to be written."""
    v4 = version >= versions.V4
    trace = observation.trace
    observed, produced = trace_io(observation)
    written_in, written_out = values.text(observed), values.text(produced)
    if v4 and not (written_in is None and written_out is None):  # one makes both final there; empty is none
        written_in, written_out = written_in or "", written_out or ""
    usage, odd_usage = values.sound(observation.usage)
    cost, odd_cost = values.sound(observation.cost)
    kind = typed(observation, version)
    linked = observation.prompt_name is not None and observation.prompt_version is not None
    metadata = observation.metadata
    experiment: dict[str, Any] = {}
    if EXPERIMENT in "\n".join(metadata):
        experiment = {key: value for key, value in metadata.items() if key.startswith(EXPERIMENT)}
        metadata = {key: value for key, value in metadata.items() if not key.startswith(EXPERIMENT)}
    if beside := dict(_beside(observation, kind, odd_usage, odd_cost, v4=v4, linked=linked)):
        metadata = metadata | beside
    attributes = {
        "langfuse.observation.type": kind.lower(),
        "langfuse.observation.input": written_in,
        "langfuse.observation.output": written_out,
        "langfuse.observation.level": str(observation.level),
        "langfuse.observation.status_message": observation.status_message or None,
        "langfuse.observation.model.name": observation.model or None,
        "langfuse.observation.model.parameters": _object(values.parameters(observation.model_parameters)),
        "langfuse.observation.usage_details": _object(usage),
        "langfuse.observation.cost_details": _object(cost),
        "langfuse.observation.completion_start_time": _time(observation.completion_start_ns),
        "langfuse.observation.prompt.name": observation.prompt_name if linked else None,
        "langfuse.observation.prompt.version": observation.prompt_version if linked else None,
        "langfuse.observation.metadata": values.metadata_text(metadata) if metadata else None,
        "langfuse.environment": of_trace.environment,
        "langfuse.version": observation.version or trace.version or None,
        **experiment,
    }
    if carries_trace:
        attributes |= of_trace.attributes
    if observation.app_root and v4:
        attributes["langfuse.internal.is_app_root"] = True
    if not v4 and carries_trace and is_root(observation):
        attributes["langfuse.trace.input"] = values.text(trace.input)
        attributes["langfuse.trace.output"] = values.text(trace.output)
        attributes["langfuse.internal.as_root"] = "true" if observation.parent_id is not None else None
    return attributes


def _trace_attributes(trace: TraceAttributes) -> dict[str, Any]:
    return {
        "langfuse.trace.name": trace.name[: values.MAX_NAME] if trace.name else None,
        "user.id": trace.user_id or None,
        "session.id": trace.session_id or None,
        "langfuse.trace.tags": list(trace.tags) or None,
        "langfuse.release": trace.release or None,
        "langfuse.trace.public": trace.public,
        "langfuse.trace.metadata": _object(values.metadata(trace.metadata)),
    }


def _beside(
    observation: Observation,
    kind: ObservationType,
    usage: dict[str, Any],
    cost: dict[str, Any],
    *,
    v4: bool,
    linked: bool,
) -> Iterator[tuple[str, Any]]:
    """What has no place of its own on this server, for the metadata: nothing is lost."""
    if kind is not observation.type:
        yield "type", str(observation.type)
    if len(observation.name) > values.MAX_NAME:
        yield "name", observation.name
    if usage:
        yield "usage_details", usage
    if cost:
        yield "cost_details", cost
    if not linked and observation.prompt_name is not None:
        yield "prompt_name", observation.prompt_name
    if not linked and observation.prompt_version is not None:
        yield "prompt_version", observation.prompt_version
    if v4 and is_root(observation):  # the trace's own input and output, where the root's stand in their place
        trace = observation.trace
        if trace.input not in (None, observation.input) and observation.input is not None:
            yield "trace_input", trace.input
        if trace.output not in (None, observation.output) and observation.output is not None:
            yield "trace_output", trace.output


def _object(given: dict[str, Any]) -> str | None:
    return dump(given) if given else None


def _time(ns: int | None) -> str | None:
    return iso(ns) if ns else None


def _write(
    attributes: "RepeatedCompositeFieldContainer[KeyValue]", said: Mapping[str, Any], *, foreign: bool = False
) -> None:
    """Nothing for None; `foreign`: keys that were not chosen here."""
    for key, value in said.items():
        if value is not None:
            pair = attributes.add()
            pair.key = clean(values.safe_key(key)) if foreign or key.startswith(EXPERIMENT) else key
            if type(value) is str:
                pair.value.string_value = clean(value)
            else:
                _set(pair.value, value)


def _set(target: AnyValue, value: Any) -> None:
    """Text, number, boolean, or an array of such; Langfuse shows any other kind as raw OTLP, so it goes as JSON."""
    if isinstance(value, str):
        target.string_value = clean(value)
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int) and value in INT64:
        target.int_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, list) and value and all(isinstance(item, str | bool | int | float) for item in value):
        for item in value:
            _set(target.array_value.values.add(), item)
    else:
        target.string_value = dump(value)
