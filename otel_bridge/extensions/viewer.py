"""The page and the API on this machine, over what the store holds."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from otel_bridge.component import Host, extension
from otel_bridge.config import Config


class ViewerConfig(Config):
    """endpoint: `host:port` to serve on; port 0 takes a free one.

    store: the file to read; `store.db` in the data folder unless said otherwise.
    allowed_hosts: names besides localhost by which browsers reach it, as behind a proxy.
    """

    endpoint: str = "127.0.0.1:4319"
    store: Path | None = None
    allowed_hosts: tuple[str, ...] = ()


@extension(ViewerConfig)
async def viewer(config: ViewerConfig, host: Host) -> AsyncIterator[None]:
    """Serve the page that lists traces and shows one, and the JSON API under it."""
    from otel_bridge.viewer.app import application
    from otel_bridge.viewer.serve import serving

    store = config.store.expanduser() if config.store else host.data_dir / "store.db"
    with ThreadPoolExecutor(4, thread_name_prefix="viewer") as thread:
        app = application(store, host.bridge, thread, config.allowed_hosts)
        async with serving(app, config.endpoint, host.id) as url:
            host.endpoints["viewer"] = url
            yield
