"""What an operator asks for over HTTP reaches the bridge, and nobody else's request does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from otel_bridge.component import Host
from otel_bridge.errors import UsageError
from otel_bridge.extensions.viewer import ViewerConfig, viewer
from tests.viewer.conftest import FakeBridge

CHANGE = {"X-Otel-Bridge": "1"}
LETTER = "0123456789abcdef"
CHANGES = [
    ("/api/v1/dead-letters/retry", {"ids": [LETTER]}),
    ("/api/v1/dead-letters/drop", {"ids": [LETTER]}),
    ("/api/v1/exporters/pause", {"exporter": "langfuse"}),
    ("/api/v1/exporters/resume", {"exporter": "langfuse", "tenant": "acme"}),
    ("/api/v1/exporters/give-up", {"exporter": "langfuse", "tenant": "acme"}),
    ("/api/v1/replays", {"exporter": "langfuse", "since": "2026-01-31T12:00:00Z"}),
]


class FakeOperator:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def _note(self, *what: Any) -> dict[str, Any]:
        self.asked.append(what)
        return {"done": what[0]}

    async def letters(self, **chosen: Any) -> dict[str, Any]:
        return self._note("letters", chosen)

    async def letter(self, letter_id: str) -> dict[str, Any] | None:
        return {"id": letter_id} if letter_id == LETTER else None

    async def retry(self, ids: Sequence[str]) -> dict[str, Any]:
        return self._note("retry", ids)

    async def drop(self, ids: Sequence[str]) -> dict[str, Any]:
        return self._note("drop", ids)

    async def pause(self, exporter: str, tenant: str | None = None) -> dict[str, Any]:
        if exporter != "langfuse":
            raise UsageError("no such exporter")
        return self._note("pause", exporter, tenant)

    async def resume(self, exporter: str, tenant: str | None = None) -> dict[str, Any]:
        return self._note("resume", exporter, tenant)

    async def give_up(self, exporter: str, tenant: str | None = None) -> dict[str, Any]:
        return self._note("give_up", exporter, tenant)

    async def replay(self, exporter: str, **wanted: Any) -> dict[str, Any]:
        return self._note("replay", exporter, wanted)

    def replays(self) -> dict[str, Any]:
        return {"replays": [], "replayed": []}


@pytest.fixture
def operator() -> FakeOperator:
    return FakeOperator()


@pytest.fixture
async def http(tmp_path: Path, operator: FakeOperator) -> AsyncIterator[aiohttp.ClientSession]:
    bridge = FakeBridge()
    bridge.operator = operator  # type: ignore[assignment]
    host = Host("viewer", tmp_path, bridge=bridge)  # type: ignore[arg-type]
    async with (
        asynccontextmanager(viewer.open)(ViewerConfig(endpoint="127.0.0.1:0"), host),
        aiohttp.ClientSession(host.endpoints["viewer"]) as session,
    ):
        yield session


@pytest.mark.parametrize(("path", "body"), CHANGES)
async def test_a_change_reaches_the_bridge_and_only_with_the_header_and_from_here(
    http: aiohttp.ClientSession, operator: FakeOperator, path: str, body: dict[str, Any]
) -> None:
    foreign = ({}, {**CHANGE, "Origin": "https://attacker.test"}, {**CHANGE, "Sec-Fetch-Site": "cross-site"})
    for headers in foreign:
        async with http.post(path, json=body, headers=headers) as answer:
            assert answer.status == 403
    async with http.post(path, data="{}", headers={**CHANGE, "Content-Type": "text/plain"}) as answer:
        assert answer.status == 415
    async with http.post(path, json={**body, "more": 1}, headers=CHANGE) as answer:
        assert answer.status == 400
    async with http.post(path, json={}, headers=CHANGE) as answer:
        assert answer.status == 400
    assert operator.asked == []

    async with http.post(path, json=body, headers=CHANGE) as answer:
        assert answer.status == 200, await answer.text()
        assert await answer.json() == {"done": operator.asked[0][0]}
    assert "tenant" not in body or operator.asked[0][-1] == body["tenant"]


async def test_times_are_read_with_their_zone(http: aiohttp.ClientSession, operator: FakeOperator) -> None:
    wanted = {"exporter": "langfuse", "since": "2026-01-31T12:00:00+01:00", "until": "2026-01-31T12:00:00Z"}
    async with http.post("/api/v1/replays", json=wanted, headers=CHANGE) as answer:
        assert answer.status == 200
    [(_, _, said)] = operator.asked
    assert said["until_ns"] - said["since_ns"] == 3600 * 10**9
    for wrong in (
        {"since": "2026-01-31T12:00:00"},
        {"since": "2999-01-31T12:00:00Z"},
        {"until": "2026-01-31T10:00:00Z"},
    ):
        async with http.post("/api/v1/replays", json={**wanted, **wrong}, headers=CHANGE) as answer:
            assert answer.status == 400


async def test_times_far_away_are_the_first_and_the_last_that_can_be(
    http: aiohttp.ClientSession, operator: FakeOperator
) -> None:
    wanted = {"exporter": "langfuse", "since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}
    async with http.post("/api/v1/replays", json=wanted, headers=CHANGE) as answer:
        assert answer.status == 200
    [(_, _, said)] = operator.asked
    assert (said["since_ns"], said["until_ns"]) == (0, 2**63 - 1)


async def test_letters_are_asked_for_as_they_are_chosen(http: aiohttp.ClientSession, operator: FakeOperator) -> None:
    async with http.get("/api/v1/dead-letters?exporter=langfuse&reason=refused&limit=3") as answer:
        assert answer.status == 200
    assert operator.asked == [
        ("letters", {"exporter": "langfuse", "tenant": None, "reason": "refused", "limit": 3, "cursor": None})
    ]
    async with http.get(f"/api/v1/dead-letters/{LETTER}") as found, http.get("/api/v1/dead-letters/xyz") as nothing:
        assert (found.status, nothing.status) == (200, 404)
    async with http.post("/api/v1/exporters/pause", json={"exporter": "nobody"}, headers=CHANGE) as answer:
        assert (answer.status, await answer.json()) == (400, {"error": "no such exporter"})
