"""Every example runs as it is, and what it shows arrives in the store of a running bridge."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, Bench, until

pytestmark = pytest.mark.slow


def test_research(bench: Bench) -> None:
    """Three agents in a task group are one trace, and what failed is told."""
    said = bench.run("research.py")
    seen = bench.trace("session:s-1", 9)
    assert said == f"trace {seen.said['id']}; all of it was sent: True\n"
    researcher = ["    GENERATION chat gpt-4o-mini", "      SPAN answer", "    TOOL execute_tool look_up"]
    assert seen.tree == [
        "CHAIN invoke_workflow compare-cities",
        "  AGENT invoke_agent researcher-lisbon",
        *researcher,
        "  AGENT invoke_agent researcher-oslo",
        *researcher,
    ]
    [failed] = [found for found in seen.observations if found["level"] == "ERROR"]
    assert failed["statusMessage"] == "TimeoutError: the library did not answer"
    looked = {json.dumps(found["input"]): found.get("output") for found in seen.observations if found["type"] == "TOOL"}
    assert looked == {'{"topic": "lisbon"}': "three books about lisbon", '{"topic": "oslo"}': None}
    assert [score["name"] for score in seen.said["scores"]] == ["helpful"]


def test_approval_goes_on_in_another_process(bench: Bench) -> None:
    assert bench.run("approval.py", "trip-1") == "trip-1 waits: Book Lisbon for eight?\n"
    assert bench.run("approval.py", "trip-1", "yes") == "trip-1: Book Lisbon for eight? yes\n"
    seen = bench.trace("session:trip-1", 7)
    assert seen.tree == [
        "CHAIN invoke_workflow trip",
        "  CHAIN invoke_workflow trip",
        "    SPAN approve",
        "  SPAN approve",
        "  SPAN plan",
        "    GENERATION chat gpt-4o-mini",
        "  SPAN quote",
    ]
    assert seen.said["errorCount"] == 0


def test_streaming_api(bench: Bench, streaming_api: int) -> None:
    """An answer that was read to its end, and one whose reader went away."""
    for question, outcome in (("Lisbon", None), ("for+ever", "abandoned")):
        client = http.client.HTTPConnection("127.0.0.1", streaming_api, timeout=30)
        client.request("GET", f"/ask?question={question}", headers={"X-Session-Id": f"web {question}"})
        answer = client.getresponse()
        said = answer.readline() if outcome else answer.read()
        client.close()
        assert said.startswith(b"data: What \n")
        seen = bench.trace(f"id:{answer.getheader('x-trace-id')}", 4)
        assert (seen.tree[0], seen.said["sessionId"]) == ("SPAN GET /ask", f"web {question}")
        streamed = [row.strip() for row in seen.tree[-3:]]
        assert streamed == ["SPAN answer", "AGENT invoke_agent guide", "GENERATION chat gpt-4o-mini"]
        for name in ("GET /ask", "answer", "invoke_agent guide", "chat gpt-4o-mini"):
            assert (seen[name]["level"], seen[name]["metadata"].get("otel_bridge.outcome")) == ("DEFAULT", outcome)


def test_runner(bench: Bench) -> None:
    """The async runner and its sync twin give the same trace."""
    said = bench.run("runner.py", "Lisbon or Oslo?")
    assert said == "async: answer 1\nsync: answer 1\nsync, in a running loop: answer 1\n"
    for session in ("async", "sync", "in a loop"):
        seen = bench.trace(f'session:"{session}"', 3)
        whole = ["AGENT invoke_agent guide", "  GENERATION chat gpt-4o-mini", "  TOOL execute_tool look_up"]
        assert (seen.tree, seen.said["totalTokens"]) == (whole, 12)


def run_under(bench: Bench, *command: str) -> str:
    """`otel-bridge run`, which finds the bridge by itself."""
    return bench.run("-m", "otel_bridge", "run", "--", *command, OTEL_EXPORTER_OTLP_ENDPOINT="")


def test_a_chat_without_telemetry_is_instrumented(bench: Bench) -> None:
    said = run_under(bench, sys.executable, str(EXAMPLES / "chat.py"), "Lisbon or Oslo?", "And in May?")
    assert said == "> Lisbon or Oslo?\nanswer 1\n> And in May?\nanswer 2\n"
    seen = bench.trace('model:gpt-4o-mini-2024-07-18 "And in May?"', 1)["chat gpt-4o-mini"]
    assert (seen["type"], seen["usageDetails"]["total"]) == ("GENERATION", 32)
    assert [message["content"] for message in seen["input"]] == ["Lisbon or Oslo?", "answer 1", "And in May?"]
    assert [message["content"] for message in seen["output"]] == ["answer 2"]


@pytest.mark.long
def test_a_chain_of_langchain_without_telemetry_is_instrumented(bench: Bench) -> None:
    """By `opentelemetry-instrument`, which has to be told that content may be sent."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("opentelemetry-instrument")),
            sys.executable,
            str(EXAMPLES / "langchain_chat.py"),
            "Lisbon",
        ],
        env=bench.environ(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="SPAN_ONLY"),
        cwd=bench.folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout) == (0, "answer 1\n")
    assert "otel" not in done.stderr  # LangChain has something to say of another instrumentation that is installed here
    seen = bench.trace('"What is Lisbon like?"', 1)["chat gpt-4o-mini"]
    assert (seen["type"], seen["model"]) == ("GENERATION", "gpt-4o-mini-2024-07-18")
    assert seen["usageDetails"] == {"input": 20, "output": 2, "total": 22}
    said = [message["content"] for message in (*seen["input"], *seen["output"])]
    assert said == ["You know cities.", "What is Lisbon like?", "answer 1"]


