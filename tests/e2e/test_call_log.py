"""The whole bridge as a process, and what a stock program sends to it as files."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Span

from tests.e2e.process import BridgeProcess

PLAN = """\
receivers:
  otlp: {{grpc: null, http: "127.0.0.1:{http}"}}
exporters:
  store: {{}}
  call_log: {{dir: logs}}
extensions:
  viewer: {{endpoint: "127.0.0.1:{viewer}"}}
service:
  data_dir: {data_dir}
  assemble: {{grace: {grace}, idle: {idle}}}
  pipelines:
    main: {{receivers: [otlp], exporters: [store, call_log]}}
"""
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "Lisbon\\nor Oslo?"}]}]',
}


class Program:
    """One that speaks plain OpenTelemetry, with the stock exporter."""

    def __init__(self, bridge: BridgeProcess) -> None:
        self._exporter = OTLPSpanExporter(f"{bridge.url}/v1/traces")
        self.tracer: Tracer = TracerProvider(shutdown_on_exit=False).get_tracer("program")  # type: ignore[assignment]

    def plans(self) -> list[ReadableSpan]:
        """An agent's run with two calls; the agent's span ends last."""
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner/../x", "run.id": "run-7"}
        root = self.tracer.start_span("invoke_agent planner", attributes=agent)
        ended = [self.calls(root), self.calls(root)]
        root.end()
        return [*ended, root]  # type: ignore[list-item]

    def calls(self, root: Span | ReadableSpan) -> ReadableSpan:
        """A call of the agent's."""
        context = trace.set_span_in_context(trace.NonRecordingSpan(root.get_span_context()))  # type: ignore[arg-type]
        span = self.tracer.start_span("chat gpt-4o-mini", context=context, attributes=CHAT)
        span.end()
        assert isinstance(span, ReadableSpan)
        return span

    def send(self, *spans: ReadableSpan) -> None:
        assert self._exporter.export(spans) is SpanExportResult.SUCCESS


def until(so: Callable[[], object], wait_s: float = 30) -> None:
    end = time.monotonic() + wait_s
    while not so():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.05)


def run(bridge: BridgeProcess, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "otel_bridge", *words, "--json", "--config", bridge.folder / "bridge.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "llm_calls").iterdir()}


@pytest.mark.slow
def test_a_stock_program_has_a_file_for_each_call_which_nothing_doubles(tmp_path: Path) -> None:
    """Not sending again, not a kill, not a replay; and what comes late goes on in the same run."""
    bridge = BridgeProcess(tmp_path, "", plan=PLAN)
    folder = tmp_path / "logs" / "run-7"
    names = ["call_001_planner_.._x.yaml", "call_002_planner_.._x.yaml"]
    try:
        bridge.start()
        program = Program(bridge)
        spans = program.plans()
        program.send(*spans)
        until((folder / "summary.yaml").exists)
        before = contents(folder)
        assert sorted(before) == names
        assert "content: |-\n    Lisbon\n    or Oslo?\n" in before[names[0]]

        program.send(*spans)
        bridge.kill()
        bridge.start()
        program.send(*spans)
        assert run(bridge, "replay", "--exporter", "call_log", "--since", "1h")["exporter"] == "call_log"
        program.send(program.calls(spans[-1]))
        until(lambda: len(contents(folder)) == 3)
        after = contents(folder)

        assert {name: after[name] for name in names} == before
        assert [path.name for path in (tmp_path / "logs").iterdir() if path.is_dir()] == ["run-7"]
        [listed] = run(bridge, "runs")["runs"]
        until(lambda: run(bridge, "trace", "last")["totalTokens"] == 51)
        stored = run(bridge, "trace", "last")
        assert (listed["calls"], listed["tokens"]["total"]) == (3, stored["totalTokens"])
        assert listed["cost"]["total"] == pytest.approx(stored["totalCost"])
    finally:
        if bridge.running:
            bridge.kill()
