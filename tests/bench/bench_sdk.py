"""What telemetry costs an agent: the plain SDK, its batch processor, ours, Langfuse's SDK; side by side, in one run.

Each span has twenty attributes. Times of single spans are those of the calling thread, in turn, and exporters that take
everything at once; whatever goes over HTTP goes to a process of its own, and each program is one, too.

    python tests/bench/bench_sdk.py            # prints what is measured and what of it is as promised; five minutes
    python tests/bench/bench_sdk.py --check    # ends with 1 where something is not
    python tests/bench/bench_sdk.py --only spans   # spans, wall, stalls, imports or exits
"""

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from otel_bridge.sdk import batch, span, stream
from otel_bridge.sdk.context import ContextProcessor
from otel_bridge.sdk.open_spans import OpenSpans

ROUNDS, SPANS = 200, 100
ATTRIBUTES = {f"attribute.{number}": f"value {number} {'x' * 20}" for number in range(20)}
AGENTS, STEPS, MODEL_S, TOOL_S = 50, 10, 0.3, 0.1  # 250 spans a second
MESSAGES = "What matters about Lisbon is where you start. " * 90  # 4 KB
PAIRS = 5  # of measurements whose difference counts
FLUSH_S = 0.2

Enter = Callable[[str], AbstractContextManager[Any]]


class Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def http(url: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{url}/v1/traces")


def plain(_exporter: SpanExporter) -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


def stock(exporter: SpanExporter) -> TracerProvider:
    provider = plain(exporter)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000))
    return provider


def ours_alone(exporter: SpanExporter) -> TracerProvider:
    provider = plain(exporter)
    provider.add_span_processor(batch.BatchSpanProcessor(exporter))
    return provider


def ours(exporter: SpanExporter) -> TracerProvider:
    provider = plain(exporter)
    for processor in (ContextProcessor(), OpenSpans(), batch.BatchSpanProcessor(exporter)):
        provider.add_span_processor(processor)
    return provider


def langfuse(exporter: SpanExporter) -> TracerProvider:
    from langfuse._client.span_processor import LangfuseSpanProcessor

    provider = plain(exporter)
    provider.add_span_processor(
        LangfuseSpanProcessor(
            public_key="pk-lf-x",
            secret_key="sk-lf-x",
            base_url="http://127.0.0.1:9",
            span_exporter=exporter,
            should_export_span=lambda _span: True,
        )
    )
    return provider


def langfuse_client() -> Any:
    """Its own API, whose values are made JSON of."""
    import langfuse

    return langfuse.Langfuse(
        public_key="pk-lf-x",
        secret_key="sk-lf-x",
        base_url="http://127.0.0.1:9",
        span_exporter=Nowhere(),
        tracer_provider=plain(Nowhere()),
        should_export_span=lambda _span: True,
    )


PROVIDERS: dict[str, Callable[[SpanExporter], TracerProvider]] = {
    "SDK, no processor": plain,
    "SDK, stock batch": stock,
    "otel-bridge, batch": ours_alone,
    "otel-bridge, all": ours,
    "Langfuse's processor": langfuse,
}


class Promises:
    """What is promised, and whether it was so."""

    def __init__(self) -> None:
        self.broken = 0

    def told(self, promise: str, found: float, most: float, unit: str) -> None:
        is_kept = found <= most
        self.broken += not is_kept
        print(f"  {'pass' if is_kept else 'FAIL'}  {promise}: {found:.2f} {unit}, at most {most:g}")


# What a span costs.


def started(tracer: trace.Tracer) -> None:
    tracer.start_span("work", attributes=ATTRIBUTES).end()


def helped(enter: Callable[[], AbstractContextManager[Any]]) -> None:
    with enter():
        pass


class Cost:
    """Microseconds of each kind, round by round: a machine's speed changes, so kinds are compared within rounds."""

    def __init__(self, rounds: dict[str, list[float]]) -> None:
        self._rounds = rounds

    def to(self, kind: str, other: str) -> float:
        """How many times as much as another it costs."""
        return statistics.median(a / b for a, b in zip(self._rounds[kind], self._rounds[other], strict=True))


