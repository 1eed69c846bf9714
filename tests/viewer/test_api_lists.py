"""What the API lists besides traces, and that the command line has the same of it as of the file."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner

from otel_bridge.cli.app import app
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from tests.query.points import measured
from tests.query.records import logged
from tests.query.test_metrics import NOW_NS, minutes

Got = Callable[..., Any]
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def writer(data_dir: Path) -> Any:
    opened = Writer(data_dir / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters())
    yield opened
    opened.close()


@pytest.fixture
async def got(url: str) -> AsyncIterator[Got]:
    async with aiohttp.ClientSession(url) as http:

        async def answer(path: str, status: int = 200) -> Any:
            async with http.get(path) as response:
                assert response.status == status, await response.text()
                return await response.json()

        yield answer


@pytest.fixture
def same(url: str, data_dir: Path) -> Got:
    """What a command prints as JSON, which is the same from the file and from the bridge."""

    async def printed(*words: str) -> Any:
        told = []
        for source in (("--url", url), ("--data-dir", str(data_dir))):
            done = await asyncio.to_thread(CliRunner().invoke, app, [*words, *source, "--json"])
            assert done.exception is None, done.exception
            told.append(json.loads(done.output))
        assert told[0] == told[1]
        return told[0]

    return printed


async def test_events(writer: Writer, got: Got, same: Got) -> None:
    for number in range(3):
        logged(writer, "file.created", str(number), trace=TRACE)
    logged(writer, body="a line")

    first = await got(f"/api/v1/events?name=file.*&trace={TRACE[:6]}&last=1h&limit=2&tenant=default")
    rest = await got(f"/api/v1/events?name=file.*&limit=2&cursor={first['nextCursor']}")
    assert [event["body"] for event in first["events"] + rest["events"]] == ["2", "1", "0"]
    assert [event["body"] for event in (await same("events"))["events"]] == ["a line", "2", "1", "0"]
    assert len((await same("events", "file.*", "--trace", TRACE[:4], "--last", "1h", "--limit", "2"))["events"]) == 2
    assert (await same("events", "odd \ud800&x=1"))["events"] == []


async def test_metrics(writer: Writer, got: Got, same: Got, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_bridge.query.metrics.time_ns", lambda: NOW_NS)
    measured(writer, "process.memory.usage", minutes(1, 2, 3))
    measured(writer, "odd / name?", minutes(5))

    assert [row["name"] for row in (await got("/api/v1/metrics"))["metrics"]] == ["odd / name?", "process.memory.usage"]
    first = await got("/api/v1/metrics?name=*&limit=1&tenant=default")
    rest = await got(f"/api/v1/metrics?cursor={first['nextCursor']}")
    assert [row["lastValue"] for row in first["metrics"] + rest["metrics"]] == [5, 3]
    assert (await got("/api/v1/metrics/odd%20%2F%20name%3F"))["series"][0]["avg"] == 5
    [series] = (await got("/api/v1/metrics/process.memory.usage?last=90s&limit=1&tenant=default"))["series"]
    assert [point["value"] for point in series["points"]] == [2, 3]
    assert len((await same("metrics"))["metrics"]) == 2
    assert len((await same("metrics", "p*"))["metrics"]) == 1


async def test_the_command_line_shows_a_metric_of_a_bridge(writer: Writer, url: str) -> None:
    measured(writer, "odd / name?", minutes(5))

    done = await asyncio.to_thread(CliRunner().invoke, app, ["metrics", "odd / name?", "--last", "1h", "--url", url])
    assert done.output.startswith("odd / name?  gauge")


async def test_sessions_and_scores(writer: Writer, got: Got, same: Got) -> None:
    """Those of the API as it stands."""
    [session] = (await same("sessions"))["sessions"]
    assert "/" in session["id"]
    one = await same("sessions", session["id"], "--turns", "--sort", "start", "--tenant", "default", "--limit", "5")
    assert [trace["id"] for trace in one["traces"]] == [TRACE]
    assert "output" in one["traces"][0]
    assert await same("scores") == await got("/api/v1/scores?limit=20")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/v1/metrics?last=1h", 400, "no parameter 'last'"),
        ("/api/v1/metrics?cursor=x", 400, "cursor"),
        ("/api/v1/metrics?tenant=acme", 400, "no tenant 'acme'"),
        ("/api/v1/metrics/nobody", 404, "no metric 'nobody'"),
        ("/api/v1/metrics/nobody?last=soon", 400, "no duration"),
        ("/api/v1/events?trace=ffff", 404, "no trace 'ffff'"),
        ("/api/v1/events?last=soon", 400, "no duration"),
        ("/api/v1/events?tenant=acme", 400, "no tenant 'acme'"),
        ("/api/v1/events?cursor=x", 400, "cursor"),
    ],
)
async def test_what_can_not_be_answered_is_said(got: Got, path: str, status: int, said: str) -> None:
    assert said in (await got(path, status))["error"]
