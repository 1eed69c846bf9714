"""The HTTP door: right answers to right and wrong requests."""

import gzip
import json
import random
import zlib
from typing import Any

import pytest
from backports import zstd
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_bridge import otlp_json
from otel_bridge.errors import (
    AddressInUseError,
    JournalFullError,
    ParkedError,
    RefusedError,
    RetryableError,
    TooLargeError,
)
from otel_bridge.receivers.otlp import admission
from tests.receivers.http1 import JSON, ONE, PROTOBUF, Client, request, spans

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
    """The sender is told to come again, so it still holds its spans; everybody else is served."""
    async with receiving() as taken, Client(taken.address("http")) as client:
        taken.refuse = ZeroDivisionError("SECRET")
        answer = await client.post(ONE)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "SECRET" not in answer.message
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
            with pytest.raises(AddressInUseError, match=f"{door}: {host}:{port} can not be bound"):
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
