"""What may take long is done in the decoding threads: the loop, and with it everybody else, goes on."""

import asyncio
import gc
import gzip
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch, Signal
from otel_bridge.component import Host
from otel_bridge.errors import BridgeError, MalformedError, TooLargeError
from otel_bridge.otlp_json import dump
from otel_bridge.receivers.otlp import admission
from otel_bridge.receivers.otlp.admission import INLINE_BYTES, Admission
from otel_bridge.receivers.otlp.memory import Memory
from otel_bridge.receivers.otlp.routing import Routing
from otel_bridge.receivers.otlp.senders import Sender, Senders
from otel_bridge.receivers.otlp.unpack import gunzip

MAX_BODY = 8 << 20


class Threads(ThreadPoolExecutor):
    """Counts what it is given."""

    given = 0

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.given += 1
        return super().submit(work, *args, **kwargs)


@pytest.fixture
def threads() -> Iterator[Threads]:
    with Threads(1) as threads:
        yield threads


def spans(name: str) -> ExportTraceServiceRequest:
    span = {
        "trace_id": b"t" * 16,
        "span_id": b"s" * 8,
        "name": name,
        "start_time_unix_nano": 1,
        "end_time_unix_nano": 2,
    }
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [span]}]}])


async def take(threads: Threads, raw: bytes, **how: Any) -> list[Batch]:
    taken: list[Batch] = []

    async def consume(*batches: Batch) -> None:
        taken.extend(batches)

    host = Host("otlp", Path())
    door = Admission(
        consume,
        host,
        threads,
        Memory(None, threads),
        MAX_BODY,
        2 * MAX_BODY,
        senders=Senders(host),
        routing=Routing(None, host.tenants, host.counters),
    )
    sender = Sender("default")
    with door.holding(sender) as hold:
        await door.take(Signal.TRACES, raw, hold, sender, transport="http", **how)
    return taken


SMALL, LARGE = spans("SMALL"), spans("LARGE" + "x" * INLINE_BYTES)
PACKED = {"unpack": gunzip}


@pytest.mark.parametrize(
    ("raw", "how", "in_thread"),
    [
        (SMALL.SerializeToString(), {}, False),
        (LARGE.SerializeToString(), {}, True),
        (dump(SMALL), {"json": True}, False),
        (dump(LARGE), {"json": True}, True),
        (gzip.compress(SMALL.SerializeToString()), PACKED, False),
        (gzip.compress(LARGE.SerializeToString()), PACKED, True),  # 400 bytes, which grow
        (gzip.compress(dump(LARGE)), PACKED | {"json": True}, True),
        (SMALL.SerializeToString().replace(b"SMALL", b"SM\xffLL"), {}, True),
        (gzip.compress(LARGE.SerializeToString().replace(b"LARGE", b"LA\xffGE")), PACKED, True),
    ],
)
async def test_where_a_request_is_read(threads: Threads, raw: bytes, how: dict[str, Any], in_thread: bool) -> None:
    assert [batch.item_count for batch in await take(threads, raw, **how)] == [1]
    assert bool(threads.given) == in_thread


@pytest.mark.parametrize(
    ("raw", "how", "error"),
    [
        (SMALL.SerializeToString()[:-1], {}, MalformedError),
        (b"\x08\x01" * INLINE_BYTES + b"\x0a\x05a", {}, MalformedError),
        (gzip.compress(bytes(MAX_BODY + 1), 1), PACKED, TooLargeError),
    ],
)
async def test_what_can_not_be_read_is_found_out_in_a_thread(
    threads: Threads, raw: bytes, how: dict[str, Any], error: type[BridgeError]
) -> None:
    with pytest.raises(error):
        await take(threads, raw, **how)
    assert threads.given


