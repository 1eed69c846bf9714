"""Waiting for what nobody tells of."""

import asyncio
from collections.abc import Callable


async def until(so: Callable[[], object]) -> None:
    """Return once it is so.

    Raises:
        TimeoutError: it has not become so within ten seconds.
    """
    async with asyncio.timeout(10):
        while not so():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.002)
