"""The exporter that needs no bridge: what it says is true, and it never raises."""

import contextlib
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from otel_bridge.embedded.langfuse import LangfuseSpanExporter
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PUBLIC_KEY", "SECRET_KEY", "BASE_URL", "HOST", "TRACING_ENABLED", "TRACING_ENVIRONMENT", "RELEASE"):
        monkeypatch.delenv(f"LANGFUSE_{name}", raising=False)


def exporter(fake: FakeLangfuse, **given: float) -> LangfuseSpanExporter:
    return LangfuseSpanExporter(
        public_key=fake.public_key, secret_key=fake.secret_key, base_url=fake.url, **{"timeout_s": 20, **given}
    )


class Ids(RandomIdGenerator):
    """Trace ids whose random part begins with this bit."""

    def __init__(self, bit: int) -> None:
        self.bit = bit

    def generate_trace_id(self) -> int:
        return super().generate_trace_id() & ~(1 << 55) | self.bit << 55


def ended(*names: str, within: ReadableSpan | None = None, **attributes: str | int) -> list[ReadableSpan]:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("agent")
    context = trace.set_span_in_context(within) if isinstance(within, trace.Span) else None
    spans = [tracer.start_span(name, context=context, attributes=attributes) for name in names]
    for span in spans:
        span.end()
    return [span for span in spans if isinstance(span, ReadableSpan)]


def names(fake: FakeLangfuse) -> list[str]:
    return sorted(seen["name"] for seen in fake.observations.values())


@pytest.mark.slow
def test_any_provider_with_the_stock_processor(fake: FakeLangfuse) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    sending = exporter(fake)
    provider.add_span_processor(BatchSpanProcessor(sending))
    tracer = provider.get_tracer("agent")
    with tracer.start_as_current_span("plain"):
        said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.usage.input_tokens": 3}
        with tracer.start_as_current_span("chat", attributes=said) as call:
            call.add_event(
                "gen_ai.evaluation.result", {"gen_ai.evaluation.name": "ok", "gen_ai.evaluation.score.value": 1}
            )
    provider.shutdown()

    types = {seen["name"]: seen["type"] for seen in fake.observations.values()}
    assert types == {"plain": "SPAN", "chat": "GENERATION"}
    assert [score["name"] for score in fake.scores.values()] == ["ok"]
    assert sending.force_flush()
    assert sending.dropped == {}


def test_later_batches_know_what_earlier_ones_of_their_trace_said(fake: FakeLangfuse) -> None:
    sending = exporter(fake)
    [root] = ended("root", **{"session.id": "s-1"})
    assert sending.export([root]) is SUCCESS
    assert sending.export(ended("late", within=root)) is SUCCESS
    assert {seen["name"]: seen["sessionId"] for seen in fake.observations.values()} == {"root": "s-1", "late": "s-1"}


def test_what_is_known_of_traces_is_bounded_by_its_bytes(fake: FakeLangfuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_bridge.embedded.langfuse.MAX_BYTES_KNOWN", 1500)
    sending = exporter(fake)
    roots = [ended("root", **{"session.id": str(number) * 150})[0] for number in range(9)]
    for root in roots:
        assert sending.export([root]) is SUCCESS
    assert sending.export(ended("late last", within=roots[-1])) is SUCCESS
    assert sending.export(ended("late first", within=roots[0])) is SUCCESS
    sessions = {seen["name"]: seen["sessionId"] for seen in fake.observations.values()}
    assert sessions["late last"] == "8" * 150
    assert not sessions["late first"]


@pytest.mark.slow
def test_it_tries_again_in_its_time(fake: FakeLangfuse) -> None:
    fake.script("otlp", Fault(503), Fault(does="disconnect"))
    sending = exporter(fake)
    assert sending.export(ended("a")) is SUCCESS
    assert names(fake) == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault(503), "unsent"), (Fault(401), "refused"), (Fault(does="hang"), "unsent")]
)
def test_what_is_lost_is_told_and_counted(
    fake: FakeLangfuse, fault: Fault, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    fake.always("otlp", fault)
    sending = exporter(fake, timeout_s=0.2)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "otel_bridge"):
        assert sending.export(ended("a", "b")) is FAILURE
        assert sending.export(ended("c")) is FAILURE
    assert time.monotonic() - began < 5
    assert sending.dropped == {reason: 3}
    assert len(caplog.records) == 1  # a line a minute
    assert not sending.force_flush()
    assert sending.force_flush()


