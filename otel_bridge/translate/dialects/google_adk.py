"""Google ADK: `gcp.vertex.agent.*` of 1.x, and what its spans say beside the generative AI conventions in 2.x.

Its JavaScript writes the words of a request and an answer in camel case.
Read off google-adk 1.5.0, 1.20.0, 1.28.0 and 2.13.0 (telemetry modules), and recorded payloads of 1.5.0 and 2.13.0.
https://google.github.io/adk-docs/observability/
"""

import re
from itertools import groupby
from typing import Any

from otel_bridge.model import Json, Level, ObservationType, Usage
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.messages import message, messages, system, with_tools
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import count, from_json, text, value, whole

PREFIX = "gcp.vertex.agent."
ELIDED = "<elided>"
MERGED_TOOLS = "(merged tools)"
LOGS = frozenset({"gen_ai.system.message", "gen_ai.user.message", "gen_ai.choice"})
OUTPUT = "gen_ai.output.messages"
HUMP = re.compile("(?<=[a-z0-9])([A-Z])")
PARAMETERS = (bool, int, float, str)
COUNTED = frozenset(
    {
        *("prompt_token_count", "candidates_token_count", "response_token_count", "thoughts_token_count"),
        *("total_token_count", "tool_use_prompt_token_count", "cached_content_token_count"),
    }
)


def read(span: SpanView) -> Reading:
    """Read a span; where both `call_llm` and `generate_content` tell of one call, the tree keeps the richer."""
    attrs = span.attrs
    reading = Reading(type=_type(span), session_id=text(attrs, f"{PREFIX}session_id"))
    _model_call(attrs, reading)
    _tool(attrs, reading)
    if reading.input is None:
        sent = value(attrs, f"{PREFIX}data")
        reading.input = messages([_opened(content) for content in sent]) if isinstance(sent, list) else sent or None
    for log in span.logs:
        if log.name in LOGS and isinstance(log.body, dict):
            log.body = _log_body(log.body)
        if OUTPUT in log.attrs:
            log.attrs[OUTPUT] = _in_one(log.attrs[OUTPUT])
    if OUTPUT in attrs:
        attrs[OUTPUT] = _in_one(attrs[OUTPUT])
    return reading


def _type(span: SpanView) -> ObservationType | None:
    name = span.name
    if name == "call_llm":
        return ObservationType.GENERATION
    if name.startswith("agent_run"):
        return ObservationType.AGENT
    if name == "invocation":
        return ObservationType.CHAIN
    if span.attrs.get("gen_ai.tool.name") == MERGED_TOOLS:
        return ObservationType.SPAN  # the results of tools that have spans of their own
    return None


def _model_call(attrs: dict[str, Any], reading: Reading) -> None:
    asked, answered = from_json(attrs.get(f"{PREFIX}llm_request")), from_json(attrs.get(f"{PREFIX}llm_response"))
    if isinstance(asked, dict):
        del attrs[f"{PREFIX}llm_request"]
        if asked:
            _request(_snake(asked), reading)
    elif isinstance(asked, str) and "gen_ai.input.messages" not in attrs:  # that a limit cut off
        reading.input = attrs.pop(f"{PREFIX}llm_request")
    if isinstance(answered, dict):
        del attrs[f"{PREFIX}llm_response"]
        if answered:
            _response(_snake(answered), attrs, reading)
    elif isinstance(answered, str) and "gen_ai.output.messages" not in attrs:
        reading.output = attrs.pop(f"{PREFIX}llm_response")


def _request(asked: dict[str, Any], reading: Reading) -> None:
    reading.model = text(asked, "model")
    config = _snake(asked.pop("config")) if isinstance(asked.get("config"), dict) else {}
    spoken = system(_instructions(config.pop("system_instruction", None)))
    if isinstance(asked.get("contents"), list):
        found = messages([_opened(content) for content in asked.pop("contents")])
        spoken += found if isinstance(found, list) else []
    tools = [
        {"type": "function", "function": declared} if isinstance(declared, dict) else declared
        for tool in map(_snake, _list(config.pop("tools", None)))
        for declared in (
            tool["function_declarations"]
            if isinstance(tool, dict) and isinstance(tool.get("function_declarations"), list) and len(tool) == 1
            else [tool]
        )
    ]
    reading.input = with_tools(spoken or None, tools)
    plain = {key: config.pop(key) for key in list(config) if isinstance(config[key], PARAMETERS)}
    reading.model_parameters = plain or None
    if config:
        asked["config"] = config
    if asked:
        reading.metadata["llm_request"] = asked


def _response(answered: dict[str, Any], attrs: dict[str, Any], reading: Reading) -> None:
    if isinstance(answered.get("content"), dict):
        reading.output = message(_opened(answered.pop("content")), "assistant")
    counted = _snake(answered.get("usage_metadata"))
    reading.usage = _usage(counted)
    if reading.usage is not None and isinstance(counted, dict):
        answered["usage_metadata"] = {key: item for key, item in counted.items() if key not in COUNTED}
        for key in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):  # 1.5 writes the total as output
            count(attrs, key)
    if answered.get("error_code") or answered.get("error_message"):
        reading.level = Level.ERROR
        said = (answered.get("error_code"), answered.get("error_message"))
        reading.status_message = ": ".join(str(part) for part in said if part)
    reading.model = text(answered, "model_version") or reading.model
    if rest := {key: item for key, item in answered.items() if item not in (None, {})}:
        reading.metadata["llm_response"] = rest


