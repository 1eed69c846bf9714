"""In the agent's process: spans that are right in asyncio code, and processors that never block.

Importing this imports opentelemetry-api and -sdk, and nothing of the server.
"""

from otel_bridge.sdk.correlation import correlation
from otel_bridge.sdk.crossing import ContextQueue, run_sync
from otel_bridge.sdk.events import event, feedback, score
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

__all__ = [
    "ActiveSpan",
    "ContextQueue",
    "agent_run",
    "answered",
    "asynchronous",
    "correlation",
    "event",
    "feedback",
    "llm_call",
    "reasoning",
    "retrieval",
    "run_sync",
    "score",
    "span",
    "stream",
    "task",
    "tool",
    "workflow",
]
