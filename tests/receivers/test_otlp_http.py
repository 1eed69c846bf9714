"""The HTTP door: right answers to right and wrong requests, and nobody is waited for too long."""

import asyncio
import gzip
import json
import random
import zlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from backports import zstd
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_bridge import otlp_json
from otel_bridge.errors import BridgeError, JournalFullError, ParkedError, RefusedError, RetryableError, TooLargeError
from otel_bridge.receivers.otlp import admission, http
from otel_bridge.receivers.otlp.http import MAX_SKIPPED
from tests.receivers.http1 import JSON, ONE, PROTOBUF, Client, request, spans

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
ZLIB_BOMB = zlib.compress(bytes(50 << 20), 9)
OPEN_ENDED = zstd.ZstdCompressor()
ZSTD_WITHOUT_SIZE = OPEN_ENDED.compress(ONE) + OPEN_ENDED.flush()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (ONE, {}),
        (ONE, {"content_encoding": "identity"}),
        (gzip.compress(ONE), {"content_encoding": "gzip"}),
        (gzip.compress(ONE[:5]) + gzip.compress(ONE[5:]), {"content_encoding": "gzip"}),
        (zlib.compress(ONE), {"content_encoding": "deflate"}),
        (zstd.compress(ONE), {"content_encoding": "zstd"}),
        (ZSTD_WITHOUT_SIZE, {"content_encoding": "zstd"}),
        (otlp_json.dump(spans("one")), {"content_type": JSON}),
        (otlp_json.dump(spans("one")), {"content_type": "Application/JSON; charset=utf-8"}),
        (gzip.compress(otlp_json.dump(spans("one"))), {"content_type": JSON, "content_encoding": "gzip"}),
    ],
)
async def test_every_form_of_a_request_is_taken(receiving: Any, body: bytes, headers: dict[str, str]) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        answer = await client.post(body, **headers)

        assert (answer.status, taken.items) == (200, 1)
        assert answer.body == (b"{}" if JSON in headers.get("content_type", "").lower() else b"")
        assert taken.batches[0].wire == ONE


@pytest.mark.parametrize(
    ("body", "changes", "status", "reason"),
    [
        (b"\xff\xff\xff", {}, 400, "malformed"),
        (ONE[:-3], {}, 400, "malformed"),
        (b"{", {"content_type": JSON}, 400, "malformed"),
        (b"[]", {"content_type": JSON}, 400, "malformed"),
        (b'{"resourceSpans": 5}', {"content_type": JSON}, 400, "malformed"),
        (ONE, {"content_encoding": "gzip"}, 400, "malformed"),
        (ONE, {"content_encoding": "zstd"}, 400, "malformed"),
        (gzip.compress(ONE)[:-4], {"content_encoding": "gzip"}, 400, "malformed"),
        (ZSTD_WITHOUT_SIZE[:-2], {"content_encoding": "zstd"}, 400, "malformed"),
        (ONE, {"path": "/v1/spans"}, 404, "not_found"),
        (ONE, {"path": "//v1/traces"}, 404, "not_found"),
        (ONE, {"path": "/v1/../v1/traces"}, 404, "not_found"),
        (ONE, {"path": "/v1/../../etc/passwd"}, 404, "not_found"),
        (ONE, {"path": "/v1/%74races"}, 404, "not_found"),
        (ONE, {"path": "/v1/traces/"}, 404, "not_found"),
        (ONE, {"path": "/v1/traces?token=secret"}, 404, "not_found"),
        (ONE, {"path": "http://localhost/v1/traces"}, 404, "not_found"),
        (b"", {"path": "/", "method": "GET"}, 404, "not_found"),
        (b"", {"method": "GET"}, 405, "method"),
        (ONE, {"method": "PUT"}, 405, "method"),
        (ONE, {"method": "PATCH"}, 405, "method"),
        (b"", {"method": "DELETE"}, 405, "method"),
        (b"", {"method": "OPTIONS"}, 405, "method"),
        (ONE, {"origin": "https://evil.example"}, 403, "browser_origin"),
        (ONE, {"content_type": ""}, 415, "content_type"),
        (ONE, {"content_type": "text/plain"}, 415, "content_type"),
        (ONE, {"content_encoding": "br"}, 415, "unsupported_encoding"),
        (ONE, {"content_encoding": "gzip, gzip"}, 415, "unsupported_encoding"),
        (ONE, {"content_length": "-1"}, 400, "malformed_http"),
        (ONE, {"content_length": "", "transfer_encoding": "gzip"}, 400, "malformed_http"),
        (ONE, {"host": ""}, 400, "malformed_http"),
        (ONE, {"x": "y" * 40_000}, 431, "headers_too_large"),
        (ONE, {"x": "y" * 200_000}, 431, "headers_too_large"),
        (ONE, {f"x{number}": "y" for number in range(1000)}, 431, "headers_too_large"),
        (ONE, {"transfer_encoding": "chunked"}, 400, "malformed_http"),
        (bytes(2 << 20), {}, 413, "too_large"),
        (gzip.compress(bytes(50 << 20)), {"content_encoding": "gzip"}, 413, "too_large"),
        (ZLIB_BOMB, {"content_encoding": "deflate"}, 413, "too_large"),
        (zstd.compress(bytes(50 << 20)), {"content_encoding": "zstd"}, 413, "too_large"),
    ],
)
async def test_wrong_requests_are_refused(
    receiving: Any, body: bytes, changes: dict[str, str], status: int, reason: str
) -> None:
    async with receiving(max_body=1 << 20) as taken, Client(taken.address("http")) as client:
        answer = await client.post(body, **changes)

        assert answer.status == status
        assert answer.message
        assert taken.count("refused", reason=reason) == 1
        assert answer.headers.get("allow") == ("POST" if status == 405 else None)
        assert taken.batches == []
        async with Client(taken.address("http")) as another:
            assert (await another.post(ONE)).status == 200


