"""`otel-bridge status` and `healthcheck` tell of a bridge what somebody should know, by name."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import typer

from otel_bridge import plan
from otel_bridge.announcement import announced
from otel_bridge.cli.findings import faults, findings
from otel_bridge.cli.healthcheck import check
from otel_bridge.cli.output import wrapped
from otel_bridge.cli.status import status
from otel_bridge.errors import PlanError, UnreachableError
from otel_bridge.pipeline import running
from tests.reloading import batch
from tests.waiting import until

CONFIG = """\
receivers: {otlp: {grpc: null, http: "127.0.0.1:0"}}
processors: {filter: {drop: {spans: {health: name == "GET /health"}}}}
exporters: {store: {}, otlp: {endpoint: "http://127.0.0.1:9", headers: {x-key: secret}}}
extensions: {viewer: {endpoint: "127.0.0.1:0"}}
service:
  data_dir: DIR
  tenants:
    acme: {keys: [acme-key-0123456789]}
  pipelines:
    main: {receivers: [otlp], processors: [filter], exporters: [store, otlp]}
"""
WELL: dict[str, Any] = {
    "ready": True,
    "configuration_rejected": None,
    "paused": [],
    "paused_tenants": {},
    "dead_letters": [],
    "assembly": {"main": {"open_traces": 1, "held_bytes": 9, "waiting_scores": 2}},
    "exporters": {},
}


async def told(data_dir: Path, *, json: bool = False) -> int:
    """The exit code of `status`."""
    try:
        await asyncio.to_thread(status, data_dir=data_dir, json=json)
    except typer.Exit as end:
        return end.exit_code
    return 0


@pytest.mark.slow
async def test_who_is_parked_paused_and_rejected_is_told_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = plan.parse(CONFIG.replace("DIR", str(tmp_path)), "bridge.yaml", environ={})
    async with running(read, drain_s=lambda: 0.0) as bridge:
        with announced(tmp_path, bridge.endpoints):
            assert await told(tmp_path) == 0
            well = capsys.readouterr().out
            assert bridge.endpoints["otlp"]["http"] in well
            assert "\\" not in well

            await bridge.consume(batch("one", "GET /health", tenant="acme"))
            await until(lambda: bridge.status()["parked"] and bridge.status()["outcomes"])
            assert bridge.operator is not None
            await bridge.operator.pause("store")
            bridge.reject(["bridge.yaml:3 receivers::otpl: no such receiver", "another"])
            assert await told(tmp_path) == 1
            shown = capsys.readouterr().out
            assert await told(tmp_path, json=True) == 1
            said = json.loads(capsys.readouterr().out)
            assert await asyncio.to_thread(check, ["--data-dir", str(tmp_path)]) == 0
            health = capsys.readouterr().out

    for words in (shown, health):
        assert "otlp is parked for acme (no_keys: the tenant acme has no keys of its own for otlp" in words
        assert "store is paused, its data is kept" in words
        assert "bridge.yaml:3 receivers::otpl: no such receiver (and 1 more)" in words
    rows = [line.split() for line in shown.splitlines()]
    assert ["main", "otlp", "acme", "parked:", "no_keys", "1"] in [row[:6] for row in rows]
    assert ["main", "store", "acme", "paused", "0", "1"] in rows
    assert ["1", "dropped:", "filter,", "health,", "traces"] in rows
    assert said["outcomes"] == [
        {"pipeline": "main", "exporter": "store", "tenant": "acme", "outcome": "delivered", "reason": "", "items": 1}
    ]


@pytest.mark.slow
@pytest.mark.parametrize("tenants", [True, False])
async def test_a_data_dir_that_was_changed_while_it_runs_needs_a_restart_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tenants: bool
) -> None:
    """The configuration names a data dir on which no bridge runs yet; whoever looks there is told."""
    text = CONFIG if tenants else CONFIG.replace("  tenants:\n    acme: {keys: [acme-key-0123456789]}\n", "")
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "bridge.yaml"
    read = plan.parse(text.replace("DIR", str(old)), "bridge.yaml", environ={})
    async with running(read, drain_s=lambda: 0.0) as bridge:
        with announced(old, bridge.endpoints):
            moved = text.replace("DIR", "new").replace('viewer: {endpoint: "127.0.0.1:0"', 'viewer: {endpoint: "HERE"')
            address = bridge.endpoints["viewer"]["viewer"].removeprefix("http://")
            await asyncio.to_thread(file.write_text, moved.replace("HERE", address))
            with pytest.raises(UnreachableError, match=f"no bridge runs on {new}"):
                await asyncio.to_thread(status, config=file)  # of which it does not know yet
            assert await asyncio.to_thread(check, ["--config", str(file)]) == (0 if tenants else 3)
            with pytest.raises(PlanError):
                await bridge.reload(plan.load(file, environ={}))
            assert await asyncio.to_thread(check, ["--config", str(file)]) == 0
            if tenants:
                with pytest.raises(UnreachableError, match="needs a restart; --data-dir names the old one"):
                    await asyncio.to_thread(status, config=file)
                return
            with pytest.raises(typer.Exit):
                await asyncio.to_thread(status, config=file)

    said = capsys.readouterr().out
    assert f"service::data_dir: {new} needs a restart, until then it is {old}" in said
    assert f"data       {old}" in said


def test_nothing_is_found_where_all_is_well() -> None:
    assert findings(WELL) == []


def test_what_is_paused_is_meant_to_be() -> None:
    paused = {**WELL, "paused": ["langfuse"], "exporters": {"main/langfuse": {"acme": {"parked": "paused"}}}}

    assert findings(paused) == ["langfuse is paused, its data is kept"]
    alone = {**WELL, "paused_tenants": {"langfuse": ["acme", "beta"]}}
    assert findings(alone) == ["langfuse is paused for acme, beta, whose data is kept"]
    assert faults(paused) == faults(alone) == []


def test_what_is_not_configured_any_more_is_told_once_for_both_its_sides() -> None:
    lane = {"acme": {"parked": "not_configured", "waiting": 3, "why": None}}

    [told] = faults({**WELL, "exporters": {"main/store": lane, "main/store.settled": lane}})

    assert told.startswith("store is not configured any more, with 3 items of acme waiting for it; ")
    assert "`otel-bridge give-up store --tenant acme`" in told


def test_dead_letters_are_told_of_by_exporter_and_reason_and_are_no_fault() -> None:
    def letters(exporter: str, tenant: str, reason: str, count: int) -> dict[str, Any]:
        return {"exporter": exporter, "tenant": tenant, "reason": reason, "letters": count}

    left = [
        letters("langfuse", "acme", "refused", 2),
        letters("langfuse", "beta", "refused", 1),
        letters("langfuse", "beta", "too_large", 4),
        letters("store", "acme", "failing", 1),
    ]

    langfuse, store = findings({**WELL, "dead_letters": left})

    assert langfuse.startswith("7 dead letters of langfuse (3 refused, 4 too_large): ")
    assert "`otel-bridge dead-letter list --exporter langfuse`" in langfuse
    assert store.startswith("1 dead letter of store (1 failing): ")
    assert faults({**WELL, "dead_letters": left}) == []


def test_a_bridge_that_is_not_ready_says_so() -> None:
    assert faults({**WELL, "ready": False}) == ["it can not do its work: its log says why"]


def test_a_long_answer_stands_below_the_table_and_widens_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "http://127.0.0.1:9/api/public/health: nobody answers " + "and says why " * 20 + "\x1b[31m"
    lane = {"waiting": 1, "parked": None, "why": why, "tries": 1, "oldest_s": 3.0}
    told = {
        **WELL,
        "version": "1",
        "uptime_s": 1.0,
        "endpoints": {},
        "configuration": "default",
        "configuration_loaded_at": "",
        "journal": {"used_bytes": 1, "max_bytes": 1 << 20},
        "data_dir": "/data",
        "outcomes": [],
        "counters": [],
        "exporters": {"main/langfuse": {"default": lane, "acme": lane}},
    }
    monkeypatch.setattr("otel_bridge.cli.status.ask", lambda *_asked: told)
    status(url="http://127.0.0.1:1")
    told_all = capsys.readouterr().out

    assert "  scores     2 scores kept until what is judged has come, or for service::assemble::idle" in told_all
    table, below = told_all.split("pipeline", 1)[1].split("\n- ")
    assert max(map(len, table.splitlines())) < 100
    assert table.count("trying again (1 time)") == 2
    assert below == f"langfuse, langfuse for acme: {why[:-5]}\\x1b[31m\n"


def test_a_long_text_is_as_wide_as_the_terminal() -> None:
    """What it contains moves no cursor, and no line of it begins as another's."""
    text = wrapped("one two three four\x1b[2J five http://a.example/with-a-path", "! ", 24)
    assert text.splitlines() == ["! one two three", "  four\\x1b[2J five", "  http://a.example/with-a-path"]
    assert wrapped("a " * 99, "! ", None) == "! " + "a " * 99
