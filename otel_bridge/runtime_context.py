"""OpenTelemetry's context for code that is not ours: a token given back in another context is counted, not shouted.

It stands outside of `sdk`, as OpenTelemetry loads it while it is half imported itself.
"""

from collections import Counter
from contextvars import Token

from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

counted: Counter[str] = Counter()
"""`foreign_detach`: how often that happened: generators somewhere hold a span over their yields."""


class BridgeRuntimeContext(ContextVarsRuntimeContext):
    """To be chosen by `OTEL_PYTHON_CONTEXT=otel_bridge`."""

    def detach(self, token: Token[Context]) -> None:
        """Give a token back; where it is of another context, the current one stays as it is."""
        try:
            super().detach(token)
        except ValueError:
            counted["foreign_detach"] += 1
