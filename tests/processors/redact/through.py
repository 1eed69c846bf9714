"""A batch, as it is behind the processor."""

from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from otel_bridge.batch import Batch
from otel_bridge.component import Host
from otel_bridge.processors.redact import RedactConfig, redact
from otel_bridge.telemetry import Counters
from tests.processors.requests import pair, spans_of, trace_request

EVERYTHING = {"packs": ["secrets", "pii"]}


class Through:
    """What a batch becomes behind the processor."""

    def __init__(self, **settings: Any) -> None:
        self.config = RedactConfig.model_validate(settings or EVERYTHING)
        self.counters = Counters()

    async def __call__(self, batch: Batch) -> Batch:
        [one] = await self.all(batch)
        return one

    async def all(self, *batches: Batch) -> list[Batch]:
        """Of several, by one processor."""
        passed: list[Batch] = []

        async def consume(given: Batch) -> None:
            passed.append(given)

        host = Host("redact", Path("/nowhere"), counters=self.counters)
        async with asynccontextmanager(redact.open)(self.config, consume, host) as process:
            for batch in batches:
                await process(batch)
        return passed

    async def notes(self, text: str, tenants: str) -> list[str]:
        """What becomes of a text of each of these tenants, by one processor."""
        batches = []
        for tenant in tenants:
            request, span = trace_request(1)
            span.attributes.append(pair("note", text))
            batches.append(Batch.from_request(request, tenant=tenant))
        return [spans_of(one.request)[0].attributes[0].value.string_value for one in await self.all(*batches)]

    async def attribute(self, key: str, text: str, tenant: str = "default") -> str | None:
        request, span = trace_request(1)
        span.attributes.append(pair(key, text))
        [made] = spans_of((await self(Batch.from_request(request, tenant=tenant))).request)
        return made.attributes[0].value.string_value if made.attributes else None
