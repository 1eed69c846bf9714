"""The small facts about the journal's entries, in a SQLite file: cursors, settled parts of traces, the ledger.

What changes together is handed over together and committed together, at most 200 ms later. A crash before the commit
makes duplicates, never a loss: the journal is trimmed only below what is surely on disk.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import orjson

from otel_bridge.batch import Signal
from otel_bridge.journal.database import DamagedError, Database, damaged, open_database, transaction
from otel_bridge.journal.exporters import NEVER, Account, Registered, accounts, registered
from otel_bridge.tasks import owned_tasks
from otel_bridge.telemetry import Counters, Outcome, logger
from otel_bridge.trace import Answer, Decision, Known, Settled

if TYPE_CHECKING:
    import apsw

VERSION = 6
COMMIT_EVERY_S = 0.2
WITHOUT = "all that is still in the journal is delivered again then, some of it twice, and nothing is lost"
MAX_LATELY = 10_000  # answers that are kept in memory as well: five megabytes
ANSWER_COLUMNS = (
    *("pipeline", "tenant", "response_id", "trace_id", "observation_id"),
    *("scope", "start_ns", "end_ns", "environment", "counted"),
)
SPENT_FOR_NS = 2 * 24 * 3600 * 10**9  # a budget is of a day
DAMAGED = "damaged"  # why items are dead-lettered that the journal has lost: there is no letter of them

PART_HEADS = """
WITH RECURSIVE of(tenant) AS (  -- from one tenant to the next by the index: there may be very many parts
    SELECT min(tenant) FROM part WHERE pipeline = ?1
    UNION ALL SELECT (SELECT min(tenant) FROM part WHERE pipeline = ?1 AND tenant > of.tenant) FROM of
    WHERE of.tenant IS NOT NULL
)
SELECT tenant, (SELECT max(id) FROM part WHERE pipeline = ?1 AND part.tenant = of.tenant) FROM of
WHERE tenant IS NOT NULL
"""

ANSWERED = """
INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET  -- servers may use ids again
    trace_id = excluded.trace_id, observation_id = excluded.observation_id, scope = excluded.scope,
    start_ns = excluded.start_ns, end_ns = excluded.end_ns, environment = excluded.environment,
    counted = excluded.counted, expires_ns = excluded.expires_ns
