"""Requests, responses and token counts of providers' APIs in this house's words, for who hands them on as they are.

Known shapes: OpenAI (chat, Responses, completions), Anthropic, Bedrock, Gemini, Ollama; the counts of LangChain.
"""

import re
from typing import Any

from otel_bridge.model import Json, Usage
from otel_bridge.translate.messages import instructed, message
from otel_bridge.translate.values import from_json, whole

ASKED = ("messages", "input", "contents", "prompt")
SYSTEM = ("system", "instructions", "system_instruction", "systemInstruction")
CALLS = ("function_call", "custom_tool_call", "mcp_call")
RESULTS = ("function_call_output", "custom_tool_call_output", "mcp_call_output")

INPUT_COUNT = ("prompt_tokens", "promptTokens", "input_tokens", "inputTokens")
OUTPUT_COUNT = ("completion_tokens", "completionTokens", "output_tokens", "outputTokens")
TOTAL_COUNT = ("total_tokens", "totalTokens")
INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
CACHE_BESIDE = (
    *("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"),
    *("cacheReadInputTokens", "cacheWriteInputTokens"),
)
"""Words of Anthropic and Bedrock, who count cached tokens beside the input."""

CACHE_READ = (
    *("cached_tokens", "cache_read_input_tokens", "cacheReadInputTokens"),
    *("cached_content_token_count", "cachedContentTokenCount"),
)
CACHE_WRITE = (
    *("cache_creation_input_tokens", "cache_write_input_tokens"),
    *("cacheWriteInputTokens", "cache_write_tokens"),
)
REASONING = ("reasoning_tokens", "thoughts_token_count", "thoughtsTokenCount")
FOR_1H = "ephemeral_1h_input_tokens"
LASTING = ("ephemeral_5m_input_tokens", FOR_1H)
BEGUN = re.compile(r'\s*\{\s*"id"\s*:\s*"([^"\\]{1,200})"')  # of a response, where its JSON is not whole
PREDICTED = ("accepted_prediction_tokens", "rejected_prediction_tokens")
SIDES = (*INPUT_COUNT, *OUTPUT_COUNT, *TOTAL_COUNT)
READ_COUNTS = frozenset({*SIDES, *CACHE_READ, *CACHE_WRITE, *REASONING})
LANGCHAIN = frozenset({"cache_read", "cache_creation", "reasoning"})
READ_DETAILS = frozenset(
    {*CACHE_READ, *CACHE_WRITE, *REASONING, *LASTING, *PREDICTED, *LANGCHAIN, "audio_tokens", "text_tokens"}
)

CHUNK = "chat.completion.chunk"

Opened = tuple[Json, Json, dict[str, Any]]


def request(raw: Json) -> Opened:
    """The messages of a request, the tools it offers, and all else in it; the raw value and nothing if it is none."""
    if not isinstance(raw, dict) or not any(raw.get(key) not in (None, "", []) for key in ASKED):
        return raw, None, {}
    rest = dict(raw)
    spoken = rest.pop(next(key for key in ASKED if raw.get(key) not in (None, "", [])))
    tools = rest.pop("tools", None)
    instructions = next((rest.pop(key) for key in SYSTEM if rest.get(key) not in (None, "", [])), None)
    if isinstance(rest.get("config"), dict):  # of Google's SDK, written with all that it could hold
        rest["config"] = {key: item for key, item in rest["config"].items() if item is not None}
        instructions = instructions or rest["config"].pop("system_instruction", None)
    asked = _items(spoken, "user") if isinstance(spoken, list) else spoken
    asked = instructed(asked, instructions)
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


def joined(raw: list[Json]) -> dict[str, Any] | None:
    """The chunks of a stream of OpenAI's as one response; None if they are none."""
    chunks = [chunk for item in raw if isinstance(chunk := from_json(item), dict) and chunk.get("object") == CHUNK]
    if not chunks or len(chunks) < len(raw):
        return None
    answer: dict[str, Any] = {}
    said: dict[str, list[str]] = {}
    calls: dict[int, dict[str, list[str]]] = {}
    for chunk in chunks:
        answer |= {key: item for key, item in chunk.items() if item is not None and key not in ("choices", "usage")}
        answer["usage"] = chunk.get("usage") or answer.get("usage")
        choices = chunk.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        _gather(said, {"finish_reason": first.get("finish_reason")} | _object(first, "delta"))
        pieces = _object(first, "delta").get("tool_calls")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                call = calls.setdefault(whole(piece.get("index")) or 0, {})
                _gather(call, {"id": piece.get("id")} | _object(piece, "function"))
    spoken = {key: "".join(pieces) for key, pieces in said.items() if key != "role"}
    reason = spoken.pop("finish_reason", None)
    made = [{key: "".join(pieces) for key, pieces in call.items()} for call in calls.values()]
    message: dict[str, Any] = {"role": "assistant", **spoken}
    if made:
        message["tool_calls"] = [{"id": call.pop("id", None), "type": "function", "function": call} for call in made]
    return answer | {"choices": [{"message": message, "finish_reason": reason}]}


