"""A plan runs: opened back to front, closed front to back, and what comes in goes to every pipeline at once."""

import json
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.batch import Batch
from otel_bridge.component import (
    Component,
    Consume,
    Door,
    Host,
    Pass,
    Settle,
    Takes,
    exporter,
    extension,
    receiver,
    span_processor,
    trace_processor,
)
from otel_bridge.config import Config
from otel_bridge.errors import FilesError, JournalFullError, ParkedError, RetryableError
from otel_bridge.journal import Entry
from otel_bridge.journal.reader import read_segments
from otel_bridge.model import Translation
from otel_bridge.pipeline import running
from otel_bridge.plan import JournalConfig, PipelineConfig, Plan, Planned, ServiceConfig
from otel_bridge.trace import Trace
from tests.waiting import until


class Empty(Config):
    """Nothing to say."""


class World:
    """Components that write down what happens to them."""

    def __init__(self) -> None:  # noqa: C901 - six components side by side
        self.happened: list[str] = []
        self.batches: list[Batch] = []
        self.observed: list[str] = []
        self.knock: Door | None = None
        self.trouble: Exception | None = None

        @receiver(Empty)
        async def door(_config: Empty, consume: Door, _host: Host) -> AsyncIterator[None]:
            self.knock = consume
            self.happened.append("door opens")
            yield
            self.happened.append("door closes")

        @span_processor(Empty)
        async def only_good(_config: Empty, consume: Consume, _host: Host) -> AsyncIterator[Consume]:
            async def keep(batch: Batch) -> None:
                if b"bad" not in batch.wire:
                    await consume(batch)

            yield keep

        @trace_processor(Empty)
        async def no_secrets(_config: Empty, consume: Pass, _host: Host) -> AsyncIterator[Pass]:
            async def keep(trace: Trace) -> None:
                if all(record.span.name != "secret" for record in trace.spans):
                    await consume(trace)

            yield keep

        @exporter(Empty)
        async def sink(_config: Empty, _host: Host) -> AsyncIterator[Consume]:
            async def consume(batch: Batch) -> None:
                if self.trouble:
                    raise self.trouble
                self.batches.append(batch)

            self.happened.append("sink opens")
            yield consume
            self.happened.append("sink closes")

        @exporter(Empty, takes=Takes.SETTLED)
        async def whole(_config: Empty, _host: Host) -> AsyncIterator[Settle]:
            async def settle(translation: Translation) -> None:
                self.observed += [observation.name for observation in translation.observations]

            yield settle

        @extension(Empty)
        async def beside(_config: Empty, host: Host) -> AsyncIterator[None]:
            host.endpoints["beside"] = "somewhere"
            self.happened.append("beside opens")
            yield
            self.happened.append("beside closes")

        self.components: dict[str, Component[Empty]] = {
            component.name: component for component in (door, only_good, no_secrets, sink, whole, beside)
        }

    def plan(self, data_dir: Path, **pipelines: PipelineConfig) -> Plan:
        def planned(*names: str) -> dict[str, Planned]:
            return {name: Planned(name, self.components[name], Empty()) for name in names}

        return Plan(
            "test",
            receivers=planned("door"),
            processors=planned("only_good", "no_secrets"),
            exporters=planned("sink", "whole"),
            extensions=planned("beside"),
            service=ServiceConfig.model_validate(
                {"data_dir": str(data_dir), "assemble": {"grace": "10ms"}, "pipelines": pipelines}
            ),
        )


@pytest.fixture
def world() -> World:
    return World()


def spans(*names: str, trace_id: bytes = b"t" * 16) -> Batch:
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    for number, name in enumerate(names, 1):
        scoped.spans.add(
            name=name,
            trace_id=trace_id,
            span_id=number.to_bytes(8, "big"),
            start_time_unix_nano=1,
            end_time_unix_nano=2,
        )
    return Batch.from_request(request)


def tenants_in(journal: Path) -> list[str]:
    """Whose the entries of a journal are."""
    return [entry.batch.tenant for entry in read_segments(journal).scan(0, "main") if isinstance(entry, Entry)]


def delivered(status: dict[str, object], exporter: str) -> int:
    exporters = status["exporters"]
    assert isinstance(exporters, dict)
    return sum(tenant["waiting"] for tenant in exporters[exporter].values())


async def test_what_opens_last_closes_first(world: World, tmp_path: Path) -> None:
    async with running(world.plan(tmp_path, main=PipelineConfig(receivers=["door"], exporters=["sink"]))) as bridge:
        assert bridge.endpoints["beside"] == {"beside": "somewhere"}

    assert world.happened == [
        "sink opens",
        "beside opens",
        "door opens",
        "door closes",
        "beside closes",
        "sink closes",
    ]


async def test_each_pipeline_gets_what_its_own_processors_let_through(world: World, tmp_path: Path) -> None:
    plan = world.plan(
        tmp_path,
        raw=PipelineConfig(receivers=["door"], exporters=["sink"]),
        clean=PipelineConfig(receivers=["door"], processors=["only_good", "no_secrets"], exporters=["whole"]),
    )
    async with running(plan) as bridge:
        assert world.knock
        await world.knock(spans("good"))
        await world.knock(spans("bad", trace_id=b"u" * 16))
        await world.knock(spans("secret", trace_id=b"v" * 16))
        await until(lambda: sum(batch.item_count for batch in world.batches) == 3)
        await until(lambda: delivered(bridge.status(), "clean/whole") == 0)

    assert world.observed == ["good"]


