"""Guardrails AI's own spans: each is a GUARDRAIL by OpenInference's word, the call of a model too.

What it has in common with OpenInference is left to that dialect.
Read off recorded payloads of guardrails-ai 0.11.0.
https://www.guardrailsai.com/docs/concepts/telemetry
"""

from otel_bridge.model import ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import as_text, from_printed

CALL = "guardrails/guard/step/call"
PARAMETERS = "llm.invocation_parameters"
NOBODY = "unknown"  # who asks, where no request says


def read(span: SpanView) -> Reading | None:
    """Tell a model's call, which counts tokens, from text that was only handed in."""
    attrs = span.attrs
    if attrs.get("user.id") == NOBODY:
        del attrs["user.id"]
    if attrs.get("type") != CALL or "llm.token_count.total" not in attrs:
        return None
    reading = Reading(type=ObservationType.GENERATION)
    given = from_printed(attrs.get(PARAMETERS))
    if isinstance(given, dict):
        reading.model = as_text(given.get("model"))
        attrs[PARAMETERS] = {key: item for key, item in given.items() if key != "messages"}  # they are the input
    return reading


DIALECT = Dialect(
    name="guardrails",
    scopes=("guardrails-ai",),
    read=read,
    checked="guardrails-ai 0.11.0",
)
