"""What components that listen have in common: TLS, and that nobody listens for all the world by mistake."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator

from otel_bridge.config import Config
from otel_bridge.tls import TlsConfig

ENDPOINT = re.compile(r"(\[[0-9a-fA-F:.]+(?:%[^\]/\s]+)?\]|[^:/\s]+):([0-9]{1,5})")


def _endpoint(value: str) -> str:
    found = ENDPOINT.fullmatch(value)
    if found is None or int(found[2]) > 65535:
        raise ValueError("write it as host:port, like 127.0.0.1:4318 or [::1]:4318")
    return value


Endpoint = Annotated[str, AfterValidator(_endpoint)]
"""`host:port`; port 0 is any free one."""


class ListeningConfig(Config):
    """tls: certificates; without them the port speaks plain text.

    insecure: listen on an address that others reach even where not both TLS and keys, certificates or a password
        are asked for, as in a container of which only loopback is published.
    """

    tls: TlsConfig | None = None
    insecure: bool = False

    def addresses(self) -> Mapping[str, str | None]:
        """Key → `host:port`, for the ports that give or take what others should not."""
        return {}

    def asks_who(self, *, tenants: bool) -> bool:
        """Whether nobody gets in without a key, a password or a certificate; `tenants`: whether there are any."""
        return tenants or (self.tls is not None and self.tls.client_ca_file is not None)

    def exposed(self, *, tenants: bool) -> dict[str, str]:
        """The keys of addresses that others than this machine reach, and what protection they lack."""
        lacks = {"tls": self.tls is None, self.missing_question: not self.asks_who(tenants=tenants)}
        missing = " and no ".join(what for what, is_missing in lacks.items() if is_missing)
        public = {key: at for key, at in self.addresses().items() if at is not None and not is_local(at)}
        return {key: f"others can reach {at}, and there is no {missing}" for key, at in public.items() if missing}

    @property
    def missing_question(self) -> str:
        """What would ask who it is, in words."""
        return "service::tenants (or tls::client_ca_file)"


def is_local(endpoint: str) -> bool:
    """Whether only this machine reaches a `host:port`."""
    host = endpoint.rpartition(":")[0].strip("[]").lower()
    return host == "localhost" or host.endswith(".localhost") or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether an address is one of loopback; a name is not, wherever it points today."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
