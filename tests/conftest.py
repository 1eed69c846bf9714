"""What holds for all tests.

The bridge's own logs are as plain as they are for machines: a rendered traceback takes seconds. That the machine is
busy fails nothing.
"""

import pytest
from hypothesis import HealthCheck, settings

from otel_bridge.telemetry import configure_logs

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_make_parametrize_id(val: object) -> str | None:
    """What gzip made bears the time, and xdist's workers must call a test by one name."""
    return "gzip" if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


@pytest.fixture(autouse=True)
def _plain_logs() -> None:
    configure_logs(json=True)
