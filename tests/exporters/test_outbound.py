"""Requests to destinations that do not behave."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from otel_bridge import outbound
from otel_bridge.errors import ParkedError, SlowError
from otel_bridge.outbound import LostError, Reach, compress, http
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from otel_bridge.testing.fault_proxy import FaultProxy


@asynccontextmanager
async def saying(*pieces: bytes, endless: bytes = b"") -> AsyncIterator[str]:
    """A server that reads a request, says these bytes, then the endless ones until nobody listens."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
            while endless:
                writer.write(endless)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # who asked has heard enough
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_endless_answer_is_cut() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    async with saying(head, endless=chunk) as url, http(30) as connections:
        answer = await connections.request("POST", url, body=b"{}", max_answer=100_000)
    assert answer.body == b"x" * 100_000


async def test_a_packed_answer_is_not_unpacked() -> None:
    bomb = await compress(bytes(1 << 20))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with saying(head, bomb) as url, http(30) as connections:
        assert (await connections.request("GET", url)).body == bomb


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"\x00\x00\x18\x04\x00\x00\x00\x00\x00",  # HTTP/2
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_half_an_answer_or_none_is_lost(said: bytes) -> None:
    async with saying(said) as url, http(30) as connections:
        with pytest.raises(LostError):
            await connections.request("POST", url, body=b"{}")


async def test_an_address_that_is_none_parks() -> None:
    async with http(30) as connections:
        with pytest.raises(ParkedError) as parked:
            await connections.request("GET", "http://")
        assert parked.value.reason == "address"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_where_nobody_is_it_is_said_in_words(host: str) -> None:
    """Not in those of a library."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://{host}:{server.getsockname()[1]}/x"
    async with http(30) as connections:
        with pytest.raises(LostError) as lost:
            await connections.request("GET", url)
    assert str(lost.value) == f"{url}: can not be reached: Connection refused"


async def test_why_tls_fails_is_said_in_words() -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server, http(30) as connections:
        with pytest.raises(ParkedError) as parked:
            await connections.request("GET", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert str(parked.value).endswith(": TLS failed: it speaks no TLS on this port; is it http:// ?")


async def test_packing_twice_gives_the_same_bytes() -> None:
    for size in (10, 1 << 20):
        assert await compress(b"x" * size) == await compress(b"x" * size)


KEYS = {"Authorization": "Basic c2VjcmV0", "Content-Type": "application/x-protobuf"}
OTLP = "/api/public/otel/v1/traces"
HEALTH = "/api/public/health"


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_within_one_origin_is_followed_with_all_that_was_sent(status: int) -> None:
    async with FakeLangfuse().running() as fake, http(30) as connections:
        fake.script("otlp", Fault(status, headers={"Location": f"{OTLP}?again"}), Fault(200, "ok"))
        answer = await connections.request("POST", f"{fake.url}{OTLP}", headers=KEYS, body=b"spans")
        first, second = fake.requests
    assert answer.body == b"ok"
    assert first.body == second.body == b"spans"
    assert second.headers["Authorization"] == KEYS["Authorization"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_keys_follow_no_redirect_to_elsewhere(status: int) -> None:
    async with FakeLangfuse().running() as fake, FakeLangfuse().running() as other, http(30) as connections:
        fake.script("otlp", Fault(status, headers={"Location": f"{other.url}{OTLP}"}))
        with pytest.raises(ParkedError, match=other.url) as parked:
            await connections.request("POST", f"{fake.url}{OTLP}", headers=KEYS, body=b"spans")
        assert parked.value.reason == "redirect"
        assert not other.requests


@pytest.mark.parametrize(
    ("near", "far"),
    [
        ("10.0.0.1", "93.184.215.14"),
        ("100.100.100.200", "2606:2800:21f:cb07::1"),
        ("fd00:ec2::254", "93.184.215.14"),
        ("127.0.0.1", "192.168.1.1"),
        ("::1", "10.0.0.1"),
        ("0.0.0.0", "10.0.0.1"),
        ("::ffff:127.0.0.1", "10.0.0.1"),
        ("169.254.169.254", "127.0.0.1"),
        ("::ffff:169.254.169.254", "::1"),
        ("fe80::1%eth0", "127.0.0.1"),
    ],
)
def test_who_is_far_sends_nobody_to_what_is_near(near: str, far: str) -> None:
    public, seen = Reach(), Reach()
    with pytest.raises(OSError, match="nearer to this machine"):
        public.check(near)
    seen.note(far)
    seen.check(far)
    with pytest.raises(OSError, match="nearer to this machine"):
        seen.check(near)
    seen.note(near)
    seen.check(near)


async def test_a_name_is_asked_about_when_it_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it led to before."""

    def rebound(_host: str, port: int, *_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    async with FakeLangfuse().running() as fake, http(30, Reach().check) as connections:
        port = fake.url.rpartition(":")[2]
        for host in ("127.0.0.1", "storage.example"):
            with pytest.raises(LostError, match="nearer to this machine"):
                await connections.request("PUT", f"http://{host}:{port}{OTLP}", body=b"x")
        assert not fake.requests


async def test_redirects_in_a_circle_park() -> None:
    async with FakeLangfuse().running() as fake, http(30) as connections:
        fake.always("otlp", Fault(307, headers={"Location": OTLP}))
        with pytest.raises(ParkedError) as parked:
            await connections.request("POST", f"{fake.url}{OTLP}", body=b"spans")
        assert parked.value.reason == "redirect"
        assert len(fake.requests) == 1 + outbound.MAX_REDIRECTS


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hang", "swallow"])
async def test_no_answer_in_time_is_told_from_nobody_there(how: str) -> None:
    """So that less is sent at once the next time."""
    async with FakeLangfuse().running() as fake, FaultProxy(fake.url).running() as proxy, http(0.3) as connections:
        if how == "hang":
            fake.script("health", Fault(does="hang"))
        else:
            proxy.does = "swallow"
        with pytest.raises(LostError) as lost:
            await connections.request("GET", f"{proxy.url}{HEALTH}")
        assert isinstance(lost.value, SlowError)


@pytest.mark.slow
async def test_a_connection_that_died_without_a_word_is_left_after_the_timeout() -> None:
    async with FakeLangfuse().running() as fake, FaultProxy(fake.url).running() as proxy, http(0.5) as connections:
        assert (await connections.request("GET", f"{proxy.url}{HEALTH}")).status == 200
        proxy.does = "swallow"
        with pytest.raises(LostError):
            await connections.request("GET", f"{proxy.url}{HEALTH}")
        proxy.does = "forward"
        assert (await connections.request("GET", f"{proxy.url}{HEALTH}")).status == 200
        assert proxy.connections == 2


@pytest.mark.parametrize(("answer_bytes", "ends"), [(0, "reset"), (9, "close"), (9, "reset"), (40, "close")])
async def test_an_answer_that_breaks_off_is_lost_and_the_next_works(answer_bytes: int, ends: str) -> None:
    async with FakeLangfuse().running() as fake, FaultProxy(fake.url).running() as proxy, http(30) as connections:
        proxy.answer_bytes, proxy.ends = answer_bytes, ends  # type: ignore[assignment]
        with pytest.raises(LostError):
            await connections.request("POST", f"{proxy.url}{OTLP}", body=b"spans")
        proxy.answer_bytes = None
        assert (await connections.request("GET", f"{proxy.url}{HEALTH}")).status == 200
        assert fake.sent_to(OTLP)[0].body == b"spans", "it had come, and nobody knows"


async def test_connections_are_probed_and_end_when_nobody_is_there() -> None:
    with outbound._socket(None, (socket.AF_INET, socket.SOCK_STREAM, 0, "", ())) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle_s = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        probes_s = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) * 3
        assert idle_s + probes_s <= 30
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 30_000


