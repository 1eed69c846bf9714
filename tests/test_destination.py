"""What is known of a destination before the first span: that its keys are wrong, or which project they are of."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from otel_bridge import plan
from otel_bridge.announcement import announced
from otel_bridge.cli.healthcheck import check
from otel_bridge.cli.status import status
from otel_bridge.delivery.retry import Pace
from otel_bridge.pipeline import RunningBridge, running
from otel_bridge.testing.fake_langfuse import FakeLangfuse, Fault
from tests.e2e.process import free_port
from tests.reloading import batch
from tests.waiting import until

CONFIG = """\
receivers: {in_process: {}}
exporters: {langfuse: {base_url: "URL", public_key: pk-lf-fake, secret_key: KEY, timeout: 2s}}
extensions: {viewer: {endpoint: "127.0.0.1:0"}}
service:
  data_dir: DIR
  assemble: {grace: 50ms, idle: 100ms}
  pipelines:
    main: {receivers: [in_process], exporters: [langfuse]}
"""
GOOD, WRONG = "sk-lf-fake", "sk-lf-wrong-5ec7e7"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody waits a minute for a probe."""
    monkeypatch.setattr(Pace, "probe", lambda _self: 0.05)
    monkeypatch.setattr(Pace, "backoff", lambda _self, _tries, _after=None: 0.05)


def planned(url: str, folder: Path, *, key: str = GOOD) -> plan.Plan:
    text = CONFIG.replace("URL", url).replace("KEY", key).replace("DIR", str(folder))
    return plan.parse(text, "bridge.yaml", environ={})


def lane(bridge: RunningBridge) -> dict[str, Any]:
    found: dict[str, Any] = bridge.status()["exporters"]["main/langfuse"]["default"]
    return found


async def told(data_dir: Path) -> int:
    """The exit code of `status`."""
    try:
        await asyncio.to_thread(status, data_dir=data_dir)
    except typer.Exit as end:
        return end.exit_code
    return 0


async def test_a_wrong_key_is_told_of_before_the_first_span_and_a_right_one_when_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeLangfuse().running() as fake, running(planned(fake.url, tmp_path, key=WRONG)) as bridge:
        with announced(tmp_path, bridge.endpoints):
            await until(lambda: bridge.status()["parked"])
            assert bridge.status()["ready"]
            assert await told(tmp_path) == 1
            shown = capsys.readouterr()
            assert await asyncio.to_thread(check, ["--data-dir", str(tmp_path)]) == 0
            health = capsys.readouterr().out
            said = json.dumps(bridge.status())
            fake.secret_key = WRONG  # as by its operator
            await until(lambda: not bridge.status()["parked"])
            log = capsys.readouterr().err
        assert not fake.rows

    why = f"langfuse is parked for default (unauthorized: {fake.url}/api/public/projects answered 401"
    assert why in shown.out
    assert "check address and keys" in shown.out
    assert why in health
    assert ["main", "langfuse", "default", "parked:", "unauthorized", "0"] in [
        line.split()[:6] for line in shown.out.splitlines()
    ]
    assert shown.err.count("nothing can be delivered until somebody acts") == 1
    assert "delivering again" in log
    assert WRONG not in said + shown.out + shown.err + health + log


