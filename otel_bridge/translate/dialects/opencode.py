"""opencode: spans of the AI SDK among hundreds of the program's own, which are noise but for the turn's.

Read off recorded payloads of opencode 1.18.33 with `experimental.openTelemetry`, which sends the calls too.
https://opencode.ai/docs/config/
"""

from otel_bridge.model import ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import as_text, speaks_of, text

TURN = (
    *("SessionPrompt.prompt", "SessionPrompt.loop", "SessionPrompt.run", "SessionPrompt.ensureTitle"),
    *("SessionProcessor.process", "SessionCompaction.process", "LLM.run"),
)
TOOL = "Tool.execute"
WHO, NOBODY = "ai.telemetry.metadata.userId", "unknown"


def read(span: SpanView) -> Reading | None:
    """Leave calls to the words of the AI SDK or the conventions; of the rest all is noise but what a turn did."""
    attrs = span.attrs
    if "ai.operationId" in attrs:
        if attrs.get(WHO) == NOBODY:
            del attrs[WHO]
        return Reading(call=as_text(attrs.get("ai.toolCall.id"))) if "ai.toolCall.id" in attrs else None
    if span.name == TOOL:
        named = text(attrs, "tool.name")
        return Reading(type=ObservationType.TOOL, name=named, tool=named, call=as_text(attrs.get("tool.call_id")))
    if span.name in TURN:
        return Reading(type=ObservationType.CHAIN)
    return None if speaks_of(attrs, "gen_ai.") else Reading(noise=True)


DIALECT = Dialect(
    name="opencode",
    scopes=("opencode",),
    read=read,
    checked="opencode 1.18.33",
)
