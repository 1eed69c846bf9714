"""Chat messages of every shape as the ones that Langfuse renders: {role, content, tool_calls, tool_call_id ...}.

Known shapes: parts of the OpenTelemetry conventions, OpenAI, Anthropic, Bedrock and LlamaIndex blocks, Gemini parts,
LangChain's serialised messages. What is not known stays in the message as it came.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from otel_bridge.message_parts import (
    ANSWERS,
    ARGUMENTS,
    CALL_IDS,
    CALL_KINDS,
    RESULT_KINDS,
    SERVER_CALL,
    THOUGHT_KINDS,
    TOOL_NAMES,
)
from otel_bridge.model import Json

ROLES = {
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
    **dict.fromkeys(("model", "ai", "chatbot"), "assistant"),
    **dict.fromkeys(("function", "tool-response"), "tool"),
    "human": "user",
}
NOBODY = (None, "", "unknown")  # OpenLLMetry says this of LangChain's chunks
LANGCHAIN = {
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "tool",
}
TEXT_KINDS = ("text", "output_text", "input_text")
CALL_WRAPPERS = ("toolUse", "functionCall", "function_call")  # Bedrock, Gemini
WRAPPERS = (*CALL_WRAPPERS, "toolResult", "functionResponse", "function_response")
SPEECH = frozenset({"role", "content"})
THOUGHT = frozenset({"type", "text", "thought"})
NOTHING: tuple[Json, ...] = (None, [], {})  # as the annotations that a text has not
IN_PARTS = frozenset({"role", "parts"})
NOT_SPOKEN = ("event.name", "gen_ai.message.index", "gen_ai.system", "gen_ai.provider.name")


def messages(raw: Json, role: str = "user") -> Json:
    """A list of messages from one message or several, or the value as it is where it is neither.

    role: who speaks where a message does not say.
    """
    if isinstance(raw, dict):
        raw = [raw]
    if not isinstance(raw, list):
        return raw
    spoken: list[Json] = []
    for item in raw:
        if isinstance(item, dict):
            spoken += message(item, role)
        else:
            spoken.append({"role": role, "content": item} if isinstance(item, str) else item)
    return spoken


def message(raw: dict[str, Any], role: str = "user") -> list[Json]:
    """One message as the messages it holds: the results of tools become messages of their own, where they stand."""
    said = (_langchain(raw) if "lc" in raw else None) or dict(raw)
    who = said.pop("role", None)
    who = role if who in NOBODY else ROLES.get(who.lower(), who) if isinstance(who, str) else who
    content = said.pop("content", None)
    if not said and isinstance(content, str):
        return [{"role": who, "content": content}]
    if "blocks" in said:
        content = _opened(said, content)
    calls = [call(item) for item in _list(said.pop("tool_calls"))] if "tool_calls" in said else []
    thoughts = [said.pop("reasoning_content")] if isinstance(said.get("reasoning_content"), str) else []
    before: list[Json] = []
    results: list[Json] = []
    if "parts" in said and isinstance(said["parts"], list):
        parts = said.pop("parts")
        content = parts if content in (None, "") else [*_list(content), *parts]
    elif isinstance(content, dict) and isinstance(content.get("parts"), list) and content.keys() <= IN_PARTS:
        content = content["parts"]  # of Google's SDK
    if isinstance(content, list):
        content, before, results = _spread(content, calls, thoughts)
    spoken: dict[str, Any] = {"role": who}
    if content is not None or not (calls or before or results):
        spoken["content"] = content
    if thoughts:
        spoken["reasoning_content"] = "\n".join(thoughts)
    if calls:
        spoken["tool_calls"] = calls
    if said:
        spoken |= {key: item for key, item in said.items() if item is not None and item != ""}
    return _around(spoken, before, results)


def _spread(content: list[Json], calls: list[Json], thoughts: list[str]) -> tuple[Json, list[Json], list[Json]]:
    """What is left of a message's parts without calls, thoughts and results; the results before all else, and after."""
    kept: list[Json] = []
    before: list[Json] = []
    after: list[Json] = []
    for part in content:
        _sort(part, kept, calls, after if kept or calls or thoughts else before, thoughts)
    return _text(kept), before, after


def _around(spoken: dict[str, Any], before: list[Json], after: list[Json]) -> list[Json]:
    """A message among the results that it held; nothing in its place if it said nothing else."""
    results = [*before, *after]
    if not results:
        return [spoken]
    if spoken.keys() <= SPEECH and spoken.get("content") is None:
        return results
    only = results[0]
    if spoken["role"] == "tool" and len(results) == 1 and isinstance(only, dict):  # the name of the tool
        rest = {key: item for key, item in spoken.items() if key != "role"}
        if only.keys().isdisjoint(rest):
            return [only | rest]
    return [*before, spoken, *after]