def timed(kinds: dict[str, Callable[[], None]], base: str, what: str) -> Cost:
    """The cost of each, and their table."""
    rounds: dict[str, list[float]] = {name: [] for name in kinds}
    with plain(Nowhere()).get_tracer("bench").start_as_current_span("parent"):  # as most have one
        for _ in range(ROUNDS):
            for name, once in kinds.items():
                began = time.thread_time()
                for _ in range(SPANS):
                    once()
                rounds[name].append((time.thread_time() - began) / SPANS * 1e6)
    cost = Cost(rounds)
    print(f"{what:46} {'median':>8} {'p99':>8} {'to stock':>9}")
    for name, taken in rounds.items():
        p99 = sorted(taken)[int(len(taken) * 0.99) - 1]
        print(f"  {name:44} {statistics.median(taken):8.1f} {p99:8.1f} {cost.to(name, base):9.2f}")
    return cost


def spans(promises: Promises) -> None:
    raw = {
        name: partial(started, made(Nowhere()).get_tracer("bench", attributes=None)) for name, made in PROVIDERS.items()
    }
    cost = timed(raw, "SDK, stock batch", "µs of a thread for tracer.start_span().end()")
    promises.told("all processors to the stock one", cost.to("otel-bridge, all", "SDK, stock batch"), 1.25, "times")
    mine, bare = (cost.to(name, "Langfuse's processor") for name in ("otel-bridge, all", "SDK, no processor"))
    print(f"        to Langfuse's {mine:.2f} times; a processor that costs nothing: {bare:.2f} times")

    stock_tracer, our_tracer = stock(Nowhere()).get_tracer("bench"), ours(Nowhere()).get_tracer("bench")
    client = langfuse_client()

    @span("work", ATTRIBUTES, tracer=our_tracer)
    def ours_decorated() -> None: ...

    def langfuse_observed() -> None:
        client.update_current_span(metadata=ATTRIBUTES)

    from langfuse import observe

    observed = observe(name="work", capture_input=False, capture_output=False)(langfuse_observed)
    helpers: dict[str, Callable[[], None]] = {
        "SDK, start_as_current_span": partial(
            helped, partial(stock_tracer.start_as_current_span, "work", attributes=ATTRIBUTES)
        ),
        "otel-bridge, with span()": partial(helped, partial(span, "work", ATTRIBUTES, tracer=our_tracer)),
        "otel-bridge, @span": ours_decorated,
        "Langfuse, start_as_current_observation": partial(
            helped, partial(client.start_as_current_observation, name="work", metadata=ATTRIBUTES)
        ),
        "Langfuse, @observe": lambda: observed(langfuse_public_key="pk-lf-x"),
    }
    cost = timed(helpers, "SDK, start_as_current_span", "µs of a thread for a span that is current")
    promises.told(
        "span() to Langfuse's start_as_current_observation",
        cost.to("otel-bridge, with span()", "Langfuse, start_as_current_observation"),
        0.5,
        "times",
    )
    promises.told("@span to Langfuse's @observe", cost.to("otel-bridge, @span", "Langfuse, @observe"), 0.5, "times")
    promises.told("µs that stream() adds to a chunk", min(asyncio.run(chunk_us()) for _ in range(5)), 3, "µs")


async def chunk_us(count: int = 20_000) -> float:
    async def numbers() -> AsyncIterator[int]:
        for number in range(count):
            yield number

    async def consume(source: AsyncIterator[int]) -> float:
        began = time.thread_time()
        async for _ in source:
            pass
        return (time.thread_time() - began) / count * 1e6

    return await consume(stream(numbers())) - await consume(numbers())


