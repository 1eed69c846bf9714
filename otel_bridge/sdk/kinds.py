"""Spans of the usual kinds: each only says the attributes that OpenTelemetry's GenAI conventions have for it.

On a function that is also what it is given and gives, see `calls`.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from opentelemetry.trace import SpanKind

from otel_bridge.sdk.calls import ARGUMENTS, INPUT, OUTPUT, RESULT, Keys
from otel_bridge.sdk.spans import Parent, SpanBlock

T = TypeVar("T")

MESSAGES, TOOL = Keys(INPUT, OUTPUT), Keys(ARGUMENTS, RESULT)


def agent_run(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    agent_id: str | None = None,
    model: str | None = None,
    conversation: str | None = None,
    task: Any = None,
    parent: Parent | None = None,
) -> SpanBlock:
    """A run of an agent; `task` is what it was asked."""
    return of_kind(
        f"invoke_agent {name}",
        attributes,
        parent,
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": name,
            "gen_ai.agent.id": agent_id,
            "gen_ai.request.model": model,
            "gen_ai.conversation.id": conversation,
            "input.value": task,
        },
    )


def reasoning(
    phase: str = "plan", attributes: Mapping[str, Any] | None = None, *, parent: Parent | None = None
) -> SpanBlock:
    """A phase of thinking between calls."""
    return of_kind(phase, attributes, parent, {"gen_ai.operation.name": "plan"})


def llm_call(
    model: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    provider: str | None = None,
    operation: str = "chat",
    messages: Any = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    parent: Parent | None = None,
) -> SpanBlock:
    """A call of a language model; what it answers is for `answered`."""
    return of_kind(
        f"{operation} {model}",
        attributes,
        parent,
        {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "gen_ai.request.temperature": temperature,
            "gen_ai.request.max_tokens": max_tokens,
            "input.value": messages,
        },
        SpanKind.CLIENT,
    )


def answered(
    *,
    output: Any = None,
    model: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cached_tokens: int | None = None,
    cache_creation_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    cost_usd: float | None = None,
) -> dict[str, Any]:
    """What a model answered, as attributes: `call.tags.update(answered(...))`. What is not known is left out.

    input_tokens: with those among them that came out of the provider's cache (`cached_tokens`) and those that went into
        it (`cache_creation_tokens`), which Anthropic counts apart; output_tokens: with those of reasoning.
    """
    said = {
        "output.value": output,
        "gen_ai.response.model": model,
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
        "gen_ai.usage.cache_read.input_tokens": cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": cache_creation_tokens,
        "gen_ai.usage.reasoning.output_tokens": reasoning_tokens,
        "gen_ai.usage.cost": cost_usd,
    }
    return {key: value for key, value in said.items() if value is not None}


def tool(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    arguments: Any = None,
    call_id: str | None = None,
    parent: Parent | None = None,
) -> SpanBlock:
    """A run of a tool; its result is the attribute `gen_ai.tool.call.result`, which a function says by itself."""
    return of_kind(
        f"execute_tool {name}",
        attributes,
        parent,
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call_id,
            ARGUMENTS: arguments,
        },
        keys=TOOL,
    )


def retrieval(
    source: str, attributes: Mapping[str, Any] | None = None, *, query: Any = None, parent: Parent | None = None
) -> SpanBlock:
    """A look into documents; `source` is where."""
    return of_kind(
        f"retrieval {source}",
        attributes,
        parent,
        {"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": source, "input.value": query},
        SpanKind.CLIENT,
    )


def workflow(name: str, attributes: Mapping[str, Any] | None = None, *, parent: Parent | None = None) -> SpanBlock:
    """Several agents or steps that are one piece of work."""
    said = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": name}
    return of_kind(f"invoke_workflow {name}", attributes, parent, said)


def task(name: str, attributes: Mapping[str, Any] | None = None, *, parent: Parent | None = None) -> SpanBlock:
    """A step of plain work."""
    return of_kind(name, attributes, parent, {"task.name": name})


class asynchronous(Generic[T]):  # noqa: N801 - used like a function, as contextlib's own
    """A sync context manager (Langfuse's, say) for `async with`: how the block was left reaches it whole."""

    __slots__ = ("_manager",)

    def __init__(self, manager: AbstractContextManager[T]) -> None:
        self._manager = manager

    async def __aenter__(self) -> T:
        return self._manager.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._manager.__exit__(kind, error, traceback)


def of_kind(
    name: str,
    given: Mapping[str, Any] | None,
    parent: Parent | None,
    said: Mapping[str, Any],
    kind: SpanKind = SpanKind.INTERNAL,
    keys: Keys = MESSAGES,
) -> SpanBlock:
    """A span with the attributes of its kind and those that were given; on a function, with its content."""
    return SpanBlock(name, {**said, **(given or {})}, kind, parent, (), None, keys)
