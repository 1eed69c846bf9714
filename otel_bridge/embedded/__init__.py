"""The bridge in the agent's own process: the whole engine on a thread, or an exporter straight to Langfuse.

What is imported here is light; the engine is imported on its thread.
"""

from otel_bridge.embedded.engine import Engine
from otel_bridge.embedded.langfuse import LangfuseSpanExporter

__all__ = ["Engine", "LangfuseSpanExporter"]
