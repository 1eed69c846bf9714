"""Sampling in a bridge of its own: decided once, whatever kills it, and nothing is unaccounted for."""

import random
import time
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path

import apsw
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.processors.sample import is_kept
from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.e2e.process import PLAN, BridgeProcess, until_there

PROCESSORS = """\
processors:
  sample: {{policies: [{{errors: true}}], rate: 0.1}}
  sample/budget: {{budget: {{traces: 40}}}}
extensions:"""
SPANS = 3


def sampled(by: str) -> str:
    """The plan with a processor in its pipeline."""
    return PLAN.replace("extensions:", PROCESSORS).replace("exporters: [", f"processors: [{by}], exporters: [")


def traces(count: int, seed: int) -> dict[str, bool]:
    """Ids that are always the same, and whether a span of each fails."""
    chance = random.Random(seed)
    return {f"{chance.getrandbits(128):032x}": chance.random() < 0.01 for _ in range(count)}


def span_id(trace_id: str, number: int) -> str:
    return f"{int(trace_id[:14], 16):014x}{number:02x}"


def send(bridge: BridgeProcess, ids: dict[str, bool], numbers: range = range(SPANS)) -> None:
    """The first span is the root; the last fails where one does."""
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    scoped.scope.name = "mine"
    now_ns = time.time_ns()
    for trace_id, fails in ids.items():
        for number in numbers:
            span = scoped.spans.add(
                trace_id=bytes.fromhex(trace_id),
                span_id=bytes.fromhex(span_id(trace_id, number)),
                parent_span_id=bytes.fromhex(span_id(trace_id, 0)) if number else b"",
                name="work",
                start_time_unix_nano=now_ns,
                end_time_unix_nano=now_ns + 10**6,
            )
            if fails and number == SPANS - 1:
                span.status.code = 2
    post = urllib.request.Request(
        f"{bridge.url}/v1/traces", request.SerializeToString(), {"Content-Type": "application/x-protobuf"}
    )
    with urllib.request.urlopen(post) as answer:
        assert answer.status == 200


def until_accounted(bridge: BridgeProcess, items: int, wait_s: float = 60) -> list[dict[str, object]]:
    """The accounts of those who take settled traces, once nothing waits."""
    until = time.monotonic() + wait_s
    while True:
        accounts = [one for one in bridge.audit() if one["exporter"] in ("langfuse", "store.settled")]
        if accounts and all(one["waiting"] == 0 and one["accepted"] == items for one in accounts):
            return accounts
        assert time.monotonic() < until, accounts
        time.sleep(0.5)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_tenth_of_ten_thousand_whole_and_all_errors_over_a_kill(tmp_path: Path, langfuse: FakeLangfuse) -> None:
    bridge = BridgeProcess(tmp_path, langfuse.url, plan=sampled("sample"))
    ids = traces(10_000, seed=19)
    expected = {one for one, fails in ids.items() if fails or is_kept(one, 0.1)}
    chunks = [dict(list(ids.items())[at : at + 250]) for at in range(0, len(ids), 250)]
    try:
        bridge.start()
        for number, chunk in enumerate(chunks):
            if number == len(chunks) // 2:
                bridge.kill()
                bridge.start()
            send(bridge, chunk)
        assert until_there(langfuse, {span_id(one, n) for one in expected for n in range(SPANS)}, 120) == set()
        accounts = until_accounted(bridge, len(ids) * SPANS)
    finally:
        bridge.kill()

    arrived: defaultdict[str, int] = defaultdict(int)
    for seen in langfuse.observations.values():
        arrived[seen["traceId"]] += 1
    assert arrived == dict.fromkeys(expected, SPANS)
    assert 880 <= sum(not ids[one] for one in expected) <= 1120
    for account in accounts:
        assert (account["delivered"], account["sampled_out"]) == (
            len(expected) * SPANS,
            (len(ids) - len(expected)) * SPANS,
        )


@pytest.mark.slow
@pytest.mark.long
def test_a_budget_and_its_decisions_outlive_a_kill(tmp_path: Path, langfuse: FakeLangfuse) -> None:
    """What was kept stays kept with all that comes late, what was not does not, and nothing is spent twice."""
    bridge = BridgeProcess(
        tmp_path,
        langfuse.url,
        plan=sampled("sample/budget"),
    )
    first, second = traces(30, seed=1), traces(30, seed=2)
    try:
        bridge.start()
        send(bridge, first)
        assert until_there(langfuse, {span_id(one, 0) for one in first}, 30) == set()
        until_accounted(bridge, 30 * SPANS)
        bridge.kill()
        bridge.start()
        send(bridge, second)
        until_accounted(bridge, 60 * SPANS)
        kept = {seen["traceId"] for seen in langfuse.observations.values()}
        bridge.kill()
        bridge.start()
        send(bridge, first | second, range(SPANS, SPANS + 1))
        accounts = until_accounted(bridge, 60 * (SPANS + 1))
    finally:
        bridge.kill()

    assert len(kept) == 40
    assert first.keys() <= kept
    assert Counter(seen["traceId"] for seen in langfuse.observations.values()) == dict.fromkeys(kept, SPANS + 1)
    assert {account["reasons"]["sampled_out:budget"] for account in accounts} == {20 * (SPANS + 1)}  # type: ignore[index]
    store = apsw.Connection(str(bridge.data_dir / "store.db"), apsw.SQLITE_OPEN_READONLY)
    left = list(store.execute("SELECT trace_id, decision, reason FROM omitted WHERE id = ''"))
    assert {one for one, _, _ in left} == (first | second).keys() - kept
    assert {tuple(said) for _, *said in left} == {("sampled_out", "budget")}
    shown = bridge.ask("trace", left[0][0])
    assert "not kept (sampled: budget)" in shown
    assert "work" in shown
    store.close()
