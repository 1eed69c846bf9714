"""A stream as users write it, and what its span says."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
from opentelemetry import trace

from tests.sdk.conftest import Spans

OUTCOME, CHUNKS, OUTPUT = "otel_bridge.outcome", "otel_bridge.stream.chunks", "output.value"


async def chunks(count: int = 3) -> AsyncIterator[str]:
    """As users write it: the plain way, which holds a context token over its yields."""
    tracer = trace.get_tracer("user")
    with tracer.start_as_current_span("inside"):
        for at in range(count):
            with tracer.start_as_current_span(f"chunk {at}"):
                await anyio.lowlevel.checkpoint()
            yield f"{at} "


def attributes(spans: Spans, name: str) -> dict[str, Any]:
    return dict(spans[name].attributes or {})
