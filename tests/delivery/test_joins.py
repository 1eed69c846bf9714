"""What takes two traces to tell: a judgement that names a response alone, and a call that is told in two traces.

With the translator that is built in; whatever happens in between, and however often a part is made.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from otel_bridge.batch import Batch
from otel_bridge.delivery import audit
from otel_bridge.errors import RetryableError
from otel_bridge.model import Observation, Score, Translation
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

    def __init__(self, house: House) -> None:
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


@pytest.fixture
async def joins(house: House) -> Joins:
    made = Joins(house)
    await made.start()
    return made


def ids(trace: int, span: int) -> tuple[str, str]:
    return f"{trace:032x}", f"{span:016x}"


class TestJudgements:
    @pytest.mark.parametrize("between", ["nothing", "a restart", "a kill"])
    @pytest.mark.parametrize("first", ["the call", "the judgement"])
    async def test_one_that_names_a_response_is_a_score_on_its_call(
        self, joins: Joins, first: str, between: str
    ) -> None:
        """The call's trace may settle long before or after."""
        steps = [joins.call(1, span=7), joins.judge()]
        for step in steps if first == "the call" else reversed(steps):
            await step
            await joins.after(600)
            if between != "nothing":
                await joins.restart(kill=between == "a kill")
        await joins.after(GRACE_S)
        await joins.after(GRACE_S)
        assert joins.taker.judged == [ids(1, 7)]
        assert await joins.accounts() == {"delivered": 2}

    async def test_one_that_came_first_finds_its_call_when_all_is_settled_at_the_end(self, joins: Joins) -> None:
        await joins.judge()
        await joins.call(1)
        await joins.house.delivery.drain(5, settle=True)
        assert joins.taker.judged == [ids(1, 1)]

    async def test_one_of_an_unknown_response_is_counted_out(self, joins: Joins) -> None:
        await joins.call(1)
        await joins.judge("another")
        await joins.after(GRACE_S)
        await joins.after(MAX_HOLD_S)
        assert not joins.taker.scores
        assert await joins.accounts() == {"delivered": 1, "filtered": 1, "filtered:unknown_response": 1}

    async def test_what_is_counted_out_is_counted_under_its_own_signal(self, joins: Joins) -> None:
        """Also where it goes with traces in one batch."""
        await joins.house.delivery.operator.pause("langfuse")
        joins.taker.down = True
        await joins.call(1)
        await joins.judge("another")
        await joins.after(GRACE_S)
        await joins.after(MAX_HOLD_S)
        joins.taker.down = False
        await joins.house.delivery.operator.resume("langfuse")
        await joins.after(1)
        assert await joins.accounts() == {"delivered": 1, "filtered": 1, "filtered:unknown_response": 1}
        found = {line.account.signal: line.reasons for line in audit(joins.house.directory).lines}
        assert found == {"traces": {}, "logs": {"filtered:unknown_response": 1}}

    async def test_tenants_never_meet(self, joins: Joins) -> None:
        """Two have the same ids; a third has a judgement alone."""
        await joins.call(1, tenant="a")
        await joins.call(2, tenant="b")
        for tenant in ("a", "b", "c"):
            await joins.judge(tenant=tenant)
        for _ in range(2):
            await joins.after(GRACE_S)
        await joins.after(MAX_HOLD_S)
        assert sorted(joins.taker.judged) == [ids(1, 1), ids(2, 1)]
        assert joins.taker.tokens == 26
        assert (await joins.accounts())["filtered:unknown_response"] == 1

    @pytest.mark.parametrize("restarted", [False, True])
    async def test_a_late_one_that_names_its_trace_finds_the_call_in_it(self, joins: Joins, restarted: bool) -> None:
        await joins.call(1, {"gen_ai.operation.name": "invoke_agent"})
        await joins.call(1, span=7, parent=1)
        await joins.after(GRACE_S)
        if restarted:
            await joins.restart()
        await joins.judge(trace=1)
        await joins.after(GRACE_S)
        assert joins.taker.judged == [ids(1, 7)]

    async def test_one_that_names_its_trace_stays_in_it(self, joins: Joins) -> None:
        await joins.call(1)
        await joins.call(2, {"gen_ai.operation.name": "chat"})
        await joins.after(GRACE_S)
        await joins.judge(trace=2)
        await joins.after(GRACE_S)
        assert joins.taker.judged == [(f"{2:032x}", None)]

    async def test_the_span_whose_usage_counts_is_judged_whenever_the_judgement_comes(self, joins: Joins) -> None:
        """A wrapper tells of the response as well, and began earlier."""
        for trace in (1, 2):
            response = {"gen_ai.response.id": f"r{trace}"}
            await joins.call(trace, {"gen_ai.operation.name": "invoke_agent"} | response)
            await joins.call(trace, {**CHAT, **response}, span=7, parent=1, ms=(10, 90))
        await joins.judge("r1", trace=1)
        await joins.after(GRACE_S)
        await joins.judge("r2", trace=2)
        await joins.after(GRACE_S)
        assert sorted(joins.taker.judged) == [ids(1, 7), ids(2, 7)]

    async def test_it_is_the_same_score_when_it_is_made_again(self, joins: Joins) -> None:
        """In an outage, from the journal after a kill, and by a replay when nothing is remembered any more."""
        await joins.call(1)
        await joins.after(GRACE_S)
        joins.taker.down = True
        await joins.judge()
        await joins.after(GRACE_S)
        await joins.house.state.memory.forget("main", joins.house.clock.steady_ns() + 10**18)
        await joins.restart(kill=True)
        joins.taker.down = False
        await joins.after(0)
        before = dict(joins.taker.scores)
        assert joins.taker.judged == [ids(1, 1)]
        received = joins.taker.received

        await joins.house.delivery.operator.replay("langfuse", since_ns=time.time_ns() - 10**12)
        while joins.taker.received < received + 2:
            await joins.house.clock.advance(0.01)
            await asyncio.sleep(0.001)
        assert joins.taker.scores == before

    async def test_one_that_could_not_be_translated_finds_its_call_when_it_is_retried(
        self, joins: Joins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await joins.call(1)
        await joins.after(GRACE_S)
        with monkeypatch.context() as patched:
            patched.setattr("otel_bridge.translate.scores._id", lambda *_: 1 / 0)
            await joins.judge()
            await joins.after(GRACE_S)
        [letter] = await joins.house.dead_letters.list()
        assert letter.reason == "translation"
        await joins.house.delivery.operator.retry([letter.id])
        assert joins.taker.judged == [ids(1, 1)]
        assert await joins.accounts() == {"delivered": 2}


class TestCallsToldInTwoTraces:
    @pytest.mark.parametrize("between", ["nothing", "a restart", "a kill"])
    async def test_it_counts_in_the_one_that_settles_first(self, joins: Joins, between: str) -> None:
        await joins.call(1)
        await joins.after(GRACE_S)
        if between != "nothing":
            await joins.restart(kill=between == "a kill")
        await joins.call(2, scope="sdk", ms=(10, 90))
        await joins.after(GRACE_S)
        assert joins.taker.tokens == 13
        [left] = [one for one in joins.taker.observations.values() if one.usage is None]
        assert left.trace_id == f"{2:032x}"
        assert left.metadata["uncounted_usage"]["total"] == 13

    async def test_it_counts_once_however_many_others_come_between(
        self, joins: Joins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is kept in memory is for speed."""
        monkeypatch.setattr("otel_bridge.journal.memory.MAX_LATELY", 1)
        await joins.call(1)
        await joins.after(GRACE_S)
        await joins.call(3, {**CHAT, "gen_ai.response.id": "r3"})
        await joins.after(GRACE_S)
        await joins.call(2, scope="sdk", ms=(10, 90))
        await joins.after(GRACE_S)
        assert joins.taker.tokens == 2 * 13

    async def test_it_counts_once_where_both_settle_at_one_moment(self, joins: Joins) -> None:
        await joins.call(1)
        await joins.call(2, scope="sdk", ms=(10, 90))
        await joins.after(GRACE_S)
        assert joins.taker.tokens == 13

    async def test_what_comes_late_of_it_does_not_count_either(self, joins: Joins) -> None:
        await joins.call(1)
        await joins.after(GRACE_S)
        await joins.call(2, scope="sdk", ms=(10, 90), span=2, parent=1)
        await joins.after(IDLE_S)
        await joins.call(2, scope="framework", ms=(5, 95), span=1)
        await joins.after(GRACE_S)
        assert len(joins.taker.observations) == 3
        assert joins.taker.tokens == 13

    @pytest.mark.parametrize(
        ("scope", "ms"),
        [
            pytest.param("framework", (200, 300), id="at another time"),
            pytest.param("sdk", (50, 150), id="by another instrumentation, not within the time of the first"),
        ],
    )
    async def test_two_calls_of_one_id_are_two(self, joins: Joins, scope: str, ms: tuple[int, int]) -> None:
        """There are servers that give every response the same id."""
        await joins.call(1)
        await joins.after(GRACE_S)
        await joins.call(2, scope=scope, ms=ms)
        await joins.after(GRACE_S)
        assert joins.taker.tokens == 26

    async def test_one_that_says_no_usage_leaves_it_to_the_other(self, joins: Joins) -> None:
        await joins.call(1, {"gen_ai.operation.name": "chat", "gen_ai.response.id": "r1"})
        await joins.after(GRACE_S)
        await joins.call(2, scope="sdk", ms=(10, 90))
        await joins.after(GRACE_S)
        await joins.call(3, scope="another", ms=(20, 80))
        await joins.after(GRACE_S)
        assert joins.taker.tokens == 13

    async def test_it_counts_once_however_often_its_parts_are_made(self, joins: Joins) -> None:
        """In an outage, from the journal after a kill, in whatever order."""
        joins.taker.down = True
        await joins.call(1)
        await joins.after(GRACE_S)
        await joins.call(2, scope="sdk", ms=(10, 90))
        await joins.after(GRACE_S)
        await joins.house.state.memory.forget("main", joins.house.clock.steady_ns() + 10**18)
        await joins.restart(kill=True)
        joins.taker.down = False
        await joins.after(0)
        assert len(joins.taker.observations) == 2
        assert joins.taker.tokens == 13

    async def test_a_judgement_is_on_the_one_that_counts(self, joins: Joins) -> None:
        await joins.call(1)
        await joins.after(GRACE_S)
        await joins.call(2, scope="sdk", ms=(10, 90))
        await joins.after(GRACE_S)
        await joins.judge()
        await joins.after(GRACE_S)
        assert joins.taker.judged == [ids(1, 1)]
