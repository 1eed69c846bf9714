"""The small facts about the journal's entries, in a SQLite file: cursors, settled parts of traces, the ledger.

What changes together is handed over together and committed together, at most 200 ms later. A crash before the commit
makes duplicates, never a loss: the journal is trimmed only below what is surely on disk.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from otel_bridge.batch import Signal
from otel_bridge.journal.changes import WITHOUT, Changes, json_text
from otel_bridge.journal.database import open_database
from otel_bridge.journal.exporters import NEVER, Account, Exporters, Outcomes
from otel_bridge.journal.parts import Part, RecordedParts
from otel_bridge.tasks import owned_tasks
from otel_bridge.telemetry import Counters, Outcome
from otel_bridge.trace import Answer, Decision, Known

VERSION = 5
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
    follow, and what the next must know."""

    parts: int
    decision: Decision
    known: Known


class Replay(NamedTuple):
    """What is to be sent again to an exporter: what it confirmed after `position`, up to and with `end_position`, and
    was received from `since_ns` on and before `until_ns`."""

    id: int
    pipeline: str
    exporter: str
    tenant: str
    since_ns: int
    until_ns: int
    position: int
    end_position: int


class State:
    """Changes are remembered here at once and committed soon after.

    Questions see all changes made before them: they wait until those could be committed, however long that takes.
    Made by `open_state`. Belongs to the event loop that opened it.
    """

    def __init__(self, changes: Changes) -> None:
        self.exporters = Exporters(changes)
        self.parts = RecordedParts(changes, self.exporters)
        self.paused: set[str] = set()
        self.redeemed: dict[str, int] = {}
        self.replays: dict[int, Replay] = {}
        self.replayed: Counter[tuple[Account, Outcome, str]] = Counter()
        self._changes = changes
        self._write, self._read = changes.write, changes.read
        self._spent: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._lately: dict[tuple[str, str, str], Answer] = {}
        self._last_replay = 0

    @property
    def least_seq(self) -> int:
        """The lowest number that the journal may give to its next entry, as lower ones are known here."""
        known = [1]
        registered = self.exporters.registered
        for known_exporter in registered.values():
            known += (seq for absence in known_exporter.absences for seq in absence if seq < NEVER)
        known += (scanned_seq + 1 for _, scanned_seq in self.parts.assembly.values())
        known += (at + 1 for (of, name, _), at in self.exporters.cursors.items() if not registered[of, name].settled)
        return max(known)

    # What people ask for.

    def pause(self, exporter: str, *, paused: bool) -> None:
        """Send an exporter nothing until it is resumed, also after a restart; or resume it."""
        (self.paused.add if paused else self.paused.discard)(exporter)
        self._write("DELETE FROM paused WHERE exporter = ?", exporter)
        if paused:
            self._write("INSERT INTO paused VALUES (?)", exporter)

    def redeem(
        self, letter: str, at_ns: int, account: Account, reason: str, became: Mapping[tuple[Outcome, str], int]
    ) -> None:
        """As `recount` of the exporters, for a letter that is to be deleted when this is durable, and then to be
        `forget_redeemed`."""
        self.exporters.recount(account, reason, became)
        self.redeemed[letter] = at_ns
        self._write("INSERT OR REPLACE INTO redeemed VALUES (?, ?)", letter, at_ns)

    def forget_redeemed(self, letter: str) -> None:
        """The letter is gone from its file."""
        del self.redeemed[letter]
        self._write("DELETE FROM redeemed WHERE letter = ?", letter)

    def begin_replay(
        self, pipeline: str, exporter: str, tenant: str, *, since_ns: int, until_ns: int, position: int
    ) -> Replay:
        """Remember to send again what the exporter has confirmed after `position`; the same replay goes on after a
        restart until `end_replay`."""
        self._last_replay += 1
        end_position = self.exporters.position(pipeline, exporter, tenant)
        replay = Replay(self._last_replay, pipeline, exporter, tenant, since_ns, until_ns, position, end_position)
        self.replays[replay.id] = replay
        self._write("INSERT INTO replay VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *replay)
        return replay

    def replay_to(self, replay_id: int, position: int, outcomes: Outcomes) -> None:
        """A replay has come so far, with these outcomes."""
        replay = self.replays[replay_id] = self.replays[replay_id]._replace(position=position)
        self._write("UPDATE replay SET position = ? WHERE id = ?", position, replay_id)
        for (signal, outcome, reason), items in outcomes.items():
            account = Account(replay.pipeline, replay.exporter, replay.tenant, signal)
            self.replayed[account, outcome, reason] += items
            self._write(
                "INSERT INTO replayed VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET items = items + excluded.items",
                *(*account, outcome, reason, items),
            )

    def end_replay(self, replay_id: int) -> None:
        """A replay is done."""
        del self.replays[replay_id]
        self._write("DELETE FROM replay WHERE id = ?", replay_id)

    # Assembly.

    def record(
        self,
        part: Part,
        remembered: Remembered,
        expires_ns: int,
        answers: Mapping[str, Answer] | None = None,
        spends: Mapping[str, int] | None = None,
    ) -> None:
        """Keep a part for the exporters; what its late spans must know, and by response id what it tells of responses,
        until `expires_ns`; and what it spends of its tenant's budgets."""
        self.parts.add(part)
        self._write(
            "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(part.pipeline, part.tenant, part.key, remembered.parts, remembered.decision),
            *(json_text(remembered.known), expires_ns),
        )
        for response_id, answer in (answers or {}).items():
            self._write(
                ANSWERED,
                *(part.pipeline, part.tenant, response_id, answer.trace_id, answer.observation_id),
                *(answer.scope, answer.start_ns, answer.end_ns, answer.environment, int(answer.counted), expires_ns),
            )
            self._keep((part.pipeline, part.tenant, response_id), answer)
        for budget, amount in (spends or {}).items():
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
            *(json_text(keys), pipeline),
        )
        return {
            (tenant, key): Remembered(parts, Decision(decision), Known.of(orjson.loads(known)))
            for tenant, key, parts, decision, known in rows
        }

    async def answers(self, pipeline: str, asked: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Answer]:
        """What tells of responses, by tenant and response id."""
        rows = await self._read(
            f"SELECT {', '.join(ANSWER_COLUMNS)} FROM json_each(?) k CROSS JOIN answer"  # noqa: S608 - the names above
            " ON pipeline = ? AND tenant = k.value ->> 0 AND response_id = k.value ->> 1",
            *(json_text(list(asked)), pipeline),
        )
        return {(tenant, response_id): _answer(said) for _, tenant, response_id, *said in rows}

    @property
    def lately_are_all(self) -> bool:
        """Whether `lately` knows of all answers, so that the file need not be asked."""
        return len(self._lately) < MAX_LATELY

    def lately(self, pipeline: str, tenant: str, response_id: str) -> Answer | None:
        """What tells of a response, if it is among the newest answers: nobody has to wait for the file."""
        return self._lately.get((pipeline, tenant, response_id))

    def _keep(self, key: tuple[str, str, str], answer: Answer) -> None:
        if answer.counted or key not in self._lately:
            self._lately.pop(key, None)
            self._lately[key] = answer
        if len(self._lately) > MAX_LATELY:
            del self._lately[next(iter(self._lately))]

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

    async def _forget_spent(self, now_ns: int) -> None:
        if not self._spent:
            return
        rows = await self._read("SELECT pipeline, tenant, budget FROM spent WHERE expires_ns <= ?", now_ns)
        for pipeline, tenant, budget in rows:
            del self._spent[pipeline, tenant][budget]
        if rows:
            self._write("DELETE FROM spent WHERE expires_ns <= ?", now_ns)

    # Reading and writing.

    async def flush(self, *, durable: bool = False) -> bool:
        """Commit what changed; whether it could be. `durable`: it survives the death of the machine as well."""
        return await self._changes.flush(durable=durable)

    async def load(self) -> None:
        """Read what is kept in memory as well."""
        rows = self._changes.rows
        await self.exporters.load()
        await self.parts.load()
        for pipeline, exporter, tenant, signal, outcome, reason, items in await rows("replayed"):
            self.replayed[Account(pipeline, exporter, tenant, Signal(signal)), Outcome(outcome), reason] = items
        for pipeline, tenant, budget, amount, _ in await rows("spent"):
            self._spent[pipeline, tenant][budget] = amount
        self.paused = {exporter for (exporter,) in await rows("paused")}
        self.redeemed = dict(await rows("redeemed"))
        self.replays = {row[0]: Replay(*row) for row in await rows("replay")}
        self._last_replay = max(self.replays, default=0)
        lately = f"SELECT {', '.join(ANSWER_COLUMNS)} FROM answer ORDER BY expires_ns DESC LIMIT ?"  # noqa: S608 - as below
        for pipeline, tenant, response_id, *said in reversed(await self._read(lately, MAX_LATELY)):
            self._keep((pipeline, tenant, response_id), _answer(said))


@asynccontextmanager
async def open_state(path: Path, counters: Counters) -> AsyncIterator[State]:
    """Open the state of a journal, or begin it; everything is committed when this ends.

    Raises:
        FilesError: the file can not be used, is damaged, or another version of the bridge wrote it.
    """
    schema = resources.files(__package__).joinpath("state.sql").read_text(encoding="utf-8")
    async with open_database(path, schema, VERSION, synchronous="normal", without=WITHOUT) as database:
        changes = Changes(path, database, counters)
        state = State(changes)
        await state.load()
        try:
            async with owned_tasks() as tasks:
                tasks.create_task(changes.commit_regularly())
                yield state
        finally:
            await changes.flush(durable=True)


def _answer(said: Sequence[Any]) -> Answer:
    trace_id, observation_id, scope, start_ns, end_ns, environment, counted = said
    return Answer(trace_id, observation_id, scope, start_ns, end_ns, environment, bool(counted))
