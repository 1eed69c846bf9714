"""The page and the API on this machine, over what the store holds."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated

from pydantic import Field

from otel_bridge.component import Host, extension
from otel_bridge.config import LocalPath, SecretStr
from otel_bridge.listening import Endpoint, ListeningConfig, is_local


class ViewerConfig(ListeningConfig):
    """endpoint: `host:port` to serve on; port 0 takes a free one.

    store: the file to read; `store.db` in the data folder unless said otherwise.
    allowed_hosts: names besides localhost by which browsers reach it, as behind a proxy.
    password: what browsers and programs have to show. Without one nobody is asked, as long as there are no tenants and
        only this machine reaches the viewer; else the token in the data dir is asked for.
    """

    endpoint: Endpoint = "127.0.0.1:4319"
    store: LocalPath | None = None
    allowed_hosts: tuple[str, ...] = ()
    password: Annotated[SecretStr, Field(min_length=8)] | None = None

    def addresses(self) -> Mapping[str, str | None]:
        """Its only one."""
        return {"endpoint": self.endpoint}

    def asks_who(self, *, tenants: bool) -> bool:
        """Keys of tenants do not open the viewer, which is the operator's."""
        return self.password is not None or super().asks_who(tenants=False)

    @property
    def missing_question(self) -> str:
        """What would ask who it is, in words."""
        return "password"


@extension(ViewerConfig)
async def viewer(config: ViewerConfig, host: Host) -> AsyncIterator[None]:
    """Serve the page that lists traces and shows one, and the JSON API under it."""
    from otel_bridge.tls import Certificates
    from otel_bridge.viewer.app import application
    from otel_bridge.viewer.login import Login
    from otel_bridge.viewer.serve import serving

    def needed() -> bool:
        return (
            config.password is not None
            or host.tenants.required
            or not (config.insecure or is_local(config.endpoint) or config.asks_who(tenants=False))
        )

    store = config.store or host.data_dir / "store.db"
    certificates = Certificates(config.tls, host) if config.tls is not None else None
    token = secrets.token_urlsafe(32)
    password = None if config.password is None else config.password.get_secret_value()
    login = Login(password, token, needed, secure=config.tls is not None)
    with ThreadPoolExecutor(4, thread_name_prefix="viewer") as thread:
        app = application(store, host.bridge, thread, login, config.allowed_hosts, host.tenants)
        async with serving(app, config.endpoint, host.id, certificates) as url:
            with _left_for_commands(host, url, token, config):
                host.endpoints["viewer"] = url
                yield


@contextmanager
def _left_for_commands(host: Host, url: str, token: str, config: ViewerConfig) -> Iterator[None]:
    """The commands of whoever owns the data dir get in by what is written there, for as long as this lasts."""
    path = host.data_dir / f"{host.id.replace('/', '-')}.json"
    certificate = None if config.tls is None else str(config.tls.cert_file.absolute())
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600, exist_ok=False)
    draft.write_text(json.dumps({"url": url, "token": token, "certificate": certificate}), encoding="utf-8")
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
