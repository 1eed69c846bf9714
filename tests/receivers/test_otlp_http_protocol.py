"""The HTTP door speaks HTTP/1.1, and tells who speaks something else."""

from typing import Any

import grpc.aio
import pytest

from tests.receivers.http1 import ONE, Client, request, spans

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


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


@pytest.mark.parametrize("body", [b"", ONE])
@pytest.mark.parametrize(
    ("version", "said", "stays"),
    [
        ("1.1", "", True),
        ("1.1", "close", False),
        ("1.1", "TE, Close", False),
        ("1.0", "", False),
        ("1.0", "keep-alive", True),
    ],
)
async def test_a_connection_stays_as_the_sender_says(
    receiving: Any, body: bytes, version: str, said: str, stays: bool
) -> None:
    async with receiving() as taken, Client(taken.address("http")) as client:
        client.say(request(body, connection=said).replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        answer = await client.answer()
        assert answer.status == 200
        assert answer.headers.get("connection") == (None if stays else "close")
        if stays:
            assert (await client.post(ONE)).status == 200
        else:
            assert await client.closed()


async def test_an_empty_line_before_a_request_is_passed_over(receiving: Any) -> None:
    """Some senders end a body with one; two are no HTTP."""
    async with receiving() as taken, Client(taken.address("http")) as client:
        client.say(b"\r\n" + request(ONE) + b"\r\n" + request(ONE) + b"\r\n\r\n")
        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 400]
        assert await client.closed()


async def test_before_http_1_1_nothing_is_expected(receiving: Any) -> None:
    """Whoever says so would take the 100 for the answer."""
    async with receiving() as taken, Client(taken.address("http")) as client:
        client.say(request(ONE, expect="100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (await client.answer()).status == 200


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
