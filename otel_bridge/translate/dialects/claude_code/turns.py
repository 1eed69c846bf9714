"""Claude Code without traces: turns, their requests and tools as spans that its log records stand for."""

from typing import Any

from otel_bridge.translate.dialects.claude_code.requests import ENDS, Request, answer_of, requests_of
from otel_bridge.translate.records import derived_key, in_order, made_of, root_of
from otel_bridge.translate.span import ERROR_CODE, LogView, SpanView
from otel_bridge.translate.subagents import Step, nest
from otel_bridge.translate.values import MS, finite, from_json

TOOL = ("tool_decision", "tool_result")
PROMPT = ("user_prompt",)
COMMON = ("session.id", "user.id", "user.email", "user.account_uuid", "organization.id", "terminal.type", "prompt.id")
TURN = "claude_code.interaction"
SESSION = "claude_code.session"
REQUEST_SPAN = "claude_code.llm_request"
AGENT_TOOLS = ("Agent", "Task")
SUBAGENT = "agent:"  # how a subagent's requests name their source
UNNAMED = ("custom", "third-party", "")  # for kinds of subagents that are not told
ANSWER = "claude_code.answer"  # what a turn ended with, put there by `_join` and `spans_of`


def key_of(log: LogView) -> str | None:
    """A turn by its session and prompt; what belongs to no prompt by its session alone."""
    session, prompt = log.attrs.get("session.id"), log.attrs.get("prompt.id")
    if not session and not prompt:
        return None
    return derived_key("claude_code", str(session or ""), str(prompt or ""))


def spans_of(logs: list[LogView]) -> list[SpanView]:
    """A turn, its requests and tools; what else happened stays with the turn."""
    turns: dict[str, list[LogView]] = {}
    for log in in_order(logs):
        turns.setdefault(key_of(log) or "", []).append(log)
    logs[:] = turns.pop("", [])
    return [span for key, records in turns.items() for span in _turn_of(key, records)]


def _turn_of(key: str, logs: list[LogView]) -> list[SpanView]:
    first = logs[0]
    prompted = "prompt.id" in first.attrs or any(log.name in PROMPT for log in logs)  # 1.0 gives prompts no id
    root = root_of(first, TURN if prompted else SESSION, key)
    root.attrs = {name: first.attrs[name] for name in COMMON if name in first.attrs}
    requests = [told for told in requests_of(logs) if told.end is not None]
    made = [_request_of(told, root) for told in requests]
    made += _tools_of(logs, root)
    if any(told.end is not None and _asker(told.end) is not None for told in requests):
        nest(map(_step, made), root)
    used = {id(log) for span in made for log in span.logs}
    root.logs = [log for log in logs if id(log) not in used]
    root.start_ns = min([log.time_ns for log in logs] + [span.start_ns for span in made])
    root.end_ns = max(log.time_ns for log in logs)
    for told in requests:
        if answer := answer_of(told):
            root.attrs[ANSWER] = answer
    if requests:
        root.extra = _totals(requests, root)
        last = made[len(requests) - 1]
        root.status_code, root.status_message = last.status_code, last.status_message
    return [root, *made]


def _request_of(told: Request, root: SpanView) -> SpanView:
    end = told.end or told.sent[-1]
    span = made_of(end, REQUEST_SPAN, root.id)
    span.logs = told.records()
    span.start_ns = min([span.start_ns, *(log.time_ns for log in told.sent)])
    if end.name != "api_request":
        span.status_code, span.status_message = ERROR_CODE, str(end.attrs.get("error") or end.name)
    return span


def _tools_of(logs: list[LogView], root: SpanView) -> list[SpanView]:
    """A span for each tool that ran or was refused."""
    calls: dict[str, list[LogView]] = {}
    for place, log in enumerate(logs):
        if log.name in TOOL:
            calls.setdefault(str(log.attrs.get("tool_use_id") or f"{log.attrs.get('tool_name')} {place}"), []).append(
                log
            )
    made = []
    for records in calls.values():
        ended = records[-1]
        refused = ended.attrs.get("decision") == "reject"
        if ended.name != "tool_result" and not refused:
            continue  # it runs still
        span = made_of(ended, "claude_code.tool", root.id)
        span.logs = records
        made.append(span)
    return made


def _asker(log: LogView) -> str | None:
    """The kind of subagent that asked; None is the main thread, "" one whose kind is not told."""
    source = log.attrs.get("query_source")
    if not isinstance(source, str) or not source.startswith(SUBAGENT):
        return None
    named = log.attrs.get("agent.name", source.rpartition(":")[2])
    return named if isinstance(named, str) and named not in UNNAMED else ""


def _step(span: SpanView) -> Step:
    """What was asked or called, and by or for which kind of subagent."""
    if span.name == REQUEST_SPAN:
        ended = next(log for log in span.logs if log.name in ENDS)
        return Step(span, span.start_ns, asks=True, kind=_asker(ended))
    called = min([span.start_ns, *(log.time_ns for log in span.logs)])
    if not any(log.attrs.get("tool_name") in AGENT_TOOLS for log in span.logs):
        return Step(span, called, asks=False, kind=None)
    given = [from_json(log.attrs.get(key)) for log in span.logs for key in ("tool_parameters", "tool_input")]
    named = next((one["subagent_type"] for one in given if isinstance(one, dict) and "subagent_type" in one), None)
    return Step(span, called, asks=False, kind=named if isinstance(named, str) and named not in UNNAMED else "")


def _totals(requests: list[Request], root: SpanView) -> dict[str, Any]:
    """What the SDK's result message says of a run."""
    ends = [told.end for told in requests if told.end is not None]
    took = [found for end in ends if (found := finite(end.attrs.get("duration_ms"))) is not None]
    costs = [found for end in ends if (found := finite(end.attrs.get("cost_usd"))) is not None]
    said = {
        "num_turns": sum(end.name == "api_request" for end in ends),
        "duration_ms": (root.end_ns - root.start_ns) // MS,
        "duration_api_ms": sum(took) if took else None,
        "total_cost_usd": sum(costs) if costs else None,
    }
    return {name: found for name, found in said.items() if found is not None}
