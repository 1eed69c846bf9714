"""Processors in a bridge that runs: what they leave is delivered, and the accounts balance without what they drop."""

import json
from pathlib import Path

import pytest

from otel_bridge import plan
from otel_bridge.delivery.accounts import audit
from otel_bridge.pipeline import running
from otel_bridge.translate import gather
from tests.processors.passing import recorded

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