def _opened(said: dict[str, Any], content: Json) -> Json:
    """The content of LlamaIndex's messages is blocks; calls that are among these are not told again beside them."""
    blocks = said["blocks"]
    if content not in (None, "") or not isinstance(blocks, list):
        return content
    del said["blocks"]
    beside = said.get("additional_kwargs")
    if isinstance(beside, dict):
        if "tool_call_id" in beside:
            said["tool_call_id"] = beside["tool_call_id"]
        ids = {str(item.get("tool_call_id")) for item in blocks if isinstance(item, dict)}
        told = [
            item for item in _list(beside.get("tool_calls")) if not isinstance(item, dict) or str(item.get("id")) in ids
        ]
        said["additional_kwargs"] = {
            name: item
            for name, item in beside.items()
            if name != "tool_call_id" and (name != "tool_calls" or item != told)
        } or None
    return [
        {"type": item["block_type"]} | {name: more for name, more in item.items() if name != "block_type"}
        if isinstance(item, dict) and "block_type" in item
        else item
        for item in blocks
    ]


def call(raw: Json) -> Json:
    """A tool call in OpenAI's form: {id, type: function, function: {name, arguments: JSON text}}."""
    if not isinstance(raw, dict) or raw.get("function") is not None:
        return raw
    said = dict(raw)
    name = said.pop("name", None) or said.pop("tool_name", None) or said.pop("toolName", None)
    if name is None:
        return raw
    given = _pop(said, ARGUMENTS)
    called = _pop(said, CALL_IDS)
    if "id" in said and (own := said.pop("id")) != called and said.setdefault("item_id", own) != own:
        said["id"] = own
    if said.get("type") == SERVER_CALL:
        said["kind"] = said.pop("type")
    elif said.get("type") in (*CALL_KINDS, "function"):
        del said["type"]
    text = given if isinstance(given, str) else "" if given is None else orjson.dumps(given, default=str).decode()
    made: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": text}}
    return _with_rest(({"id": called} if called is not None else {}) | made, said)


def _with_rest(made: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """What else was said, under names of its own where ours are taken."""
    return made | {f"part.{key}" if key in made else key: item for key, item in rest.items() if item is not None}


def _sort(part: Json, kept: list[Json], calls: list[Json], results: list[Json], thoughts: list[str]) -> None:
    """Put one part of a message where it belongs."""
    if isinstance(part, str):
        kept.append({"type": "text", "text": part})
        return
    if not isinstance(part, dict):
        kept.append(part)
        return
    if "type" not in part and isinstance(part.get("kind"), str):  # Pydantic AI's events, A2A
        part = {"type": part["kind"]} | {name: item for name, item in part.items() if name != "kind"}
    kind, key = part.get("type", "text"), _spoken_in(part)
    for wrapper in () if part.keys().isdisjoint(WRAPPERS) else WRAPPERS:
        if wrapper in part and isinstance(part[wrapper], dict):
            called = wrapper in CALL_WRAPPERS
            made = call(part[wrapper]) if called else _result(part[wrapper])
            (calls if called else results).append(_beside(made, part, wrapper))
            return
    if kind in TEXT_KINDS and key and len(part) == 2 and "type" in part:
        kept.append({"type": "text", "text": part[key]})
        return
    if None in part.values():  # objects of Google's SDK, written with all that they could hold
        part = {name: item for name, item in part.items() if item is not None}
        kind = part.get("type", "text")
    if kind in CALL_KINDS and any(map(part.get, TOOL_NAMES)):
        calls.append(call(part))
    elif kind in RESULT_KINDS:
        results.append(_result(part))
    elif (thought := _thought(part, key)) is not None:
        thoughts.append(thought)
    elif kind in TEXT_KINDS and key and (key == "text" or "text" not in part):
        rest = {name: item for name, item in part.items() if name != key and item not in NOTHING}
        kept.append(rest | {"type": "text", "text": part[key]})
    else:
        kept.append(_blob(part))


def _thought(part: dict[str, Any], key: str | None) -> str | None:
    """The text of a thought; Gemini's are texts that say what they are."""
    if key is None:
        return None
    said: str = part[key]
    if part.get("type") in THOUGHT_KINDS and len(part) == 2:
        return said
    return said if part.get("thought") is True and part.keys() <= THOUGHT else None


def _pop(said: dict[str, Any], keys: tuple[str, ...]) -> Json:
    return next((said.pop(key) for key in keys if key in said), None)


def _spoken_in(part: dict[str, Any]) -> str | None:
    """Under which key a part holds its text."""
    for key in ("text", "content", "thinking", "reasoning"):
        if isinstance(part.get(key), str):
            return key
    return None


def _beside(made: Json, part: dict[str, Any], key: str) -> Json:
    """What stands beside a wrapped call or result, as Gemini's signatures do, goes with it."""
    rest = {name: item for name, item in part.items() if name != key and item is not None}
    return rest | made if isinstance(made, dict) and not rest.keys() & made.keys() else part if rest else made


def _result(part: dict[str, Any]) -> Json:
    said = dict(part)
    answer = _pop(said, ANSWERS)
    called = _pop(said, CALL_IDS)
    if isinstance(answer, list):
        answer = _text([{"type": "text", "text": item["text"]} if _bare(item) else item for item in answer])
    spoken: dict[str, Any] = {"role": "tool", "content": answer}
    if called is not None:
        spoken["tool_call_id"] = called
    return _with_rest(spoken, said)


def _bare(item: Json) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("text"), str)
        and item.get("type", "text") == "text"
        and not item.keys() - {"text", "type"}
    )