async def test_errors_speak_the_content_type_of_the_request(receiving: Any) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        protobuf = await client.post(b"\xff")
        as_json = await client.post(b"nonsense", content_type=JSON)

        assert protobuf.headers["content-type"] == PROTOBUF
        assert Status.FromString(protobuf.body).code == 3
        assert json.loads(as_json.body)["code"] == 3


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (RetryableError("later", retry_after_s=7), 503, {7}),
        (RetryableError("later"), 503, set(range(1, 6))),
        (JournalFullError("full"), 503, set(range(1, 6))),
        (ParkedError("parked", "unauthorized"), 503, set(range(1, 6))),
        (RefusedError("never"), 400, None),
        (TooLargeError("too many"), 413, None),
    ],
)
async def test_a_refusing_consumer_decides_the_answer(
    receiving: Any, error: Exception, status: int, retry_after: set[int] | None
) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        taken.refuse = error
        answer = await client.post(ONE)

        assert (answer.status, answer.message) == (status, str(error))
        if retry_after is None:
            assert "retry-after" not in answer.headers
        else:
            assert int(answer.headers["retry-after"]) in retry_after
        taken.refuse = None
        assert (await client.post(ONE)).status == 200, "the connection is still good"


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
async def test_a_bad_span_is_rejected_alone(receiving: Any, content_type: str) -> None:
    mixed = spans("good", "good too")
    mixed.resource_spans[0].scope_spans[0].spans.add(name="without ids")
    async with receiving() as taken, Client(taken.address("http")) as client:
        body = otlp_json.dump(mixed) if content_type == JSON else mixed.SerializeToString()
        answer = await client.post(body, content_type=content_type)

        assert (answer.status, taken.items) == (200, 2)
        if content_type == JSON:
            partial = json.loads(answer.body)["partialSuccess"]
            assert partial["rejectedSpans"] == "1"
            assert "no_trace_id" in partial["errorMessage"]
        else:
            partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
            assert partial.rejected_spans == 1
            assert "no_trace_id" in partial.error_message


async def test_json_numbers_out_of_range_and_ids_in_base64_cost_their_span_only(receiving: Any) -> None:
    request = json.loads(otlp_json.dump(spans("good", "too late", "base64")))
    made = request["resourceSpans"][0]["scopeSpans"][0]["spans"]
    made[1]["startTimeUnixNano"] = "1e3"
    made[2]["traceId"] = "W40wW40wW40wW40wW40wWA=="
    async with receiving() as taken, Client(taken.address("http")) as client:
        answer = await client.post(json.dumps(request).encode(), content_type=JSON)

        assert (answer.status, taken.items) == (200, 1)
        assert json.loads(answer.body)["partialSuccess"]["rejectedSpans"] == "2"
        assert taken.count("rejected", reason="out_of_range") == 1
        assert taken.count("rejected", reason="bad_id") == 1


