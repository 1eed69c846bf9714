"""An HTTP server within a running event loop: bound before it is there to be asked, ended with its block."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from otel_bridge.errors import AddressInUseError, FilesError
from otel_bridge.tls import Certificates

STOP_AFTER_S = 2
"""What is being answered when the server stops has this long."""
TICK_S = 1.0


class _Server(uvicorn.Server):
    """Ends when it is told to: uvicorn looks whether it is ten times a second, then waits as long for connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def stop(self) -> None:
        """To be called once; who waits for `serve` waits for its end."""
        self.should_exit = True
        self._told.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the bridge, which owns the process."""
        yield

    async def main_loop(self) -> None:
        """Until it is told to stop; each tick brings what all answers say up to date, as the time of day."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Where nobody is connected there is nobody to wait for; who began TLS and went no further is nobody yet, for
        whom `wait_closed` waits a minute from Python 3.12 on."""
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, endpoint: str, component_id: str, certificates: Certificates | None = None
) -> AsyncIterator[str]:
    """Serve `app` on `host:port` and yield the address that was really bound, as `http://127.0.0.1:4319`.

    certificates: the port's, where it speaks TLS.

    Raises:
        UsageError: the endpoint is no `host:port`.
        FilesError: it can not be bound, as when another program holds it.
    """
    with _bound(endpoint, component_id) as listener:
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=STOP_AFTER_S, limit_concurrency=200,
            ssl_context_factory=None if certificates is None else lambda *_: certificates.front(),
        )  # fmt: skip
        server = _Server(config)
        host, port = listener.getsockname()[:2]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listener]), name=component_id)
            try:
                scheme = "http" if certificates is None else "https"
                yield f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
            finally:
                server.stop()


def _bound(endpoint: str, component_id: str) -> socket.socket:
    host, _, port = endpoint.rpartition(":")
    host = host.strip("[]")
    try:
        return socket.create_server(
            (host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
        )
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        todo = "end the program that holds it, or set" if taken else "set"
        other = "another port" if taken else "an address of this machine"
        said = (
            f"{component_id} can not listen on {endpoint}: {(error.strerror or '').partition(' (while')[0]}; "
            f"{todo} extensions::{component_id}::endpoint to {other}"
        )
        raise (AddressInUseError(said, endpoint, is_viewer=True) if taken else FilesError(said)) from error
