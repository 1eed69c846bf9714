"""One exporter's delivery for one tenant: lease, send, confirm; its troubles never reach another tenant.

What is always answered with "try again" holds up what is behind it, for that is how an outage looks. So when something
has failed a few times, what follows it is tried in between: once that is taken, it is no outage. Then the lane goes on
with what follows and postpones what fails, which is tried beside it, bisected, and in the end dead-lettered. In an
outage nothing is taken, so nothing is ever given up in one.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from otel_bridge.batch import Signal
from otel_bridge.component import Probe
from otel_bridge.delivery.cursor import Lease, Source, Stretch
from otel_bridge.delivery.gate import Gate
from otel_bridge.delivery.leasing import Leasing
from otel_bridge.delivery.limit import SizeLimit
from otel_bridge.delivery.piece import Piece, count, is_single, score_count, signal_of, split
from otel_bridge.delivery.sending import PATIENCE, LeaseAnewError, Parcel, Sender, Sending
from otel_bridge.delivery.standing import Standing
from otel_bridge.delivery.surroundings import Surroundings
from otel_bridge.errors import BusyError, ConsumeError, RefusedError, TooLargeError
from otel_bridge.journal.exporters import Outcomes
from otel_bridge.tasks import first
from otel_bridge.telemetry import Outcome, logger, printable

OVERTAKE_AFTER = 3  # failed tries of the first in line, until what follows is tried in between
OVERTAKE_AT_MOST = 4  # leases behind, of which one is tried; and postponed ones that are held and tried at one time
POSTPONED_AT_MOST = 256  # leases; a row of the state each
PATIENCE_WITH_HALVES = 3


class _StoppingError(Exception):
    """It can not be delivered now, and the bridge is stopping."""


@dataclass(slots=True)
class _Overtaking:
    """What was taken although it was not its turn.

    passed: the ends of the leases between; sending: its own, None where it was of the same lease as the first in line.
    """

    passed: list[int]
    sending: Sending | None


class Lane:
    """Delivers what one tenant has for one exporter, in order, but for what is postponed.

    ready: to be set when there may be more.
    standing: with the destination.
    """

    def __init__(
        self,
        pipeline: str,
        exporter: str,
        tenant: str,
        source: Source,
        send: Callable[[Any], Awaitable[None]],
        around: Surroundings,
        gate: Gate,
        max_batch_age_s: float,
        probe: Probe | None = None,
    ) -> None:
        self.ready = asyncio.Event()
        self.standing = Standing(exporter, tenant)
        self._pipeline = pipeline
        self._exporter = exporter
        self._tenant = tenant
        self._around = around
        self._gate = gate
        self._max_batch_age_s = max_batch_age_s
        self._probe = probe
        limit = SizeLimit(around.config.max_batch_bytes, around.clock)
        self._leasing = Leasing(pipeline, exporter, tenant, source, around, limit)
        self._sender = Sender(pipeline, exporter, tenant, send, around, gate, limit)
        self._front: Sending | None = None
        self._behind: list[Sending] = []
        self._beside = asyncio.Semaphore(OVERTAKE_AT_MOST)

    @property
    def position(self) -> int:
        """Up to where all is done or postponed."""
        return self._leasing.stretches()[-1].position

    @property
    def leased(self) -> bool:
        """Whether it holds what is not confirmed yet."""
        return bool(self._front or self._behind)

    def status(self) -> dict[str, Any]:
        """Why it is parked, what went wrong last, how often, the age of the oldest that is being sent, and how many
        leases are postponed."""
        sending = [one for one in (self._front, *self._behind) if one is not None]
        foremost = [one.waiting[0] for one in sending if one.waiting]
        received = [one.lease.oldest_ns for one in sending if one.lease.oldest_ns is not None]
        return {
            "parked": self.standing.parked,
            "why": self.standing.trouble or next((printable(parcel.said) for parcel in foremost if parcel.said), None),
            "tries": max((parcel.tries for parcel in foremost), default=self.standing.unanswered),
            "oldest_s": (self._around.clock.steady_ns() - min(received)) / 1e9 if received else 0.0,
            "postponed": len(self._leasing.stretches()) - 1,
            "destination": self.standing.destination,
        }

    def revoke(self) -> None:
        """Somebody else has accounted for something of what it has leased: confirm nothing of it, and lease anew."""
        self._leasing.revoke()

    async def run(self) -> None:
        """Deliver until all is done that there will ever be, or the bridge stops: then what is ready."""
        self._front, self._behind = None, []
        self._leasing.forget_ahead()
        async with asyncio.TaskGroup() as tasks:
            *postponed, front = self._leasing.stretches()
            for stretch in postponed:
                tasks.create_task(self._catch_up(stretch))
            asking = tasks.create_task(self._ask())
            await self._go_on(front, tasks)
            self._leasing.forget_ahead()
            asking.cancel()

    async def _ask(self) -> None:
        if self._probe is not None:
            await self.standing.introduce(self._probe, self._around, self._gate, self._is_used)

    def _is_used(self) -> bool:
        return self.leased or self._sender.taken > 0

    async def _go_on(self, front: Stretch, tasks: asyncio.TaskGroup) -> None:
        """Deliver what is not postponed."""
        stopping = self._around.stopping
        self.ready.set()  # there may be something from before
        more = False
        while not front.is_done:
            if self._front is None:
                if not more:
                    await self._arrival()
                if self._around.leaving or not await self._gate.passed(stopping):
                    return
                self._front = await self._leasing.next(front)
                more = self._front is not None
                if self._front is None:
                    if stopping.is_set():
                        return
                    continue
            more = self._front.lease.more
            if more and self.standing.trouble is None:
                self._leasing.read_ahead(front, self._front.lease.position, tasks)
            try:
                overtaking = await self._deliver(self._front)
                if overtaking is None:
                    await self._close(self._front, front)
            except _StoppingError:
                return
            except LeaseAnewError:
                self._front, more = None, True
                continue
            if overtaking is None:
                self._front = None
            else:
                self._postpone(self._front, overtaking, front, tasks)
                self._front = overtaking.sending

    async def _arrival(self) -> None:
        """Return when there may be something, and what came a moment later as well; at once if the bridge stops."""
        stopping = self._around.stopping
        if not stopping.is_set():
            await self.ready.wait()
            await self._around.clock.within(self._max_batch_age_s, stopping.wait())
        self.ready.clear()

    async def _close(self, sending: Sending, stretch: Stretch) -> None:
        """Nothing of a lease waits any more: set aside what was given up, and confirm it.

        Raises:
            LeaseAnewError: it was revoked.
        """
        for unfit in sending.lease.unfit:
            await self._set_aside(unfit, "translation", "it could not be translated; the log says why")
            sending.losses[unfit.signal, Outcome.DEAD_LETTERED, "translation"] += unfit.item_count
        for parcel, reason in sending.given_up:
            piece = parcel.whole or parcel.piece
            await self._set_aside(piece, reason, parcel.said)
            sending.losses[signal_of(piece), Outcome.DEAD_LETTERED, reason] += count(piece)
        if sending.given_up:
            last, reason = sending.given_up[-1]
            logger(self._exporter).warning(
                "not taken, and set aside: `otel-bridge dead-letter list` has it",
                tenant=self._tenant,
                letters=len(sending.given_up),
                reason=reason,
                why=printable(last.said),
            )
        if sending.revoked.is_set():
            raise LeaseAnewError
        outcomes = account(sending.lease.items, sending.losses)
        stretch.confirm(sending.lease.position, outcomes)
        for (_, outcome, reason), items in outcomes.items():
            self._around.counters.add(outcome, items, pipeline=self._pipeline, exporter=self._exporter, reason=reason)

    async def _set_aside(self, piece: Piece, reason: str, answer: str) -> None:
        await self._around.dead_letters.set_aside(
            piece,
            pipeline=self._pipeline,
            exporter=self._exporter,
            reason=reason,
            answer=answer,
            at_ns=self._around.clock.steady_ns(),
        )
        if scores := score_count(piece):  # they are no items, so no outcome counts them
            self._around.counters.add("scores_dead_lettered", scores, pipeline=self._pipeline, exporter=self._exporter)

    # The first in line.

    async def _deliver(self, sending: Sending) -> _Overtaking | None:
        """Try until all is taken, given up or expired; ends before that where it fails and something behind is taken.

        Raises:
            _StoppingError: it was not taken before the bridge stopped.
            LeaseAnewError: it was not taken before the gate was closed, or it was revoked.
        """
        distance = 0
        while sending.waiting:
            parcel, taken = sending.waiting[0], sending.taken
            error = await self._sender.step(sending)
            if sending.taken > taken:
                self.standing.recover()
            if error is None:
                continue
            self._leasing.forget_ahead()  # it may be long until that is wanted, and it takes memory
            self.standing.tell(error, parcel.tries)
            await self._pause(error, parcel, sending)
            if parcel.tries >= OVERTAKE_AFTER and sending.waiting:
                distance = distance % OVERTAKE_AT_MOST + 1
                overtaking = await self._overtake(sending, distance)
                if overtaking is not None:
                    return overtaking
        return None

    async def _overtake(self, sending: Sending, distance: int) -> _Overtaking | None:
        """Try once what lies so many leases behind, or fewer where there are not so many; None if it is not taken."""
        *postponed, front = self._leasing.stretches()
        distance = min(distance, POSTPONED_AT_MOST - len(postponed))
        if distance <= 0:
            return None
        ends = [sending.lease.position]
        behind: Lease | None = None
        while len(ends) <= distance and (lease := await self._leasing.lease(front, ends[-1])) is not None:
            behind = lease
            ends.append(lease.position)
        other = sending if behind is None else await self._leasing.opened(behind)
        if len(other.waiting) <= (other is sending):
            return None
        parcel = other.waiting[other is sending]
        parcel.tries = sending.waiting[0].tries
        error = await self._sender.attempt(parcel, sending)
        if error is None and sending.revoked.is_set():
            raise LeaseAnewError
        if error is None:
            other.waiting.remove(parcel)
            other.taken += 1
            self.standing.recover()
            return _Overtaking(ends[1:-1], None if other is sending else other)
        if not isinstance(error, RefusedError | TooLargeError):
            await self._pause(error, parcel, sending)
        return None

    def _postpone(self, sending: Sending, overtaking: _Overtaking, front: Stretch, tasks: asyncio.TaskGroup) -> None:
        """Go on behind what fails; the position passes it, and the state knows of it."""
        parcel = sending.waiting[0]
        logger(self._exporter).warning(
            "something fails again and again while the rest is taken: it is tried beside the rest, and kept",
            tenant=self._tenant,
            tries=parcel.tries,
            why=printable(parcel.said),
        )
        parcel.strikes, parcel.seen = 1, self._sender.taken
        tasks.create_task(self._catch_up(front.postpone(sending.lease.position), sending))
        for end in overtaking.passed:
            tasks.create_task(self._catch_up(front.postpone(end)))
        self._around.counters.add(
            "postponed", 1 + len(overtaking.passed), pipeline=self._pipeline, exporter=self._exporter
        )

    # What is postponed.

    async def _catch_up(self, stretch: Stretch, sending: Sending | None = None) -> None:
        """Deliver a postponed stretch when it is its turn, from where it was left if that is now."""
        if self._beside.locked():
            sending = None  # read again then
        async with self._beside:
            await self._catch_up_now(stretch, sending)

    async def _catch_up_now(self, stretch: Stretch, sending: Sending | None) -> None:
        while not stretch.is_done and not self._around.stopping.is_set():
            if sending is None:
                if not await self._gate.passed(self._around.stopping):
                    return
                lease = await self._leasing.lease(stretch)
                sending = await self._leasing.opened(lease or Lease(stretch.high, None))
            self._behind.append(sending)
            try:
                await self._insist(sending)
                await self._close(sending, stretch)
            except _StoppingError:
                return
            except LeaseAnewError:
                pass  # it is leased anew
            finally:
                self._behind.remove(sending)
            sending = None

    async def _insist(self, sending: Sending) -> None:
        """Try all of it in turn until it is taken, expired, or given up, as the rest goes on and it does not.

        Raises:
            _StoppingError: it was not before the bridge stopped.
            LeaseAnewError: it was not before the gate was closed, or it was revoked.
        """
        while sending.waiting:
            parcel = sending.waiting[0]
            error = await self._sender.step(sending)
            if error is None:
                continue
            if sending.waiting[0] is parcel:
                parcel.strikes += self._sender.taken > parcel.seen and not isinstance(error, BusyError)
                parcel.seen = self._sender.taken
                if parcel.strikes >= parcel.patience or (parcel.tries >= PATIENCE and not is_single(parcel.piece)):
                    await self._lose_patience(parcel, sending)
                else:
                    sending.waiting.rotate(-1)
            await self._pause(error, parcel, sending)

    async def _lose_patience(self, parcel: Parcel, sending: Sending) -> None:
        if is_single(parcel.piece):
            sending.waiting.popleft()
            sending.given_up.append((parcel, "refused" if parcel.is_one_too_many else "failing"))
        else:
            halves = await asyncio.to_thread(split, parcel.piece)
            sending.exchange([Parcel(half, PATIENCE_WITH_HALVES, seen=self._sender.taken) for half in halves])

    # Between tries.

    async def _pause(self, error: ConsumeError, parcel: Parcel, sending: Sending) -> None:
        """Wait until it is time to try again, and give up what has reached its age meanwhile."""
        clock = self._around.clock
        self._around.counters.add("delivery_retries", pipeline=self._pipeline, exporter=self._exporter)
        delay_s = self._around.pace.after(error, parcel.tries)
        left_s = (sending.lease.expires_ns - clock.steady_ns()) / 1e9
        stopping, interrupted = self._around.stopping, first(self._gate.closed(), sending.revoked.wait())
        if await clock.within(min(delay_s, left_s), first(stopping.wait(), interrupted)):
            raise _StoppingError if stopping.is_set() else LeaseAnewError
        if clock.steady_ns() >= sending.lease.expires_ns:
            for late in sending.waiting:
                sending.losses[signal_of(late.piece), Outcome.EXPIRED, "max_age"] += count(late.piece)
            sending.waiting.clear()


def account(items: Counter[Signal], losses: Outcomes) -> Outcomes:
    """What became of a lease's items: what was not lost was delivered.

    What was translated loses items under one signal that may have come under another: no signal loses more than it had.
    """
    left = Counter(items)
    outcomes: Outcomes = Counter()
    for (signal, outcome, reason), lost in losses.items():
        remaining = lost
        for of in sorted(left, key=lambda other: other != signal):
            counted = min(remaining, left[of])
            left[of] -= counted
            remaining -= counted
            outcomes[of, outcome, reason] += counted
    for signal, delivered in left.items():
        outcomes[signal, Outcome.DELIVERED, ""] += delivered
    return +outcomes
