"""The bridge in the agent's own process: the whole engine on a thread, for agents that have no bridge beside them.

What is imported here is light; the engine is imported on its thread.
"""

from otel_bridge.embedded.engine import Engine

__all__ = ["Engine"]