# What comes of it in a program with a backend: measured in a process of its own, by `--inside`.


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Nothing."""


def serve(status: int) -> None:
    """For the program beside it; 0: take connections, and say nothing."""
    if not status:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            print(listening.getsockname()[1], flush=True)
            kept = []
            while True:
                kept.append(listening.accept())
    Answering.status = status
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextmanager
def backend(status: int | None) -> Iterator[str]:
    """The address of one that answers so, says nothing (0) or is not there (None)."""
    if status is None:
        yield "http://127.0.0.1:9"
        return
    with subprocess.Popen([sys.executable, __file__, "--serve", str(status)], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


async def agents(tracer: trace.Tracer) -> float:
    """How long fifty agents take whose models and tools do."""

    async def agent() -> None:
        for _ in range(STEPS):
            with tracer.start_as_current_span("chat", attributes={**ATTRIBUTES, "input.value": MESSAGES}):
                await asyncio.sleep(MODEL_S)
            with tracer.start_as_current_span("tool", attributes=ATTRIBUTES):
                await asyncio.sleep(TOOL_S)

    began = time.perf_counter()
    await asyncio.gather(*(agent() for _ in range(AGENTS)))
    return time.perf_counter() - began


async def worst_ms(tracer: trace.Tracer, flush: Callable[[], Any]) -> float:
    """The longest that the loop stood still while spans were made and sent, and a flush was asked for."""
    worst_s = 0.0
    over = False

    async def watch() -> None:
        nonlocal worst_s
        while not over:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            worst_s = max(worst_s, time.perf_counter() - began - 0.001)

    async def work() -> None:
        for _ in range(50):
            for _ in range(5):
                with tracer.start_as_current_span("chat", attributes={**ATTRIBUTES, "input.value": MESSAGES}):
                    await asyncio.sleep(0)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    await work()
    asked = flush()
    if asyncio.iscoroutine(asked):
        await asked
    await work()
    over = True
    await watching
    return worst_s * 1000


def inside(what: str, kind: str, url: str) -> None:
    """In a process of its own: prints one number, and ends without waiting for anybody."""
    import logging
    import os

    logging.disable()
    made = {"none": None, "stock": stock, "ours": ours, "langfuse": langfuse}[kind]
    provider = made(http(url)) if made else None
    tracer: trace.Tracer = provider.get_tracer("bench") if provider else trace.NoOpTracer()
    if provider is not None:  # what is imported when the first is sent is not measured
        tracer.start_span("first").end()
        provider.force_flush(500)
    if what == "wall":
        print(asyncio.run(agents(tracer)), flush=True)
    else:
        flush: Callable[[], Any] = lambda: provider and provider.force_flush(int(FLUSH_S * 1000))  # noqa: E731
        if kind == "ours" and provider is not None:
            [sending] = [
                each
                for each in provider._active_span_processor._span_processors
                if isinstance(each, batch.BatchSpanProcessor)
            ]
            flush = lambda: sending.aflush(FLUSH_S)  # noqa: E731
        print(asyncio.run(worst_ms(tracer, flush)), flush=True)
    os._exit(0)


def measured(what: str, kind: str, url: str) -> float:
    command = [sys.executable, __file__, "--inside", what, kind, url]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


KINDS = {"none": "no telemetry", "stock": "SDK, stock batch", "ours": "otel-bridge, all", "langfuse": "Langfuse's"}


def wall(promises: Promises) -> None:
    with backend(200) as url:
        rounds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(PAIRS):
            for kind in KINDS:
                rounds[kind].append(measured("wall", kind, url))
    base = statistics.median(rounds["none"])
    print(f"{'s of 50 agents at 250 spans a second':46} {'median':>8} {'added':>8}")
    added = {kind: (statistics.median(taken) / base - 1) * 100 for kind, taken in rounds.items()}
    for kind, name in KINDS.items():
        print(f"  {name:44} {statistics.median(rounds[kind]):8.3f} {added[kind]:7.2f}%")
    promises.told("wall time that is added", added["ours"], 1, "%")


def stalls(promises: Promises) -> None:
    backends = {"hung": 0, "refusing": 503, "dead": None}
    print(f"{'ms that the event loop stood still at worst':46} " + " ".join(f"{name:>9}" for name in backends))
    worst: dict[str, list[float]] = {}
    for kind, name in KINDS.items():
        worst[kind] = []
        for status in backends.values():
            with backend(status) as url:
                tries = 3 if kind in ("none", "ours") else 1  # of the others one takes up to half a minute
                worst[kind].append(statistics.median(measured("stall", kind, url) for _ in range(tries)))
        print(f"  {name:44} " + " ".join(f"{found:9.1f}" for found in worst[kind]))
    promises.told("the longest stall, a flush of 0.2 s with it", max(worst["ours"]), 10, "ms")


def import_ms(code: str) -> float:
    program = f"import time; t = time.perf_counter(); {code}; print((time.perf_counter() - t) * 1000)"
    run = partial(subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return min(float(run().stdout) for _ in range(9))


def imports(promises: Promises) -> None:
    sdk_ms = import_ms("import opentelemetry.sdk.trace")
    print(f"{'ms to import':46} {'all':>8} {'added':>8}")
    print(f"  {'opentelemetry.sdk.trace':44} {sdk_ms:8.1f}")
    found = {}
    for name in ("otel_bridge.sdk", "langfuse"):
        found[name] = import_ms(f"import opentelemetry.sdk.trace; import {name}")
        print(f"  {name:44} {found[name]:8.1f} {found[name] - sdk_ms:8.1f}")
    promises.told("otel_bridge.sdk over opentelemetry-sdk", found["otel_bridge.sdk"] - sdk_ms, 60, "ms")


PROGRAM = """
import time, threading
{set_up}
from opentelemetry import trace
tracer = trace.get_tracer("bench")
for number in range(20):
    tracer.start_span("work", attributes={attributes}).end()
