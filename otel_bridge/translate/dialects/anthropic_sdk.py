"""The Anthropic SDKs' own spans: the conventions, with `anthropic.*` beside them.

Read off anthropic 2.11.0 for Python (_tracing.py, lib/_tracing), and recorded payloads of it with and without content.
"""

from otel_bridge.model import ObservationType
from otel_bridge.translate import provider, table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import text, value, whole

TYPES = {
    "anthropic.messages.create": ObservationType.GENERATION,
    "anthropic.messages.tool_runner": ObservationType.AGENT,
    "anthropic.messages.count_tokens": ObservationType.SPAN,
    "anthropic.sessions.create": ObservationType.SPAN,
}
WRITTEN_1H = "anthropic.usage.cache_creation.ephemeral_1h_input_tokens"


def read(span: SpanView) -> Reading:
    """Read what the conventions have no word for; counting tokens or opening a session is no model call."""
    attrs = span.attrs
    reading = Reading(type=TYPES.get(span.name), output=value(attrs, "anthropic.tool_result.content"))
    if "gen_ai.conversation.id" not in attrs:
        reading.session_id = text(attrs, "anthropic.session.id")
    if attrs.get(WRITTEN_1H):
        reading.usage = table.usage(attrs, beside=False)
        if reading.usage is not None and provider.split_1h(reading.usage, whole(attrs[WRITTEN_1H])):
            del attrs[WRITTEN_1H]
    return reading


DIALECT = Dialect(
    name="anthropic_sdk",
    scopes=("com.anthropic.sdk.*",),
    read=read,
    checked="anthropic 2.11.0 (Python)",
)
