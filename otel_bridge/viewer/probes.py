"""What containers ask: is it alive, is it ready."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_bridge.component import Bridge


def probes(bridge: Bridge | None, knows: Callable[[Request], bool]) -> list[Route]:
    """`/healthz` and `/readyz`; ready is what the bridge's status says under `ready`.

    knows: whether the one who asks may be told more than that.

    A configuration that was rejected, destinations that are parked or paused, and dead letters are told of, and change
    nothing: what is kept here is safe, and more can be taken.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        status = {} if bridge is None else bridge.status()
        ready = status.get("ready", True)
        said = ["ready" if ready else "not ready"]
        if knows(request):
            said += ["configuration rejected"] if status.get("configuration_rejected") else []
            counted = {
                "parked": status.get("parked", 0),
                "paused": len({*status.get("paused", ()), *status.get("paused_tenants", ())}),
            }
            counted["dead letters"] = sum(one["letters"] for one in status.get("dead_letters", ()))
            said += [f"{count} {what}" for what, count in counted.items() if count]
        return PlainTextResponse(f"{', '.join(said)}\n", 200 if ready else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
