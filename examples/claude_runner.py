"""A runner of Claude Code: a session of several turns, each with the usage, cost and times that it said.

Without a line of code, `otel-bridge run -- claude -p "Lisbon or Oslo?"` shows more, as Claude Code tells of each of its
requests and tools itself. This is for where its own telemetry is off, or a run is to be shown as yours.

    $ python examples/claude_runner.py "Lisbon or Oslo?" "And in May?"
    > Lisbon or Oslo?
    Lisbon, as it is warmer.
    > And in May?
    Lisbon, as it is warmer.
    2 turns, $0.04
"""

import asyncio
import json
import sys
from typing import Any

from otel_bridge.sdk import agent_run, answered, correlation, install, llm_call


async def claude(prompt: str, resume: str | None) -> dict[str, Any]:
    """One turn; the result message of `claude --output-format json`."""
    words = ["-p", prompt, "--output-format", "json", *(["--resume", resume] if resume else [])]
    process = await asyncio.create_subprocess_exec("claude", *words, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"claude ended with {process.returncode}")
    return dict(json.loads(said))


async def turn(prompt: str, resume: str | None) -> dict[str, Any]:
    async with llm_call("claude", provider="anthropic", messages=prompt) as call:
        result = await claude(prompt, resume)
        usage = result.get("usage") or {}  # what was not counted is not 0
        cached, created = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
        asked = usage.get("input_tokens")
        call.tags.update(
            answered(
                output=result["result"],
                model=next(iter(result.get("modelUsage") or {}), None),
                input_tokens=None if asked is None else asked + (cached or 0) + (created or 0),
                output_tokens=usage.get("output_tokens"),
                cached_tokens=cached,
                cache_creation_tokens=created,
                cost_usd=result.get("total_cost_usd"),
            )
        )
        call.tags.update({key: result.get(key) for key in ("duration_ms", "duration_api_ms", "num_turns")})
        return result


async def main(prompts: list[str]) -> None:
    installed = install(service="claude-runner")
    session, cost = None, 0.0
    with correlation(name="claude session", user="ada", project__name="travel"):
        async with agent_run("claude-code", task=prompts[0]) as run:
            for prompt in prompts:
                print(f"> {prompt}")
                result = await turn(prompt, session)
                session = result["session_id"]
                cost += result["total_cost_usd"]
                print(result["result"])
            run.tags.update({"session.id": session, "output.value": result["result"], "claude.turns": len(prompts)})
    print(f"{len(prompts)} turns, ${cost:.2f}")
    await installed.aflush(5)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
