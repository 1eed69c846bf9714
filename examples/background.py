"""Tools, a long task that is alive, and a task that outlives its request: linked, as it is no part of it any more.

$ python examples/background.py
answered: the index will be there soon
indexed 3 files
"""

import asyncio
import sys

from otel_bridge.sdk import agent_run, correlation, event, install, span, task, tool


@tool("list_files")
async def list_files(folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in ("a.txt", "b.txt", "c.txt")]


async def index(files: list[str], seconds: float) -> None:
    """What is open for more than five seconds is told of every ten, or `OTEL_BRIDGE_HEARTBEAT_SECONDS`."""
    async with task("index") as work:
        event("task.start", files=len(files))
        for file in files:
            await asyncio.sleep(seconds / len(files))
            event("task.data", file__path=file)
        work.tags["files"] = len(files)
        event("task.finish")
    print(f"indexed {len(files)} files")


async def request(seconds: float) -> "asyncio.Task[None]":
    async with span("POST /index"), agent_run("librarian", task="index the shelf"):
        files = await list_files("/shelf")
        later = asyncio.create_task(begin_later(files, seconds), name="index")
    print("answered: the index will be there soon")
    return later


async def begin_later(files: list[str], seconds: float) -> None:
    await asyncio.sleep(0.1)  # the request is over by then
    await index(files, seconds)


async def main(seconds: float) -> None:
    install(service="librarian")
    with correlation(session="shelf", user="ada"):
        await (await request(seconds))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 6))
