"""Which traces are made at all, where Langfuse's own variable says it and OpenTelemetry's says nothing."""

import os
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from otel_bridge import langfuse_names as names
from otel_bridge.ratio import is_kept, rate_of
from otel_bridge.sdk.saying import log

SAMPLER = "OTEL_TRACES_SAMPLER"


class ShareOfTraces(Sampler):
    """Keeps a share of all traces: those that a bridge keeps which samples at the same rate, so that both may do it.

    (OpenTelemetry's `traceidratio` keeps others, and beside a bridge's rate only a share of a share would be left.)
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        state = get_current_span(parent_context).get_span_context().trace_state
        if is_kept(trace_id, self._rate):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return SamplingResult(Decision.DROP, None, state)

    def get_description(self) -> str:
        return f"ShareOfTraces{{{self._rate}}}"


def sample_rate(variables: names.Variables) -> float:
    """What `LANGFUSE_SAMPLE_RATE` says; 1, and a warning, where that is no rate."""
    rate = rate_of(said := variables.environ.get(names.SAMPLE_RATE))
    if rate is None:
        log.warning(
            "otel-bridge: %s=%r is no number from 0 to 1, and ignored", variables.called(names.SAMPLE_RATE), said
        )
    return 1.0 if rate is None else rate


def sampler() -> Sampler | None:
    """The one for a provider that is made now; None for OpenTelemetry's own, which its own variable chooses."""
    variables = names.as_meant(os.environ)
    rate = sample_rate(variables)
    if rate == 1:
        return None
    if chosen := os.environ.get(SAMPLER, "").strip():
        _not_used(variables, f"{SAMPLER}={chosen} decides here")
        return None
    return ParentBased(ShareOfTraces(rate))


def sampled_by(whom: str) -> None:
    """Say that somebody else decides here, if `LANGFUSE_SAMPLE_RATE` says something."""
    variables = names.as_meant(os.environ)
    if sample_rate(variables) != 1:
        _not_used(variables, f"{whom} decides here")


def _not_used(variables: names.Variables, who: str) -> None:
    called = variables.called(names.SAMPLE_RATE)
    log.warning("otel-bridge: %s is not used, as %s; the bridge uses its own", called, who)
