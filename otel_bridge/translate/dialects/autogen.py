"""AutoGen and its relatives: agents and tools by the conventions, and the messages between them as messaging spans.

Read off autogen-core 0.7.5 and the runtime of semantic-kernel 1.45.0, which speaks the same; recorded payloads of
autogen-agentchat 0.7.5.
https://microsoft.github.io/autogen/stable/user-guide/core-user-guide/framework/telemetry.html
"""

from typing import Any

from otel_bridge.model import ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import from_json, value

NOTHING = ("No Message", "{}")


def read(span: SpanView) -> Reading:
    """What an agent processes is its input; sending, publishing and acknowledging are noise."""
    attrs = span.attrs
    operation = attrs.get("messaging.operation")
    if operation is None:
        return Reading()
    reading = Reading(noise=True if operation != "process" else None)
    if operation == "process":
        reading.type = ObservationType.CHAIN
    if attrs.get("message") in NOTHING:
        del attrs["message"]
    else:
        reading.input = value(attrs, "message")
    context: Any = from_json(attrs.get("message_context"))
    if isinstance(context, dict):
        attrs["message_context"] = context
    return reading


DIALECT = Dialect(
    name="autogen",
    scopes=("autogen-core", "autogen *", "agent_runtime *"),
    read=read,
    checked="autogen-core 0.7.5, semantic-kernel 1.45.0",
)