def within(tag: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([tag]) + length + bytes([size]) + content


SPAN_HEAD = spans("x").resource_spans[0].scope_spans[0].spans[0].SerializeToString()
TINY = {
    "resources": b"\x0a\x00" * 300_000,
    "spans": within(0x0A, within(0x12, b"\x12\x00" * 300_000)),
    "spans in many scopes": within(0x0A, within(0x12, b"\x12\x00" * 2000) * 150),
    "attributes of a span": within(0x0A, within(0x12, within(0x12, SPAN_HEAD + b"\x4a\x00" * 600_000))),
    "items of a list": within(
        0x0A,
        within(0x12, within(0x12, SPAN_HEAD + within(0x4A, within(0x12, within(0x2A, b"\x0a\x00" * 600_000))))),
    ),
    "objects in JSON": b'{"resourceSpans":[%b{"text":"{"}]}' % (b"{}," * 20_000),
    "lists in JSON": b'{"resourceSpans":[%b["["]]}' % (b"[]," * 20_000),
}


@pytest.mark.parametrize("what", TINY)
async def test_very_many_very_small_things_are_refused_before_they_take_memory(
    threads: Threads, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Two bytes on the wire are up to 170 decoded, and packed they are next to nothing: some hundred kilobytes would
    take all the memory there is."""
    monkeypatch.setattr(admission, "MAX_PARTS", 10_000)
    monkeypatch.setattr(admission, "FEW_OBJECTS", 10_000)
    with pytest.raises(MalformedError, match=r"more than \d+ .* send smaller batches"):
        await take(threads, TINY[what], json="JSON" in what)


async def test_objects_within_a_text_are_no_objects(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool's answer is often JSON, as a text."""
    monkeypatch.setattr(admission, "FEW_OBJECTS", 100)
    texts = [r'{"a\\": {' * 20_000, r'["a\\", [' * 20_000, "\\", '"{', '"[']
    request = spans("x")
    for text in texts:
        request.resource_spans[0].scope_spans[0].spans[0].events.add(name=text)
    [taken] = await take(threads, dump(request), json=True)
    kept = taken.request.resource_spans[0].scope_spans[0].spans[0].events
    assert [event.name[-9:] for event in kept] == [text[-9:] for text in texts]


@pytest.mark.parametrize(
    "raw",
    [
        within(0x0A, within(0x12, b"\x12\x00" * 10_000)),
        within(0x0A, within(0x12, within(0x12, SPAN_HEAD + b"\x4a\x00" * 10_000))),
        b"\x0a\x00" * 10_000,
    ],
)
async def test_what_takes_long_to_look_at_is_looked_at_in_a_thread(threads: Threads, raw: bytes) -> None:
    await take(threads, raw)
    assert threads.given


SENDER = """
import sys, urllib.request
body = open(sys.argv[1], "rb").read()
headers = {"Content-Type": "application/x-protobuf"}
print(urllib.request.urlopen(urllib.request.Request(sys.argv[2] + "/v1/traces", body, headers)).status)
"""


@pytest.mark.long
async def test_the_loop_goes_on_while_two_hundred_thousand_spans_come_in(receiving: Any, tmp_path: Path) -> None:
    """It is late by no more than 50 ms, or what any busy thread costs on this machine just now."""
    request = ExportTraceServiceRequest()
    made = request.resource_spans.add().scope_spans.add().spans
    for number in range(1, 200_001):
        span = made.add(trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"), name=f"chat {number}")
        span.start_time_unix_nano, span.end_time_unix_nano = 1, 2
        span.attributes.add(key="gen_ai.request.model").value.string_value = "gpt-4o"
    (tmp_path / "body").write_bytes(request.SerializeToString())
    del request, made, span
    gc.collect()
    gc.freeze()  # the test runner's own objects take the garbage collector longer than all the rest

    async def send(url: str) -> None:
        sender = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SENDER, str(tmp_path / "body"), url, stdout=asyncio.subprocess.PIPE
        )
        assert (await sender.communicate())[0] == b"200\n"

    async with receiving() as taken:
        for _ in range(3):
            late_s, took_s = await lateness(send(taken.host.endpoints["http"]))
            reference_s, _ = await lateness(asyncio.to_thread(busy, took_s))
            print(f"late by {late_s * 1000:.0f} ms in {took_s:.1f} s; beside a busy thread {reference_s * 1000:.0f} ms")
            if late_s <= max(0.05, 2 * reference_s):
                break
        else:
            raise AssertionError("three times the loop stood still for too long")
        assert taken.items % 200_000 == 0


def busy(for_s: float) -> None:
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        pass


async def lateness(during: Coroutine[Any, Any, None]) -> tuple[float, float]:
    """The longest that a timer of the loop came late meanwhile, and how long it took; seconds."""
    began = time.monotonic()
    running = asyncio.ensure_future(during)
    latest = 0.0
    while not running.done():
        asked = time.monotonic()
        await asyncio.sleep(0.002)
        latest = max(latest, time.monotonic() - asked - 0.002)
    await running
    return latest, time.monotonic() - began
