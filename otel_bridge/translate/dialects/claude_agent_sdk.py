"""OpenInference's instrumentation of the Claude Agent SDK: one AGENT span for a query, which alone counts tokens.

What it has in common with OpenInference is left to that dialect; the SDK's own spans are those of Claude Code.
https://github.com/Arize-ai/openinference
"""

from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView

NOT_A_MODEL = "<synthetic>"  # who says that no model answered
COUNTS = "llm.token_count."


def read(span: SpanView) -> Reading:
    """Take away what stands for the absence of an answer: a made-up model, and counts that are all 0."""
    attrs = span.attrs
    said = {}
    if attrs.get("llm.model_name") == NOT_A_MODEL:
        said["llm.model_name"] = attrs.pop("llm.model_name")
    counted = [key for key in attrs if key.startswith(COUNTS)]
    if counted and not any(attrs[key] for key in counted):
        said |= {key: attrs.pop(key) for key in counted}
    return Reading(metadata=said)


DIALECT = Dialect(
    name="claude_agent_sdk",
    scopes=("openinference.instrumentation.claude_agent_sdk",),
    read=read,
    checked="openinference-instrumentation-claude-agent-sdk 0.1.22, claude-agent-sdk 0.2.186",
)
