"""What span processors cost at the door: µs of one thread per span, over recorded payloads.

python tests/bench/bench_processors.py
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from otel_bridge.batch import Batch, Signal
from otel_bridge.component import Component, Host
from otel_bridge.otlp_files import read_batches
from otel_bridge.processors.attributes import attributes
from otel_bridge.processors.filter import filter  # noqa: A004 - its name

CORPUS = Path(__file__).parents[1] / "corpus"
ROUNDS = 15

BY_ATTRIBUTE = 'attributes["url.path"] == "/health/{}"'
CONFIGS: dict[str, tuple[Component[Any], dict[str, Any]]] = {
    "filter: 1 rule on a scope": (filter, {"drop": {"spans": {"redis": 'scope == "redis"'}}}),
    "filter: 1 rule on a name": (filter, {"drop": {"spans": {"health": 'name == "GET /health"'}}}),
    "filter: 1 rule on an attribute": (filter, {"drop": {"spans": {"health": BY_ATTRIBUTE.format(0)}}}),
    "filter: 10 rules on attributes": (
        filter,
        {"drop": {"spans": {f"health{n}": BY_ATTRIBUTE.format(n) for n in range(10)}}},
    ),
    "filter: 1 rule on the resource and an attribute": (
        filter,
        {"drop": {"spans": {"one": f'resource["service.name"] == "x" && {BY_ATTRIBUTE.format(0)}'}}},
    ),
    "filter: 1 pattern": (filter, {"drop": {"spans": {"one": 'name.matches("^(GET|HEAD) /health")'}}}),
    "filter: 1 pattern of words and digits": (
        filter,
        {"drop": {"spans": {"one": r'name.matches(r"(?i)^\w+ /v\d+/")'}}},
    ),
    "filter: 1 rule on how many attributes there are": (
        filter,
        {"drop": {"spans": {"one": "size(attributes) > 1000"}}},
    ),
    "attributes: 5 actions on what nobody sends": (
        attributes,
        {"spans": [{"action": "delete", "key": f"nobody.sends.{n}"} for n in range(5)]},
    ),
    "attributes: 1 set on every span": (attributes, {"spans": [{"action": "set", "key": "team", "value": "blue"}]}),
    "attributes: 5 actions on what is there": (
        attributes,
        {
            "spans": [
                {"action": "rename", "key": "gen_ai.system", "to": "gen_ai.provider.name"},
                {"action": "hash", "key": "user.id"},
                {"action": "delete", "key": "http.*"},
                {"action": "truncate", "key": "gen_ai.input.messages", "length": 1000},
                {"action": "promote", "key": "service.name", "of": "resource"},
            ]
        },
    ),
}


def recorded() -> Iterator[Batch]:
    for path in sorted(CORPUS.glob("*/*.traces.pb")):
        for batch in read_batches(path):
            if batch.signal is Signal.TRACES:
                yield Batch.from_wire(batch.signal, batch.wire)


async def cost_us(component: Component[Any], config: dict[str, Any], batches: list[Batch]) -> float:
    """The least of several rounds: what comes on top is the machine's."""

    async def consume(_batch: Batch) -> None:
        """Take it."""

    host = Host(component.name, Path("unused"))
    least = float("inf")
    async with asynccontextmanager(component.open)(component.config.model_validate(config), consume, host) as process:
        for _ in range(ROUNDS):
            begun = time.thread_time()
            for batch in batches:
                await process(batch)
            least = min(least, time.thread_time() - begun)
    return least * 1e6 / sum(batch.item_count for batch in batches)


def main() -> None:
    batches = list(recorded())
    for batch in batches:
        _ = batch.request  # decoded, as it is when it has been validated
    spans = sum(batch.item_count for batch in batches)
    kib = sum(len(batch.wire) for batch in batches) / spans / 1024
    print(f"{spans} spans in {len(batches)} requests, {kib:.1f} KiB a span\n")
    for name, (component, config) in CONFIGS.items():
        print(f"{asyncio.run(cost_us(component, config, batches)):7.1f} µs a span  {name}")


if __name__ == "__main__":
    main()
