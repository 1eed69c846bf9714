"""A TCP proxy on loopback that behaves as badly as it is told: late, deaf, gone, or cut off in the middle.

`async with FaultProxy(fake.url).running() as proxy:`, then connect to `proxy.url`; what is set on it holds at once,
also for connections that are open.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

CHUNK = 64 << 10


class FaultProxy:
    """Passes bytes on to one address.

    does: `forward` them; `swallow` what comes and say nothing, as where packets are dropped or the other end is gone
        without a word; `reset` every connection.
    delay_s: before anything is passed on, either way.
    answer_bytes: how much of the answers of a connection is passed on before it ends; None: all.
    ends: how it ends then.
    connections: how many were made so far.
    """

    def __init__(self, to: str) -> None:
        self.does: Literal["forward", "swallow", "reset"] = "forward"
        self.delay_s = 0.0
        self.answer_bytes: int | None = None
        self.ends: Literal["close", "reset"] = "close"
        self.connections = 0
        self.url = ""
        where = urlsplit(to)
        self._scheme, self._host, self._port = where.scheme, where.hostname, where.port
        self._open: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FaultProxy"]:
        """Listen on a free port of loopback; `url` says which."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"{self._scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this runs in one
        self._open.add(task)
        try:
            if self.does == "reset":
                _reset(writer)
                return
            there, back = await asyncio.open_connection(self._host, self._port)
            try:
                async with asyncio.TaskGroup() as tasks:
                    asking = tasks.create_task(self._pass(reader, back, writer, None))
                    await self._pass(there, writer, writer, self.answer_bytes)
                    asking.cancel()
            finally:
                back.close()
        except* OSError:
            pass  # an end is gone, which is what this is for
        finally:
            self._open.discard(task)
            writer.close()

    async def _pass(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, client: asyncio.StreamWriter, left: int | None
    ) -> None:
        """Until the source ends, or so many bytes have passed."""
        while chunk := await source.read(CHUNK):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.does == "swallow":
                continue
            if self.does == "reset" or left == 0:
                _reset(client)
                return
            if left is not None:
                chunk, left = chunk[:left], max(left - len(chunk), 0)
            to.write(chunk)
            await to.drain()
            if left == 0:
                if self.ends == "reset":
                    _reset(client)
                return
        if self.does == "swallow":
            await asyncio.Event().wait()  # nor does anybody hear that it ended
        if to.can_write_eof():
            to.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST, as a process that died."""
    made = writer.get_extra_info("socket")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