async def test_logs_sent_to_the_spans_path_get_a_hint(receiving: Any) -> None:
    logs = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [{"severity_text": "INFO"}]}]}])
    async with receiving() as taken, Client(taken.address("http")) as client:
        answer = await client.post(logs.SerializeToString())

        assert answer.status == 200
        assert "log records" in ExportTraceServiceResponse.FromString(answer.body).partial_success.error_message
        assert taken.batches == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (ExportTraceServiceRequest(resource_spans=[{}]).SerializeToString(), {}),
        (b"", {"content_type": JSON}),
        (b"{}", {"content_type": JSON}),
        (gzip.compress(b""), {"content_type": JSON, "content_encoding": "gzip"}),
    ],
)
async def test_nothing_to_take_is_fine(receiving: Any, body: bytes, headers: dict[str, str]) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        assert (await client.post(body, **headers)).status == 200
        assert taken.batches == []


async def test_text_that_is_no_utf8_is_repaired(receiving: Any) -> None:
    broken = spans("abcde").SerializeToString().replace(b"abcde", b"ab\xffde")
    async with receiving() as taken, Client(taken.address("http")) as client:
        assert (await client.post(broken)).status == 200
        assert taken.batches[0].request.resource_spans[0].scope_spans[0].spans[0].name == "ab\ufffdde"
        assert taken.count("repaired", what="utf8") == 1


async def test_chunked_bodies_are_taken(receiving: Any) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        client.say(request(b"", content_length="", transfer_encoding="chunked"))
        client.say(b"5;name=value\r\n" + ONE[:5] + b"\r\n")
        client.say(b"%x\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(ONE) - 5, ONE[5:]))

        assert (await client.answer()).status == 200
        assert taken.batches[0].wire == ONE
        assert (await client.post(ONE)).status == 200


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"zz\r\n", 400),
        (b"-5\r\n", 400),
        (b"3\r\nabcd\r\n", 400),
        (b"9" * 40_000, 400),
        (b"0\r\n" + b"a: b\r\n" * 100, 400),
        (b"100001\r\n" + bytes(100), 413),
        ((b"80000\r\n" + bytes(0x80000) + b"\r\n") * 3, 413),
    ],
)
async def test_bad_chunks_are_refused(receiving: Any, chunks: bytes, status: int) -> None:
    async with receiving(max_body=1 << 20) as taken, Client(taken.address("http")) as client:
        client.say(request(b"", content_length="", transfer_encoding="chunked") + chunks)

        assert (await client.answer()).status == status
        assert taken.batches == []


async def test_pipelined_requests_are_answered_in_order(receiving: Any) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        client.say(b"".join(request(spans(str(n)).SerializeToString() if n % 2 else b"\xff") for n in range(100)))

        assert [(await client.answer()).status for _ in range(100)] == [400, 200] * 50
        assert taken.items == 50


async def test_an_answer_to_head_has_no_body_which_would_be_taken_for_the_next_answer(receiving: Any) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        client.say(request(b"", "/v1/traces", "HEAD"))
        assert b" 405 " in await client.reader.readuntil(b"\r\n\r\n")
        assert (await client.post(ONE)).status == 200


async def test_expect_100_continue(receiving: Any) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        client.say(request(ONE, expect="100-continue").removesuffix(ONE))
        assert (await client.answer()).status == 100
        client.say(ONE)
        assert (await client.answer()).status == 200
        assert taken.items == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_length": "1001"}, 413),
        ({"content_type": "text/plain"}, 415),
        ({"content_encoding": "br"}, 415),
        ({"origin": "https://evil.example"}, 403),
        ({"host": "evil.example"}, 421),
        ({"path": "/elsewhere"}, 404),
    ],
)
async def test_what_the_head_says_is_refused_before_the_body(
    receiving: Any, headers: dict[str, str], status: int
) -> None:
    """Whether its sender waits to be asked for the body, or is about to send it."""
    for expect in ("100-continue", ""):
        async with receiving(max_body=1000) as taken, Client(taken.address("http")) as client:
            client.say(request(b"", **{"content_length": "10", "expect": expect} | headers))
            assert (await client.answer()).status == status
            assert await client.reader.read() == b"", "and closed"
            assert taken.batches == []


