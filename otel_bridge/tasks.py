"""Tasks and who owns them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


class _OverError(Exception):
    """The owner has ended."""


@asynccontextmanager
async def owned_tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose tasks are cancelled when its owner ends; what one of them raises ends the owner.

    A lone error is raised as itself, not in a group.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
            raise _OverError
    except BaseExceptionGroup as group:
        _, errors = group.split(_OverError)
        if errors is None:
            return
        raise errors.exceptions[0] if len(errors.exceptions) == 1 else errors from None


async def first(wanted: Coroutine[Any, Any, Any], other: Coroutine[Any, Any, Any]) -> bool:
    """Wait for either and cancel what is left; whether the wanted one returned."""
    tasks = (asyncio.ensure_future(wanted), asyncio.ensure_future(other))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return tasks[0] in done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