def _blob(part: dict[str, Any]) -> Json:
    """Images in the form that Langfuse shows; everything else as it came."""
    mime = part.get("mime_type") or part.get("media_type")
    is_image = part.get("modality") == "image" or part.get("type") == "image-url"
    if is_image or (isinstance(mime, str) and mime.startswith("image/")):
        for key in ("uri", "url", "content", "data", "binary_content"):
            if isinstance(found := part.get(key), str) and found:
                whole = key in ("uri", "url") or found.startswith("data:")
                link = found if whole else f"data:{mime or 'image/png'};base64,{found}"
                rest = {name: item for name, item in part.items() if name not in (key, "type", "image_url")}
                return rest | {"type": "image_url", "image_url": {"url": link}}
    return part


def _text(parts: list[Json]) -> Json:
    """The text itself where a message is nothing but one text."""
    if not parts:
        return None
    only = parts[0]
    return only["text"] if len(parts) == 1 and _bare(only) and isinstance(only, dict) else parts


def _langchain(raw: dict[str, Any]) -> dict[str, Any] | None:
    """LangChain's `{"lc": 1, "id": [..., "AIMessage"], "kwargs": {...}}`, opened."""
    if raw.get("lc") != 1:
        return None
    path, inner = raw.get("id"), raw.get("kwargs")
    if not isinstance(inner, dict) or not isinstance(path, list) or not path:
        return None
    said = {key: item for key, item in inner.items() if item not in (None, [], {})}
    said.pop("type", None)
    return {"role": LANGCHAIN.get(str(path[-1]).removesuffix("Chunk"), "user"), **said}


def _list(raw: Json) -> Iterable[Json]:
    return raw if isinstance(raw, list) else [] if raw is None else [raw]


def events(raw: Json) -> tuple[list[Json], list[Json], list[str]]:
    """What was asked and answered in a list of events `[{"event.name": "gen_ai.user.message", ...}]`; their names."""
    asked: list[Json] = []
    answered: list[Json] = []
    names: list[str] = []
    for item in raw if isinstance(raw, list) else ():
        if not isinstance(item, dict):
            asked.append(item)
            continue
        name = str(item.get("event.name"))
        names.append(name)
        said = {key: more for key, more in item.items() if key not in NOT_SPOKEN}
        if name == "gen_ai.choice":
            inner = said.pop("message", None)
            said.pop("index", None)
            said |= inner if isinstance(inner, dict) else {} if inner is None else {"content": inner}
            answered += message(said, "assistant")
            continue
        if name == "gen_ai.tool.message" and "id" in said:
            said["tool_call_id"] = said.pop("id")
        asked += message(said, name.removeprefix("gen_ai.").removesuffix(".message"))
    return asked, answered, names


def system(raw: Json) -> list[Json]:
    """System instructions as messages: text, a list of parts, or whole messages."""
    if raw in (None, "", []):
        return []
    if isinstance(raw, list) and any(isinstance(item, dict) and "role" in item for item in raw):
        spoken = messages(raw, "system")
        return spoken if isinstance(spoken, list) else [spoken]
    return message({"role": "system", "parts": raw} if isinstance(raw, list) else {"role": "system", "content": raw})


def instructed(spoken: Json, instructions: Json) -> Json:
    """Messages after the system's instructions, if there are any; what is no message is what a user said."""
    told = system(instructions)
    if not told or spoken is None:
        return told or spoken
    if isinstance(spoken, list):
        return [*told, *spoken]
    return [*told, spoken if isinstance(spoken, dict) and "role" in spoken else {"role": "user", "content": spoken}]


def with_tools(spoken: Json, tools: Json) -> Json:
    """Messages together with the definitions of the tools that were offered, as Langfuse shows them."""
    if not tools:
        return spoken
    return {"messages": spoken if spoken is not None else [], "tools": tools}
