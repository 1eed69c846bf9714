"""The bridge's own logs are as plain in tests as they are for machines: a rendered traceback takes seconds."""

import pytest

from otel_bridge.telemetry import configure_logs


@pytest.fixture(autouse=True)
def _plain_logs() -> None:
    configure_logs(json=True)