async def test_http_1_0_is_answered_and_closed(receiving: Any) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        client.say(request(ONE).replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.closed()
        assert taken.items == 1


async def test_tls_is_told_that_it_is_the_wrong_protocol(receiving: Any) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        client.say(b"\x16\x03\x01\x02\x00\x01")
        answer = await client.answer()
        assert answer.status == 400
        assert "this port takes OTLP" in answer.message
        assert taken.count("wrong_protocol") == 1


async def test_grpc_is_told_that_it_is_the_wrong_port(receiving: Any) -> None:
    async with receiving() as taken:
        async with grpc.aio.insecure_channel(taken.host.endpoints["http"].removeprefix("http://")) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match=r"http1\.x server"):
                await channel.unary_unary(EXPORT)(ONE)
        assert taken.count("wrong_protocol") >= 1


async def test_the_log_says_what_is_refused_once_in_a_while(
    receiving: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as taken:

        async def refused(times: int) -> int:
            for _ in range(times):
                async with Client(taken.address("http")) as client:
                    client.say(b"\x16\x03\x01\x02\x00\x01")
                    await client.answer()
            return capsys.readouterr().err.count('"wrong_protocol"')

        assert await refused(5) == 1
        monkeypatch.setattr(admission, "SAY_EVERY_S", 0)
        assert await refused(2) == 2
        assert taken.count("refused", reason="wrong_protocol") == 7


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"POST /v1/traces HT", 408),
        (request(b"", content_length="100") + b"some", 408),
        (request(b"", content_length="", transfer_encoding="chunked") + b"4\r\nsome\r\n", 408),
    ],
)
async def test_who_is_too_slow_is_let_go(receiving: Any, sent: bytes, status: int | None) -> None:
    async with (
        receiving(header_timeout=0.05, body_timeout=0.05) as taken,
        Client(taken.address("http")) as client,
    ):
        client.say(sent)
        if status is not None:
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert taken.count("refused", reason="slow_client") == 1
        assert await client.closed()


@pytest.mark.parametrize("body", [b"some", b""])
async def test_a_body_has_to_keep_its_pace(receiving: Any, body: bytes) -> None:
    """Long before `body_timeout`."""
    async with receiving(min_rate=1 << 20, min_rate_after=0.05) as taken, Client(taken.address("http")) as client:
        client.say(request(b"", content_length="1000") + body)
        assert (await client.answer()).status == 408
        assert taken.count("refused", reason="slow_client") == 1
        assert await client.closed()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_keeps_its_pace_has_its_time(receiving: Any, chunked: bool) -> None:
    async with receiving(min_rate=1, min_rate_after=0.05) as taken, Client(taken.address("http")) as client:
        if chunked:
            client.say(request(b"", content_length="", transfer_encoding="chunked") + b"5\r\n" + ONE[:5] + b"\r\n")
        else:
            client.say(request(ONE).removesuffix(ONE[5:]))
        with pytest.raises(TimeoutError):  # five bytes are worth five seconds
            async with asyncio.timeout(0.15):
                await client.reader.read()
        client.say(b"%x\r\n%b\r\n0\r\n\r\n" % (len(ONE) - 5, ONE[5:]) if chunked else ONE[5:])
        assert (await client.answer()).status == 200
        assert taken.batches[0].wire == ONE


async def test_an_idle_connection_is_closed(receiving: Any) -> None:
    async with receiving(idle_timeout=0.05) as taken, Client(taken.address("http")) as client:
        assert (await client.post(ONE)).status == 200
        assert await client.closed()


async def test_too_many_connections_are_turned_away(receiving: Any) -> None:
    async with (
        receiving(max_connections=1) as taken,
        Client(taken.address("http")) as first,
        Client(taken.address("http")) as second,
    ):
        turned_away = await second.answer()
        assert turned_away.status == 503
        assert int(turned_away.headers["retry-after"]) >= 1
        assert await second.closed()
        assert taken.count("refused", reason="too_many_connections") == 1
        assert (await first.post(ONE)).status == 200


