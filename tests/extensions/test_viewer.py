"""The viewer and the health endpoint as the engine opens them."""

import asyncio
import signal
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError

from otel_bridge.component import Component, Host
from otel_bridge.errors import AddressInUseError, FilesError
from otel_bridge.extensions.health import HealthConfig, health
from otel_bridge.extensions.viewer import ViewerConfig, viewer

EXTENSIONS = [(viewer, ViewerConfig), (health, HealthConfig)]


@pytest.mark.parametrize(("extension", "config"), EXTENSIONS)
async def test_says_where_it_is_and_lets_go(
    tmp_path: Path, extension: Component[ViewerConfig], config: type[ViewerConfig]
) -> None:
    """The address that was really bound; signals stay the bridge's own; afterwards nobody listens."""
    host = Host(extension.name, tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    async with asynccontextmanager(extension.open)(config(endpoint="127.0.0.1:0"), host):
        url = host.endpoints[extension.name]
        assert signal.getsignal(signal.SIGTERM) is before
        async with aiohttp.request("GET", f"{url}/healthz") as alive, aiohttp.request("GET", f"{url}/readyz") as ready:
            assert (alive.status, ready.status) == (200, 200)

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            AddressInUseError, match=f"viewer can not listen on {endpoint}: .*extensions::viewer::endpoint"
        ):
            async with asynccontextmanager(viewer.open)(ViewerConfig(endpoint=endpoint), Host("viewer", tmp_path)):
                pass


@pytest.mark.parametrize("endpoint", ["203.0.113.1:0", "no-such-host.invalid:0"])
async def test_an_address_of_another_machine_is_not_called_taken(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(FilesError, match="; set extensions::viewer::endpoint to an address of this machine"):
        async with asynccontextmanager(viewer.open)(ViewerConfig(endpoint=endpoint), Host("viewer", tmp_path)):
            pass


@pytest.mark.parametrize("endpoint", ["4319", "localhost", "localhost:port", "127.0.0.1:99999", ":4319"])
@pytest.mark.parametrize("config", [ViewerConfig, HealthConfig])
def test_an_endpoint_that_is_none_is_said(config: type[ViewerConfig | HealthConfig], endpoint: str) -> None:
    """Before anything is opened, and not as one that others can reach."""
    with pytest.raises(ValidationError, match="write it as host:port"):
        config(endpoint=endpoint)