WHERE excluded.counted
"""

Outcomes: TypeAlias = Counter[tuple[Signal, Outcome, str]]
"""Items by signal, what became of them, and the reason in a word (empty where there is none)."""


Value: TypeAlias = str | int | bytes | None
Change: TypeAlias = tuple[str, tuple[Value, ...]]
Row: TypeAlias = tuple[Any, ...]
T = TypeVar("T")


class Share(NamedTuple):
    """How much of an entry belongs to a part."""

    seq: int
    signal: Signal
    items: int


@dataclass(slots=True, frozen=True)
class Part:
    """A part of a trace that has settled; its bodies are in the journal.

    id: counts up; the order in which exporters take the parts of a tenant.
    number: 0 for the first part of its trace.
    received_ns: when its newest entry was received.
    known: what the parts before it left; None for the first.
    """

    id: int
    pipeline: str
    tenant: str
    key: str
    number: int
    shares: Sequence[Share]
    size: int
    received_ns: int
    settled: Settled
    decision: Decision = Decision.KEPT
    known: Known | None = None


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


class Apart:
    """Items of a pipeline that come to no part, and what becomes of them for its exporters of settled parts.

    outcomes: by exporter and tenant; items: how many there are of each entry.
    """

    def __init__(self, exporters: Mapping[str, Registered]) -> None:
        self.outcomes: defaultdict[tuple[str, str], Outcomes] = defaultdict(Counter)
        self.items: Counter[int] = Counter()
        self._exporters = exporters

    def add(self, seq: int, tenant: str, signal: Signal, outcome: Outcome, reasons: Mapping[str, int]) -> None:
        """Account for items of an entry, by reason."""
        self.items[seq] += sum(reasons.values())
        for exporter, known in self._exporters.items():
            if known.concerns(seq):
                for reason, items in reasons.items():
                    self.outcomes[exporter, tenant][signal, outcome, reason] += items


class State:
    """Changes are remembered here at once and committed soon after.

    Questions see all changes made before them: they wait until those could be committed, however long that takes.
    Made by `open_state`. Belongs to the event loop that opened it.
    """

    def __init__(self, path: Path, database: Database, counters: Counters) -> None:
        self.registered: dict[tuple[str, str], Registered] = {}
        self.cursors: dict[tuple[str, str, str], int] = {}
        self._postponed: defaultdict[tuple[str, str, str], dict[int, int]] = defaultdict(dict)
        self.base: Counter[Account] = Counter()
        self.ledger: Counter[tuple[Account, Outcome, str]] = Counter()
        self.assembly: dict[str, tuple[int, int]] = {}
        self.paused: set[tuple[str, str]] = set()
        self.redeemed: dict[str, int] = {}
        self.replays: dict[int, Replay] = {}
        self.replayed: Counter[tuple[Account, Outcome, str]] = Counter()
        self._path = path
        self._database = database
        self._damaged: DamagedError | None = None
        self._counters = counters
        self._spent: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._lately: dict[tuple[str, str, str], Answer] = {}
        self._pending: list[Change] = []
        self._uncommitted: list[Change] = []
        self._failing = False
        self._changed = asyncio.Event()
        self._last_part = 0
        self._last_replay = 0

    @property
    def least_seq(self) -> int:
        """The lowest number that the journal may give to its next entry, as lower ones are known here."""
        known = [1]
        for known_exporter in self.registered.values():
            known += (seq for absence in known_exporter.absences for seq in absence if seq < NEVER)
        known += (scanned_seq + 1 for _, scanned_seq in self.assembly.values())
        known += (at + 1 for (of, name, _), at in self.cursors.items() if not self.registered[of, name].settled)
        return max(known)

    # Exporters and what they have confirmed.

    def register(
        self, pipeline: str, exporter: str, *, settled: bool, start_seq: int, accepted: Mapping[tuple[str, Signal], int]
    ) -> None:
        """Begin to keep accounts for an exporter, or go on where it was not configured for a time.

        start_seq: the first entry that concerns it (again).
        accepted: what had been accepted before that, by tenant and signal.
        """
        known = self.registered.get((pipeline, exporter))
        if known is None:
            self._write("INSERT INTO exporter VALUES (?, ?, ?)", pipeline, exporter, int(settled))
            known = Registered(settled, ((0, NEVER),))
        if known.end_seq < NEVER:
            self._set_absence(pipeline, exporter, known, (known.end_seq, start_seq))
            self._rebase(pipeline, exporter, accepted, 1)

    def unregister(
        self, pipeline: str, exporter: str, *, end_seq: int, accepted: Mapping[tuple[str, Signal], int]
    ) -> None:
        """The exporter is not configured any more: from `end_seq` on nothing concerns it.

        What came before and it has not confirmed still does.
        """
        known = self.registered[pipeline, exporter]
        self._set_absence(pipeline, exporter, known, (end_seq, NEVER))
        self._rebase(pipeline, exporter, accepted, -1)

    def accounts(self, accepted: Mapping[tuple[str, str, Signal], int]) -> dict[Account, int]:
        """How many items concern each exporter, of what was `accepted` by pipeline, tenant and signal."""
        return accounts(self.registered, self.base, accepted)

    def position(self, pipeline: str, exporter: str, tenant: str) -> int:
        """The last entry (or part) that the exporter has confirmed; for entries, at least the one before its start."""
        known = self.registered[pipeline, exporter]
        return self.cursors.get((pipeline, exporter, tenant), 0 if known.settled else known.start_seq - 1)

    def confirm(self, pipeline: str, exporter: str, tenant: str, position: int, outcomes: Outcomes) -> None:
        """Everything up to and with `position` is done, with these outcomes, but for what was postponed."""
        self._move(pipeline, exporter, tenant, position)
        self._account(pipeline, exporter, tenant, outcomes)

    def postpone(self, pipeline: str, exporter: str, tenant: str, high: int) -> None:
        """What follows the position, up to and with `high`, is not done, and what comes behind it goes first."""
        self._set_postponed(pipeline, exporter, tenant, self.position(pipeline, exporter, tenant), high)
        self._move(pipeline, exporter, tenant, high)

    def postponed(self, pipeline: str, exporter: str, tenant: str) -> list[tuple[int, int]]:
        """The stretches before the position that are not done: after which entry (or part), up to and with which."""
        return [(low, high) for high, low in sorted(self._postponed[pipeline, exporter, tenant].items())]

    def postponed_position(self, pipeline: str, exporter: str, tenant: str, high: int) -> int:
        """Up to where the postponed stretch that ends with `high` is done."""
        return self._postponed[pipeline, exporter, tenant].get(high, high)

    def confirm_postponed(
        self, pipeline: str, exporter: str, tenant: str, high: int, position: int, outcomes: Outcomes
    ) -> None:
        """Of the postponed stretch that ends with `high`, all up to and with `position` is done."""
        if position < high:
            self._set_postponed(pipeline, exporter, tenant, position, high)
        else:
            del self._postponed[pipeline, exporter, tenant][high]
            self._write(
                "DELETE FROM postponed WHERE pipeline = ? AND exporter = ? AND tenant = ? AND high = ?",
                *(pipeline, exporter, tenant, high),
            )
        self._account(pipeline, exporter, tenant, outcomes)

    def floor(self, pipeline: str, exporter: str, tenant: str) -> int:
        """The last entry (or part) up to which really all is done."""
        position = self.position(pipeline, exporter, tenant)
        return min([position, *self._postponed[pipeline, exporter, tenant].values()])

    def is_done(self, pipeline: str, exporter: str, tenant: str, number: int) -> bool:
        """Whether the exporter needs this entry (or part) no more."""
        return number <= self.position(pipeline, exporter, tenant) and not any(
            low < number <= high for high, low in self._postponed[pipeline, exporter, tenant].items()
        )

    def pass_over(self, pipeline: str, exporter: str, tenant: str, position: int, outcomes: Outcomes) -> None:
        """Everything up to and with `position` is done, what was postponed as well; these are the outcomes of what was
        not done before."""
        for low, high in self.postponed(pipeline, exporter, tenant):
            if low < position:
                self.confirm_postponed(pipeline, exporter, tenant, high, min(position, high), Counter())
        if position > self.position(pipeline, exporter, tenant):
            self._move(pipeline, exporter, tenant, position)
        self._account(pipeline, exporter, tenant, outcomes)

    def settled_exporters(self, pipeline: str) -> dict[str, Registered]:
        """The exporters of the pipeline that take settled parts."""
        return {
            exporter: known for (of, exporter), known in self.registered.items() if of == pipeline and known.settled
        }

    # What people ask for.

    def pause(self, exporter: str, tenant: str, *, paused: bool) -> None:
        """Send an exporter nothing of a tenant (empty: of all) until it is resumed, also after a restart; or resume
        it."""
        (self.paused.add if paused else self.paused.discard)((exporter, tenant))
        self._write("DELETE FROM paused WHERE exporter = ? AND tenant = ?", exporter, tenant)
        if paused:
            self._write("INSERT INTO paused VALUES (?, ?)", exporter, tenant)

    def dead_lettered(self, account: Account, reason: str) -> list[tuple[Account, str, int]]:
        """What of an exporter and tenant is in dead letters: (account, reason, items), what is like this one first.

        What was translated may be counted under the signal that it came by, and a letter's last answer may differ from
        the one that it was counted by.
        """
        found = [
            (of, why, items)
            for (of, outcome, why), items in self.ledger.items()
            if outcome == Outcome.DEAD_LETTERED and why != DAMAGED and of[:3] == account[:3] and items > 0
        ]
        return sorted(found, key=lambda one: (one[0] != account, one[1] != reason))

    def redeem(
        self, letter: str, at_ns: int, account: Account, reason: str, became: Mapping[tuple[Outcome, str], int]
    ) -> None:
        """As `recount`, for a letter that is to be deleted when this is durable, and then to be `forget_redeemed`."""
        self.recount(account, reason, became)
        self.redeemed[letter] = at_ns
        self._write("INSERT OR REPLACE INTO redeemed VALUES (?, ?)", letter, at_ns)

    def recount(self, account: Account, reason: str, became: Mapping[tuple[Outcome, str], int]) -> None:
        """Count for items that are dead-lettered for a reason what became of them now, and why; no more than are."""
        for (outcome, why_now), count in became.items():
            left = count
            for of, why, items in self.dead_lettered(account, reason):
                moved = min(left, items)
                left -= moved
                what: Outcomes = Counter({(of.signal, Outcome.DEAD_LETTERED, why): -moved})
                what[of.signal, outcome, why_now] += moved
                self._account(*of[:3], what)

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
        end_position = self.position(pipeline, exporter, tenant)
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

    def next_part_id(self) -> int:
        """An id that no part had before."""
        self._last_part += 1
        return self._last_part

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
        seqs = [share.seq for share in part.shares]
        self._write(
            "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(part.id, part.pipeline, part.tenant, part.key, part.number, min(seqs), max(seqs)),
            _json([list(share) for share in part.shares]),
            *(
                part.size,
                part.received_ns,
                part.settled,
                part.decision,
                None if part.known is None else _json(part.known),
            ),
        )
        self._write(
            "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(part.pipeline, part.tenant, part.key, remembered.parts, remembered.decision),
            *(_json(remembered.known), expires_ns),
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

    def advance(self, pipeline: str, low_seq: int, scanned_seq: int, apart: Apart | None = None) -> None:
        """How far assembly has come, and what came to no part on the way."""
        if self.assembly.get(pipeline) != (low_seq, scanned_seq):
            self.assembly[pipeline] = (low_seq, scanned_seq)
            self._write("INSERT OR REPLACE INTO assembly VALUES (?, ?, ?)", pipeline, low_seq, scanned_seq)
        if apart is None:
            return
        for (exporter, tenant), counted in apart.outcomes.items():
            self._account(pipeline, exporter, tenant, counted)
        for seq, items in apart.items.items():
            if items and seq >= low_seq:
                self._write(
                    "INSERT INTO apart VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET items = items + excluded.items",
                    *(pipeline, seq, items),
                )

    async def accounted(self, pipeline: str) -> Counter[int]:
        """How many items of each entry that assembly still needs lie in parts, or are accounted for without one."""
        low_seq, _ = self.assembly[pipeline]
        rows = await self._read("SELECT seq, items FROM apart WHERE pipeline = ? AND seq >= ?", pipeline, low_seq)
        items: Counter[int] = Counter(dict(rows))
        for part in await self.parts_from(pipeline, low_seq):
            for share in part.shares:
                items[share.seq] += share.items
        return items

    async def parts(self, pipeline: str, tenant: str, after_id: int, limit: int = 64) -> list[Part]:
        """The parts of a tenant that follow one, in order."""
        return await self._parts(
            "SELECT * FROM part WHERE pipeline = ? AND tenant = ? AND id > ? ORDER BY id LIMIT ?",
            *(pipeline, tenant, after_id, limit),
        )

    async def parts_from(self, pipeline: str, low_seq: int) -> list[Part]:
        """The parts that hold an entry from `low_seq` on."""
        return await self._parts("SELECT * FROM part WHERE pipeline = ? AND last_seq >= ?", pipeline, low_seq)

    async def parts_below(self, pipeline: str, end_seq: int) -> list[Part]:
        """The parts that hold an entry below `end_seq`, in order."""
        return await self._parts(
            "SELECT * FROM part WHERE pipeline = ? AND first_seq < ? ORDER BY id", pipeline, end_seq
        )

    def cut_part(self, part: Part, from_seq: int) -> None:
        """A part loses what lies below; without anything else it is no part any more."""
        shares = [share for share in part.shares if share.seq >= from_seq]
        if shares:
            self._write(
                "UPDATE part SET entries = ?, first_seq = ? WHERE id = ?",
                *(_json([list(share) for share in shares]), min(share.seq for share in shares), part.id),
            )
        else:
            self._write("DELETE FROM part WHERE id = ?", part.id)

    async def part_heads(self, pipeline: str) -> dict[str, int]:
        """The tenants that have parts here, with the newest part of each."""
        rows = await self._read(PART_HEADS, pipeline)
        return {str(tenant): int(head) for tenant, head in rows}

    async def remembered(self, pipeline: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Remembered]:
        """What is remembered of traces, by tenant and key."""
        rows = await self._read(
            "SELECT r.tenant, r.key, parts, decision, known FROM json_each(?) k CROSS JOIN remembered r"
            " ON r.pipeline = ? AND r.tenant = k.value ->> 0 AND r.key = k.value ->> 1",
            *(_json(keys), pipeline),
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
            *(_json(list(asked)), pipeline),
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

    async def needed_seq(self, pipeline: str) -> int:
        """The lowest entry that assembly or an exporter of settled parts still needs."""
        low_seq, _ = self.assembly[pipeline]
        found = await self._read(
            "SELECT min(first_seq) FROM part WHERE pipeline = ? AND last_seq >= ?", pipeline, low_seq
        )
        for tenant in await self.part_heads(pipeline):
            for exporter, known in self.settled_exporters(pipeline).items():
                found += await self._read(
                    "SELECT min(first_seq) FROM part WHERE pipeline = ? AND tenant = ? AND id > ? AND first_seq < ?",
                    *(pipeline, tenant, self.floor(pipeline, exporter, tenant), known.end_seq),
                )
        return min([low_seq, *(int(seq) for (seq,) in found if seq is not None)])

    async def prune(self, pipeline: str, held_seq: int) -> None:
        """Delete parts that nobody needs any more and that hold an entry below `held_seq`, which the journal has let
        go of: the others can be sent again."""
        low_seq, _ = self.assembly[pipeline]
        needed_seq = await self.needed_seq(pipeline)
        exporters = [
            exporter for exporter, known in self.settled_exporters(pipeline).items() if needed_seq < known.end_seq
        ]
        for tenant, head in (await self.part_heads(pipeline)).items():
            confirmed = min((self.floor(pipeline, exporter, tenant) for exporter in exporters), default=head)
            self._write(
                "DELETE FROM part WHERE pipeline = ? AND tenant = ? AND id <= ? AND last_seq < ? AND first_seq < ?",
                *(pipeline, tenant, confirmed, low_seq, held_seq),
            )
        self._write("DELETE FROM apart WHERE pipeline = ? AND seq < ?", pipeline, low_seq)

    # Reading and writing.

    async def flush(self, *, durable: bool = False) -> bool:
        """Commit what changed; whether it could be. `durable`: it survives the death of the machine as well."""
        changes = self._take()

        def work(connection: "apsw.Connection") -> bool:
            if not self._commit(connection, changes):
                return False
            return not durable or self._attempt(connection, _checkpoint)

        return await self._run(work)

    async def commit_regularly(self) -> None:
        """Commit soon after each change, for ever.

        Raises:
            FilesError: the file is damaged, whoever found out.
        """
        while True:
            await self._changed.wait()
            if self._damaged:
                raise self._damaged
            await asyncio.sleep(COMMIT_EVERY_S)
            self._changed.clear()
            if not await self.flush():
                self._changed.set()

    async def load(self) -> None:
        """Read what is kept in memory as well."""

        def rows(table: str) -> Awaitable[list[Row]]:
            return self._read(f"SELECT * FROM {table}")  # noqa: S608 - the names below

        self.registered = registered(await rows("exporter"), await rows("absence"))
        for pipeline, exporter, tenant, signal, items in await rows("base"):
            self.base[Account(pipeline, exporter, tenant, Signal(signal))] = items
        for pipeline, exporter, tenant, position in await rows("cursor"):
            self.cursors[pipeline, exporter, tenant] = position
        for pipeline, exporter, tenant, low, high in await rows("postponed"):
            self._postponed[pipeline, exporter, tenant][high] = low
        for pipeline, exporter, tenant, signal, outcome, reason, items in await rows("ledger"):
            self.ledger[Account(pipeline, exporter, tenant, Signal(signal)), Outcome(outcome), reason] = items
        for pipeline, low_seq, scanned_seq in await rows("assembly"):
            self.assembly[pipeline] = (low_seq, scanned_seq)
        for pipeline, exporter, tenant, signal, outcome, reason, items in await rows("replayed"):
            self.replayed[Account(pipeline, exporter, tenant, Signal(signal)), Outcome(outcome), reason] = items
        for pipeline, tenant, budget, amount, _ in await rows("spent"):
            self._spent[pipeline, tenant][budget] = amount
        self.paused = {(exporter, tenant) for exporter, tenant in await rows("paused")}
        self.redeemed = dict(await rows("redeemed"))
        self.replays = {row[0]: Replay(*row) for row in await rows("replay")}
        self._last_replay = max(self.replays, default=0)
        lately = f"SELECT {', '.join(ANSWER_COLUMNS)} FROM answer ORDER BY expires_ns DESC LIMIT ?"  # noqa: S608 - as below
        for pipeline, tenant, response_id, *said in reversed(await self._read(lately, MAX_LATELY)):
            self._keep((pipeline, tenant, response_id), _answer(said))
        [(newest,)] = await self._read("SELECT max(id) FROM part")
        confirmed = [at for (of, name, _), at in self.cursors.items() if self.registered[of, name].settled]
        self._last_part = max([newest or 0, *confirmed])

    def _write(self, statement: str, *values: Value) -> None:
        self._pending.append((statement, values))
        self._changed.set()

    def _take(self) -> list[Change]:
        changes, self._pending = self._pending, []
        return changes

    def _move(self, pipeline: str, exporter: str, tenant: str, position: int) -> None:
        self.cursors[pipeline, exporter, tenant] = position
        self._write(
            "INSERT INTO cursor VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position",
            *(pipeline, exporter, tenant, position),
        )

    def _set_postponed(self, pipeline: str, exporter: str, tenant: str, low: int, high: int) -> None:
        self._postponed[pipeline, exporter, tenant][high] = low
        self._write("INSERT OR REPLACE INTO postponed VALUES (?, ?, ?, ?, ?)", pipeline, exporter, tenant, low, high)

    def _set_absence(self, pipeline: str, exporter: str, known: Registered, absence: tuple[int, int]) -> None:
        others = tuple(other for other in known.absences if other[0] != absence[0])
        self.registered[pipeline, exporter] = replace(known, absences=(*others, absence))
        self._write("INSERT OR REPLACE INTO absence VALUES (?, ?, ?, ?)", pipeline, exporter, *absence)

    def _rebase(self, pipeline: str, exporter: str, accepted: Mapping[tuple[str, Signal], int], sign: int) -> None:
        for (tenant, signal), items in accepted.items():
            self.base[Account(pipeline, exporter, tenant, signal)] += sign * items
            self._write(
                "INSERT INTO base VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET items = items + excluded.items",
                *(pipeline, exporter, tenant, signal, sign * items),
            )

    def _account(self, pipeline: str, exporter: str, tenant: str, outcomes: Outcomes) -> None:
        for (signal, outcome, reason), items in outcomes.items():
            if items:
                self.ledger[Account(pipeline, exporter, tenant, signal), outcome, reason] += items
                self._write(
                    "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET items = items + excluded.items",
                    *(pipeline, exporter, tenant, signal, outcome, reason, items),
                )

    def _commit(self, connection: "apsw.Connection", changes: list[Change]) -> bool:
        """On the database's thread, as all that touches `_uncommitted`."""
        self._uncommitted += changes
        if not self._uncommitted:
            return True
        if not self._attempt(connection, self._execute):
            return False
        self._uncommitted = []
        return True

    def _execute(self, connection: "apsw.Connection") -> None:
        with transaction(connection):
            for statement, values in self._uncommitted:
                connection.execute(statement, values)

    def _attempt(self, connection: "apsw.Connection", work: "Callable[[apsw.Connection], None]") -> bool:
        """Whether the disk let it be done; said when that changes."""
        import apsw

        try:
            work(connection)
        except (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.ReadOnlyError, apsw.CantOpenError) as error:
            # Delivery goes on: what is not committed is delivered again after a crash, and nothing is lost.
            self._counters.add("state_commit_failures")
            if not self._failing:
                logger("state").error("state can not be written, trying again", why=str(error))
            self._failing = True
            return False
        if self._failing:
            logger("state").info("state is written again")
        self._failing = False
        return True

    async def _run(self, work: "Callable[[apsw.Connection], T]") -> T:
        import apsw

        try:
            return await self._database.run(work)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            self._damaged = damaged(self._path, error, WITHOUT)
            self._changed.set()
            raise self._damaged from error

    async def _read(self, statement: str, *values: Value) -> list[Row]:
        """What is found when all changes made before are committed."""

        def work(connection: "apsw.Connection") -> list[Row] | None:
            return list(connection.execute(statement, values)) if self._commit(connection, changes) else None

        changes = self._take()
        while (rows := await self._run(work)) is None:
            changes = []
            await asyncio.sleep(COMMIT_EVERY_S)
        return rows

    async def _parts(self, statement: str, *values: Value) -> list[Part]:
        return [_part(row) for row in await self._read(statement, *values)]


