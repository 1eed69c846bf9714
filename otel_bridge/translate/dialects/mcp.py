"""Model Context Protocol: spans of clients and servers, by `mcp.*` of the conventions and the Python SDK's own.

https://github.com/open-telemetry/semantic-conventions-genai (mcp); read off mcp 2.3.0, and recorded payloads of it.
"""

from otel_bridge.model import ObservationType
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import as_text, value

CALL = "tools/call"
WORK = ("tools/call", "resources/read", "prompts/get", "sampling/createMessage", "elicitation/create", "roots/list")


def read(span: SpanView) -> Reading:
    """A call of a tool is a TOOL, unless what stands above it told of it; handshakes and lists are noise."""
    attrs = span.attrs
    method = attrs.get("mcp.method.name")
    reading = Reading(noise=True if isinstance(method, str) and method not in WORK else None)
    if method == CALL:
        reading.type = ObservationType.TOOL
        reading.tool = as_text(attrs.get("gen_ai.tool.name")) or span.name.rpartition(f"{CALL} ")[2] or None
    elif method == "resources/read":
        reading.input = value(attrs, "mcp.resource.uri")
    return reading


DIALECT = Dialect(
    name="mcp",
    scopes=("mcp-python-sdk",),
    marks=("mcp.method.name",),
    rank=45,
    read=read,
    checked="semantic-conventions-genai of November 2026, mcp 2.3.0 (Python)",
)
