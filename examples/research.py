"""Three agents in a task group, a streamed answer, a tool that fails, a score: with the helpers of `otel_bridge.sdk`.

With a bridge at its usual address; the language model is pretended:

    $ python examples/research.py
    trace 51bb50edf86a0cba0d0669a275bf49d2; all of it was sent: True
"""

import asyncio
from collections.abc import AsyncIterator

from otel_bridge.sdk import agent_run, answered, correlation, install, llm_call, score, stream, tool, workflow


async def model(question: str) -> AsyncIterator[str]:
    """A pretended one: its words come one by one."""
    for word in f"What matters about {question} is where you start.".split():
        await asyncio.sleep(0.01)
        yield f"{word} "


@tool("look_up")
async def look_up(topic: str) -> str:
    await asyncio.sleep(0.01)
    if topic == "oslo":
        raise TimeoutError("the library did not answer")
    return f"three books about {topic}"


async def research(topic: str) -> str:
    async with agent_run(f"researcher-{topic}", task=topic) as run:
        try:
            run.tags["books"] = await look_up(topic)
        except TimeoutError:
            run.tags["books"] = "none"
        async with llm_call("gpt-4o-mini", provider="openai", messages=f"Tell me about {topic}") as call:
            said = "".join([word async for word in stream(model(topic), "answer")])
            call.tags.update(answered(output=said, input_tokens=12, output_tokens=9))
        return said


async def main() -> None:
    installed = install(service="research")
    async with (
        correlation(session="s-1", user="ada", tags=["example"]),
        workflow("compare-cities") as whole,
        asyncio.TaskGroup() as group,
    ):
        for topic in ("lisbon", "oslo"):
            group.create_task(research(topic), name=f"research {topic}")
    score("helpful", 0.9, comment="both cities are there", on=whole)
    print(f"trace {whole.trace_id}; all of it was sent: {await installed.aflush(5)}")


if __name__ == "__main__":
    asyncio.run(main())
