"""In the agent's process: spans that are right in asyncio code, and processors that never block.

Importing this imports opentelemetry-api and -sdk, and nothing of the server; what is not always used, when it is.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_bridge.sdk.correlation import correlation
from otel_bridge.sdk.kinds import (
    agent_run,
    answered,
    asynchronous,
    llm_call,
    reasoning,
    retrieval,
    task,
    tool,
    workflow,
)
from otel_bridge.sdk.spans import ActiveSpan, span
from otel_bridge.sdk.streams import stream

if TYPE_CHECKING:
    from otel_bridge.sdk.crossing import ContextQueue, run_sync
    from otel_bridge.sdk.events import event, feedback, score
    from otel_bridge.sdk.installing import install
    from otel_bridge.sdk.instrumenting import instrument, uninstrument

__all__ = [
    "ActiveSpan",
    "ContextQueue",
    "agent_run",
    "answered",
    "asynchronous",
    "correlation",
    "event",
    "feedback",
    "install",
    "instrument",
    "llm_call",
    "reasoning",
    "retrieval",
    "run_sync",
    "score",
    "span",
    "stream",
    "task",
    "tool",
    "uninstrument",
    "workflow",
]

_WHEN_USED = {
    "ContextQueue": "crossing",
    "run_sync": "crossing",
    "event": "events",
    "feedback": "events",
    "score": "events",
    "install": "installing",
    "instrument": "instrumenting",
    "uninstrument": "instrumenting",
}


def __getattr__(name: str) -> Any:
    if name not in _WHEN_USED:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_WHEN_USED[name]}"), name)
