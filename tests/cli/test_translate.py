"""`otel-bridge translate`: OTLP files in, JSON out, and nothing else on standard output."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from typer.testing import CliRunner

from otel_bridge.cli.app import app

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow

TRACE, ROOT, CALL = bytes(range(1, 17)), bytes(range(1, 9)), bytes(range(2, 10))


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def number(key: str, value: int) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(int_value=value))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """One trace in two files: the agent in one, its model call (and a span without an id) in the other."""
    requests = [ExportTraceServiceRequest(), ExportTraceServiceRequest()]
    first, second = (request.resource_spans.add().scope_spans.add() for request in requests)
    first.spans.add(
        trace_id=TRACE,
        span_id=ROOT,
        name="invoke_agent planner",
        start_time_unix_nano=1_700_000_000_000_000_000,
        end_time_unix_nano=1_700_000_001_000_000_000,
        attributes=[text("gen_ai.operation.name", "invoke_agent"), text("session.id", "s-1")],
    )
    second.spans.add(
        trace_id=TRACE,
        span_id=CALL,
        parent_span_id=ROOT,
        name="chat gpt-5.2",
        start_time_unix_nano=1_700_000_000_100_000_000,
        end_time_unix_nano=1_700_000_000_900_000_000,
        attributes=[
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.request.model", "gpt-5.2"),
            number("gen_ai.usage.input_tokens", 10),
            number("gen_ai.usage.output_tokens", 5),
        ],
    )
    second.spans.add(trace_id=TRACE, name="nobody", start_time_unix_nano=1, end_time_unix_nano=2)
    paths = [tmp_path / "agent.traces.pb", tmp_path / "call.traces.pb"]
    for path, request in zip(paths, requests, strict=True):
        path.write_bytes(request.SerializeToString())
    return paths


def test_files_together_are_one_input(run: Run, files: list[Path]) -> None:
    result = run("translate", *files)

    assert result.returncode == 0, result.stderr
    out = json.loads(result.stdout)
    assert set(out) == {"traces", "observations", "scores", "rejected", "dropped"}
    by_id = {observation["id"]: observation for observation in out["observations"]}
    assert by_id[CALL.hex()]["parentObservationId"] == ROOT.hex()
    assert by_id[CALL.hex()]["type"] == "GENERATION"
    assert by_id[CALL.hex()]["usageDetails"] == {"input": 10, "output": 5, "total": 15}
    assert by_id[CALL.hex()]["sessionId"] == "s-1"


def test_a_parent_that_is_not_there_is_null(run: Run, files: list[Path]) -> None:
    out = json.loads(run("translate", files[1]).stdout)

    assert [observation["parentObservationId"] for observation in out["observations"]] == [None]


def test_a_bad_span_is_rejected_alone(run: Run, files: list[Path]) -> None:
    """And that is no failure of the command."""
    result = run("translate", files[1])

    assert result.returncode == 0
    assert len(json.loads(result.stdout)["rejected"]) == 1


def test_to_langfuse_by_otlp(run: Run, files: list[Path]) -> None:
    result = run("translate", "--to", "langfuse-otlp", *files)

    out = json.loads(result.stdout)
    spans = [span for block in out["resourceSpans"] for scope in block["scopeSpans"] for span in scope["spans"]]
    keys = {attribute["key"] for span in spans for attribute in span["attributes"]}
    assert len(spans) == 2
    assert {"langfuse.observation.type", "langfuse.observation.usage_details"} <= keys


def test_to_langfuse_by_ingestion(run: Run, files: list[Path]) -> None:
    out = json.loads(run("translate", "--to", "ingestion", *files).stdout)

    kinds = {event["type"] for event in out["batch"]}
    assert {"trace-create", "generation-create"} <= kinds


def test_explain_names_the_attribute(run: Run, files: list[Path]) -> None:
    result = run("translate", "--explain", *files)

    assert result.returncode == 0, result.stderr
    assert "gen_ai.request.model" in result.stdout
    assert any("model" in one["fields"] for one in json.loads(result.stdout))


def test_an_explanation_is_text_in_a_pipe_too_where_that_is_asked_for(files: list[Path]) -> None:
    names = [str(file) for file in files]

    def said(*words: str) -> str:
        result = CliRunner().invoke(app, ["translate", *words, *names])
        return str(result.exception or result.stdout)

    line = next(line for line in said("--explain", "--format", "text").splitlines() if line.startswith("  model "))
    assert "gen_ai.request.model" in line
    assert json.loads(said("--explain", "--format", "json")) == json.loads(said("--explain", "--json"))
    assert said("--format", "text") == "--format text is for --explain alone: all else is JSON"
    assert said("--explain", "--json", "--format", "text").endswith("are two things: leave one of them out")


def test_the_same_twice_is_the_same(run: Run, files: list[Path]) -> None:
    assert run("translate", *files).stdout == run("translate", *files).stdout


def test_bytes_that_are_no_otlp(run: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.traces.pb").write_bytes(b"\xff" * 40)

    result = run("translate", "odd.traces.pb")

    assert result.returncode == 1
    assert "odd.traces.pb" in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_prices_of_a_configuration_are_used(run: Run, files: list[Path], tmp_path: Path) -> None:
    config = tmp_path / "bridge.yaml"
    config.write_text(
        "receivers: {otlp: {}}\nexporters: {debug: {}}\nservice:\n"
        "  translate: {prices: {gpt-5.2: {input: 1000000, output: 0}}}\n"
        "  pipelines: {main: {receivers: [otlp], exporters: [debug]}}\n"
    )

    out = json.loads(run("translate", "--config", config, files[1]).stdout)

    [call] = out["observations"]
    assert call["costDetails"] == {"input": 10, "output": 0, "total": 10}
    assert call["metadata"]["otel_bridge.cost_source"] == "your price table"


def test_a_price_that_is_none_is_a_mistake_in_the_configuration(run: Run, files: list[Path], tmp_path: Path) -> None:
    config = tmp_path / "bridge.yaml"
    config.write_text(
        "receivers: {otlp: {}}\nexporters: {debug: {}}\nservice:\n"
        "  translate: {prices: {gpt-5.2: {input: -1}}}\n"
        "  pipelines: {main: {receivers: [otlp], exporters: [debug]}}\n"
    )

    result = run("translate", "--config", config, files[1])

    assert result.returncode == 78
    assert "service::translate::prices::gpt-5.2::input" in result.stderr


def test_standard_input(environ: dict[str, str], files: list[Path], run: Run) -> None:
    piped = subprocess.run(
        [sys.executable, "-m", "otel_bridge", "translate", "-"],
        env=environ,
        input=files[0].read_bytes(),
        capture_output=True,
        timeout=60,
    )

    assert piped.returncode == 0, piped.stderr
    assert json.loads(piped.stdout)["observations"] == json.loads(run("translate", files[0]).stdout)["observations"]


def test_an_explanation_has_no_target(run: Run, files: list[Path]) -> None:
    result = run("translate", "--explain", "--to", "ingestion", files[0])

    assert result.returncode == 2
    assert "leave out --to" in result.stderr