@pytest.mark.long
def test_an_agent_of_pydantic_ai_without_telemetry_is_instrumented(bench: Bench) -> None:
    """Also by its OpenAI client: what both tell of is counted once."""
    question = "What is the weather like in Lisbon?"
    assert run_under(bench, sys.executable, str(EXAMPLES / "pydantic_agent.py"), question) == "answer 1\n"
    seen = bench.trace(f'"{question}" name:invoke_agent*', 6)
    calls = ["  GENERATION chat gpt-4o-mini"] * 2 + ["    SPAN chat gpt-4o-mini"] * 2
    assert seen.tree == ["AGENT invoke_agent guide", *calls, "  TOOL execute_tool weather"]
    assert seen["execute_tool weather"]["output"] == "Lisbon is warm and dry."
    assert seen.said["totalTokens"] == 64


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `claude` on the path that answers as Claude Code does."""
    monkeypatch.setenv("PATH", str(Path(__file__).parent / "bin"), prepend=os.pathsep)


@pytest.mark.usefixtures("claude")
def test_claude_code_without_a_line_of_code(bench: Bench) -> None:
    said = run_under(bench, "claude", "-p", "Lisbon or Oslo?")
    assert json.loads(said)["result"] == "Lisbon, as it is warmer."
    seen = bench.trace("session:c-1 name:claude_code.interaction", 2)
    assert seen.tree == ["AGENT claude_code.interaction", "  GENERATION claude_code.llm_request"]
    assert (seen.said["input"], seen.said["output"]) == ("Lisbon or Oslo?", "Lisbon, as it is warmer.")
    assert (seen.said["totalTokens"], seen.said["totalCost"]) == (186, 0.02)


@pytest.mark.usefixtures("claude")
def test_claude_runner(bench: Bench) -> None:
    """A generation for each turn; what was not counted is not 0."""
    said = bench.run("claude_runner.py", "Lisbon or Oslo?", "And in May?", "uncounted")
    assert said.endswith(
        "> And in May?\nLisbon, as it is warmer.\n> uncounted\nLisbon, as it is warmer.\n3 turns, $0.06\n"
    )
    seen = bench.trace('name:"claude session"', 4)
    assert seen.tree == ["AGENT invoke_agent claude-code", *["  GENERATION chat claude"] * 3]
    assert (seen.said["sessionId"], seen.said["userId"], seen.said["totalCost"]) == ("c-1", "ada", 0.06)
    turns = seen.observations[1:]
    assert [turn["input"] for turn in turns] == ["Lisbon or Oslo?", "And in May?", "uncounted"]
    assert [turn["totalTokens"] for turn in turns] == [186, 186, None]
    counted = {"input": 111, "output": 23, "input_cached_tokens": 40, "input_cache_creation": 12, "total": 186}
    assert [turn["usageDetails"] for turn in turns[:2]] == [counted] * 2
    times = {"duration_ms": 900, "duration_api_ms": 800, "num_turns": 1}
    assert all(turn["metadata"].items() >= times.items() for turn in turns)


def test_background(bench: Bench) -> None:
    """What outlives its request has a trace of its own, linked to the request."""
    said = bench.run("background.py", "0.3")
    assert said == "answered: the index will be there soon\nindexed 3 files\n"
    request = bench.trace('session:shelf name:"POST /index"', 3)
    assert request.tree == ["SPAN POST /index", "  AGENT invoke_agent librarian", "    TOOL execute_tool list_files"]
    later = bench.trace("session:shelf name:index", 1)["index"]
    [link] = later["metadata"]["otel.links"]
    assert link == {"trace_id": request.said["id"], "span_id": request["invoke_agent librarian"]["id"]}
    assert [record["name"] for record in later["logs"]] == ["task.start", *["task.data"] * 3, "task.finish"]


def test_feedback_reaches_both_projects(bench: Bench) -> None:
    asked = bench.run("feedback.py", "ask", "Lisbon or Oslo?")
    [name] = re.findall(r"feedback.py up (\S+)", asked)
    assert bench.run("feedback.py", "up", name) == "thank you\n"
    seen = bench.trace("session:s-9", 2, after=lambda seen: len(seen.said["scores"]) == 2)
    assert {score["observationId"] for score in seen.said["scores"]} == {name.split("-")[2]}
    wanted = {score["id"]: (score["name"], name.split("-")[1]) for score in seen.said["scores"]}
    for project in bench.projects:
        until(partial(wanted.keys().__le__, project.scores.keys()))
        assert {key: (project.scores[key]["name"], project.scores[key]["traceId"]) for key in wanted} == wanted


def test_celery_tasks(bench: Bench) -> None:
    """Tasks in another process, which is stopped as soon as they are done."""
    queue = {"QUEUE": str(bench.folder), "OTEL_BSP_SCHEDULE_DELAY": "60000"}  # nothing goes before the process does
    alone = ("--without-mingle", "--without-gossip", "--without-heartbeat")
    words = ("-A", "celery_tasks", "--workdir", str(EXAMPLES), "worker", "-c", "1", "-l", "info", *alone)
    worker = bench.start("-m", "celery", *words, **queue)
    assert worker.stderr is not None
    try:
        said = bench.run("celery_tasks.py", "/shelf", **queue)
        assert said == "asked for the index of /shelf, and for a report some time\n"
        done = 0
        while done < 2:
            line = worker.stderr.readline()
            assert line, "the worker ended"
            done += "succeeded in" in line
    finally:
        worker.terminate()
        worker.communicate(timeout=60)
    assert bench.trace('session:celery name:"POST /index"', 7).tree == [
        "SPAN POST /index",
        "  SPAN apply_async/celery_tasks.index",
        "    SPAN run/celery_tasks.index",
        "      AGENT invoke_agent librarian",
        "        TOOL execute_tool list_files",
        "  SPAN apply_async/celery_tasks.report",
        "    SPAN run/celery_tasks.report",
    ]
    report = bench.trace("session:celery name:report", 2)
    assert report.tree == ["SPAN report", "  TOOL execute_tool list_files"]
    assert len(report["report"]["metadata"]["otel.links"]) == 1


def test_a_javascript_agent_has_one_variable_to_set(bench: Bench) -> None:
    folder = EXAMPLES / "javascript"
    if not (node := shutil.which("node")):
        pytest.skip("there is no node on this machine")
    if not (folder / "node_modules").exists():
        pytest.skip(f"OpenTelemetry for JavaScript is not installed: npm ci in {folder}")
    done = subprocess.run([node, "agent.mjs"], env=bench.environ(), cwd=folder, capture_output=True, timeout=60)
    assert (done.stdout, done.returncode) == (b"Lisbon.\n", 0), done.stderr
    assert bench.trace("session:js-1", 2).tree == ["AGENT invoke_agent guide", "  GENERATION chat gpt-4o-mini"]
