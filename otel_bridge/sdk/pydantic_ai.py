"""Pydantic AI has OpenTelemetry built in, and switched off: auto-instrumentation switches it on."""

import sys
from collections.abc import Collection
from types import ModuleType
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # without types

from otel_bridge.sdk.contents import captures
from otel_bridge.sdk.saying import log

MODULE = "pydantic_ai"


class PydanticAIInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """For all agents that have no instrumentation of their own, as soon as Pydantic AI is imported."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing: where it is not installed, nobody imports it."""
        return ()

    def _instrument(self, **_kwargs: Any) -> None:
        from wrapt import register_post_import_hook

        register_post_import_hook(_switch_on, MODULE)

    def _uninstrument(self, **_kwargs: Any) -> None:
        if (module := sys.modules.get(MODULE)) is not None:
            module.Agent.instrument_all(False)


def _switch_on(module: ModuleType) -> None:
    try:
        module.Agent.instrument_all(module.InstrumentationSettings(include_content=captures()))
    except Exception as error:  # noqa: BLE001 - it would come out of the program's import
        log.warning("otel-bridge: this Pydantic AI can not be instrumented: %s", error)