def test_what_is_too_large_or_refused_alone_is_lost_alone(fake: FakeLangfuse) -> None:
    """A request of three is refused, its halves are tried. No processor is to try again what is never taken."""
    fake.script("otlp", Fault(413), Fault(400))
    sending = exporter(fake)
    assert sending.export(ended("a", "b", "c")) is SUCCESS
    assert sending.dropped == {"refused": 1}
    assert not sending.force_flush()
    assert names(fake) == ["b", "c"]


@pytest.mark.slow
def test_it_keeps_to_its_time_whatever_is_refused(fake: FakeLangfuse) -> None:
    fake.always("otlp", Fault(400, delay_s=0.02))
    sending = exporter(fake, timeout_s=0.2)
    began = time.monotonic()
    assert sending.export(ended(*"abcdefghijklmnopqrstuvwxyz" * 4)) is FAILURE
    assert time.monotonic() - began < 2  # all of the 207 requests would take more than four
    assert sending.dropped["unsent"]
    assert sending.dropped.total() == 104


@contextmanager
def dripping(said: bytes) -> Iterator[tuple[str, list[socket.socket]]]:
    """The address of a server that never comes to an end, and who is connected to it."""
    connected: list[socket.socket] = []
    stopped = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(said)
            while not stopped.wait(0.01):
                connection.sendall(b"x")

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            if stopped.is_set():
                return connection.close()
            connected.append(connection)
            threading.Thread(target=drip, args=(connection,)).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", connected
        finally:
            stopped.set()
            socket.create_connection(listening.getsockname()).close()
            accepting.join()


def asking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "otel-bridge-langfuse"]


def all_end() -> bool:
    for thread in (threads := asking()):
        thread.join(5)
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.slow
def test_an_answer_without_end_leaves_no_thread_behind(fake: FakeLangfuse) -> None:
    assert exporter(fake).export(ended("imports")) is SUCCESS
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n") as (fake.url, connected):
        sending = exporter(fake, timeout_s=0.1)
        for _ in range(4):
            assert sending.export(ended("a")) is FAILURE
            assert len(asking()) <= 1
        assert len(connected) > 1
        assert all_end()
    assert sending.dropped == {"unsent": 4}


@pytest.mark.slow
def test_a_request_that_never_ends_is_the_only_one(fake: FakeLangfuse) -> None:
    assert exporter(fake).export(ended("imports")) is SUCCESS
    with dripping(b"HTTP/1.1 200 OK\r\nX-Drip: ") as (fake.url, connected):
        sending = exporter(fake, timeout_s=0.1)
        for _ in range(4):
            assert sending.export(ended("a")) is FAILURE
        assert len(asking()) == len(connected) == 1
    assert all_end()


def test_what_was_refused_is_not_taken_for_sent(fake: FakeLangfuse) -> None:
    [root] = ended("root")
    spans = [root, *ended("a", "b", within=root)]
    fake.script("otlp", Fault(400), Fault(400))
    sending = exporter(fake)
    assert sending.export(spans) is SUCCESS
    assert names(fake) == ["a", "b"]
    assert sending.export(spans) is SUCCESS
    assert names(fake) == ["a", "b", "root"]
    assert fake.duplicates == 0


def test_only_what_is_left_of_a_batch_is_sent_again(fake: FakeLangfuse) -> None:
    [root] = ended("root")
    spans = [root, *ended("a", "b", "c", within=root)]
    fake.script("otlp", Fault(413), Fault(200, stored=True), Fault(401))
    sending = exporter(fake)
    assert sending.export(spans) is FAILURE
    assert sending.dropped == {"refused": 2}
    assert len(fake.observations) == 2
    assert sending.export(spans) is SUCCESS
    assert names(fake) == ["a", "b", "c", "root"]
    assert fake.duplicates == 0


