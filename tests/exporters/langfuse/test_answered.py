"""The answer table over the wire: what each answer of Langfuse, or none, makes of a delivery."""

import asyncio
import ssl
from typing import Any

import pytest
import trustme

from otel_bridge.errors import BusyError, ConsumeError, ParkedError, RefusedError, RetryableError, TooLargeError
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.exporters.langfuse.conftest import INGESTION, OTLP, Build, Opened


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(400, '{"message":"bad \x1b[2J span"}'), RefusedError),
        (Fault(422), RefusedError),
        (Fault(413), TooLargeError),
        (Fault(429), RetryableError),
        *((Fault(status), RetryableError) for status in (408, 409, 425, 500, 502, 503, 504, 520, 527)),
        *((Fault(status), ParkedError) for status in (401, 403, 404, 405, 407, 410, 415, 421, 501)),
        (Fault(302, headers={"Location": "https://sso.example"}), ParkedError),
        (Fault(307, headers={"Location": "/elsewhere"}), ParkedError),
        (Fault(200, "<html>log in</html>", {"Content-Type": "text/html"}), ParkedError),
        (Fault(does="disconnect"), RetryableError),
        pytest.param(Fault(does="hang"), RetryableError, marks=pytest.mark.slow),
    ],
    ids=lambda value: f"{value.does}-{value.status}" if isinstance(value, Fault) else value.__name__,
)
@pytest.mark.parametrize(("version", "route"), [("4.61.0", "otlp"), ("2.95.12", "ingestion"), ("4.61.0", "scores")])
async def test_each_answer_is_its_error_and_the_next_delivery_works(
    opened: Opened, translation: Build, version: str, route: Any, fault: Fault, kind: type[ConsumeError]
) -> None:
    timeout_s = 1 if fault.does == "hang" else 30
    async with FakeLangfuse(version).running() as fake, opened(fake, timeout=timeout_s) as settle:
        if route == "scores" and kind is RefusedError:  # which has a way of its own
            fake.script("ingestion", fault)
        await settle(translation(observations=1, scores=1))  # the langfuse package is imported now
        sent = translation(observations=3, scores=2)
        fake.script(route, fault)

        with pytest.raises(ConsumeError) as refused:
            await settle(sent)
        assert isinstance(refused.value, kind)
        assert str(refused.value).isprintable()

        await settle(sent)
        assert len(fake.observations) == 3
        assert len(fake.scores) == 2


@pytest.mark.parametrize("body", [b"", b'{"id":"job"}', b"\n\x02\xff\xfe", b"x" * 1_000_000])
async def test_spans_are_delivered_with_200_whatever_the_body(opened: Opened, translation: Build, body: bytes) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("otlp", Fault(200, body.decode("latin-1"), stored=True))
        await settle(translation())
        assert len(fake.observations) == 3


async def test_the_refusal_says_status_and_reason_fit_for_a_log(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("otlp", Fault(400, "no\x1b[2J\n" + "x" * 1000))
        with pytest.raises(RefusedError, match=r"answered 400: no\\x1b\[2J\\nx+…$") as refused:
            await settle(translation())
        assert len(str(refused.value)) < 400


async def test_the_wait_that_langfuse_names_is_passed_on(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("otlp", Fault(429, headers={"Retry-After": "7"}))
        with pytest.raises(RetryableError) as limited:
            await settle(translation())
        assert limited.value.retry_after_s == 7


async def test_a_retry_sends_identical_bytes(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake) as settle:
        fake.script("otlp", Fault(500), Fault(does="disconnect", stored=True))
        sent = translation(observations=200)
        for _ in range(2):
            with pytest.raises(RetryableError):
                await settle(sent)
        await settle(sent)

        assert len({request.body for request in fake.sent_to(OTLP)}) == 1
        assert len(fake.sent_to(OTLP)) == 3


async def test_nobody_there_is_retryable(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake:
        pass
    async with opened(fake) as settle:
        with pytest.raises(RetryableError, match=r"127\.0\.0\.1"):
            await settle(translation())


async def test_wrong_keys_park(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake, secret_key="sk-other") as settle:
        with pytest.raises(ParkedError) as parked:
            await settle(translation())
        assert parked.value.reason == "unauthorized"
        assert "sk-other" not in str(parked.value)


async def test_a_certificate_that_nobody_vouches_for_parks(opened: Opened, translation: Build) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with opened(FakeLangfuse(), base_url=f"https://127.0.0.1:{port}") as settle:
            with pytest.raises(ParkedError) as parked:
                await settle(translation())
    assert parked.value.reason == "tls"


async def test_a_server_that_speaks_no_tls_parks(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake:
        async with opened(fake, base_url=fake.url.replace("http:", "https:")) as settle:
            with pytest.raises(ParkedError) as parked:
                await settle(translation())
        assert parked.value.reason == "tls"


@pytest.mark.parametrize("version", ["4.61.0", "2.95.12"])
async def test_a_quota_that_is_used_up_is_left_alone_by_all_who_share_it(
    opened: Opened, translation: Build, version: str
) -> None:
    """And other keys go on."""
    async with FakeLangfuse(version).running() as fake, opened(fake) as settle, opened(fake) as other:
        route: Any = "otlp" if version == "4.61.0" else "ingestion"
        fake.script(route, Fault(429, headers={"Retry-After": "7"}))
        waits = []
        for _ in range(3):
            with pytest.raises(BusyError) as busy:
                await settle(translation(observations=1))
            waits.append(busy.value.retry_after_s)
        assert waits[0] == 7
        assert all(6 < wait <= 7 for wait in waits)
        assert len(fake.sent_to(OTLP)) + len(fake.sent_to(INGESTION)) == 1
        await other(translation(observations=1))
        assert len(fake.observations) == 1
