"""`otel-bridge runs` lists the runs whose calls were logged, and shows one."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from otel_bridge.component import Host
from otel_bridge.exporters.call_log import CallLogConfig, call_log
from otel_bridge.model import Level
from tests.cli.conftest import Run
from tests.exporters.call_log.made import seen, translated

PROGRAM = """
from opentelemetry import trace
tracer = trace.get_tracer("program")
with tracer.start_as_current_span("invoke_agent planner", attributes={"gen_ai.operation.name": "invoke_agent"}):
    tracer.start_span("chat", attributes={
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "Lisbon?"}]}]',
    }).end()
"""
EVIL = "a\x1b[2Jb/../c"


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """Two runs, the newer of which has a hostile name."""

    async def write() -> None:
        host = Host("call_log", tmp_path / "data")
        async with asynccontextmanager(call_log.open)(CallLogConfig(), host) as settle:
            calls = [
                seen("c1", metadata={"run.id": "first"}, usage={"input": 3, "output": 4, "total": 7}, model="gpt-5.2"),
                seen("c2", metadata={"run.id": "first"}, at=1, level=Level.ERROR, cost={"total": 0.5}),
            ]
            await settle(translated(*calls))
            await settle(translated(seen("c3", name=EVIL, metadata={"run.id": EVIL})))

    (tmp_path / "data").mkdir()
    asyncio.run(write())
    return tmp_path / "data" / "llm_log"


@pytest.mark.slow
def test_runs_are_listed_the_newest_first_and_shown_with_their_calls(run: Run, logged: Path) -> None:
    """What is shown begins with what stands in the run's summary."""
    listed = run("runs")
    shown = run("runs", "show", "fir")

    header, evil, first = listed.stdout.splitlines()
    assert header.split() == ["run", "started", "UTC", "calls", "failed", "tokens", "cost", "name"]
    assert first.split() == ["first", "2026-09-21", "14:13", "2", "1", "7", "$0.5", "plan", "a", "week"]
    assert evil.startswith("a_2Jb_.._c-")
    summary = (logged / "first" / "summary.yaml").read_text()
    assert shown.stdout.startswith(summary)
    calls = [line.split("  ") for line in shown.stdout.removeprefix(summary).splitlines() if line.startswith("00")]
    assert [(row[0], row[-1].strip()) for row in calls] == [
        ("001", "llm_calls/call_001_chat_gpt-5.2.yaml"),
        ("002 !", "llm_calls/call_002_chat_gpt-5.2.yaml"),
    ]


@pytest.mark.slow
def test_programs_get_json(run: Run, logged: Path) -> None:
    listed = json.loads(run("runs", "--json", "--limit", "1").stdout)
    shown = json.loads(run("runs", "show", "first", "--json").stdout)

    assert [found["run_id"] for found in listed["runs"]] == [EVIL]
    summary = YAML(typ="safe").load(logged / "first" / "summary.yaml")
    assert shown["summary"] == summary
    assert [call["ok"] for call in shown["calls"]] == [True, False]


@pytest.mark.slow
def test_no_hostile_name_reaches_the_terminal(run: Run, logged: Path) -> None:
    shown = run("runs", "show").stdout + run("runs").stdout

    assert logged.exists()
    assert "\x1b" not in shown
    assert "\\x1b[2J" in shown


@pytest.mark.slow
def test_they_are_found_where_the_environment_or_a_configuration_says(run: Run, logged: Path, tmp_path: Path) -> None:
    """In the order in which these overrule each other."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "bridge.yaml"
    path.write_text("exporters: {call_log: {dir: data/llm_log}}\nservice: {data_dir: elsewhere}\n")

    assert "first" in run("runs", "--config", path).stdout
    there = run("runs", "--config", path, more={"OTEL_BRIDGE_LLM_LOG_DIR": "elsewhere"})
    assert there.stdout.startswith(f"No runs in {tmp_path / 'elsewhere'}. OTEL_BRIDGE_LLM_LOG=standard")
    path.write_text("exporters: {call_log: {job: job.json}}\nservice: {data_dir: elsewhere}\n")
    (tmp_path / "job.json").write_text('{"llm_logging": {"dir": "data/llm_log"}}')
    assert "first" in run("runs", "--config", path).stdout
    assert "first" in run("runs", "--dir", logged, more={"OTEL_BRIDGE_LLM_LOG_DIR": "elsewhere"}).stdout


@pytest.mark.slow
def test_a_run_that_is_not_there_is_told_of(run: Run, logged: Path) -> None:
    missing = run("runs", "show", "third")

    assert (missing.returncode, missing.stdout) == (2, "")
    assert f"there is no run 'third' in {logged}" in missing.stderr


@pytest.mark.slow
def test_one_variable_is_enough(run: Run, tmp_path: Path) -> None:
    """No configuration, no bridge that runs, no code; and at `minimal` no content."""
    log = {"OTEL_BRIDGE_LLM_LOG": "minimal", "OTEL_BRIDGE_LLM_LOG_FORMAT": "json", "OTEL_BRIDGE_LLM_LOG_DIR": "mine"}
    done = run("run", "--", sys.executable, "-c", PROGRAM, more=log)
    assert done.returncode == 0, done.stderr

    [folder] = [path for path in (tmp_path / "mine").iterdir() if path.is_dir()]
    [call] = (folder / "llm_calls").iterdir()
    assert call.name == "call_001_planner.json"
    assert json.loads(call.read_text())["tokens"] == {"input": 12, "output": 5, "total": 17}
    assert "Lisbon" not in call.read_text()
    assert json.loads((folder / "summary.json").read_text())["calls"] == 1


@pytest.mark.slow
def test_a_word_that_is_no_level_keeps_the_bridge_from_starting(run: Run) -> None:
    done = run("serve", more={"OTEL_BRIDGE_LLM_LOG": "verbose"})

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "OTEL_BRIDGE_LLM_LOG: must be 'off', 'minimal', 'standard' or 'full'\n"
