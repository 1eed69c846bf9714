"""Spellings: which attribute means what, newest first. One table for all dialects.

Checked November 2026 against: OpenTelemetry semantic conventions 1.26 to 1.44 and semantic-conventions-genai,
OpenInference 0.1.x (Python) and 4.x (JavaScript), OpenLLMetry 0.38 to 0.62, Langfuse SDKs 3 to 5.
"""

from typing import Any

from otel_bridge.model import Usage
from otel_bridge.translate.dialect import Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import MS, NS, after, count, finite, identifier, number, strings, text, within

VERSION = "2026-11"

SESSION = (
    "session.id",
    "gen_ai.conversation.id",
    "gen_ai.session.id",
    "langfuse_session_id",
    "session_id",
    "sessionId",
    "gen_ai.thread.id",
    "thread_id",
    "threadId",
    "conversation.id",
    "conversation_id",
    "conversationId",
    "chat_id",
    "chatId",
    "keywordsai.threads.thread_identifier",
)
THREAD = "thread.id"  # as a text; a number is the operating system's thread
USER = (
    "user.id",
    "enduser.id",
    "langfuse_user_id",
    "user_id",
    "userId",
    "enduser.pseudo.id",
    "gen_ai.user",  # these two: whom OpenAI's request names as its user
    "llm.user",
    "keywordsai.customer_params.customer_identifier",
)
TAGS = ("tag.tags", "langfuse.tags")
ENVIRONMENT = ("deployment.environment.name", "deployment.environment")

INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
TOTAL_TOKENS = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm_token_count_total")
CACHE_READ = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.input_token_details.cached",
    "gen_ai.usage.details.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
    "gen_ai.usage.details.cached_tokens",
    "gen_ai.usage.details.cached_content_tokens",
    "gen_ai.usage.cached_input_tokens",
    "gen_ai.usage.cached_tokens",
    "llm.usage.cache_read_input_tokens",
    "llm_token_count_prompt_details_cached_read",
)
CACHE_WRITE = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.cache_write_input_tokens",
    "gen_ai.usage.input_tokens.cache_write",
    "gen_ai.usage.input_tokens.cache_creation",
    "gen_ai.usage.details.cache_creation_input_tokens",
    "gen_ai.usage.details.cache_write_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
    "llm.usage.cache_creation_input_tokens",
)
REASONING = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.output_tokens.reasoning",
    "gen_ai.usage.details.reasoning_tokens",
    "gen_ai.usage.details.thoughts_tokens",
    "gen_ai.usage.thoughts_tokens",
    "llm.usage.reasoning_tokens",
    "llm_token_count_completion_details_reasoning",  # these: Microsoft Agent 365
)
INPUT_AUDIO = (
    "gen_ai.usage.audio.input_tokens",
    "gen_ai.usage.details.input_audio_tokens",
    "gen_ai.usage.input_tokens.audio",
)
OUTPUT_AUDIO = (
    "gen_ai.usage.audio.output_tokens",
    "gen_ai.usage.details.output_audio_tokens",
    "gen_ai.usage.output_tokens.audio",
)

CACHE_BESIDE = frozenset(
    {
        "opentelemetry.instrumentation.botocore.bedrock-runtime",
        "opentelemetry.instrumentation.genai.bedrock",
        "opentelemetry.instrumentation.bedrock",
        "@traceloop/instrumentation-anthropic",
        "@traceloop/instrumentation-bedrock",
    }
)
"""Scopes that report input tokens without the cached ones. The conventions say they are included."""

CACHE_INSIDE = frozenset({"opentelemetry.instrumentation.langchain", "opentelemetry.instrumentation.genai.langchain"})
"""Scopes that report what LangChain counts, the cached tokens included, whoever the provider is."""

CACHE_BESIDE_PROVIDERS = ("aws.bedrock", "aws_bedrock", "bedrock", "AWS")
"""Bedrock counts cached tokens beside the input, and those who instrument it report what it counts."""

