"""What a span costs the agent's thread: the plain SDK, its batch processor, ours, Langfuse's; in one run, in turn.

Each span has twenty attributes, and the exporters take everything at once. Printed: microseconds for each span (median
and p99 of rounds), the ratio to the stock batch processor, chunks of `stream()`, and the time that imports take.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from otel_bridge.sdk import batch, stream
from otel_bridge.sdk.context import ContextProcessor
from otel_bridge.sdk.open_spans import OpenSpans

ROUNDS, SPANS = 40, 500
ATTRIBUTES = {f"attribute.{number}": f"value {number} {'x' * 20}" for number in range(20)}


class Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def plain() -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


def stock() -> TracerProvider:
    provider = plain()
    provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=100_000))
    return provider


def ours_alone() -> TracerProvider:
    provider = plain()
    provider.add_span_processor(batch.BatchSpanProcessor(Nowhere()))
    return provider


def ours() -> TracerProvider:
    provider = plain()
    for processor in (ContextProcessor(), OpenSpans(), batch.BatchSpanProcessor(Nowhere())):
        provider.add_span_processor(processor)
    return provider


def langfuse() -> TracerProvider:
    from langfuse._client.span_processor import LangfuseSpanProcessor

    provider = plain()
    provider.add_span_processor(
        LangfuseSpanProcessor(
            public_key="pk-lf-x",
            secret_key="sk-lf-x",
            base_url="http://127.0.0.1:9",
            span_exporter=Nowhere(),
            should_export_span=lambda _span: True,
        )
    )
    return provider


async def chunks_us(count: int = 20_000) -> float:
    async def numbers() -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def consume(source: AsyncIterator[int]) -> float:
        began = time.perf_counter()
        async for _ in source:
            pass
        return (time.perf_counter() - began) / count * 1e6

    return await consume(stream(numbers())) - await consume(numbers())


def import_ms(code: str) -> float:
    timed = f"import time; t = time.perf_counter(); {code}; print((time.perf_counter() - t) * 1000)"
    return float(
        min(
            (subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True).stdout for _ in range(7)),
            key=float,
        )
    )


def main() -> None:
    kinds: dict[str, Callable[[], TracerProvider]] = {
        "SDK, no processor": plain,
        "SDK, stock batch": stock,
        "otel-bridge, batch": ours_alone,
        "otel-bridge, all": ours,
        "Langfuse SDK": langfuse,
    }
    tracers = {name: made().get_tracer("bench") for name, made in kinds.items()}
    rounds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, tracer in tracers.items():
            began = time.thread_time()
            for _ in range(SPANS):
                tracer.start_span("work", attributes=ATTRIBUTES).end()
            rounds[name].append((time.thread_time() - began) / SPANS * 1e6)
    base = statistics.median(rounds["SDK, stock batch"])
    print(f"{'µs of the calling thread for each span':42} {'median':>8} {'p99':>8} {'to stock':>9}")
    for name, taken in rounds.items():
        median, p99 = statistics.median(taken), sorted(taken)[int(len(taken) * 0.99) - 1]
        print(f"{name:42} {median:8.1f} {p99:8.1f} {median / base:9.2f}")
    print(f"{'µs that stream() adds to each chunk':42} {min(asyncio.run(chunks_us()) for _ in range(5)):8.2f}")
    sdk_ms = import_ms("import opentelemetry.sdk.trace")
    both_ms = import_ms("import opentelemetry.sdk.trace; import otel_bridge.sdk")
    print(f"{'ms to import opentelemetry.sdk.trace':42} {sdk_ms:8.1f}")
    print(f"{'ms that otel_bridge.sdk adds':42} {both_ms - sdk_ms:8.1f}")


if __name__ == "__main__":
    main()