async def test_what_comes_in_parts_is_written_in_parts(world: World, tmp_path: Path) -> None:
    """All or none of them, and nobody who reads them back has to decode all in one go."""
    plan = world.plan(tmp_path, main=PipelineConfig(receivers=["door"], exporters=["sink"]))
    parts = [spans(name) for name in ("one", "two", "three")]
    async with running(plan) as bridge:
        assert world.knock
        await world.knock(Batch.of_parts(parts, like=parts[0]))
        await until(lambda: sum(batch.item_count for batch in world.batches) == 3)
        await until(lambda: delivered(bridge.status(), "main/sink") == 0)

    assert [entry.batch.wire for entry in read_segments(tmp_path / "journal").scan(0, "main", max_bytes=1 << 20)] == [
        part.wire for part in parts
    ]


async def test_batches_of_several_tenants_are_taken_all_or_none(world: World, tmp_path: Path) -> None:
    """Who is refused sends all of it again: nothing of it may be there already, whichever of them had room."""
    plan = world.plan(tmp_path, main=PipelineConfig(receivers=["door"], exporters=["sink"]))
    small = plan.service.model_copy(update={"journal": JournalConfig(max_bytes=1 << 20)})
    large = spans("x" * 600_000)
    async with running(replace(plan, service=small)):
        assert world.knock
        with pytest.raises(JournalFullError):
            await world.knock(large.of_tenant("red"), large.of_tenant("blue"))
        await world.knock(large.of_tenant("green"))

    assert tenants_in(tmp_path / "journal") == ["green"]


@pytest.mark.slow
async def test_killed_while_it_is_written_a_request_of_several_tenants_is_there_whole_or_not(
    world: World, tmp_path: Path
) -> None:
    plan = world.plan(tmp_path, main=PipelineConfig(receivers=["door"], exporters=["sink"]))
    async with running(plan):
        assert world.knock
        await world.knock(spans("before").of_tenant("green"))
        await world.knock(spans("one").of_tenant("red"), spans("two").of_tenant("blue"))
    [segment] = (tmp_path / "journal").glob("*.seg")
    whole = segment.read_bytes()
    (tmp_path / "cut").mkdir()
    found = set()
    for size in range(whole.index(b"before"), len(whole) + 1, 3):
        (tmp_path / "cut" / segment.name).write_bytes(whole[:size])
        found.add(tuple(tenants_in(tmp_path / "cut")))

    assert found == {(), ("green",), ("green", "red", "blue")}


async def test_a_parked_destination_is_told_of_and_the_bridge_is_ready(world: World, tmp_path: Path) -> None:
    """It can keep what comes; only if it can not do its own work, it is not."""
    plan = world.plan(tmp_path, main=PipelineConfig(receivers=["door"], exporters=["sink"]))
    world.trouble = ParkedError("401: wrong key", "unauthorized")
    async with running(plan) as bridge:
        assert world.knock
        await world.knock(spans("good"))
        await until(lambda: bridge.status()["parked"] == 1)
        assert bridge.status()["exporters"]["main/sink"]["default"]["parked"] == "unauthorized"
        assert bridge.status()["ready"] is True
        assert bridge.status()["event_loop"]["lag_s"] < 5

        lane = bridge._delivery._destinations["main", "sink"].lanes["default"]
        lane._around.supervision._restarts_s.extend([lane._around.clock.monotonic()] * 6)
        assert bridge.status()["ready"] is False


async def test_nothing_is_ready_twice_on_one_data_dir(world: World, tmp_path: Path) -> None:
    plan = world.plan(tmp_path, main=PipelineConfig(receivers=["door"], exporters=["sink"]))
    async with running(plan):
        with pytest.raises(FilesError, match="in use by another otel-bridge"):
            async with running(plan):
                raise AssertionError("it must not open")
        assert world.happened == ["sink opens", "beside opens", "door opens"]


async def test_a_folder_that_is_everybody_s_stays_so(world: World, tmp_path: Path) -> None:
    """As `/tmp`, which nobody else could use any more; else a data dir is its owner's alone."""

    def mode() -> int:
        return stat.S_IMODE(os.stat(tmp_path).st_mode)  # noqa: PTH116 - not async, and of one call

    for before, after in ((0o1777, 0o1777), (0o755, 0o700)):
        os.chmod(tmp_path, before)  # noqa: PTH101 - as above
        async with running(world.plan(tmp_path, main=PipelineConfig(receivers=["door"], exporters=["sink"]))):
            assert mode() == after


async def test_what_was_taken_before_a_stop_is_delivered_after_the_next_start(world: World, tmp_path: Path) -> None:
    plan = world.plan(tmp_path, main=PipelineConfig(receivers=["door"], exporters=["whole"]))
    refusing = True
    whole = world.components["whole"]

    @exporter(Empty, takes=Takes.SETTLED)
    async def picky(config: Empty, host: Host) -> AsyncIterator[Settle]:
        settle = await anext(whole.open(config, host))

        async def maybe(translation: Translation) -> None:
            if refusing:
                raise RetryableError("not now")
            await settle(translation)

        yield maybe

    plan.exporters["whole"] = Planned("whole", picky, Empty())  # type: ignore[index]  # a dict in this test
    async with running(plan):
        assert world.knock
        await world.knock(spans("kept"))
    assert world.observed == []

    refusing = False
    async with running(plan):
        await until(lambda: world.observed == ["kept"])


async def test_status_is_plain_json(world: World, tmp_path: Path) -> None:
    async with running(world.plan(tmp_path, main=PipelineConfig(receivers=["door"], exporters=["sink"]))) as bridge:
        assert world.knock
        await world.knock(spans("one"))
        told = json.loads(json.dumps(bridge.status()))

    assert told["ready"] is True
    assert told["pipelines"]["main"]["exporters"] == ["sink"]
