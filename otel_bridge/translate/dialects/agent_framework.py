"""Microsoft Agent Framework: the conventions, each message told twice, and workflows with their own span names.

Read off agent-framework-core 1.23.0, agent-framework-anthropic and -bedrock, and recorded payloads of the first.
https://learn.microsoft.com/agent-framework/user-guide/observability
"""

from otel_bridge.model import ObservationType
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView

TYPES = {
    "workflow.build": ObservationType.CHAIN,
    "workflow.run": ObservationType.CHAIN,
    "executor.process": ObservationType.CHAIN,
}
WORKFLOW = ("executor.id", "edge_group.type", "workflow_builder.name")
NOISE = ("message.send", "edge_group.process", "workflow.build")
TWICE = {
    "gen_ai.input.messages": (
        "gen_ai.system.message",
        "gen_ai.user.message",
        "gen_ai.assistant.message",
        "gen_ai.tool.message",
    ),
    "gen_ai.output.messages": ("gen_ai.choice",),
}
BESIDE = ("anthropic", "aws.bedrock", "bedrock")
"""Providers whose count of input tokens it hands on without the cached ones."""


def read(span: SpanView) -> Reading:
    """Read workflow spans, and leave one copy of each message to the conventions' own dialect."""
    attrs = span.attrs
    kind = span.name.split(" ", 1)[0]
    reading = Reading(type=TYPES.get(kind), noise=True if kind in NOISE else None)
    if not attrs.keys().isdisjoint(WORKFLOW):  # which others may say as well
        return reading
    for key, names in TWICE.items():
        if attrs.get(key):
            span.logs = [log for log in span.logs if log.name not in names]
    if attrs.get("gen_ai.provider.name") in BESIDE:
        reading.usage = table.usage(attrs, beside=True)
    return reading


DIALECT = Dialect(
    name="agent_framework",
    scopes=("agent_framework*", "Experimental.Microsoft.Agents.AI*", "Microsoft.Agents.AI*"),
    marks=WORKFLOW,
    read=read,
    checked="agent-framework-core 1.23.0 (Python)",
)
