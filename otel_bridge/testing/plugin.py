"""Fixtures for pytest, for whoever asks for them: `pytest_plugins = ["otel_bridge.testing.plugin"]` in `conftest.py`.

It is no entry point of pytest's: that would be imported in every run of everybody who merely has otel-bridge installed,
and put its fixtures among theirs.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from otel_bridge.testing.fake_langfuse import FakeLangfuse
    from otel_bridge.testing.recording import Recording

NOBODY = "http://127.0.0.1:9"  # the port of discard: no test reaches anybody by mistake


@pytest.fixture
def langfuse_environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Langfuse's variables with values that lead nowhere, and no others that would."""
    from otel_bridge.langfuse_names import BASE_URL, ENABLED, MEANT, PUBLIC_KEY, SAMPLE_RATE, SECRET_KEY

    for name in (*MEANT, ENABLED, SAMPLE_RATE):
        monkeypatch.delenv(name, raising=False)
    values = {PUBLIC_KEY: "pk-lf-test", SECRET_KEY: "sk-lf-test", BASE_URL: NOBODY}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch, langfuse_environ: dict[str, str]) -> Iterator["Recording"]:
    """A bridge in memory. `install()` in what is tested sends nothing."""
    for name in ("OTEL_SDK_DISABLED", "OTEL_BRIDGE_ENABLED", "OTEL_CONFIG_FILE", "TRACEPARENT"):
        monkeypatch.delenv(name, raising=False)
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)
    from otel_bridge.testing.recording import recording

    with recording() as recorded:
        yield recorded


@pytest.fixture
def fake_langfuse(monkeypatch: pytest.MonkeyPatch, langfuse_environ: dict[str, str]) -> Iterator["FakeLangfuse"]:
    """A Langfuse on loopback that stores and answers as the real one; its address and keys are in the environment."""
    from otel_bridge.langfuse_names import BASE_URL, PUBLIC_KEY, SECRET_KEY
    from otel_bridge.testing.fake_langfuse import FakeLangfuse

    with FakeLangfuse().in_thread() as fake:
        for name, value in {PUBLIC_KEY: fake.public_key, SECRET_KEY: fake.secret_key, BASE_URL: fake.url}.items():
            monkeypatch.setenv(name, value)
        yield fake
