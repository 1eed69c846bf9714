"""An agent runner that is async first, with a sync twin; both give the same trace.

$ OPENAI_BASE_URL=http://127.0.0.1:11434/v1 OPENAI_API_KEY=any python examples/runner.py "Lisbon or Oslo?"
async: answer 1
sync: answer 1
sync, in a running loop: answer 1
"""

import asyncio
import os
import sys
from typing import Protocol

import aiohttp

from otel_bridge.sdk import agent_run, answered, correlation, install, llm_call, run_sync, tool


class Provider(Protocol):
    async def generate(self, prompt: str) -> str: ...


class OpenAICompatible:
    """Any server that speaks OpenAI's protocol, with aiohttp alone."""

    def __init__(self, model: str = "gpt-4o-mini") -> None:
        self.model = model
        self.url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
        self.headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}

    async def generate(self, prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        async with (
            llm_call(self.model, provider="openai", messages=messages) as call,
            aiohttp.ClientSession(headers=self.headers, raise_for_status=True) as client,
            client.post(self.url, json={"model": self.model, "messages": messages}) as response,
        ):
            said = await response.json()
            text = str(said["choices"][0]["message"]["content"])
            usage = said["usage"]
            tokens = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
            call.tags.update(answered(output=text, model=said["model"], **tokens))
            return text


@tool("look_up")
async def look_up(topic: str) -> str:
    return f"three books about {topic}"


class AsyncRunner:
    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    async def run(self, task: str) -> str:
        async with agent_run("guide", task=task):
            books = await look_up(task)
            return await self.provider.generate(f"{task} You have {books}.")


class Runner:
    """The same for sync code, in a running loop, too (a notebook, say)."""

    def __init__(self, provider: Provider) -> None:
        self.inner = AsyncRunner(provider)

    def run(self, task: str) -> str:
        return run_sync(self.inner.run, task)


async def main(task: str) -> None:
    with correlation(session="in a loop"):
        print("sync, in a running loop:", Runner(OpenAICompatible()).run(task))


if __name__ == "__main__":
    install(service="runner")
    with correlation(session="async"):
        print("async:", asyncio.run(AsyncRunner(OpenAICompatible()).run(sys.argv[1])))
    with correlation(session="sync"):
        print("sync:", Runner(OpenAICompatible()).run(sys.argv[1]))
    asyncio.run(main(sys.argv[1]))
