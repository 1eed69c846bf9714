"""A planner and two researchers find the better city for a team week; run it with `python -m otel_bridge.demo.agents`.

It stands for anybody's agent program: asyncio, the stock OpenTelemetry SDK, the stock OTLP exporter, the GenAI
semantic conventions, and no line of the bridge. The language model is a pretended one, so nothing leaves the machine;
everything about it (streaming, tokens, cached tokens, prices) has the shape of the real thing.

Prints one line of JSON: the trace id and what the program itself counted.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from opentelemetry import _logs, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind

QUESTION = "Lisbon or Oslo: where should our team of eight meet for a week in May?"
SESSION, USER = "team-week-planning", "ada"
PLANNER, RESEARCHER, EMBEDDER = "gpt-5.2", "gpt-5.2-mini", "text-embedding-3-small"
PRICES = {PLANNER: (1.75, 0.175, 14.0), RESEARCHER: (0.25, 0.025, 2.0), EMBEDDER: (0.02, 0.02, 0.0)}
"""US dollars for a million tokens: input, cached input, output."""

SYSTEM = (
    "You plan team weeks. Ask your researchers for facts before you answer; never guess a price or a temperature. "
    "Weigh travel, weather, cost and places to work together, and name the assumption that matters most. "
) * 6  # as long as real ones are, so that the provider's prompt cache has something to hold

FACTS = {
    "Lisbon": ("21 °C, 4 rainy days, 14.5 h of light", "Coworking for eight is about 190 EUR a day; meals 18 EUR."),
    "Oslo": ("12 °C, 7 rainy days, 17.5 h of light", "Coworking for eight is about 310 EUR a day; meals 32 EUR."),
}

tracer = trace.get_tracer("demo.agents", "1.0.0")


@dataclass
class Spent:
    """What the program itself counted."""

    trace_id: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class Caller(SpanProcessor):
    """Puts session and user on every span as it starts."""

    def on_start(self, span: SdkSpan, parent_context: object = None) -> None:
        """Called by the SDK."""
        span.set_attributes({"session.id": SESSION, "user.id": USER})


class TooManyRequestsError(Exception):
    """The weather service wants a pause."""


def tokens(text: str) -> int:
    """About what a tokenizer would say."""
    return max(1, round(len(text) / 4.2))


def message(role: str, text: str) -> dict[str, object]:
    """A message in the form of the GenAI conventions."""
    return {"role": role, "parts": [{"type": "text", "content": text}]}


@contextmanager
def operation(
    name: str, subject: str, attributes: dict[str, str], kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
    """A span of the GenAI conventions, named as they ask: operation, then what it is done with."""
    with tracer.start_as_current_span(
        f"{name} {subject}", kind=kind, attributes={"gen_ai.operation.name": name, **attributes}
    ) as span:
        yield span


def charge(span: Span, spent: Spent, model: str, used: int, made: int, cached: int = 0) -> None:
    """Write tokens and cost to the span, and add them up."""
    price, cached_price, output_price = PRICES[model]
    cost = ((used - cached) * price + cached * cached_price + made * output_price) / 1e6
    span.set_attributes({"gen_ai.usage.input_tokens": used, "gen_ai.usage.cost": cost})
    if made:
        span.set_attribute("gen_ai.usage.output_tokens", made)
    if cached:
        span.set_attribute("gen_ai.usage.cache_read.input_tokens", cached)
    spent.input_tokens += used
    spent.output_tokens += made
    spent.cost += cost


async def pretend_model(answer: str) -> AsyncIterator[str]:
    """Stream an answer as a model would: a pause, then a few words at a time."""
    await asyncio.sleep(0.12)
    words = answer.split(" ")
    for start in range(0, len(words), 6):
        yield " ".join(words[start : start + 6]) + " "
        await asyncio.sleep(0.02)


async def chat(spent: Spent, model: str, prompt: str, answer: str) -> str:
    """One streamed call of the language model."""
    call = {"gen_ai.provider.name": "openai", "gen_ai.request.model": model}
    with operation("chat", model, call, SpanKind.CLIENT) as span:
        began = time.perf_counter()
        first: float | None = None
        chunks = []
        async for chunk in pretend_model(answer):
            first = first or time.perf_counter() - began
            chunks.append(chunk)
        text = "".join(chunks).strip()
        span.set_attributes(
            {
                "gen_ai.request.temperature": 0.2,
                "gen_ai.request.max_tokens": 800,
                "gen_ai.request.stream": True,
                "gen_ai.response.model": f"{model}-2026-02-14",
                "gen_ai.response.id": f"chatcmpl-{span.get_span_context().span_id:016x}",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.response.time_to_first_chunk": first or 0.0,
                "gen_ai.system_instructions": json.dumps([{"type": "text", "content": SYSTEM}]),
                "gen_ai.input.messages": json.dumps([message("user", prompt)]),
                "gen_ai.output.messages": json.dumps([{**message("assistant", text), "finish_reason": "stop"}]),
            }
        )
        charge(span, spent, model, tokens(SYSTEM) + tokens(prompt), tokens(text), cached=tokens(SYSTEM) // 64 * 64)
        return text


async def weather(city: str, attempt: int) -> str:
    """A tool that fails the first time somebody asks for Oslo."""
    call = {
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": f"call_{city.lower()}_{attempt}",
        "gen_ai.tool.call.arguments": json.dumps({"city": city, "month": "May"}),
    }
    with operation("execute_tool", "get_weather", call) as span:
        await asyncio.sleep(0.08)
        if city == "Oslo" and attempt == 1:
            raise TooManyRequestsError("weather.example answered 429: ask again in a moment")
        span.set_attribute("gen_ai.tool.call.result", json.dumps({"city": city, "may": FACTS[city][0]}))
        return FACTS[city][0]


async def look_up(spent: Spent, city: str) -> str:
    """Embed the question and fetch the documents next to it."""
    query = f"cost of a team week in {city}"
    call = {"gen_ai.provider.name": "openai", "gen_ai.request.model": EMBEDDER, "gen_ai.response.model": EMBEDDER}
    with operation("embeddings", EMBEDDER, call, SpanKind.CLIENT) as span:
        await asyncio.sleep(0.04)
        charge(span, spent, EMBEDDER, tokens(query), 0)
    with operation("retrieval", "city-guides", {"gen_ai.data_source.id": "city-guides"}) as span:
        await asyncio.sleep(0.03)
        span.set_attributes(
            {
                "gen_ai.retrieval.query.text": query,
                "gen_ai.retrieval.documents": json.dumps([{"id": f"{city.lower()}-7", "score": 0.83}]),
            }
        )
        return FACTS[city][1]


async def research(spent: Spent, city: str, *, with_guides: bool) -> str:
    """One researcher: tools first, then the model."""
    name = f"researcher-{city.lower()}"
    with operation("invoke_agent", name, {"gen_ai.agent.name": name}):
        try:
            found = await weather(city, 1)
        except TooManyRequestsError:
            await asyncio.sleep(0.1)
            found = await weather(city, 2)
        costs = await look_up(spent, city) if with_guides else FACTS[city][1]
        return await chat(
            spent, RESEARCHER, f"{city} in May. Weather: {found}. {costs}", f"{city} in May has {found}. {costs}"
        )


async def plan_week(spent: Spent) -> str:
    """The planner: a plan, two researchers at the same time, an answer, and a judgement of it."""
    agent = {"gen_ai.agent.name": "trip-planner", "gen_ai.conversation.id": SESSION}
    with operation("invoke_agent", "trip-planner", agent) as root:
        spent.trace_id = f"{root.get_span_context().trace_id:032x}"
        root.set_attribute("gen_ai.input.messages", json.dumps([message("user", QUESTION)]))
        await chat(
            spent, PLANNER, QUESTION, "Ask for weather, light and daily cost in Lisbon and in Oslo, then compare."
        )
        async with asyncio.TaskGroup() as researchers:
            lisbon = researchers.create_task(research(spent, "Lisbon", with_guides=True))
            oslo = researchers.create_task(research(spent, "Oslo", with_guides=False))
        answer = await chat(
            spent,
            PLANNER,
            f"{QUESTION}\n\nResearch:\n- {lisbon.result()}\n- {oslo.result()}",
            "Meet in Lisbon. It is nine degrees warmer with fewer rainy days, and a working day for eight costs about "
            "230 EUR less. Oslo has three more hours of light. What matters most is where the eight fly from.",
        )
        root.set_attribute("gen_ai.output.messages", json.dumps([message("assistant", answer)]))
        judge(root, 0.92)
        return answer


def judge(span: Span, relevance: float) -> None:
    """Say how good the answer was, in the way of the conventions; Langfuse shows it as a score."""
    _logs.get_logger("demo.judge").emit(
        LogRecord(
            timestamp=time.time_ns(),
            context=trace.set_span_in_context(span),
            severity_number=SeverityNumber.INFO,
            event_name="gen_ai.evaluation.result",
            attributes={
                "gen_ai.evaluation.name": "relevance",
                "gen_ai.evaluation.score.value": relevance,
                "gen_ai.evaluation.score.label": "relevant",
                "gen_ai.evaluation.explanation": "Answers the question, compares both cities, names its assumption.",
            },
        )
    )


def main() -> None:
    """Run once; where to send is in OTEL_EXPORTER_OTLP_ENDPOINT, as for any OpenTelemetry program."""
    resource = Resource.create(
        {"service.name": "team-week", "service.version": "1.0.0", "deployment.environment.name": "demo"}
    )
    spans, logs = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    spans.add_span_processor(Caller())
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    trace.set_tracer_provider(spans)
    _logs.set_logger_provider(logs)
    spent = Spent()
    try:
        asyncio.run(plan_week(spent))
    finally:
        spans.shutdown()
        logs.shutdown()
    print(json.dumps(asdict(spent)))  # noqa: T201 - its result, for whoever started it


if __name__ == "__main__":
    main()
