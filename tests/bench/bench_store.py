"""What the local store costs: µs of CPU per span to keep what comes, and to read it where its trace stays open.

python tests/bench/bench_store.py

The second is on top of the first, and comes only where a trace has not settled after some seconds.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters

SPANS, OF_TRACE, ROUNDS = 2000, 20, 5
TEXT = "v" * 500


def spans(messages: int) -> Batch:
    """Generations with flat attributes, and so many structured messages of 3 kB."""
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    scoped.scope.name = "opentelemetry.instrumentation.openai.v1"
    for number in range(SPANS):
        span = scoped.spans.add(
            trace_id=(number // OF_TRACE + 1).to_bytes(16),
            span_id=(number + 1).to_bytes(8),
            name="chat",
            start_time_unix_nano=1_700_000_000 * 10**9,
            end_time_unix_nano=1_700_000_001 * 10**9,
        )
        said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "session.id": "s"}
        said |= {f"gen_ai.prompt.{i}.content": TEXT for i in range(6)}
        for key, value in said.items():
            span.attributes.add(key=key).value.string_value = value
        if messages:
            structured = span.attributes.add(key="gen_ai.input.messages").value.array_value.values
            for _ in range(messages):
                structured.add().kvlist_value.values.add(key="content").value.string_value = TEXT * 6
    return Batch.from_request(request)


def cost(work: Callable[[], object]) -> float:
    """µs for each span."""
    begun = time.process_time()
    work()
    return (time.process_time() - begun) / SPANS * 1e6


def measured(messages: int) -> tuple[float, float]:
    """µs to keep a span, and to read it."""
    batch = spans(messages)
    clock = iter((time.time_ns(),) * 2)
    later_ns = time.time_ns() + 10**10
    with TemporaryDirectory() as folder:
        writer = Writer(
            Path(folder) / "store.db",
            max_age_s=1e9,
            max_bytes=1 << 32,
            counters=Counters(),
            now_ns=lambda: next(clock, later_ns),
        )
        kept = cost(lambda: writer.batch(batch))
        read = cost(lambda: writer.hear(for_s=60))
        writer.close()
    return kept, read


def main() -> None:
    print(f"{'µs of CPU a span':<24}{'kept':>8}{'read':>8}{'ratio':>8}")
    for name, messages in (("flat", 0), ("20 messages of 3 kB", 20)):
        kept, read = map(min, zip(*(measured(messages) for _ in range(ROUNDS)), strict=True))
        print(f"{name:<24}{kept:>8.0f}{read:>8.0f}{(kept + read) / kept:>8.1f}")


if __name__ == "__main__":
    main()
