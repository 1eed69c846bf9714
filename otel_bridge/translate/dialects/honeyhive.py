"""HoneyHive: `honeyhive_event_type`, and `honeyhive_inputs.*`, `_outputs.*`, `_config.*`, `_metadata.*` and so on.

What went wrong is told in a span of its own beside the function's, whose name ends in `_error`.
Read off recorded payloads of honeyhive 1.7.0 (Python), and its source.
https://docs.honeyhive.ai/schema-overview
"""

from typing import Any

from otel_bridge.model import Json, ObservationType, Usage
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import count, finite, identifier, nested, text, unflatten

PREFIX = "honeyhive_"
TYPES = {
    "model": ObservationType.GENERATION,
    "tool": ObservationType.TOOL,
    "chain": ObservationType.CHAIN,
    "session": ObservationType.CHAIN,
}
KIND, NAME = f"{PREFIX}event_type", f"{PREFIX}event_name"
FAILED = f"{PREFIX}error"
SPOKEN = f"{PREFIX}inputs.messages."
CONTENT, ROLE = f"{PREFIX}outputs.content", f"{PREFIX}outputs.role"
COST = f"{PREFIX}metrics.cost"
SIDES = tuple(f"{PREFIX}metadata.{name}" for name in ("prompt_tokens", "completion_tokens", "total_tokens"))


def read(span: SpanView) -> Reading:
    """Read a span of a function, or what another instrumentation's was enriched with."""
    attrs = span.attrs
    reading = Reading(
        type=TYPES.get(str(attrs.get(KIND))),
        session_id=identifier(attrs, "honeyhive.session_id", f"{PREFIX}session_id"),
        user_id=identifier(attrs, f"{PREFIX}user_id"),
    )
    if FAILED in attrs and NAME not in attrs:
        reading.type = ObservationType.SPAN
    calls = reading.type is ObservationType.GENERATION
    asked = unflatten(attrs, SPOKEN) if calls else None
    given = _group(attrs, "inputs.")
    reading.input = messages(asked) if asked is not None else given
    if asked is not None and given is not None:
        reading.metadata["inputs"] = given
    if calls and (said := text(attrs, CONTENT)) is not None:
        reading.output = messages({"role": text(attrs, ROLE) or "assistant", "content": said})
        if attrs.get(f"{PREFIX}outputs.result") == said:
            del attrs[f"{PREFIX}outputs.result"]
    reading.output = reading.output if reading.output is not None else _group(attrs, "outputs.")
    if calls:
        reading.model = text(attrs, f"{PREFIX}config.model")
        reading.model_parameters = nested(attrs, f"{PREFIX}config.") or None
        asked_for, answered, total = (count(attrs, key) for key in SIDES)
        reading.usage = Usage.inclusive(asked_for, answered, total=total)
        if (cost := finite(attrs.get(COST))) and cost > 0:
            del attrs[COST]
            reading.cost = {"total": cost}
    return reading


def _group(attrs: dict[str, Any], name: str) -> Json:
    """What stands below a name; a lone result is itself."""
    found = nested(attrs, f"{PREFIX}{name}")
    return found["result"] if found.keys() == {"result"} else found or None


DIALECT = Dialect(
    name="honeyhive",
    scopes=("honeyhive", "honeyhive.*"),
    marks=(f"{PREFIX}*", "honeyhive.session_id"),
    rank=20,
    read=read,
    checked="honeyhive 1.7.0 (Python)",
)
