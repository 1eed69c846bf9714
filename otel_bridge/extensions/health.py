"""`/healthz` and `/readyz` for a container's probes, where there is no viewer."""

from collections.abc import AsyncIterator

from otel_bridge.component import Host, extension
from otel_bridge.config import Config
from otel_bridge.listening import Endpoint
from otel_bridge.tls import TlsConfig


class HealthConfig(Config):
    """endpoint: `host:port` to serve on; port 0 takes a free one."""

    endpoint: Endpoint = "127.0.0.1:13133"
    tls: TlsConfig | None = None


@extension(HealthConfig)
async def health(config: HealthConfig, host: Host) -> AsyncIterator[None]:
    """Answer liveness and readiness probes; they say nothing else, so anybody and any host name may ask."""
    from starlette.applications import Starlette

    from otel_bridge.tls import Certificates
    from otel_bridge.viewer.probes import probes
    from otel_bridge.viewer.serve import serving

    certificates = Certificates(config.tls, host) if config.tls is not None else None
    app = Starlette(routes=probes(host.bridge, lambda _: not host.tenants.required))
    async with serving(app, config.endpoint, host.id, certificates) as url:
        host.endpoints["health"] = url
        yield
