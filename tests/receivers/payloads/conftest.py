"""One bridge for the cases of a file.

After each of them it is as well as before: a good request gets OK by both doors, the accounts balance, and the log has
no traceback and nothing of the content (payloads say SECRET where they can).
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.receivers.payloads.world import World


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with World(tmp_path_factory.mktemp("payloads")).open() as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(opened: World, capfd: pytest.CaptureFixture[str]) -> AsyncIterator[World]:
    await opened.settled()
    opened.begin()
    yield opened
    await opened.is_well()
    written = "".join(capfd.readouterr())
    assert "Traceback" not in written
    assert "SECRET" not in written