async def test_one_machine_does_not_get_all_connections(receiving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "sharing_address", lambda _: "198.51.100.7")
    async with (
        receiving(max_connections_per_address=2) as taken,
        Client(taken.address("http")) as first,
        Client(taken.address("http")) as second,
    ):
        assert [(await one.post(ONE)).status for one in (first, second)] == [200, 200]
        async with Client(taken.address("http")) as third:
            assert (await third.answer()).status == 503
        second.writer.write_eof()
        assert await second.closed()
        async with Client(taken.address("http")) as again:
            assert (await again.post(ONE)).status == 200


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
async def test_a_flood_of_connections_leaves_nothing_behind(receiving: Any) -> None:
    async with receiving(max_connections=20, idle_timeout=0.2, header_timeout=0.2) as taken:
        async with Client(taken.address("http")) as client:
            assert (await client.post(ONE)).status == 200
        before = open_files()
        async with AsyncExitStack() as stack:
            flood = [await stack.enter_async_context(Client(taken.address("http"))) for _ in range(300)]
            assert open_files() < before + 300 + 50, "those that are turned away hold nothing"
            for client in flood:
                await client.reader.read()
            assert open_files() <= before + 300, "idle ones were closed"
        assert open_files() <= before
        assert taken.count("refused", reason="too_many_connections") > 0
        async with Client(taken.address("http")) as client:
            assert (await client.post(ONE)).status == 200


BIG = spans("n" * 560).SerializeToString()


async def test_bytes_in_flight_are_bounded(receiving: Any) -> None:
    async with (
        receiving(max_body=1000, max_inflight=1000) as taken,
        Client(taken.address("http")) as first,
        Client(taken.address("http")) as second,
    ):
        taken.gate = asyncio.Event()
        first.say(request(BIG))
        await taken.waiting.wait()
        second.say(request(BIG).removesuffix(BIG))
        busy = await second.answer()
        taken.gate.set()

        assert busy.status == 503
        assert int(busy.headers["retry-after"]) >= 1
        assert taken.count("refused", reason="busy") == 1
        assert (await first.answer()).status == 200
        assert (await first.post(BIG)).status == 200, "what was held is given back"


async def test_who_is_refused_keeps_the_connection_if_the_body_is_small(receiving: Any) -> None:
    async with (
        receiving(max_body=MAX_SKIPPED * 2, max_inflight=MAX_SKIPPED * 2) as taken,
        Client(taken.address("http")) as first,
        Client(taken.address("http")) as second,
    ):
        taken.gate = asyncio.Event()
        first.say(request(spans("n" * MAX_SKIPPED).SerializeToString()))
        await taken.waiting.wait()
        again = await second.post(spans("n" * (MAX_SKIPPED - 100)).SerializeToString())
        large = await second.post(b"x" * (MAX_SKIPPED + 1))
        taken.gate.set()

        assert (again.status, again.headers.get("connection")) == (503, None)
        assert (large.status, large.headers.get("connection")) == (503, "close")
        assert (await first.answer()).status == 200


async def test_running_requests_end_before_the_receiver_does(receiving: Any) -> None:
    async with AsyncExitStack() as stack:
        bridge = receiving()
        taken = await bridge.__aenter__()
        running, idle = [await stack.enter_async_context(Client(taken.address("http"))) for _ in range(2)]
        assert (await idle.post(ONE)).status == 200
        taken.gate = asyncio.Event()
        taken.waiting.clear()
        running.say(request(ONE))
        await taken.waiting.wait()
        closing = asyncio.create_task(bridge.__aexit__(None, None, None))
        assert await idle.closed()
        taken.gate.set()
        answer = await running.answer()
        await closing

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert taken.items == 2


@pytest.mark.slow
async def test_both_doors_close_together(receiving: Any) -> None:
    """`close_timeout` is for the receiver, not for each door."""
    bridge = receiving(close_timeout=1)
    taken = await bridge.__aenter__()
    taken.gate = asyncio.Event()
    async with (
        Client(taken.address("http")) as client,
        grpc.aio.insecure_channel(taken.host.endpoints["grpc"].removeprefix("http://")) as to,
    ):
        client.say(request(ONE))
        await taken.waiting.wait()
        taken.waiting.clear()
        by_grpc = asyncio.ensure_future(to.unary_unary(EXPORT)(ONE))
        await taken.waiting.wait()
        async with asyncio.timeout(1.8):
            await bridge.__aexit__(None, None, None)
        with pytest.raises(grpc.aio.AioRpcError):
            await by_grpc


async def test_a_request_that_never_ends_does_not_hold_up_the_end(receiving: Any) -> None:
    async with receiving(close_timeout=0.05) as taken:
        taken.gate = asyncio.Event()
        async with Client(taken.address("http")) as client:
            client.say(request(ONE))
            await taken.waiting.wait()


