"""What is refused, until it has been set aside."""

import asyncio

from otel_bridge.delivery import DeadLetter
from otel_bridge.errors import RefusedError
from tests.delivery.conftest import House


def picky(names: list[str]) -> Exception | None:
    return RefusedError("no poison here") if any("poison" in name for name in names) else None


async def set_aside(house: House, count: int) -> list[DeadLetter]:
    while house.counters.value("dead_lettered") < count:  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(0.001)
    return list(await house.dead_letters.list())