async def test_proxies_in_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeLangfuse().running() as trap, FakeLangfuse().running() as fake:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, trap.url)
        async with http(30) as connections:
            await connections.request("GET", f"{fake.url}{HEALTH}")
        assert len(fake.requests) == 1
        assert not trap.requests


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL])
async def test_a_name_that_is_unknown_is_lost(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with http(30) as connections:
        with pytest.raises(LostError, match="langfuse"):
            await connections.request("GET", "http://langfuse.test")


@pytest.mark.slow
async def test_a_silent_name_server_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the loop, nor what is compressed in threads, nor the end of the program, which waits for its threads."""
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait() and [])
    async with http(0.3) as connections:
        for _ in range(3):
            with pytest.raises(LostError):
                await connections.request("GET", "http://langfuse.test")
        waiting = [thread for thread in threading.enumerate() if thread.name == "resolve"]
        assert len(waiting) == 1
        assert waiting[0].daemon
        answered.set()


async def test_a_destination_that_moved_is_found_although_its_old_address_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert outbound.RECONNECT_EVERY_S + outbound.NAMES_KEPT_S <= 60
    monkeypatch.setattr(outbound, "RECONNECT_EVERY_S", 0)
    monkeypatch.setattr(outbound, "NAMES_KEPT_S", 0)
    here = "127.0.0.1"

    def resolve(host: str, port: int, *_: object, **__: object) -> object:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (here if host == "langfuse.test" else host, port))]

    async with FakeLangfuse().running() as old, http(30) as connections:
        port = int(old.url.rpartition(":")[2])
        async with await asyncio.start_server(_says_moved, "127.0.0.2", port):
            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            url = f"http://langfuse.test:{port}{HEALTH}"
            assert b"version" in (await connections.request("GET", url)).body
            here = "127.0.0.2"
            assert (await connections.request("GET", url)).body == b"moved"


async def _says_moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nmoved")
    writer.close()
