"""Memory: new data waits with its senders while there is too much of it, and what was taken goes on."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from otel_bridge import plan
from otel_bridge.batch import Batch
from otel_bridge.pipeline import running
from otel_bridge.receivers.otlp import memory
from otel_bridge.receivers.otlp.admission import InflightFullError, refusal
from otel_bridge.receivers.otlp.memory import Memory, container_share, resident_bytes
from tests.receivers.http1 import ONE, Client, request, spans
from tests.waiting import until

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MIB = 1 << 20


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


def test_full_until_below_95_percent(thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Memory(100 * MIB, thread)
    seen = []
    for resident in (99, 100, 101, 100, 96, 95, 96, 100, 101):
        monkeypatch.setattr(memory, "resident_bytes", lambda resident=resident: resident * MIB)
        monkeypatch.setattr(memory, "READ_EVERY_S", 0)
        seen.append(watched.full())

    assert seen == [False, False, True, True, True, False, False, False, True]


def test_it_is_not_read_for_each_request(thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = []
    monkeypatch.setattr(memory, "READ_EVERY_S", 60)
    monkeypatch.setattr(memory, "resident_bytes", lambda: readings.append(1) or 0)
    watched = Memory(MIB, thread)

    assert not any(watched.full() for _ in range(100))
    assert len(readings) == 1


def test_what_is_not_used_is_given_back_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = []
    monkeypatch.setattr(memory, "READ_EVERY_S", 0)
    monkeypatch.setattr(memory, "_free", lambda: freed.append(1))
    with ThreadPoolExecutor(1) as thread:
        watched = Memory(1, thread)
        assert all(watched.full() for _ in range(5))
    assert len(freed) == 1


def test_giving_back_works_here() -> None:
    memory._free()
    assert resident_bytes() > 10 * MIB


@pytest.mark.parametrize(
    ("group", "files", "limit"),
    [
        ("0::/", {"memory.max": "1000\n"}, 800),
        ("0::/", {"memory.max": "max\n"}, None),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "500"}, 400),
        ("0::/a/b", {"a/b/memory.max": "300", "a/memory.max": "500"}, 240),
        ("0::/../elsewhere", {"memory.max": "500"}, 400),
        ("0::/", {}, None),
        ("4:memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "500"}, 400),
        ("4:memory:/of-the-host", {"memory/memory.limit_in_bytes": "500"}, 400),
        ("4:memory:/a", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_the_limit_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, files: dict[str, str], limit: int | None
) -> None:
    (tmp_path / "cgroup").write_text(f"{group}\n")
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "CONTROLLERS", tmp_path / "fs")

    assert container_share() == limit


def test_systems_that_do_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUPS", Path("/nowhere"))
    monkeypatch.setattr(memory, "STATM", Path("/nowhere"))

    assert container_share() is None
    assert resident_bytes() == 0


async def test_both_doors_refuse_while_memory_is_full(receiving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the body is read, and with a time to come again; the next to come is taken."""
    monkeypatch.setattr(memory, "READ_EVERY_S", 0)
    async with (
        receiving(max_rss=1) as taken,
        grpc.aio.insecure_channel(taken.host.endpoints["grpc"].removeprefix("http://")) as channel,
    ):
        async with Client(taken.address("http")) as client:
            client.say(request(ONE).removesuffix(ONE))
            answer = await client.answer()
            assert answer.status == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 5
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(EXPORT)(ONE)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert taken.count("refused", reason="memory") == 2
        assert taken.batches == []

        monkeypatch.setattr(memory, "resident_bytes", lambda: 0)
        async with Client(taken.address("http")) as client:
            assert (await client.post(ONE)).status == 200
        assert await channel.unary_unary(EXPORT)(ONE) == b""


async def test_what_was_taken_is_delivered_while_memory_is_full(tmp_path: Path) -> None:
    written = tmp_path / "bridge.yaml"
    written.write_text(
        f"""
        receivers: {{otlp: {{grpc: null, http: "127.0.0.1:0", max_rss: 1B}}}}
        exporters: {{file: {{path: {tmp_path}/spans.jsonl}}}}
        service:
          data_dir: {tmp_path}/data
          deliver: {{max_batch_age: 10ms}}
          pipelines: {{main: {{receivers: [otlp], exporters: [file]}}}}
        """
    )
    async with running(plan.load(written, environ={})) as bridge:
        host, _, port = bridge.endpoints["otlp"]["http"].removeprefix("http://").rpartition(":")
        async with Client((host, int(port))) as client:
            assert (await client.post(ONE)).status == 503
        await bridge.consume(Batch.from_request(spans("was taken")))
        await until(lambda: "was taken" in (tmp_path / "spans.jsonl").read_text())


async def test_few_who_announce_much_keep_nobody_out(receiving: Any) -> None:
    """Room is asked for by what is announced, and taken by what has come."""
    async with (
        receiving(max_body=1000, max_inflight=1000) as taken,
        Client(taken.address("http")) as slow,
        Client(taken.address("http")) as good,
    ):
        slow.say(request(b"", content_length="1000") + b"some")
        assert (await good.post(ONE)).status == 200


async def test_what_comes_is_bounded_whatever_was_announced(receiving: Any) -> None:
    big = spans("n" * 560).SerializeToString()
    async with receiving(max_body=1000, max_inflight=1000) as taken:
        taken.gate = asyncio.Event()
        async with Client(taken.address("http")) as first, Client(taken.address("http")) as second:
            first.say(request(big).removesuffix(big[300:]))
            second.say(request(big))
            await taken.waiting.wait()
            first.say(big[300:])
            busy = await first.answer()
            taken.gate.set()

            assert busy.status == 503
            assert 1 <= int(busy.headers["retry-after"]) <= 5
            assert (await second.answer()).status == 200
            assert (await second.post(big)).status == 200, "what was held is given back"


def test_senders_are_spread_when_they_come_again() -> None:
    after_s = [refusal(InflightFullError("busy")).retry_after_s or 0 for _ in range(100)]

    assert 1 <= min(after_s) < 2
    assert 4 < max(after_s) <= 5
