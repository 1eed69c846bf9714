"""OpenTelemetry from AI agents in, Langfuse traces out."""

__version__ = "0.1.0"