@asynccontextmanager
async def open_state(path: Path, counters: Counters) -> AsyncIterator[State]:
    """Open the state of a journal, or begin it; everything is committed when this ends.

    Raises:
        FilesError: the file can not be used, is damaged, or another version of the bridge wrote it.
    """
    schema = resources.files(__package__).joinpath("state.sql").read_text(encoding="utf-8")
    async with open_database(path, schema, VERSION, synchronous="normal", without=WITHOUT) as database:
        state = State(path, database, counters)
        await state.load()
        try:
            async with owned_tasks() as tasks:
                tasks.create_task(state.commit_regularly())
                yield state
        finally:
            await state.flush(durable=True)


def _checkpoint(connection: "apsw.Connection") -> None:
    import apsw

    [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(FULL)")
    if busy:
        raise apsw.BusyError("somebody is reading it")


def _part(row: Row) -> Part:
    id_, pipeline, tenant, key, number, _, _, shares, size, received_ns, settled, decision, known = row
    return Part(
        id=id_,
        pipeline=pipeline,
        tenant=tenant,
        key=key,
        number=number,
        shares=[Share(seq, Signal(signal), items) for seq, signal, items in orjson.loads(shares)],
        size=size,
        received_ns=received_ns,
        settled=Settled(settled),
        decision=Decision(decision),
        known=None if known is None else Known.of(orjson.loads(known)),
    )


def _answer(said: Sequence[Any]) -> Answer:
    trace_id, observation_id, scope, start_ns, end_ns, environment, counted = said
    return Answer(trace_id, observation_id, scope, start_ns, end_ns, environment, bool(counted))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