def _gather(into: dict[str, list[str]], pieces: dict[str, Any]) -> None:
    """What comes bit by bit."""
    for key, piece in pieces.items():
        if isinstance(piece, str):
            into.setdefault(key, []).append(piece)


def response_id(raw: Json) -> str | None:
    """The id of a response, also where a result of LangChain's holds it, or where a limit cut its JSON off."""
    if isinstance(raw, str):
        return begun[1] if (begun := BEGUN.match(raw)) else None
    if not isinstance(raw, dict):
        return None
    answered = raw.get("id")
    if isinstance(found := raw.get("generations"), list):
        while isinstance(found, list) and found:
            found = found[0]
        for key in ("message", "kwargs", "response_metadata"):
            found = found.get(key) if isinstance(found, dict) else None
        answered = (found.get("id") if isinstance(found, dict) else None) or _object(raw, "llm_output").get("id")
    return answered if isinstance(answered, str) and answered else None


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


def usage(raw: Json) -> tuple[Usage | None, dict[str, Any]]:
    """The counts of a response, as OpenAI, Anthropic or Bedrock name them, and what in them no bucket holds."""
    if not isinstance(raw, dict):
        return None, {}
    counted = (Usage.exclusive if beside(raw) else Usage.inclusive)(
        _count(raw, *INPUT_COUNT), _count(raw, *OUTPUT_COUNT), total=_count(raw, *TOTAL_COUNT), **parts(raw)
    )
    if counted is None:
        return None, {}
    split_1h(counted, _count(_lasting(raw), FOR_1H))
    answered = _object(raw, *OUTPUT_DETAILS)
    for key in PREDICTED:
        _split(counted, "output", f"output_{key}", _count(answered, key))
    rest = {key: _unread(item) for key, item in raw.items() if key not in READ_COUNTS}
    return counted, {key: item for key, item in rest.items() if item not in (None, 0, "", {}, [])}


def parts(raw: Json) -> dict[str, int | None]:
    """Which of the counted tokens were cached, thought, heard or spoken, by the names `Usage` has for them."""
    counted = raw if isinstance(raw, dict) else {}
    asked, answered = _object(counted, *INPUT_DETAILS), _object(counted, *OUTPUT_DETAILS)
    written, lasting = _count(counted | asked, *CACHE_WRITE, "cache_creation"), _lasting(counted)
    if lasting:  # LangChain says 0 of the whole where it has these
        written = max(written or 0, sum(_count(lasting, key) or 0 for key in LASTING))
    return {
        "cache_read": _count(counted | asked, *CACHE_READ, "cache_read"),
        "cache_write": written,
        "reasoning": _count(counted | answered, *REASONING, "reasoning"),
        "input_audio": _count(asked, "audio_tokens"),
        "output_audio": _count(answered, "audio_tokens"),
    }


def beside(raw: dict[str, Any]) -> bool:
    """Are cached tokens counted beside the input? Details are of what is inside it."""
    return not raw.keys().isdisjoint(CACHE_BESIDE) and "cached_tokens" not in _object(raw, *INPUT_DETAILS)


def split_1h(counted: Usage, tokens: int | None) -> bool:
    """Of what was written to the cache, what stays for an hour, which costs more; whether there is so much of it."""
    return _split(counted, "input_cache_creation", "input_cache_creation_1h", tokens)


def _split(counted: Usage, bucket: str, finer: str, tokens: int | None) -> bool:
    if not tokens or tokens > counted.get(bucket, 0):
        return False
    counted[bucket] -= tokens
    counted[finer] = tokens
    return True


def _lasting(raw: dict[str, Any]) -> dict[str, Any]:
    """How long what was written to the cache stays there: in an object of Anthropic's, or in LangChain's details."""
    told = _object(raw, "cache_creation") or _object(raw, *INPUT_DETAILS)
    return {key: told[key] for key in LASTING if key in told}


def _unread(item: Json) -> Json:
    """Of details those that no bucket holds; text is what is left when they are taken away."""
    if not isinstance(item, dict):
        return item
    return {key: more for key, more in item.items() if key not in READ_DETAILS and more not in (None, 0)}


def _count(raw: dict[str, Any], *keys: str) -> int | None:
    return next((found for key in keys if (found := whole(raw.get(key))) is not None), None)


def _object(raw: dict[str, Any], *keys: str) -> dict[str, Any]:
    found: dict[str, Any] = next((raw[key] for key in keys if isinstance(raw.get(key), dict)), {})
    return {key: item for key, item in found.items() if item is not None}
