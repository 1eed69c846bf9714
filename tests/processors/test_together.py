"""Processors in a bridge that runs: what they leave is delivered, and the accounts balance without what they drop."""

import json
import time
import zlib
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge import plan
from otel_bridge.batch import Batch
from otel_bridge.delivery.accounts import audit
from otel_bridge.pipeline import running
from otel_bridge.testing.fake_langfuse import FakeLangfuse
from otel_bridge.translate import gather
from tests.processors.passing import recorded
from tests.values import pairs
from tests.waiting import until

TEXT = """\
receivers: {in_process: {}}
processors:
  filter:
    drop: {spans: {web: scope.startsWith("opentelemetry.")}}
  attributes:
    spans: [{action: rename, key: user.id, to: acme.user}]
  trace_attributes:
    user_id: attributes["acme.user"]
exporters:
  file: {path: DIR/spans.jsonl}
  store: {path: DIR/store.db}
service:
  data_dir: DIR/data
  pipelines:
    main: {receivers: [in_process], processors: [filter, attributes, trace_attributes], exporters: [file, store]}
"""


@pytest.mark.slow
async def test_the_accounts_balance_without_what_was_dropped(tmp_path: Path) -> None:
    read = plan.parse(TEXT.replace("DIR", str(tmp_path)), "bridge.yaml", environ={})

    async with running(read, settle=True, drain_s=lambda: 10) as bridge:
        await bridge.consume(recorded(number=1))
        dropped = [one for one in bridge.status()["counters"] if one["name"] == "dropped"]

    found = audit(tmp_path / "data", gather)
    assert dropped == [{"name": "dropped", "processor": "filter", "reason": "web", "signal": "traces", "value": 6}]
    assert {line.accepted for line in found.lines} == {4}
    assert found.balanced
    written = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text().splitlines()]
    assert "acme.user" in json.dumps(written)
    assert "asgi" not in json.dumps(written)


ALL = """\
receivers: {in_process: {}}
processors:
  redact: {packs: [secrets]}
  attributes: {spans: [{action: set, key: langfuse.observation.metadata.team, value: TEAM}]}
  noise: {}
  sample: {policies: [{errors: true}], rate: RATE}
exporters:
  langfuse: {base_url: "URL", public_key: pk-lf-fake, secret_key: sk-lf-fake}
service:
  data_dir: DIR
  assemble: {grace: 50ms}
  pipelines:
    main: {receivers: [in_process], processors: [redact, attributes, noise, sample], exporters: [langfuse]}
"""
SECRET = "ghp_0123456789abcdefABCDEF0123456789abcd"
AGENT = {"gen_ai.operation.name": "invoke_agent"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "input.value": f"my token is {SECRET}"}
WEB = {"http.request.method": "GET", "url.full": f"https://x.example/?token={SECRET}"}


def part_of(trace: int, *numbers: int, fails: bool = False) -> Batch:
    """Of an agent (1) that asks a model (3) over HTTP (2) and then another (4), these spans."""
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    scoped.scope.name = "mine"
    for number in numbers:
        span = scoped.spans.add(
            trace_id=trace.to_bytes(16, "big"),
            span_id=(trace * 10 + number).to_bytes(8, "big"),
            parent_span_id=(trace * 10 + {1: 0, 2: 1, 3: 2, 4: 1}[number]).to_bytes(8, "big") if number > 1 else b"",
            name=("agent", "GET", "chat", "chat")[number - 1],
            kind=3 if number == 2 else 1,
            start_time_unix_nano=time.time_ns(),
            end_time_unix_nano=time.time_ns() + 1000,
            attributes=pairs((AGENT, WEB, CHAT, CHAT)[number - 1]),
        )
        span.status.code = 2 if fails and number == 3 else 0
    return Batch.from_request(request)


def written_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.slow
async def test_redaction_attributes_noise_and_sampling_hold_together_over_a_reload(tmp_path: Path) -> None:
    """A kept trace is whole but for noise, with the attributes of the rules that its spans came under, and without
    secrets anywhere; one that was decided before the reload stays so; nothing is unaccounted for."""
    failed, ok, between, kept = 1, 2, 3, 4

    async with FakeLangfuse().running() as langfuse:

        def said(team: str, rate: float) -> plan.Plan:
            text = ALL.replace("TEAM", team).replace("RATE", str(rate)).replace("URL", langfuse.url)
            return plan.parse(text.replace("DIR", str(tmp_path)), "bridge.yaml", environ={})

        async with running(said("blue", 0.0), settle=True, drain_s=lambda: 10) as bridge:
            await bridge.consume(part_of(failed, 1, 2, 3, fails=True))
            await bridge.consume(part_of(ok, 1, 2, 3))
            await bridge.consume(part_of(between, 3))  # its root comes later
            await until(lambda: bool(langfuse.observations) and bridge.status()["assembly"]["main"]["open_traces"] == 1)

            await bridge.reload(said("green", 1.0))
            await bridge.consume(part_of(failed, 4))
            await bridge.consume(part_of(ok, 4))
            await bridge.consume(part_of(between, 1, 2, 4))
            await bridge.consume(part_of(kept, 1, 2, 3, 4))

        shown = {
            int(row["id"], 16): (int(row["parentObservationId"] or "0", 16), row["metadata"]["team"])
            for row in langfuse.observations.values()
        }
        sent = b"".join(zlib.decompress(one.body, 31) for one in langfuse.sent_to("/otel/v1/traces"))

    assert shown == {
        11: (0, "blue"),
        13: (11, "blue"),
        14: (11, "green"),
        31: (0, "green"),
        33: (31, "blue"),
        34: (31, "green"),
        41: (0, "green"),
        43: (41, "green"),
        44: (41, "green"),
    }
    assert b"my token is " in sent
    assert SECRET.encode() not in sent
    assert written_with(SECRET, tmp_path) == []
    [line] = audit(tmp_path, gather).lines
    assert audit(tmp_path, gather).balanced
    assert line.accepted == 3 + 3 + 1 + 1 + 1 + 3 + 4
    assert (line.outcomes["delivered"], line.outcomes["filtered"], line.outcomes["sampled_out"]) == (9, 3, 4)
