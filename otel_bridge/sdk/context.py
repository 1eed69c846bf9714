"""A span processor that writes on every span what its context knows: ids, the task's name, an ended parent."""

import asyncio
import os
from asyncio import _get_running_loop  # what is public raises where there is none, which takes longer
from collections.abc import Sequence
from typing import Any

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from otel_bridge.sdk.correlation import DOWNSTREAM, correlated
from otel_bridge.sdk.spans import PARENT_ENDED
from otel_bridge.sdk.values import attributes_of

TASK = "asyncio.task.name"
KEYS = "OTEL_BRIDGE_CORRELATION_KEYS"
UNNAMED = "Task-"  # and a number: what asyncio calls those that nobody has named


class ContextProcessor(SpanProcessor):
    """To stand before whatever exports; costs microseconds, waits for nothing, raises nothing.

    keys: of the baggage that may come with requests, those that are written on spans. Without them
        `OTEL_BRIDGE_CORRELATION_KEYS` (comma-separated) beside the usual ones.
    """

    def __init__(self, keys: Sequence[str] | None = None) -> None:
        named = [key.strip() for key in os.environ.get(KEYS, "").split(",") if key.strip()]
        self._keys = tuple(keys) if keys is not None else (*DOWNSTREAM, *named)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Write; what the span itself says already stays."""
        context = parent_context if parent_context is not None else otel.get_current()
        known: dict[str, Any] = {}
        if context:
            parent = trace.get_current_span(context)
            if parent is trace.INVALID_SPAN or len(context) > 1:  # else the parent is all that is in it
                known = correlated(context, self._keys)
            if getattr(parent, "end_time", None) is not None:
                known[PARENT_ENDED] = True
        if _get_running_loop() is not None and (name := _task_name()) is not None:
            known[TASK] = name
        if known:
            said = span.attributes or {}
            span.set_attributes({key: value for key, value in attributes_of(known).items() if key not in said})


def _task_name() -> str | None:
    """Of the asyncio task that is running, if somebody named it."""
    task = asyncio.current_task()
    if task is None:
        return None
    name: str = task.get_name()
    return None if name.startswith(UNNAMED) and name[len(UNNAMED) :].isdigit() else name
