"""A noisy agent of real libraries under their real instrumentations, before and after."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.batch import Batch, Signal
from otel_bridge.model import ObservationType, Translation
from otel_bridge.processors.noise import noise
from otel_bridge.translate import Prices, traces_of, translate

PRESETS = ["fastapi", "httpx", "sqlalchemy", "langchain_internals"]
AGENT = {
    "invoke_agent planner": None,
    "planner": "invoke_agent planner",
    "retrieve": "planner",
    "respond": "planner",
    "chat gpt-4o": "invoke_agent planner",
}
OTHER = {
    "invoke_agent researcher": "invoke_agent planner",
    "researcher": "invoke_agent researcher",
    "retrieve": "researcher",
    "respond": "researcher",
    "chat gpt-4o": "invoke_agent researcher",
}


def edges(made: Translation) -> list[tuple[str, str | None]]:
    names = {seen.id: seen.name for seen in made.observations}
    return sorted((seen.name, seen.parent_id and names[seen.parent_id]) for seen in made.observations)


def total(made: Translation, of: str) -> float:
    return sum(getattr(seen, of)["total"] for seen in made.observations if getattr(seen, of))


@pytest.mark.slow
@pytest.mark.parametrize(("services", "expected", "before_count"), [("one", [AGENT], 12), ("two", [AGENT, OTHER], 25)])
async def test_the_noise_goes_and_the_agent_stays(
    opened: Any, tmp_path: Path, services: str, expected: list[dict[str, str | None]], before_count: int
) -> None:
    """Also over two services, of which the one asks the other over HTTP."""
    out = tmp_path / "spans.pb"
    command = [sys.executable, "-m", "tests.processors.noisy", str(out), services]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    [trace] = traces_of([Batch.from_wire(Signal.TRACES, out.read_bytes())])
    prices = Prices({"gpt-4o*": {"input": 2.5, "output": 10.0}})
    before = translate(trace, prices)
    async with opened(noise, presets=PRESETS) as (take, passed, _):
        await take(trace)
    after = translate(passed[0], prices)

    assert len(before.observations) == before_count
    assert edges(after) == sorted(edge for agent in expected for edge in agent.items())
    [root] = [seen for seen in after.observations if seen.parent_id is None]
    assert (root.type, root.input, root.output) == (ObservationType.AGENT, "where to?", "answer 1")
    assert (after.traces[0].name, after.traces[0].session_id) == ("POST /chat", "s-1")
    assert (after.traces[0].input, after.traces[0].output) == ("where to?", "answer 1")
    assert after.traces[0].metadata["http.route"] == "/chat"
    assert total(after, "usage") == total(before, "usage") == 12 * len(expected)
    assert total(after, "cost") == total(before, "cost") > 0
    assert len(after.dropped) == before_count - len(after.observations)
