"""What is remembered of traces that have settled, until it is too old: for their late spans, for who knows no more than
the id of a response, and for budgets."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from otel_bridge.journal.changes import Changes
from otel_bridge.journal.parts import Part
from otel_bridge.plain_json import dump
from otel_bridge.trace import Answer, Decision, Known

MAX_ATTRIBUTES_BYTES = 48 << 10  # of a trace, as JSON, written again with each later part: what `propagate` lets stand
MAX_LATELY = 10_000  # answers that are kept in memory as well: five megabytes
ANSWER_COLUMNS = (
    *("pipeline", "tenant", "response_id", "trace_id", "observation_id"),
    *("scope", "start_ns", "end_ns", "environment", "counted"),
)
SPENT_FOR_NS = 2 * 24 * 3600 * 10**9  # a budget is of a day

ANSWERED = """
INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET  -- servers may use ids again
    trace_id = excluded.trace_id, observation_id = excluded.observation_id, scope = excluded.scope,
    start_ns = excluded.start_ns, end_ns = excluded.end_ns, environment = excluded.environment,
    counted = excluded.counted, expires_ns = excluded.expires_ns
WHERE excluded.counted
"""


@dataclass(slots=True, frozen=True)
class Remembered:
    """What is remembered of a trace whose parts have settled: how many there were, what was decided for those that
    follow, and what the next must know.

    size: how long that was, when it was read.
    """

    parts: int
    decision: Decision
    known: Known
    size: int = field(default=0, compare=False)


def cut(known: Known) -> tuple[Known, int]:
    """What later parts get to know of it, and how many of its attributes they do not: the largest, metadata first.

    Those are left out whole, as less of one would take the place of what was sent.
    """
    over = _size(known.attributes) - MAX_ATTRIBUTES_BYTES
    if over <= 0:
        return known, 0
    attributes = dict(known.attributes)
    metadata = attributes["metadata"] = dict(attributes.get("metadata", {}))
    left_out = 0
    for of in (metadata, attributes):
        for size, key in sorted(((_size({key: said}), key) for key, said in of.items()), reverse=True):
            if over > 0:
                del of[key]
                over -= size
                left_out += 1
    return replace(known, attributes=attributes), left_out


def _size(said: Mapping[str, Any]) -> int:
    return len(dump(said).encode())


class Memory:
    """Of all pipelines. The newest answers are kept here as well as in the file."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._write, self._read = changes.write, changes.read
        self._spent: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._lately: dict[tuple[str, str, str], Answer] = {}

    async def load(self) -> None:
        """Read what is kept here as well."""
        for pipeline, tenant, budget, amount, _ in await self._changes.rows("spent"):
            self._spent[pipeline, tenant][budget] = amount
        lately = f"SELECT {', '.join(ANSWER_COLUMNS)} FROM answer ORDER BY expires_ns DESC LIMIT ?"  # noqa: S608 - as below
        for pipeline, tenant, response_id, *said in reversed(await self._read(lately, MAX_LATELY)):
            self._keep((pipeline, tenant, response_id), _answer(said))

    def remember(
        self,
        part: Part,
        remembered: Remembered,
        expires_ns: int,
        answers: Mapping[str, Answer],
        spends: Mapping[str, int],
    ) -> None:
        """Of a part's trace, until `expires_ns`; by response id what it tells of responses; and what it spends."""
        self._write(
            "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(part.pipeline, part.tenant, part.key, remembered.parts, remembered.decision),
            *(dump(remembered.known), expires_ns),
        )
        for response_id, answer in answers.items():
            self._write(
                ANSWERED,
                *(part.pipeline, part.tenant, response_id, answer.trace_id, answer.observation_id),
                *(answer.scope, answer.start_ns, answer.end_ns, answer.environment, int(answer.counted), expires_ns),
            )
            self._keep((part.pipeline, part.tenant, response_id), answer)
        for budget, amount in spends.items():
            self._spent[part.pipeline, part.tenant][budget] += amount
            self._write(
                "INSERT INTO spent VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET amount = amount + excluded.amount, expires_ns = excluded.expires_ns",
                *(part.pipeline, part.tenant, budget, amount, expires_ns + SPENT_FOR_NS),
            )

    def spent(self, pipeline: str, tenant: str) -> Mapping[str, int]:
        """What a tenant has spent, by budget; of budgets that nobody has spent of for two days, nothing."""
        return self._spent.get((pipeline, tenant), {})

    async def remembered(self, pipeline: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Remembered]:
        """What is remembered of traces, by tenant and key."""
        rows = await self._read(
            "SELECT r.tenant, r.key, parts, decision, known FROM json_each(?) k CROSS JOIN remembered r"
            " ON r.pipeline = ? AND r.tenant = k.value ->> 0 AND r.key = k.value ->> 1",
            *(dump(keys), pipeline),
        )
        return {
            (tenant, key): Remembered(parts, Decision(decision), Known.of(orjson.loads(known)), len(known))
            for tenant, key, parts, decision, known in rows
        }

    async def answers(self, pipeline: str, asked: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Answer]:
        """What tells of responses, by tenant and response id."""
        rows = await self._read(
            f"SELECT {', '.join(ANSWER_COLUMNS)} FROM json_each(?) k CROSS JOIN answer"  # noqa: S608 - the names above
            " ON pipeline = ? AND tenant = k.value ->> 0 AND response_id = k.value ->> 1",
            *(dump(list(asked)), pipeline),
        )
        return {(tenant, response_id): _answer(said) for _, tenant, response_id, *said in rows}

    @property
    def lately_are_all(self) -> bool:
        """Whether `lately` knows of all answers, so that the file need not be asked."""
        return len(self._lately) < MAX_LATELY

    def lately(self, pipeline: str, tenant: str, response_id: str) -> Answer | None:
        """What tells of a response, if it is among the newest answers: nobody has to wait for the file."""
        return self._lately.get((pipeline, tenant, response_id))

    async def forget(self, pipeline: str, now_ns: int) -> int:
        """Let go of what was remembered until now; returns how many traces that were."""
        [(expired, answers)] = await self._read(
            "SELECT (SELECT count(*) FROM remembered WHERE pipeline = ?1 AND expires_ns <= ?2),"
            " EXISTS (SELECT 1 FROM answer WHERE expires_ns <= ?2)",
            *(pipeline, now_ns),
        )
        if expired:
            self._write("DELETE FROM remembered WHERE pipeline = ? AND expires_ns <= ?", pipeline, now_ns)
        if answers:
            self._write("DELETE FROM answer WHERE expires_ns <= ?", now_ns)
        await self._forget_spent(now_ns)
        return int(expired)

    def _keep(self, key: tuple[str, str, str], answer: Answer) -> None:
        if answer.counted or key not in self._lately:
            self._lately.pop(key, None)
            self._lately[key] = answer
        if len(self._lately) > MAX_LATELY:
            del self._lately[next(iter(self._lately))]

    async def _forget_spent(self, now_ns: int) -> None:
        if not self._spent:
            return
        rows = await self._read("SELECT pipeline, tenant, budget FROM spent WHERE expires_ns <= ?", now_ns)
        for pipeline, tenant, budget in rows:
            del self._spent[pipeline, tenant][budget]
        if rows:
            self._write("DELETE FROM spent WHERE expires_ns <= ?", now_ns)


def _answer(said: Sequence[Any]) -> Answer:
    trace_id, observation_id, scope, start_ns, end_ns, environment, counted = said
    return Answer(trace_id, observation_id, scope, start_ns, end_ns, environment, bool(counted))
