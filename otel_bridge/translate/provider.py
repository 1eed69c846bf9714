"""Requests and responses of providers' APIs as chat messages and the rest, for who hands them on as they are.

Known shapes: OpenAI (chat, Responses, completions), Anthropic, Bedrock, Gemini, Ollama.
"""

from typing import Any

from otel_bridge.model import Json
from otel_bridge.translate.messages import message, system

ASKED = ("messages", "input", "contents", "prompt")
SYSTEM = ("system", "instructions", "system_instruction", "systemInstruction")
CALLS = ("function_call", "custom_tool_call", "mcp_call")
RESULTS = ("function_call_output", "custom_tool_call_output", "mcp_call_output")

Opened = tuple[Json, Json, dict[str, Any]]


def request(raw: Json) -> Opened:
    """The messages of a request, the tools it offers, and all else in it; the raw value and nothing if it is none."""
    if not isinstance(raw, dict) or not any(raw.get(key) not in (None, "", []) for key in ASKED):
        return raw, None, {}
    rest = dict(raw)
    spoken = rest.pop(next(key for key in ASKED if raw.get(key) not in (None, "", [])))
    tools = rest.pop("tools", None)
    instructions = next((rest.pop(key) for key in SYSTEM if rest.get(key) not in (None, "", [])), None)
    asked = _items(spoken, "user") if isinstance(spoken, list) else spoken
    if instructions is not None:
        told = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        asked = [*system(instructions), *(told if isinstance(told, list) else [told])]
    return asked, tools, {key: item for key, item in rest.items() if item is not None}


def response(raw: Json) -> tuple[Json, dict[str, Any]]:
    """The messages of a response, and all else in it; the raw value and nothing if it is none."""
    if not isinstance(raw, dict):
        return raw, {}
    rest = dict(raw)
    answered: list[Json] = []
    if isinstance(raw.get("choices"), list):
        for choice in rest.pop("choices"):
            answered += _choice(choice, "message")
    elif isinstance(raw.get("candidates"), list):
        for choice in rest.pop("candidates"):
            answered += _choice(choice, "content")
    elif isinstance(raw.get("output"), list):
        answered = _items(rest.pop("output"), "assistant")
    elif isinstance(raw.get("output"), dict) and isinstance(raw["output"].get("message"), dict):
        answered = _choice(rest.pop("output"), "message")
    elif isinstance(raw.get("message"), dict):
        answered = message(rest.pop("message"), "assistant")
    elif isinstance(raw.get("content"), list) and "role" in raw:
        answered = message({"role": rest.pop("role"), "content": rest.pop("content")}, "assistant")
    else:
        return raw, {}
    return answered, {key: item for key, item in rest.items() if item is not None}


def _choice(raw: Json, key: str) -> list[Json]:
    """One of several answers; why it ended goes with its message."""
    if not isinstance(raw, dict):
        return [raw]
    rest = {name: item for name, item in raw.items() if name not in (key, "index") and item not in (None, [], {})}
    inner = raw.get(key)
    if isinstance(inner, dict):
        said = {name: item for name, item in inner.items() if item not in (None, [], {}) or name == "content"}
        return message({**rest, **said}, "assistant")
    if isinstance(rest.get("text"), str):
        return [{"role": "assistant", "content": rest.pop("text"), **rest}]
    return [raw] if inner is None else [{"role": "assistant", "content": inner, **rest}]


def _items(raw: list[Json], role: str) -> list[Json]:
    """Messages, or the items of OpenAI's Responses API: messages, calls, their results, thoughts."""
    spoken: list[Json] = []
    for item in raw:
        kind = item.get("type") if isinstance(item, dict) else None
        if not isinstance(item, dict):
            spoken.append({"role": role, "content": item} if isinstance(item, str) else item)
        elif kind in CALLS:
            spoken.append({"role": "assistant", "tool_calls": [_call(item)]})
        elif kind in RESULTS:
            rest = {key: more for key, more in item.items() if key not in ("type", "call_id", "output")}
            said = {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
            spoken.append({**said, "item_type": kind, **rest})
        elif kind == "reasoning":
            rest = {key: more for key, more in item.items() if more not in (None, [])}
            spoken.append({"role": "assistant", "content": None, "reasoning": rest})
        else:
            spoken += message({key: more for key, more in item.items() if key != "type" or more != "message"}, role)
    return spoken


def _call(item: dict[str, Any]) -> dict[str, Any]:
    """A call as an item of its own; what links it to its result is `call_id`."""
    rest = dict(item)
    own = rest.pop("id", None)
    called = rest.pop("call_id", own)
    given = {"name": rest.pop("name", None), "arguments": rest.pop("arguments", rest.pop("input", None))}
    rest["item_type"] = rest.pop("type", None)
    if own is not None and own != called:
        rest["item_id"] = own
    return {"id": called, "type": "function", "function": given} | {
        key: more for key, more in rest.items() if more is not None
    }