THOUGHTS_APART = ("google", "gcp.", "gemini", "vertex")
"""How the names of providers begin where Gemini's models are: these count thoughts beside the output."""

MODELS = ("gen_ai.response.model", "gen_ai.request.model")
NO_MODELS = ("unknown", "unknown_model", "none")
"""What stands in the place of a model's name that an instrumentation did not find."""
AZURE_INFERENCE, AZURE_NO_MODEL = "az.ai.inference", "chat"
"""A provider, and what its SDK calls a model that the call does not name."""

COST_TOTAL = ("gen_ai.usage.cost", "gen_ai.usage.total_cost", "gen_ai.cost.total_cost", "operation.cost")
COST_INPUT = ("gen_ai.usage.input_cost", "gen_ai.cost.input_cost")
COST_OUTPUT = ("gen_ai.usage.output_cost", "gen_ai.cost.output_cost")

FIRST_TOKEN_S = (
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.response.time_to_first_token",
    "gen_ai.client.operation.time_to_first_chunk",
    "gen_ai.client.time_to_first_chunk",
    "gen_ai.client.time_to_first_token",
    "gen_ai.client.inference.time_to_first_chunk",
    "gen_ai.server.time_to_first_token",
    "gen_ai.time_to_first_token",
    "gen_ai.streaming.time_to_first_token",  # AgentOps
    "gen_ai.usage.time_to_first_token",
    "gen_ai.latency.time_to_first_token",
    "llm.time_to_first_token",
    "time_to_first_token",
    "time_to_first_chunk",
)
FIRST_TOKEN_MS = (
    "time_to_first_token_ms",
    "time_to_first_chunk_ms",
    "gen_ai.time_to_first_token_ms",
    "llm.time_to_first_token_ms",
    "ttft_ms",
    "copilot_chat.time_to_first_token",
)
FIRST_TOKEN_EVENTS = frozenset(
    {
        "first_chunk",
        "first_token",
        "first token",
        "first chunk",
        "first token stream event",
        "gen_ai.first_token",
        "gen_ai.first_chunk",
        "gen_ai.content.completion.chunk",
        "llm.content.completion.chunk",
        "new_token",
        "llm.new_token",
        "ai.stream.firstchunk",
        "gen_ai.choice.chunk",
    }
)
"""Names of events, in lower case, of which the earliest is the first token."""

DELAYS = {key: unit_ns for keys, unit_ns in ((FIRST_TOKEN_S, NS), (FIRST_TOKEN_MS, MS)) for key in keys}
SAID_OF_TOKENS = frozenset((*INPUT_TOKENS, *OUTPUT_TOKENS))
FINER = frozenset((*CACHE_READ, *CACHE_WRITE, *INPUT_AUDIO, *OUTPUT_AUDIO))
WHO = {
    **dict.fromkeys(SESSION, "session_id"),
    **dict.fromkeys(USER, "user_id"),
    **dict.fromkeys(TAGS, "tags"),
    **dict.fromkeys(ENVIRONMENT, "environment"),
}
"""What tells who and where → of what of it."""


def counts_beside(span: SpanView) -> bool:
    """Are the cached tokens of a span that speaks the conventions not included in its input count?"""
    if span.scope_name in CACHE_INSIDE:
        return False
    provider = span.attrs.get("gen_ai.provider.name", span.attrs.get("gen_ai.system"))
    return span.scope_name in CACHE_BESIDE or provider in CACHE_BESIDE_PROVIDERS


