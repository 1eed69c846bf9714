"""Tracer providers that are none of the SDK's."""

from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider


class Around(trace.TracerProvider):
    """A provider that has the SDK's in it, as Logfire's."""

    def __init__(self) -> None:
        self._within = TracerProvider(shutdown_on_exit=False)
        self.add_span_processor = self._within.add_span_processor

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        return self._within.get_tracer(*args, **kwargs)
