"""What containers ask: is it alive, is it ready."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_bridge.component import Bridge


def probes(bridge: Bridge | None) -> list[Route]:
    """`/healthz` and `/readyz`; ready is what the bridge's status says under `ready`."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        ready = bridge is None or bridge.status().get("ready", True)
        return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
