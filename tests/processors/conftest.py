"""Trace processors as the pipeline opens them, and spans in a line each."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from otel_bridge.component import Component, Host, Pass
from otel_bridge.model import Translation
from otel_bridge.trace import Trace
from otel_bridge.translate import Prices, translate
from tests.translate.conftest import Otlp

Opened: TypeAlias = Callable[..., AbstractAsyncContextManager[tuple[Pass, list[Trace], Host]]]

PRICES = Prices({})


async def translated(trace: Trace) -> Translation:
    if trace.translation is None:
        trace.translation = translate(trace, PRICES)
    return trace.translation


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """A processor that hands on to a list: (its consumer, the list, its host)."""

    @asynccontextmanager
    async def open_(component: Component[Any], **config: Any) -> AsyncIterator[tuple[Pass, list[Trace], Host]]:
        passed: list[Trace] = []

        async def arrive(trace: Trace) -> None:
            passed.append(trace)

        host = Host(component.name, tmp_path, translate=translated)
        async with asynccontextmanager(component.open)(component.config.model_validate(config), arrive, host) as take:
            yield take, passed, host

    return open_


@pytest.fixture
def otlp() -> Otlp:
    return Otlp()