def _usage(raw: Json) -> Usage | None:
    """Gemini's usage metadata: thoughts are beside the candidates, what tools were prompted with beside the prompt."""
    if not isinstance(raw, dict):
        return None
    prompt, candidates = whole(raw.get("prompt_token_count")), whole(raw.get("candidates_token_count"))
    if candidates is None:
        candidates = whole(raw.get("response_token_count"))
    thought, total = whole(raw.get("thoughts_token_count")) or 0, whole(raw.get("total_token_count"))
    prompted = whole(raw.get("tool_use_prompt_token_count")) or 0
    if prompt is not None:
        prompt += prompted
    if candidates is not None and (total is None or prompt is None or prompt + candidates + thought <= total):
        candidates += thought
    elif candidates is None and thought:
        candidates = thought
    return Usage.inclusive(
        prompt, candidates, cache_read=whole(raw.get("cached_content_token_count")), reasoning=thought or None
    )


def _tool(attrs: dict[str, Any], reading: Reading) -> None:
    if reading.input is None:
        reading.input = value(attrs, f"{PREFIX}tool_call_args")
    if reading.output is None and (answer := value(attrs, f"{PREFIX}tool_response")) != {}:
        reading.output = answer


def _instructions(raw: Json) -> Json:
    """Text, one content or a list of either."""
    if isinstance(raw, dict):
        return _opened(raw).get("parts") or [raw]
    if isinstance(raw, list):
        return [{"type": "text", "text": part} if isinstance(part, str) else part for part in raw]
    return raw


def _opened(content: Json) -> Any:
    """Gemini's content with its parts named as others name them: thoughts as reasoning, inline data as a blob."""
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
        return content
    return {**content, "parts": [_part(part) for part in content["parts"]]}


def _part(part: Json) -> Json:
    if not isinstance(part, dict):
        return part
    if "inlineData" in part:
        part = {key: item for key, item in part.items() if key != "inlineData"} | {
            "inline_data": _snake(part["inlineData"])
        }
    if part.get("thought") is True and isinstance(part.get("text"), str):
        rest = {key: item for key, item in part.items() if key not in ("thought", "text")}
        return {"type": "reasoning", "content": part["text"]} | rest
    inline = part.get("inline_data")
    if isinstance(inline, dict) and isinstance(inline.get("data"), str):
        rest = {key: item for key, item in part.items() if key != "inline_data"}
        return {"type": "blob", "content": inline["data"]} | {k: v for k, v in inline.items() if k != "data"} | rest
    return part


def _log_body(body: dict[str, Any]) -> dict[str, Any]:
    """`{content: {role, parts}}` as a message, and nothing in the place of what was left out."""
    content = body.get("content")
    if content == ELIDED:
        return {key: item for key, item in body.items() if key != "content"}
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        rest = {key: item for key, item in body.items() if key != "content"}
        return {**rest, **_opened(content)}
    return body


def _in_one(raw: Json) -> Json:
    """A stream's answer came as one message for each chunk, all but the last without a reason to finish."""
    spoken = from_json(raw)
    if not isinstance(spoken, list) or len(spoken) < 2:
        return raw
    answers: list[list[Any]] = []
    for chunk in spoken:
        if answers and _goes_on(answers[-1][-1], chunk):
            answers[-1].append(chunk)
        else:
            answers.append([chunk])
    return [_joined(chunks) if len(chunks) > 1 else chunks[0] for chunks in answers]


def _goes_on(last: Json, chunk: Json) -> bool:
    if not isinstance(last, dict) or not isinstance(chunk, dict):
        return False
    return last.get("finish_reason") == "" and last.get("role") == chunk.get("role")


def _joined(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The chunks of an answer as one message, in which text that goes on is one text."""
    parts: list[Any] = []
    for kind, run in groupby([part for chunk in chunks for part in _list(chunk.get("parts"))], _speaks_as):
        same = list(run)
        parts += same if kind is None else [{"type": kind, "content": "".join(part["content"] for part in same)}]
    return {key: item for chunk in chunks for key, item in chunk.items()} | {"parts": parts}


def _speaks_as(part: Any) -> Json:
    """The type of a part that is nothing but text."""
    spoken = isinstance(part, dict) and part.keys() == {"type", "content"} and isinstance(part["content"], str)
    return part["type"] if spoken else None


def _snake(raw: Any) -> Any:
    """An object with its own names as Python writes them."""
    return {HUMP.sub(r"_\1", key).lower(): item for key, item in raw.items()} if isinstance(raw, dict) else raw


def _list(raw: Json) -> list[Any]:
    return raw if isinstance(raw, list) else [] if raw is None else [raw]


DIALECT = Dialect(
    name="google_adk",
    scopes=("gcp.vertex.agent",),
    marks=("gcp.vertex.agent.*",),
    read=read,
    checked="google-adk 1.5.0, 1.20.0 and 2.13.0 (Python), @google/adk 2.0.0",
)
