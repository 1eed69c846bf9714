"""Who may send, as whom, how much, and what of the exporters' configuration is theirs.

Without tenants there is one, `default`, and who reaches a port may send. With tenants everybody has to show a key or a
certificate of one of them, and is that one; what a client says of itself is never a tenant.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from otel_bridge.batch import DEFAULT_TENANT
from otel_bridge.config import Bytes, Config, SecretStr

TenantName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]

Key = Annotated[SecretStr, Field(min_length=16)]
"""An API key, long enough not to be guessed."""


class TenantConfig(Config):
    """One tenant.

    exporters: exporter id → those of its keys that are this tenant's own, as its Langfuse project; each replaces the
        exporter's key of that name. An exporter of which any tenant has keys is sent only what belongs to tenants that
        have; one with secrets of its own, of which none has, only what is of `default`.
    """

    keys: tuple[Key, ...] = ()  # bearer token, password of Basic, or header `x-api-key`
    certificates: tuple[str, ...] = ()  # names of client certificates: DNS, URI or e-mail, else the common name
    sends_for: tuple[TenantName, ...] = ()  # other tenants that it may name, where a receiver looks for names
    max_bytes_per_s: Bytes | None = None
    max_items_per_s: Annotated[int, Field(gt=0)] | None = None  # spans, log records and metrics
    public_traces: bool = False  # it may make traces public by `langfuse.trace.public`
    exporters: dict[str, dict[str, Any]] = Field(default_factory=dict, repr=False)  # as written, secrets too


class Tenants:
    """The tenants of the running bridge; always those of the newest configuration."""

    def __init__(self, configs: Mapping[str, TenantConfig] | None = None) -> None:
        self._salt = secrets.token_bytes(32)  # so that nobody learns of keys from the time that a look-up takes
        self.replace(configs or {})

    def replace(self, configs: Mapping[str, TenantConfig]) -> None:
        """From now on these and no others."""
        self._configs = dict(configs)
        self._keys = {
            self._digest(key.get_secret_value().encode()): name for name, of in configs.items() for key in of.keys
        }
        self._certificates = {named: name for name, of in configs.items() for named in of.certificates}

    @property
    def required(self) -> bool:
        """Whether everybody has to say who they are."""
        return bool(self._configs)

    @property
    def configs(self) -> Mapping[str, TenantConfig]:
        """By name; empty where nobody has to say who they are."""
        return self._configs

    def get(self, name: str) -> TenantConfig:
        """The configuration of a tenant; that of nobody in particular for one that is not there."""
        return self._configs.get(name, NOBODY)

    def of_key(self, key: bytes) -> str | None:
        """Whose API key this is."""
        return self._keys.get(self._digest(key))

    def of_certificate(self, names: Iterable[str]) -> str | None:
        """Whose client certificate has these names."""
        return next((self._certificates[name] for name in names if name in self._certificates), None)

    def _digest(self, key: bytes) -> bytes:
        return hmac.digest(self._salt, key, hashlib.sha256)


def contradictions(configs: Mapping[str, TenantConfig]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What tenants say that can not all be true: a path below `tenants`, and what is wrong there."""
    owners: dict[str, str] = {}
    for name, of in configs.items():
        for kind, shown in (("keys", [key.get_secret_value() for key in of.keys]), ("certificates", of.certificates)):
            for index, one in enumerate(shown):
                owner = owners.setdefault(f"{kind} {one}", name)
                if owner != name:
                    yield (name, kind, str(index)), f"{owner} has the same: whose would it be?"
        for index, other in enumerate(of.sends_for):
            if other not in configs:
                there = f", there are: {', '.join(configs)}"
                yield (name, "sends_for", str(index)), f"'{other}' is no tenant{there}"


NOBODY = TenantConfig()
ONLY = Tenants()
"""No tenants: everything belongs to `default`."""

__all__ = ["DEFAULT_TENANT", "NOBODY", "ONLY", "Key", "TenantConfig", "TenantName", "Tenants"]