threading.Event().wait(3)  # a program has been up for a while when it ends
for number in range(20):
    tracer.start_span("work", attributes={attributes}).end()
print(time.time(), flush=True)
"""
SET_UPS = {
    "none": "",
    "stock": """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint={url!r} + "/v1/traces")))
""",
    "ours": "from otel_bridge.sdk import install; install({url!r})",
    "langfuse": """
import langfuse
langfuse.Langfuse(public_key="pk-lf-x", secret_key="sk-lf-x", base_url={url!r}, should_export_span=lambda _: True)
""",
}


def exit_ms(kind: str, url: str) -> float:
    program = PROGRAM.format(set_up=SET_UPS[kind].format(url=url), attributes=json.dumps(ATTRIBUTES))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return (time.time() - float(done.stdout)) * 1000


def exits(promises: Promises) -> None:
    found: dict[str, list[float]] = {}
    print(f"{'ms from the last line of a program to its end':46} {'taken':>8} {'refused':>8} {'nobody':>8}")
    for kind, name in KINDS.items():
        found[kind] = []
        for status in (200, 503, None):
            with backend(status) as url:
                tries = 3 if kind in ("none", "ours") else 1
                found[kind].append(statistics.median(exit_ms(kind, url) for _ in range(tries)))
        print(f"  {name:44} " + " ".join(f"{each:8.0f}" for each in found[kind]))
    ratio = found["ours"][0] / found["none"][0]
    print(f"        with a bridge that is there the end takes {ratio:.2f} times what it takes without telemetry")
    added_s = (max(found["ours"]) - found["none"][0]) / 1000
    promises.told("what the end takes longer, at worst", added_s, 2, "s")


PARTS: dict[str, Callable[[Promises], None]] = {
    "spans": spans,
    "wall": wall,
    "stalls": stalls,
    "imports": imports,
    "exits": exits,
}


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="end with 1 where a promise is not kept")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part of it")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(asked.serve)
    elif asked.inside:
        inside(*asked.inside)
    else:
        promises = Promises()
        for name in asked.only or PARTS:
            PARTS[name](promises)
        print("everything is as promised" if not promises.broken else f"{promises.broken} promises are not kept")
        sys.exit(bool(asked.check and promises.broken))


if __name__ == "__main__":
    main()
