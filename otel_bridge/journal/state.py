"""The small facts about the journal's entries, in a SQLite file: what exporters have confirmed and the ledger, parts of
traces that have settled, what is remembered of them; and here what people ask for.

What changes together is handed over together and committed together, at most 200 ms later. A crash before the commit
makes duplicates, never a loss: the journal is trimmed only below what is surely on disk.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from otel_bridge.batch import Signal
from otel_bridge.journal.changes import WITHOUT, Changes
from otel_bridge.journal.database import open_database
from otel_bridge.journal.exporters import NEVER, Account, Exporters, Outcomes
from otel_bridge.journal.memory import Memory, Remembered
from otel_bridge.journal.parts import Part, RecordedParts
from otel_bridge.tasks import owned_tasks
from otel_bridge.telemetry import Counters, Outcome
from otel_bridge.trace import Answer

VERSION = 6


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
    """Made by `open_state`. Belongs to the event loop that opened it.

    Changes are seen here at once and committed soon after. Questions see all changes made before them: they wait until
    those could be committed, however long that takes, or raise UnwrittenError within `at_once`.
    """

    def __init__(self, changes: Changes) -> None:
        self.exporters = Exporters(changes)
        self.parts = RecordedParts(changes, self.exporters)
        self.memory = Memory(changes)
        self.paused: set[tuple[str, str]] = set()
        self.redeemed: dict[str, int] = {}
        self.replays: dict[int, Replay] = {}
        self.replayed: Counter[tuple[Account, Outcome, str]] = Counter()
        self._changes = changes
        self._write = changes.write
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
        self.memory.remember(part, remembered, expires_ns, answers or {}, spends or {})

    # What people ask for.

    def pause(self, exporter: str, tenant: str, *, paused: bool) -> None:
        """Send an exporter nothing of a tenant (empty: of all) until it is resumed, also after a restart; or resume
        it."""
        (self.paused.add if paused else self.paused.discard)((exporter, tenant))
        self._write("DELETE FROM paused WHERE exporter = ? AND tenant = ?", exporter, tenant)
        if paused:
            self._write("INSERT INTO paused VALUES (?, ?)", exporter, tenant)

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

    # Reading and writing.

    async def flush(self, *, durable: bool = False) -> bool:
        """Commit what changed; whether it could be. `durable`: it survives the death of the machine as well."""
        return await self._changes.flush(durable=durable)

    async def load(self) -> None:
        """Read what is kept in memory as well."""
        rows = self._changes.rows
        await self.exporters.load()
        await self.parts.load()
        await self.memory.load()
        for pipeline, exporter, tenant, signal, outcome, reason, items in await rows("replayed"):
            self.replayed[Account(pipeline, exporter, tenant, Signal(signal)), Outcome(outcome), reason] = items
        self.paused = {(exporter, tenant) for exporter, tenant in await rows("paused")}
        self.redeemed = dict(await rows("redeemed"))
        self.replays = {row[0]: Replay(*row) for row in await rows("replay")}
        self._last_replay = max(self.replays, default=0)


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