def test_lost_scores_do_not_send_their_span_again(fake: FakeLangfuse) -> None:
    fake.always("ingestion", Fault(403))
    sending = exporter(fake)
    with TracerProvider(shutdown_on_exit=False).get_tracer("agent").start_as_current_span("judged") as span:
        said = {"gen_ai.evaluation.name": "ok", "gen_ai.evaluation.score.value": 1}
        span.add_event("gen_ai.evaluation.result", said)
    assert isinstance(span, ReadableSpan)
    assert sending.export([span]) is SUCCESS
    assert sending.dropped == {"scores": 1}
    assert not sending.force_flush()
    assert names(fake) == ["judged"]


def test_without_keys_it_says_so_and_sends_nothing(
    fake: FakeLangfuse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGFUSE_HOST", fake.url)
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
    with caplog.at_level(logging.WARNING, "otel_bridge"):
        sending = LangfuseSpanExporter()
        assert sending.export(ended("a")) is FAILURE
    assert sending.dropped == {"no_keys": 1}
    assert [record.message.partition(":")[2].strip() for record in caplog.records] == [
        "LANGFUSE_HOST is taken for LANGFUSE_BASE_URL: write that, which Langfuse's own SDK knows too",
        "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not both set: nothing is sent to Langfuse",
    ]
    assert not fake.requests


def test_langfuses_own_variables_are_honoured(fake: FakeLangfuse, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"PUBLIC_KEY": fake.public_key, "SECRET_KEY": fake.secret_key, "BASE_URL": fake.url}
    for name, value in {**said, "TRACING_ENVIRONMENT": "staging", "RELEASE": "v7"}.items():
        monkeypatch.setenv(f"LANGFUSE_{name}", value)
    assert LangfuseSpanExporter().export(ended("a")) is SUCCESS
    [seen] = fake.observations.values()
    assert (seen["environment"], seen["release"]) == ("staging", "v7")

    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "false")
    assert LangfuseSpanExporter().export(ended("b")) is SUCCESS
    assert names(fake) == ["a"]


def test_proxies_are_not_asked(fake: FakeLangfuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert exporter(fake, timeout_s=2).export(ended("a")) is SUCCESS


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_are_those_that_variables_name(
    name: str, fake: FakeLangfuse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(other, raising=False)
    assert exporter(fake).export(ended("imports")) is SUCCESS
    monkeypatch.setenv(name, "/nowhere/ours.pem")
    fake.url = "https://127.0.0.1:1"
    with caplog.at_level(logging.WARNING, "otel_bridge"):
        assert exporter(fake, timeout_s=0.1).export(ended("a")) is FAILURE
    assert "/nowhere/ours.pem" in caplog.text


def test_after_shutdown_nothing_is_taken(fake: FakeLangfuse) -> None:
    sending = exporter(fake)
    sending.shutdown()
    assert sending.export(ended("a")) is FAILURE
    assert sending.dropped == {"after_shutdown": 1}


def test_a_sample_rate_keeps_whole_traces(fake: FakeLangfuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_SAMPLE_RATE", "0.5")
    sending = exporter(fake)
    batches: list[list[ReadableSpan]] = []
    for upper_bit in (0, 1, 0, 1):
        tracer = TracerProvider(shutdown_on_exit=False, id_generator=Ids(upper_bit)).get_tracer("agent")
        root = tracer.start_span("root")
        within = trace.set_span_in_context(root)
        spans = [root, *(tracer.start_span(name, context=within) for name in "abc")]
        for span in spans:
            span.end()
        batches.append([span for span in spans if isinstance(span, ReadableSpan)])
    for together in zip(*batches, strict=True):  # each trace in four parts
        assert sending.export(together) is SUCCESS
    assert Counter(seen["traceId"] for seen in fake.observations.values()) == {
        f"{span.context.trace_id:032x}": 4 for span in (batches[1][0], batches[3][0]) if span.context
    }


def test_a_sample_rate_of_nothing_and_one_that_is_no_number(
    fake: FakeLangfuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGFUSE_SAMPLE_RATE", "0")
    assert exporter(fake).export(ended("a")) is SUCCESS
    monkeypatch.setenv("LANGFUSE_SAMPLE_RATE", "many")
    assert exporter(fake).export(ended("b")) is SUCCESS
    assert names(fake) == ["b"]
