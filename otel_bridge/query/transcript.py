"""What an observation holds as labelled texts: its messages as a chat, all else as text or JSON."""

from typing import Any, TypeAlias

import orjson

from otel_bridge.query.answer import Answer

Said: TypeAlias = list[tuple[str, str]]
"""(label, text) pairs in their order; a label is empty where there is nothing to say about the text."""

CALLS = ("tool_call", "tool_use")
RESULTS = ("tool_call_response", "tool_result")
THOUGHTS = ("reasoning", "thinking")


def transcript(observation: Answer) -> list[tuple[str, Said]]:
    """All that one observation holds, by section; sections without content are left out."""
    counts = {"Events": observation["eventCount"], "Logs": observation["logCount"]}
    sections = [
        ("Input", spoken(observation.get("input"))),
        ("Output", spoken(observation.get("output"))),
        ("Usage", _pairs(observation.get("usageDetails"))),
        ("Cost in US dollars", _pairs(observation.get("costDetails"))),
        ("Model parameters", _pairs(observation.get("modelParameters"))),
        ("Metadata", _pairs(observation.get("metadata"))),
        ("Events", [_occurrence(event) for event in observation["events"]]),
        ("Logs", [_occurrence(log) for log in observation["logs"]]),
        ("Resource", _pairs(observation.get("resource"))),
        ("Scope", _pairs(observation.get("scope"))),
    ]
    return [
        (f"{title}, the first {len(said)} of {counts[title]}" if counts.get(title, 0) > len(said) else title, said)
        for title, said in sections
        if said
    ]


def spoken(value: Any) -> Said:
    """An input or output: messages with their calls and the tools that were offered, or text, or JSON."""
    if value is None:
        return []
    messages = messages_of(value)
    if not messages:
        return [("", written(value))]
    beside = {key: item for key, item in value.items() if key not in ("messages", "tools")} if _wrapped(value) else {}
    said = [pair for message in messages for pair in _message(message)]
    said += [_tool(tool) for tool in _list(value.get("tools"))] if _wrapped(value) else []
    return said + _pairs(beside)


def messages_of(value: Any) -> list[Answer]:
    """The chat messages that an input or output is, or that it holds under `messages`; none where it is no chat."""
    if _wrapped(value):
        value = value["messages"]
    messages = [value] if isinstance(value, dict) else value
    if isinstance(messages, list) and all(isinstance(each, dict) and each.get("role") for each in messages):
        return messages
    return []


def _wrapped(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("messages"), list)


def written(value: Any) -> str:
    """A value as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _message(message: Answer) -> Said:
    label = _label(message["role"], message.get("name"), message.get("tool_call_id"))
    said = [("thinking", written(thought)) for thought in _list(message.get("reasoning_content"))]
    said += [_part(part) for part in (*_list(message.get("content")), *_list(message.get("parts"))) if part != ""]
    said += [_call(call) for call in _list(message.get("tool_calls"))]
    if not said:
        return [(label, "")]
    return [(_label(label, kind), text) for kind, text in said]


def _part(part: Any) -> tuple[str, str]:
    if not isinstance(part, dict):
        return "", written(part)
    kind = part.get("type")
    text = next((part[key] for key in ("text", "content", "thinking", "reasoning") if part.get(key)), None)
    if kind in CALLS:
        return _call(part)
    if kind in RESULTS:
        result = next((part[key] for key in ("response", "result", "content") if part.get(key) is not None), part)
        return _label("result", part.get("name"), part.get("id") or part.get("tool_use_id")), written(result)
    if kind in THOUGHTS:
        return "thinking", written(text or part)
    return "", text if isinstance(text, str) else written(part)


def _call(call: Any) -> tuple[str, str]:
    if not isinstance(call, dict):
        return "call", written(call)
    what = call["function"] if isinstance(call.get("function"), dict) else call
    given = next((what[key] for key in ("arguments", "args", "input") if what.get(key) is not None), "")
    return _label("call", what.get("name"), call.get("id")), written(given)


def _tool(tool: Any) -> tuple[str, str]:
    """A tool that was offered, in the forms of OpenAI and Anthropic, or as it came."""
    what = tool["function"] if isinstance(tool, dict) and isinstance(tool.get("function"), dict) else tool
    if not isinstance(what, dict) or not what.get("name"):
        return "tool", written(tool)
    rest = {key: item for key, item in what.items() if key not in ("name", "description", "type")}
    said = [written(what["description"])] if what.get("description") else []
    return _label("tool", what["name"]), "\n".join([*said, *([orjson.dumps(rest).decode()] if rest else [])])


def _occurrence(each: Answer) -> tuple[str, str]:
    holds = [written(each["body"])] if each.get("body") else []
    holds += [orjson.dumps(each["attributes"]).decode()] if each["attributes"] else []
    many = f"{each['count']} until {each['lastTime']}" if "count" in each else None
    return _label(each["time"], each["name"] or each.get("severity"), many), "\n".join(holds)


def _pairs(values: Any) -> Said:
    if isinstance(values, dict):
        return [(key, written(value)) for key, value in values.items()]
    return [("", written(values))] if values else []


def _label(*words: Any) -> str:
    return " · ".join(str(word) for word in words if word)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
