"""The server under the page and the health checks: how it ends."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otel_bridge.component import Host
from otel_bridge.tls import Certificates, TlsConfig
from otel_bridge.viewer.serve import serving

ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class _App:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.let = asyncio.Event(), asyncio.Event()
        self.app = Starlette(routes=[Route("/", self._answer)])

    async def _answer(self, _request: Request) -> PlainTextResponse:
        self.asked.set()
        await self.let.wait()
        return PlainTextResponse("answered")


async def _connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    at = urlsplit(url)
    assert at.hostname is not None
    return await asyncio.open_connection(at.hostname, at.port)


async def test_who_is_answered_has_the_answer_before_the_server_ends() -> None:
    given = _App()
    async with serving(given.app, "127.0.0.1:0", "viewer") as url:
        reader, writer = await _connected(url)
        writer.write(ASKED)
        await given.asked.wait()
        asyncio.get_running_loop().call_soon(given.let.set)  # once it has been told to end
    assert (await reader.read()).endswith(b"answered")
    writer.close()


async def test_a_connection_that_asks_nothing_does_not_hold_up_the_end() -> None:
    given = _App()
    given.let.set()
    async with serving(given.app, "127.0.0.1:0", "viewer") as url:
        reader, writer = await _connected(url)
        writer.write(ASKED)
        head = await reader.readuntil(b"answered")
    assert b"date:" in head
    assert await reader.read() == b""
    writer.close()


async def test_who_began_tls_and_went_no_further_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A port scanner, say. Python 3.12 and later wait for the end of the handshake, if they are let."""
    pem = tmp_path / "both.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    certificates = Certificates(TlsConfig(cert_file=pem, key_file=pem), Host("viewer", tmp_path))
    async with serving(_App().app, "127.0.0.1:0", "viewer", certificates) as url:
        _, writer = await _connected(url)
        for _ in range(10):
            await asyncio.sleep(0)  # it is accepted
        stopping_s = time.monotonic()
    assert time.monotonic() - stopping_s < 20
    writer.close()


async def test_where_nobody_is_connected_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(_seconds: float) -> None:
        raise AssertionError("it waits for nobody")

    async with serving(_App().app, "127.0.0.1:0", "viewer") as url:
        monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.undo()
    with suppress(OSError):
        _, writer = await _connected(url)
        writer.close()
        raise AssertionError("it listens still")