async def test_a_sender_that_leaves_is_counted_and_its_request_is_taken(receiving: Any) -> None:
    async with receiving() as taken:
        taken.gate = asyncio.Event()
        async with Client(taken.address("http")) as client:
            client.say(request(ONE))
            client.writer.write_eof()
            await taken.waiting.wait()
            taken.gate.set()
            assert (await client.answer()).status == 200
        assert taken.items == 1


async def test_a_sender_that_resets_is_counted_once_and_its_request_is_taken(receiving: Any) -> None:
    async with receiving() as taken:
        taken.gate = asyncio.Event()
        client = await Client(taken.address("http")).__aenter__()
        client.say(request(ONE))
        await taken.waiting.wait()
        client.reset()
        taken.gate.set()
        async with Client(taken.address("http")) as another:
            assert (await another.post(ONE)).status == 200
        assert (taken.items, taken.count("client_gone"), taken.count("connection_failures")) == (2, 1, 0)


async def test_refusals_do_not_repeat_what_was_sent(receiving: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither to the sender nor in the log."""
    secret = "sk-very-secret"
    wrong = [
        request(secret.encode()),
        request(b'{"resourceSpans": [{"%b": 5, "scopeSpans": "%b"}]}' % (2 * (secret.encode(),)), content_type=JSON),
        request(b'{"resourceSpans": "' + secret.encode(), content_type=JSON),
        request(gzip.compress(secret.encode()), content_encoding="gzip"),
        request(secret.encode(), content_encoding="gzip"),
        request(b"", content_encoding=secret),
        request(b"", content_type=secret),
        request(b"", host=f"{secret}.example"),
        request(b"", origin=f"https://{secret}.example"),
        request(b"", path=f"/{secret}"),
        request(b"", method="PUT", authorization=secret),
        secret.encode() + b"\r\n\r\n",
    ]
    async with receiving() as taken:
        for raw in wrong:
            async with Client(taken.address("http")) as client:
                client.say(raw)
                answer = await client.answer()
                assert answer.status >= 400
                assert answer.message
                assert secret.encode() not in answer.body
                assert len(answer.body) < 1024
    assert secret not in capsys.readouterr().err


async def test_a_bug_behind_the_door_costs_one_connection(receiving: Any) -> None:
    """The sender gets no answer, so it still holds its spans; everybody else is served."""
    async with receiving() as taken, Client(taken.address("http")) as client:
        taken.refuse = ZeroDivisionError("a bug")
        client.say(request(ONE))
        assert await client.closed()
        assert taken.count("connection_failures") == 1
        taken.refuse = None
        async with Client(taken.address("http")) as another:
            assert (await another.post(ONE)).status == 200


async def test_large_bodies_do_not_stop_the_loop(receiving: Any) -> None:
    """They are decoded in a thread; all of them arrive."""
    large = spans(*["x" * 1000] * 3000)
    async with receiving() as taken, Client(taken.address("http")) as client:
        plain = await client.post(large.SerializeToString())
        packed = await client.post(gzip.compress(large.SerializeToString(), 1), content_encoding="gzip")

        assert (plain.status, packed.status, taken.items) == (200, 200, 6000)


async def test_an_address_in_use_is_said(receiving: Any) -> None:
    async with receiving() as taken:
        for door in ("grpc", "http"):
            host, port = taken.address(door)
            with pytest.raises(BridgeError, match=f"{door}: {host}:{port} can not be bound"):
                await receiving(**{"grpc": None, "http": None} | {door: f"{host}:{port}"}).__aenter__()


MUTATED = [
    request(ONE),
    request(gzip.compress(ONE), content_encoding="gzip"),
    request(otlp_json.dump(spans("one")), content_type=JSON),
    request(b"", content_length="", transfer_encoding="chunked") + b"5\r\n%b\r\n0\r\n\r\n" % ONE[:5],
]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_damaged_requests_never_break_the_door(receiving: Any, seed: int) -> None:
    chance = random.Random(seed)
    async with receiving() as taken:
        for _ in range(100):
            raw = bytearray(chance.choice(MUTATED))
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(raw))
                raw[at : at + chance.randint(0, 3)] = chance.choices(b"\r\n 0:;,a\xff\x00", k=chance.randint(0, 3))
            async with Client(taken.address("http")) as client:
                client.say(bytes(raw))
                client.writer.write_eof()
                await client.reader.read()
        assert taken.count("connection_failures") == 0
        async with Client(taken.address("http")) as client:
            assert (await client.post(ONE)).status == 200
