"""What people ask of a delivery that runs: dead letters, pause, resume, give up, send again."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from otel_bridge.batch import Signal
from otel_bridge.component import Consume, Probe, Settle
from otel_bridge.delivery.cursor import Cursor
from otel_bridge.delivery.dead_letter import TRANSLATION, Chosen, DeadLetter, check_chosen
from otel_bridge.delivery.gate import Gates
from otel_bridge.delivery.giving_up import GivingUp
from otel_bridge.delivery.lane import Lane, account
from otel_bridge.delivery.parts import Parts
from otel_bridge.delivery.piece import Piece, count, cut, is_single, score_count, signal_of, split
from otel_bridge.delivery.replay import Replays
from otel_bridge.delivery.surroundings import Surroundings
from otel_bridge.errors import ConsumeError, RefusedError, RetryableError, TooLargeError, UsageError
from otel_bridge.journal.exporters import Account, Outcomes
from otel_bridge.journal.state import State
from otel_bridge.mistakes import hint
from otel_bridge.sides import side_of
from otel_bridge.telemetry import Outcome, logger, printable
from otel_bridge.trace import Decision


@dataclass(slots=True)
class Destination:
    """An exporter of a pipeline, and its lane for each tenant.

    max_batch_age_s: how long a lane waits for more when something has come.
    tell_omitted: it is told of what is left out.
    probes: by tenant, what asks it whether it would take anything; such a tenant has a lane from the start.
    """

    cursor: Cursor
    send: Consume | Settle
    gates: Gates
    lanes: dict[str, Lane]
    max_batch_age_s: float
    tell_omitted: bool = False
    probes: Mapping[str, Probe] = field(default_factory=dict)


class _Refused(NamedTuple):
    """A piece that was not taken, and what the destination said."""

    piece: Piece
    reason: str
    answer: str


class _KeptError(Exception):
    """Letters can not be handed out now; says why."""


class Operator:
    """Made by a Delivery, which it works on; answers are plain JSON."""

    def __init__(
        self,
        state: State,
        around: Surroundings,
        destinations: Mapping[tuple[str, str], Destination],
        parts: Mapping[str, Parts],
        replays: Replays,
        giving_up: GivingUp,
        *,
        tenants: Collection[str],
    ) -> None:
        self._state = state
        self._around = around
        self._letters = around.dead_letters
        self._destinations = destinations
        self._parts = parts
        self._replays = replays
        self._giving_up = giving_up
        self._tenants = tenants
        self._gates: defaultdict[str, Gates] = defaultdict(Gates)
        self._retrying = asyncio.Lock()
        self._ended = False
        for exporter, tenant in state.paused:
            self._gates[exporter].pause(tenant or None, paused=True)

    def gates(self, exporter: str) -> Gates:
        """Those before all lanes of an exporter; the same for both its sides where it takes both kinds."""
        return self._gates[side_of(exporter)]

    async def end(self) -> None:
        """Hand out no more letters; return when those that are being handed out are done."""
        self._ended = True
        async with self._retrying:
            pass

    # Pause.

    async def pause(self, exporter: str, tenant: str | None = None) -> dict[str, Any]:
        """Send an exporter nothing more, for a tenant or for all, once what is in the air has been answered; its data
        is kept."""
        told = self._switch(exporter, tenant, paused=True)
        logger(exporter).warning("paused: nothing is sent until it is resumed, everything is kept", **told)
        return await self._is(exporter, tenant)

    async def resume(self, exporter: str, tenant: str | None = None) -> dict[str, Any]:
        """Go on where it was paused; for all, but for tenants who are paused alone."""
        logger(exporter).info("resumed", **self._switch(exporter, tenant, paused=False))
        return await self._is(exporter, tenant)

    def paused(self) -> dict[str, Any]:
        """The exporters that are paused for all, and for which tenants others are."""
        return {
            "paused": sorted(exporter for exporter, gates in self._gates.items() if gates.paused),
            "paused_tenants": {
                exporter: sorted(gates.tenants) for exporter, gates in sorted(self._gates.items()) if gates.tenants
            },
        }

    def _switch(self, exporter: str, tenant: str | None, *, paused: bool) -> dict[str, str]:
        """Returns what the log is told besides."""
        self._known(exporter)
        if tenant is not None:
            self._known_tenant(exporter, tenant)
        self._state.pause(exporter, tenant or "", paused=paused)
        self._gates[exporter].pause(tenant, paused=paused)
        return {} if tenant is None else {"tenant": tenant}

    async def _is(self, exporter: str, tenant: str | None) -> dict[str, Any]:
        if not await self._state.flush(durable=True):
            raise ConsumeError("done, but it can not be written down now: a restart may forget it")
        gates = self._gates[exporter]
        paused = gates.paused if tenant is None else not gates.is_open(tenant)
        return {"exporter": exporter, "tenant": tenant, "paused": paused, "pausedTenants": sorted(gates.tenants)}

    def _known_tenant(self, exporter: str, tenant: str) -> None:
        lanes = (to.lanes for (_, name), to in self._destinations.items() if side_of(name) == exporter)
        known = sorted({*self._tenants, *self._gates[exporter].tenants, *(of for some in lanes for of in some)})
        if tenant not in known:
            raise UsageError(f"there is no tenant {tenant[:50]!r}" + hint(tenant, known))

    def _known(self, exporter: str) -> None:
        names = sorted({side_of(name) for _, name in self._destinations})
        if exporter not in names:
            raise UsageError(
                f"no exporter {exporter[:50]!r} runs" + (hint(exporter, names) or f", {', '.join(names)} do")
            )

    # Give up.

    async def give_up(self, exporter: str, tenant: str | None = None) -> dict[str, Any]:
        """Send an exporter nothing of what waits for it, of a tenant or of all, ever; it is counted as evicted."""
        return await self._giving_up.give_up(exporter, tenant)

    # Dead letters.

    async def letters(
        self, *, exporter: str | None, tenant: str | None, reason: str | None, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """A page of letters, the newest first."""
        page = await self._letters.page(Chosen(exporter, tenant, reason), limit, cursor)
        if not page.letters:
            check_chosen(
                tenant, [*self._tenants, *(of for _, _, of in self._state.exporters.cursors)], self._letters.waiting()
            )
        return page.to_dict()

    async def letter(self, letter_id: str) -> dict[str, Any] | None:
        """A letter with what it holds; None where there is none."""
        found = await self._letters.show(letter_id)
        return None if found is None else await asyncio.to_thread(found.to_dict, content=True)

    async def drop(self, ids: Sequence[str]) -> dict[str, Any]:
        """Give letters up; their items stay counted as dead-lettered."""
        dropped = [letter_id for letter_id in ids if await self._letters.drop(letter_id)]
        self._around.counters.add("dead_letters_dropped", len(dropped))
        return {"dropped": dropped, "unknown": [letter_id for letter_id in ids if letter_id not in dropped]}

    async def retry(self, ids: Sequence[str]) -> dict[str, Any]:
        """Hand letters to their exporters once more, each once; those that are taken are letters no more.

        Each has one of these results: `delivered`, `filtered`, `sampled_out`, `refused` (it stays, with the new
        answer), `kept` (it could not be tried, or not be answered), `damaged`, `unknown`.
        """
        async with self._retrying:
            if self._ended:
                raise RetryableError("delivery is ending: ask again in a moment", retry_after_s=1)
            await self.forget_redeemed()
            results: dict[str, dict[str, Any]] = {}
            found: list[DeadLetter] = []
            for letter_id in dict.fromkeys(ids):
                letter = await self._letters.show(letter_id)
                if letter is None or letter.id != letter_id:
                    results[letter_id] = _result("unknown", "there is no such letter")
                elif not await asyncio.to_thread(lambda of=letter: of.intact):  # type: ignore[misc]  # bound at once
                    results[letter_id] = _result("damaged", "its content is not what was set aside; drop it")
                else:
                    found.append(letter)
            hopeless: dict[tuple[str, str, str], str] = {}
            for group in await self._together(found):
                owner = (group[0].pipeline, group[0].exporter, group[0].tenant)
                if owner not in hopeless:  # else the destination is down: do not knock for each
                    try:
                        results.update(await self._hand_out(group))
                        continue
                    except _KeptError as why:
                        hopeless[owner] = printable(str(why))
                results.update({letter.id: _result("kept", hopeless[owner]) for letter in group})
            for result in results.values():
                self._around.counters.add("dead_letters_retried", result=result["result"])
            return {"letters": [{"id": letter_id, **results[letter_id]} for letter_id in dict.fromkeys(ids)]}

    async def _together(self, letters: Sequence[DeadLetter]) -> list[list[DeadLetter]]:
        """What could not be translated is tried with the rest of its trace; every other letter alone."""
        groups: dict[tuple[str, ...], list[DeadLetter]] = {}
        for letter in letters:
            key: tuple[str, ...] = (letter.id,)
            if self._is_untranslated(letter):
                piece = letter.piece()
                keys = await self._parts[letter.pipeline].keys(piece)  # type: ignore[arg-type]  # it is a batch
                key = (letter.pipeline, letter.exporter, letter.tenant, *keys)
            groups.setdefault(key, []).append(letter)
        return list(groups.values())

    def _is_untranslated(self, letter: DeadLetter) -> bool:
        known = self._state.exporters.registered.get((letter.pipeline, letter.exporter))
        return letter.kind != TRANSLATION and known is not None and known.settled and letter.pipeline in self._parts

    async def _hand_out(self, group: Sequence[DeadLetter]) -> dict[str, dict[str, Any]]:
        first = group[0]
        destination = self._destinations.get((first.pipeline, first.exporter))
        if destination is None:
            raise _KeptError(f"{first.exporter} is not configured in the pipeline {first.pipeline}")
        if not destination.gates.is_open(first.tenant):
            raise _KeptError(f"{side_of(first.exporter)} is paused")
        items = sum(letter.items for letter in group)
        owner = Account(first.pipeline, first.exporter, first.tenant, first.signal)
        counted = sum(found for _, _, found in self._state.exporters.dead_lettered(owner, first.reason))
        lane = destination.lanes.get(first.tenant)
        if counted < items and lane is not None and lane.leased:
            raise _KeptError("it was set aside a moment ago, and is not accounted for yet: try again in a moment")
        pieces, losses = await self._pieces(group, destination)
        refused = await self._send_all(destination, pieces)
        if refused and len(group) == len(pieces) == 1 and is_single(pieces[0]):
            [(_, reason, answer)] = refused
            await self._letters.answered(first.id, reason, answer)
            self._state.exporters.recount(owner, first.reason, {(Outcome.DEAD_LETTERED, reason): items})
            return {first.id: _result("refused", printable(answer))}
        letters = self._letters if items else self._letters.unaccounted()
        for piece, reason, answer in refused:
            await letters.set_aside(
                piece,
                pipeline=first.pipeline,
                exporter=first.exporter,
                reason=reason,
                answer=answer,
                at_ns=self._around.clock.steady_ns(),
            )
        became, why = _became(pieces, refused, losses)
        for piece, reason, _ in refused:
            losses[signal_of(piece), Outcome.DEAD_LETTERED, reason] += count(piece)
        await self._redeem(group, losses)
        return {letter.id: _result(became, why) for letter in group}

    async def _pieces(self, group: Sequence[DeadLetter], destination: Destination) -> tuple[list[Piece], Outcomes]:
        """What is to be sent of letters that belong together, and what becomes of what is not."""
        losses: Outcomes = Counter()
        if not self._is_untranslated(group[0]):
            return [await asyncio.to_thread(group[0].piece)], losses
        batches = [letter.piece() for letter in group]
        pieces: list[Piece] = []
        for made in await self._parts[group[0].pipeline].made_of(batches):  # type: ignore[arg-type]  # as in _together
            if made.decision == Decision.KEPT and made.translation is None:
                raise _KeptError("it can still not be translated; the log says why")
            losses.update(made.losses(made.items))
            if (sent := made.sent(tell_omitted=destination.tell_omitted)) is not None:
                config = self._around.config
                pieces += await asyncio.to_thread(cut, sent, config.max_batch_bytes, config.max_batch_items)
        return pieces, losses

    async def _send_all(self, destination: Destination, pieces: Sequence[Piece]) -> list[_Refused]:
        """Send, bisecting what is refused; returns what is refused alone.

        Raises:
            _KeptError: the destination gave no answer to all of it.
        """
        waiting, refused = deque(pieces), list[_Refused]()
        while waiting:
            piece = waiting.popleft()
            try:
                await destination.send(piece)  # type: ignore[arg-type]  # of the kind that it takes
            except (RefusedError, TooLargeError) as refusal:
                if is_single(piece):
                    reason = "refused" if isinstance(refusal, RefusedError) else "too_large"
                    refused.append(_Refused(piece, reason, str(refusal)))
                else:
                    waiting.extendleft(reversed(await asyncio.to_thread(split, piece)))
            except ConsumeError as error:
                raise _KeptError(str(error)) from error
            except Exception as error:
                self._around.counters.add("task_restarts", task="dead_letters")
                logger("dead_letters").exception("an exporter failed on a dead letter, which is kept")
                raise _KeptError("the exporter failed; the log says why") from error
        return refused

    async def _redeem(self, group: Sequence[DeadLetter], losses: Outcomes) -> None:
        """Account first, durably, and delete then: a crash between the two is made good at the next start."""
        items: Counter[Signal] = Counter()
        for letter in group:
            items[letter.signal] += letter.items
        became = account(items, losses)
        for letter in group:
            owner = Account(letter.pipeline, letter.exporter, letter.tenant, letter.signal)
            moved: Counter[tuple[Outcome, str]] = Counter()
            for signal, outcome, reason in sorted(became):
                if signal == letter.signal:
                    of_it = min(letter.items - moved.total(), became[signal, outcome, reason])
                    moved[outcome, reason] = of_it
                    became[signal, outcome, reason] -= of_it
            self._state.redeem(letter.id, letter.at_ns, owner, letter.reason, moved)
        if not await self._state.flush(durable=True):
            raise _KeptError("it was taken, but that can not be written down now; it is forgotten at the next start")
        with suppress(ConsumeError):  # it is done before the next letter is handed out
            await self.forget_redeemed()

    async def forget_redeemed(self) -> None:
        """Delete the letters that have been accounted for otherwise.

        Raises:
            ConsumeError: the disk does not take it.
        """
        for letter_id, at_ns in list(self._state.redeemed.items()):
            await self._letters.drop(letter_id, at_ns)
            self._state.forget_redeemed(letter_id)

    # Send again.

    async def replay(
        self, exporter: str, *, since_ns: int, until_ns: int | None = None, tenant: str | None = None
    ) -> dict[str, Any]:
        """Begin to send again what the journal still holds and the exporter has had."""
        self._known(exporter)
        return await self._replays.begin(exporter, since_ns, until_ns, tenant)

    def replays(self) -> dict[str, Any]:
        """What is being sent again, and what became of all that ever was."""
        return self._replays.status()


def _became(pieces: Sequence[Piece], refused: Sequence[_Refused], losses: Outcomes) -> tuple[str, str | None]:
    """What is told of letters, and why: where nothing of them is sent, what became of most of it."""
    content = sum(count(piece) + score_count(piece) for piece in pieces)
    if losses and not content:
        [((_, outcome, reason), _)] = losses.most_common(1)
        return outcome, reason
    if not refused:
        return Outcome.DELIVERED, None
    all_of_it = content == sum(count(piece) + score_count(piece) for piece, _, _ in refused)
    return "refused" if all_of_it else Outcome.DELIVERED, f"{len(refused)} of it refused, and set aside alone"


def _result(result: str, why: str | None = None) -> dict[str, Any]:
    return {"result": result, "why": why}