def usage(attrs: dict[str, Any], *, beside: bool, model: str | None = None) -> Usage | None:
    """Pop the token counts of the generative AI conventions in all their spellings.

    beside: cached tokens are not included in the input count.
    model: which one counted, where it was popped before.
    """
    if attrs.keys().isdisjoint(SAID_OF_TOKENS):
        return None
    counted_in, counted_out = count(attrs, *INPUT_TOKENS), count(attrs, *OUTPUT_TOKENS)
    if counted_in is None and counted_out is None:
        return None
    reasoning, total = count(attrs, *REASONING), count(attrs, *TOTAL_TOKENS)
    if (
        reasoning is None
        and total is not None
        and None not in (counted_in, counted_out)
        and _thinks_apart(attrs, model)
    ):
        reasoning = max(0, total - (counted_in or 0) - (counted_out or 0))
    make = Usage.exclusive if beside else Usage.inclusive
    if attrs.keys().isdisjoint(FINER):
        return make(counted_in, counted_out, reasoning=reasoning, total=total)
    return make(
        counted_in,
        counted_out,
        cache_read=count(attrs, *CACHE_READ),
        cache_write=count(attrs, *CACHE_WRITE),
        reasoning=reasoning,
        input_audio=count(attrs, *INPUT_AUDIO),
        output_audio=count(attrs, *OUTPUT_AUDIO),
        total=total,
    )


def _thinks_apart(attrs: dict[str, Any], model: str | None) -> bool:
    """Where Gemini's total says more than both sides, and nothing tells of thoughts, it can only be thoughts.

    Other makers' models are served by Google too, and count the cache beside the input.
    """
    provider = attrs.get("gen_ai.provider.name", attrs.get("gen_ai.system"))
    if not isinstance(provider, str) or not provider.lower().startswith(THOUGHTS_APART):
        return False
    models = [model] if model else [attrs[key] for key in MODELS if isinstance(attrs.get(key), str) and attrs[key]]
    if models:
        return all("gemini" in name.lower() for name in models)
    return attrs.keys().isdisjoint((*CACHE_READ, *CACHE_WRITE))


def cost(
    attrs: dict[str, Any], total: tuple[str, ...], inward: tuple[str, ...], outward: tuple[str, ...]
) -> dict[str, float] | None:
    """Pop costs in US dollars; None where there are none.

    Emitters say 0 of prices they don't know: if that is all, it is no cost, and stays where it was said.
    """
    spelled = (*total, *inward, *outward)
    if attrs.keys().isdisjoint(spelled):
        return None
    before = {key: attrs[key] for key in spelled if key in attrs}
    said = {
        "input": number(attrs, *inward),
        "output": number(attrs, *outward),
        "total": number(attrs, *total),
    }
    found = {bucket: dollars for bucket, dollars in said.items() if dollars is not None and dollars >= 0}
    if not any(found.values()):
        attrs |= before
        return None
    attrs |= {key: item for key, item in before.items() if (finite(item) or 0) < 0}  # no cost: shown as it came
    found.setdefault("total", sum(found.values()))
    return found


def first_token(span: SpanView) -> int | None:
    """When the first token came, from any spelling; None if nothing says so or it lies outside of the span."""
    attrs = span.attrs
    for key, unit_ns in () if attrs.keys().isdisjoint(DELAYS.keys()) else DELAYS.items():
        if key in attrs and (at := after(span, finite(attrs[key]), unit_ns)) is not None:
            del attrs[key]
            return at
    if not span.events:
        return None
    came = [event.time_ns for event in span.events if event.name.lower() in FIRST_TOKEN_EVENTS]
    return within(span, min(came)) if came else None


def session(said: dict[str, Any]) -> str | None:
    """Pop the session from attributes, or from metadata that a program gave along."""
    return identifier(said, *SESSION) or text(said, THREAD)


def user(said: dict[str, Any]) -> str | None:
    """Pop the user, likewise."""
    return identifier(said, *USER)


def identity(attrs: dict[str, Any], reading: Reading) -> None:
    """Pop who and where from the spellings that any span may use, for what the reading does not say yet."""
    told = {WHO[key] for key in attrs.keys() & WHO.keys()}
    if reading.session_id is None and ("session_id" in told or THREAD in attrs):
        reading.session_id = session(attrs)
    if "user_id" in told and reading.user_id is None:
        reading.user_id = user(attrs)
    if "tags" in told and reading.tags is None:
        for key in TAGS:
            if key in attrs and (tags := strings(attrs[key])):
                reading.tags = tags
                del attrs[key]
                break
    if "environment" in told and reading.environment is None:
        reading.environment = text(attrs, *ENVIRONMENT)
