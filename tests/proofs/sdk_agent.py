"""An agent that numbers its spans: `sdk_agent.py otel|langfuse SENDER RATE SECONDS`, addresses by the usual variables.

It says on standard output how many spans it has ended, stays until SIGTERM, and then shuts its SDK down as it should.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from tests.e2e.load import span_id


class Numbered(RandomIdGenerator):
    """Span ids by number, as the load has them."""

    def __init__(self, sender: int) -> None:
        self._sender, self._next = sender, 0

    def generate_span_id(self) -> int:
        number, self._next = self._next, self._next + 1
        return int.from_bytes(span_id(self._sender, number), "big")


def otel(provider: TracerProvider) -> tuple[Callable[[], None], Callable[[], None]]:
    """The stock SDK with its defaults: (a span, the end)."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("agent")
    return lambda: tracer.start_span("step").end(), provider.shutdown


def langfuse(provider: TracerProvider) -> tuple[Callable[[], None], Callable[[], None]]:
    """Langfuse's SDK with its defaults."""
    from langfuse import Langfuse

    client = Langfuse(tracer_provider=provider)

    def span() -> None:
        client.start_observation(name="step").end()

    return span, client.shutdown


def main(kind: str, sender: str, rate: str, seconds: str) -> None:
    provider = TracerProvider(id_generator=Numbered(int(sender)))
    span, end = {"otel": otel, "langfuse": langfuse}[kind](provider)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    began = time.monotonic()
    for ended in range(1, int(float(rate) * float(seconds)) + 1):
        if over.wait(max(0.0, began + ended / float(rate) - time.monotonic())):
            break
        span()
        print(ended, flush=True)
    over.wait()
    end()


if __name__ == "__main__":
    main(*sys.argv[1:])
