"""What may take long is done in the decoding threads: the loop, and with it everybody else, goes on."""

import gzip
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch, Signal
from otel_bridge.component import Host
from otel_bridge.errors import BridgeError, MalformedError, TooLargeError
from otel_bridge.otlp_json import dump
from otel_bridge.receivers.otlp.admission import INLINE_BYTES, Admission
from otel_bridge.receivers.otlp.memory import Memory
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

    async def consume(batch: Batch) -> None:
        taken.append(batch)

    admission = Admission(consume, Host("otlp", Path()), threads, Memory(None, threads), MAX_BODY, 2 * MAX_BODY)
    with admission.holding() as hold:
        await admission.take(Signal.TRACES, raw, hold, transport="http", **how)
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
