"""What an observation holds as labelled texts: its messages as a chat, all else as text or JSON."""

from typing import Any, TypeAlias

import orjson

from otel_bridge.message_parts import (
    ABOUT_MESSAGES,
    ANSWERS,
    ARGUMENTS,
    CALL_IDS,
    CALL_KINDS,
    MAX_WORD,
    MESSAGE_KEYS,
    RESULT_KINDS,
    TEXTS,
    THOUGHT_KINDS,
    TOOL_NAMES,
)
from otel_bridge.query.answer import Answer

SHOWN = {"role", "name", "tool_call_id", *MESSAGE_KEYS}
"""Of a message; what else it has, as a refusal, stands below them by its key."""

Said: TypeAlias = list[tuple[str, str]]
"""(label, text) pairs in their order; a label is empty where there is nothing to say about the text."""


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
    return messages if isinstance(messages, list) and all(map(_is_message, messages)) else []


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.get("role")) and any(key in value for key in MESSAGE_KEYS)


def calls_tools(message: Answer) -> bool:
    """Whether it is a step on the way to an answer, as one that calls tools is."""
    parts = [*_list(message.get("content")), *_list(message.get("parts"))]
    return bool(message.get("tool_calls")) or any(
        isinstance(part, dict) and part.get("type") in CALL_KINDS for part in parts
    )


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
    beside = {key: value for key, value in message.items() if key not in SHOWN and value not in (None, "", [])}
    about = [f"{key}: {beside.pop(key)}" for key in ABOUT_MESSAGES if _is_word(beside.get(key))]
    said += [(key, written(value)) for key, value in beside.items()]
    (kind, text), *more = said or [("", "")]
    return [(_label(label, *about, kind), text), *((_label(label, kind), text) for kind, text in more)]


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != "" and len(value) <= MAX_WORD and value.isprintable()


def _part(part: Any) -> tuple[str, str]:
    if not isinstance(part, dict):
        return "", written(part)
    kind = part.get("type")
    text = next((part[key] for key in TEXTS if part.get(key)), None)
    if kind in CALL_KINDS:
        return _call(part)
    if kind in RESULT_KINDS:
        result = _said(part, ANSWERS)
        return _label("result", _said(part, TOOL_NAMES), _said(part, CALL_IDS)), written(
            part if result is None else result
        )
    if kind in THOUGHT_KINDS:
        return "thinking", written(text or part)
    return "", text if isinstance(text, str) else written(part)


def _call(call: Any) -> tuple[str, str]:
    if not isinstance(call, dict):
        return "call", written(call)
    what = call["function"] if isinstance(call.get("function"), dict) else call
    given = _said(what, ARGUMENTS)
    return _label("call", _said(what, TOOL_NAMES), _said(call, CALL_IDS)), written("" if given is None else given)


def _said(part: Answer, keys: tuple[str, ...]) -> Any:
    return next((part[key] for key in keys if part.get(key) is not None), None)


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
