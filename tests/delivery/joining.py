"""Agents that call models, and evaluators who know no more than the ids of responses; with the translator built in."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from otel_bridge.batch import Batch
from otel_bridge.delivery import audit
from otel_bridge.errors import RetryableError
from otel_bridge.model import Observation, Score, Translation

if TYPE_CHECKING:
    from tests.delivery.conftest import House

START_NS = 1_700_000_000 * 10**9
CHAT: Mapping[str, str | int] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.response.id": "r1",
    "gen_ai.usage.input_tokens": 11,
    "gen_ai.usage.output_tokens": 2,
}
GRACE_S, IDLE_S, MAX_HOLD_S = 6.0, 120.0, 900.0


def pairs(attrs: Mapping[str, str | int]) -> list[KeyValue]:
    return [
        KeyValue(key=key, value={"int_value" if isinstance(said, int) else "string_value": said})  # type: ignore[arg-type]
        for key, said in attrs.items()
    ]


@dataclass
class Taker:
    """An exporter of settled traces that keeps what it gets, by id as Langfuse does; while it is `down`, nothing."""

    down: bool = False
    observations: dict[str, Observation] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    received: int = 0

    async def __call__(self, piece: Translation) -> None:
        if self.down:
            raise RetryableError("down")
        self.received += len(piece.observations) + len(piece.scores)
        self.observations |= {f"{one.trace_id} {one.id}": one for one in piece.observations}
        self.scores |= {one.id: one for one in piece.scores}

    @property
    def tokens(self) -> int:
        return sum((one.usage or {}).get("total", 0) for one in self.observations.values())

    @property
    def judged(self) -> list[tuple[str | None, str | None]]:
        return [(score.trace_id, score.observation_id) for score in self.scores.values()]


class Joins:
    """A house whose agents call models and whose evaluators know no more than the ids of responses."""

    def __init__(self, house: "House") -> None:
        self.house = house
        self.taker = Taker()

    async def start(self) -> None:
        await self.house.start(built_in=True, settled={"langfuse": self.taker})  # type: ignore[dict-item]  # enough of a sink

    async def restart(self, *, kill: bool = False) -> None:
        await (self.house.kill() if kill else self.house.stop())
        await self.start()

    async def call(
        self,
        trace: int,
        attrs: Mapping[str, str | int] = CHAT,
        *,
        span: int = 1,
        parent: int = 0,
        scope: str = "framework",
        ms: tuple[int, int] = (0, 100),
        tenant: str = "t",
    ) -> None:
        request = ExportTraceServiceRequest()
        scoped = request.resource_spans.add().scope_spans.add(scope={"name": scope})  # type: ignore[arg-type]
        scoped.spans.add(
            trace_id=trace.to_bytes(16),
            span_id=span.to_bytes(8),
            parent_span_id=parent.to_bytes(8) if parent else b"",
            name="chat",
            start_time_unix_nano=START_NS + ms[0] * 10**6,
            end_time_unix_nano=START_NS + ms[1] * 10**6,
            attributes=pairs(attrs),
        )
        await self.house.journal.append([("main", Batch.from_request(request, tenant=tenant))])

    async def judge(self, response_id: str = "r1", *, trace: int = 0, tenant: str = "t") -> None:
        request = ExportLogsServiceRequest()
        request.resource_logs.add().scope_logs.add().log_records.add(
            trace_id=trace.to_bytes(16) if trace else b"",
            event_name="gen_ai.evaluation.result",
            time_unix_nano=START_NS,
            attributes=pairs(
                {
                    "gen_ai.evaluation.name": "kind",
                    "gen_ai.evaluation.score.label": "yes",
                    "gen_ai.response.id": response_id,
                }
            ),
        )
        await self.house.journal.append([("main", Batch.from_request(request, tenant=tenant))])

    async def after(self, seconds: float) -> None:
        """Let time pass when all is taken in, and what then settles arrive."""
        await self.house.caught_up()
        await self.house.state.flush()
        await self.house.clock.advance(seconds)
        await self.house.caught_up()
        while not (self.taker.down or self._has_arrived()):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.001)

    def _has_arrived(self) -> bool:
        """Whether all has that has settled."""
        return sum(self.house.delivery.waiting().values()) == self.house.assembly()["main"]["open_items"]

    async def accounts(self) -> dict[str, int]:
        """What became of all items, by outcome and reason; the account balances."""
        await self.house.stop()
        found = audit(self.house.directory)
        assert found.balanced, found.to_dict()
        counted: dict[str, int] = {}
        for line in found.lines:
            for outcome, items in (*line.outcomes.items(), ("waiting", line.waiting)):
                counted[outcome] = counted.get(outcome, 0) + items
            for reason, items in line.reasons.items():
                counted[reason] = counted.get(reason, 0) + items
        return {outcome: items for outcome, items in counted.items() if items}


def ids(trace: int, span: int) -> tuple[str, str]:
    return f"{trace:032x}", f"{span:016x}"
