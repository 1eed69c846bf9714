"""A load of numbered spans over OTLP/HTTP: which of them were acknowledged is known exactly.

Each trace is a root with generations below; the last request of a trace brings the root, as real agents do.
"""

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

HEADERS = {"Content-Type": "application/x-protobuf"}


def attribute(key: str, value: str | int) -> KeyValue:
    filled = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    return KeyValue(key=key, value=filled)


def trace_id(number: int) -> bytes:
    return (number + 1).to_bytes(16, "big")


def span_id(number: int, index: int) -> bytes:
    return ((number + 1) * 1000 + index + 1).to_bytes(8, "big")


def trace_requests(number: int, generations: int = 4, text: str = "word " * 50) -> list[tuple[list[str], bytes]]:
    """The requests of one trace: (span ids as hex, body) each; the root comes in the last."""
    start = time.time_ns()
    bodies = []
    for ids in (range(1, generations), [generations, 0]):
        request = ExportTraceServiceRequest()
        scoped = request.resource_spans.add().scope_spans.add()
        scoped.scope.name = "load"
        for index in ids:
            span = scoped.spans.add(
                trace_id=trace_id(number),
                span_id=span_id(number, index),
                parent_span_id=span_id(number, 0) if index else b"",
                name=f"chat {number}.{index}" if index else f"agent {number}",
                start_time_unix_nano=start + index,
                end_time_unix_nano=start + index + 1_000_000,
            )
            if index:
                span.attributes.extend(
                    [
                        attribute("gen_ai.operation.name", "chat"),
                        attribute("gen_ai.request.model", "gpt-4o-mini"),
                        attribute("gen_ai.usage.input_tokens", 100),
                        attribute("gen_ai.usage.output_tokens", 20),
                        attribute("input.value", text),
                    ]
                )
            else:
                span.attributes.append(attribute("session.id", f"session-{number % 10}"))
        bodies.append(([span.span_id.hex() for span in scoped.spans], request.SerializeToString()))
    return bodies


@dataclass
class Load:
    """Sends traces until stopped; requests that fail are sent again, as a stock exporter would.

    acked: span ids whose request was answered 200.
    chars: the text of each generation.
    """

    url: str
    acked: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    stopped: bool = False
    next_number: int = 0
    chars: int = 250

    async def run(self, workers: int = 8, traces: int | None = None) -> None:
        """Send `traces` traces, or as many as possible until `stopped`."""
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(session, traces))

    async def _work(self, session: aiohttp.ClientSession, traces: int | None) -> None:
        while not self.stopped and (traces is None or self.next_number < traces):
            number, self.next_number = self.next_number, self.next_number + 1
            for ids, body in trace_requests(number, text="word " * (self.chars // 5)):
                await self._send(session, ids, body)

    async def _send(self, session: aiohttp.ClientSession, ids: list[str], body: bytes) -> None:
        self.sent.update(ids)
        while not self.stopped:
            try:
                async with session.post(f"{self.url}/v1/traces", data=body, headers=HEADERS) as answer:
                    if answer.status == 200:
                        self.acked.update(ids)
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(0.02)  # the bridge is down or full: what a client's backoff is for
