"""The exporter as it is configured: addresses, keys, the largest request; and what it imports."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from otel_bridge.errors import TooLargeError
from otel_bridge.exporters.langfuse import LangfuseConfig
from otel_bridge.model import Translation
from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.exporters.langfuse.conftest import Build, Make, Opened


@pytest.mark.parametrize("version", ["2.95.12", "3.120.0", "4.61.0"])
async def test_more_than_max_request_is_split_before_it_is_sent(
    opened: Opened, observation: Make, version: str
) -> None:
    """One alone is the server's to judge, also where it takes two events to say it."""
    async with FakeLangfuse(version).running() as fake, opened(fake, max_request="64KiB") as settle:
        large = [observation(n, input="x" * 40_000, size=40_500) for n in (1, 2)]
        with pytest.raises(TooLargeError, match="max_request"):
            await settle(Translation(observations=large))
        for one in large:
            await settle(Translation(observations=[one]))
        await settle(Translation(observations=[observation(3, input="x" * 400_000, size=400_500)]))
        assert len(fake.observations) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "cloud.langfuse.com"},
        {"base_url": "ftp://host"},
        {"base_url": "https://pk:sk@host"},
        {"base_url": "https://"},
        {"public_key": ""},
        {"secret_key": ""},
        {"timeout": 0},
        {"host": "https://x"},
    ],
)
def test_a_configuration_that_cannot_work_is_refused_without_its_secrets(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        LangfuseConfig(**({"public_key": "pk", "secret_key": "sk-secret"} | settings))
    assert "sk" not in str(refused.value).replace("https", "")


async def test_base_urls_may_have_a_path_and_a_slash(opened: Opened, translation: Build) -> None:
    async with FakeLangfuse().running() as fake, opened(fake, base_url=f"{fake.url}/") as settle:
        await settle(translation(observations=1, scores=1))
        assert len(fake.scores) == 1


@pytest.mark.slow
def test_importing_the_exporter_imports_neither_langfuse_nor_a_client() -> None:
    code = (
        "import sys, otel_bridge.exporters.langfuse.otlp, otel_bridge.exporters.langfuse.ingestion as i;"
        "print([m for m in ('langfuse', 'httpx', 'aiohttp', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
