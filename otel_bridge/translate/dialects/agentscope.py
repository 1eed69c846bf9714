"""AgentScope: the conventions, with words of its own for what 2.x had cached and for what 1.x asked.

It counts tokens as the providers do, so Anthropic's cached ones are beside the input.
Read off recorded payloads of agentscope 1.0.21 and 2.0.11, and its source (tracing, middleware/_tracing).
https://docs.agentscope.io/
"""

from typing import Any

from otel_bridge.model import Json
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import messages, with_tools
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import as_text, from_json, value

CACHED = {
    "agentscope.usage.cache_input_tokens": table.CACHE_READ[0],
    "agentscope.usage.cache_creation_input_tokens": table.CACHE_WRITE[0],
}
CACHE_BESIDE = "anthropic"
GIVEN = "agentscope.function.input"
ASKED = "gen_ai.input.messages"
SESSION = "gen_ai.conversation.id"


def read(span: SpanView) -> Reading | None:
    """Read who and how many tokens, and of 1.x what was asked; all else is in the conventions' words."""
    attrs = span.attrs
    for key, called in CACHED.items():
        if key in attrs and called not in attrs:
            attrs[called] = attrs.pop(key)
    reading = Reading(usage=table.usage(attrs, beside=attrs.get("gen_ai.provider.name") == CACHE_BESIDE))
    session = from_json(attrs.get(SESSION))  # 1.x writes every value as JSON
    if isinstance(session, str) and session != attrs[SESSION]:
        del attrs[SESSION]
        reading.session_id = as_text(session)
    if attrs.get("gen_ai.operation.name") == "chat" and ASKED not in attrs and (asked := _asked(attrs)):
        reading.input = with_tools(messages(asked), value(attrs, "gen_ai.tool.definitions"))
    return reading


def _asked(attrs: dict[str, Any]) -> Json:
    """The messages among the arguments of a model's call, of which the others are left."""
    given = from_json(attrs.get(GIVEN))
    if not isinstance(given, dict) or not given.keys() <= {"args", "kwargs"}:
        return None
    args, named = given.get("args") or [], given.get("kwargs") or {}
    if not isinstance(args, list) or not isinstance(named, dict):
        return None
    if isinstance(asked := named.get("messages"), list) and asked:
        del named["messages"]
    elif args and isinstance(asked := args[0], list):
        del args[0]
    else:
        return None
    attrs[GIVEN] = {key: item for key, item in given.items() if item}
    return asked


DIALECT = Dialect(
    name="agentscope",
    scopes=("agentscope",),
    read=read,
    checked="agentscope 1.0.21, 2.0.11 (OpenAI, Anthropic)",
)