async def test_the_project_of_the_keys_is_known_before_the_first_span(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeLangfuse().running() as fake, running(planned(fake.url, tmp_path)) as bridge:
        with announced(tmp_path, bridge.endpoints):
            await until(bridge.destinations)
            assert await told(tmp_path) == 0
            shown = capsys.readouterr()
        assert len(fake.sent_to("/projects")) == 1

        assert bridge.destinations() == {
            "langfuse": {
                "default": {
                    "server": "4.61.0",
                    "project": {"id": "fake-project", "name": "fake"},
                    "trace_url": f"{fake.url}/project/fake-project/traces/{{traceId}}",
                }
            }
        }
    assert ["main", "langfuse", "default", "up", "to", "date", "0", "0", "fake", "(fake-project)"] in [
        line.split() for line in shown.out.splitlines()
    ]
    [line] = [line for line in shown.err.splitlines() if "the keys are good" in line]
    assert "fake-project" in line
    assert GOOD not in shown.out + shown.err


async def test_a_langfuse_that_is_down_parks_nothing_and_is_known_once_it_is_up(tmp_path: Path) -> None:
    port = free_port()
    async with running(planned(f"http://127.0.0.1:{port}", tmp_path)) as bridge:
        await until(lambda: bridge.status()["exporters"] and lane(bridge)["tries"] > 1)
        assert lane(bridge)["parked"] is None
        assert "can not be reached" in lane(bridge)["why"]
        assert bridge.status()["ready"]
        await bridge.consume(batch("one"))
        async with FakeLangfuse().running(port) as fake:
            await until(bridge.destinations)
            await until(lambda: fake.rows)
            await until(lambda: lane(bridge)["why"] is None)


async def test_one_that_hangs_holds_up_neither_start_nor_end(tmp_path: Path) -> None:
    async with FakeLangfuse().running() as fake:
        fake.always("health", Fault(does="hang"))
        async with asyncio.timeout(2):
            async with running(planned(fake.url, tmp_path)) as bridge:
                await until(lambda: fake.requests)
                assert bridge.status()["ready"]


async def test_who_does_not_say_whose_the_keys_are_gets_what_there_is_meanwhile(tmp_path: Path) -> None:
    async with FakeLangfuse().running() as fake:
        fake.always("projects", Fault(does="hang"))
        text = CONFIG.replace("URL", fake.url).replace("KEY", GOOD).replace("DIR", str(tmp_path)).replace("2s", "60s")
        async with running(plan.parse(text, "bridge.yaml", environ={})) as bridge:
            await until(lambda: fake.sent_to("/projects"))
            await bridge.consume(batch("one"))
            await until(lambda: fake.rows)
            assert len(fake.sent_to("/projects")) == 1, "it is being asked still"


@pytest.mark.parametrize(
    "fault", [Fault(403), Fault(404), Fault(400), Fault(200, "{}"), Fault(200, '{"data": [{"id": 3, "name": ""}]}')]
)
async def test_a_server_that_does_not_name_the_project_gets_what_there_is(tmp_path: Path, fault: Fault) -> None:
    async with FakeLangfuse().running() as fake, running(planned(fake.url, tmp_path)) as bridge:
        fake.always("projects", fault)
        await until(bridge.destinations)
        assert bridge.destinations()["langfuse"]["default"] == {"server": "4.61.0"}
        await bridge.consume(batch("one"))
        await until(lambda: fake.rows)
        assert bridge.status()["parked"] == 0


async def test_what_is_refused_beside_good_keys_stays_parked(tmp_path: Path) -> None:
    """As where a plan's limit is reached: the project is named all the same."""
    async with FakeLangfuse().running() as fake, running(planned(fake.url, tmp_path)) as bridge:
        fake.always("otlp", Fault(403))
        fake.script("projects", Fault(500))
        await bridge.consume(batch("one"))
        await until(lambda: bridge.destinations() and lane(bridge)["parked"])
        assert lane(bridge)["parked"] == "forbidden"


async def test_links_begin_with_the_address_for_people(tmp_path: Path) -> None:
    async with FakeLangfuse().running() as fake:
        text = CONFIG.replace('"URL"', f'"{fake.url}", browser_url: "https://langfuse.team/"')
        read = plan.parse(text.replace("KEY", GOOD).replace("DIR", str(tmp_path)), "bridge.yaml", environ={})
        async with running(read) as bridge:
            await until(bridge.destinations)
            known = bridge.destinations()["langfuse"]["default"]
    assert known["trace_url"] == "https://langfuse.team/project/fake-project/traces/{traceId}"
