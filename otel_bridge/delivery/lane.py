"""One exporter's delivery for one tenant: lease, send, confirm; its troubles never reach another tenant."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from otel_bridge.batch import Signal
from otel_bridge.clock import Clock
from otel_bridge.config import Bytes, Config, Seconds
from otel_bridge.delivery.cursor import Cursor, Lease
from otel_bridge.delivery.dead_letter import DeadLetter, DeadLetters
from otel_bridge.delivery.gate import Gate
from otel_bridge.delivery.piece import Piece, count, cut, is_single, signal_of, size, split
from otel_bridge.delivery.retry import Pace
from otel_bridge.errors import ConsumeError, ParkedError, RefusedError, RetryableError, TooLargeError
from otel_bridge.journal.state import Outcomes
from otel_bridge.tasks import first
from otel_bridge.telemetry import Counters, Outcome, logger, printable

SAME_REFUSALS = 64  # more of them one after the other are no poison, but a wrong address or version
LEARNED_FOR_S = 600.0
LEAST_LIMIT_BYTES = 16 << 10


class DeliverConfig(Config):
    """How batches are cut for an exporter."""

    max_batch_bytes: Bytes = 3584 << 10  # Langfuse Cloud takes 5 MB
    max_batch_items: int = Field(default=512, ge=1)
    max_batch_age: Seconds = 0.5  # how long more is waited for when something has come


@dataclass(slots=True)
class Surroundings:
    """What all lanes share.

    stopping: set when what can not be delivered at once is to stay in the journal.
    """

    config: DeliverConfig
    counters: Counters
    clock: Clock
    pace: Pace
    dead_letters: DeadLetters
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class _ExpiredError(Exception):
    """What is being tried has reached its age."""


class _StoppingError(Exception):
    """It can not be delivered now, and the bridge is stopping."""


class _InterruptedError(Exception):
    """It can not be delivered now, and is to be leased anew when the lane goes on."""


class Lane:
    """Delivers what one tenant has for one exporter, in order.

    ready: to be set when there may be more.
    leased: whether it holds what is not confirmed yet.
    parked: why nothing can be delivered until somebody acts, in a word; None while something can.
    trouble: what the destination said last, or what became of the attempt; None since it took something.
    """

    def __init__(
        self,
        pipeline: str,
        exporter: str,
        tenant: str,
        cursor: Cursor,
        send: Callable[[Any], Awaitable[None]],
        around: Surroundings,
        gate: Gate,
    ) -> None:
        self.ready = asyncio.Event()
        self.leased = False
        self._gate = gate
        self._interrupted = asyncio.Event()
        self._revoked = False
        self.parked: str | None = None
        self.trouble: str | None = None
        self._told = False  # whoever reads the log, of the trouble
        self._tries = 0  # failed ones, of the piece that is being sent
        self._oldest_ns: int | None = None
        self._pipeline = pipeline
        self._exporter = exporter
        self._tenant = tenant
        self._cursor = cursor
        self._send = send
        self._around = around
        self._limit_bytes = around.config.max_batch_bytes
        self._limit_until_s = 0.0
        self._refusals = 0
        self._last_refusal = ""

    @property
    def position(self) -> int:
        """Up to where all is done."""
        return self._cursor.position(self._tenant)

    def status(self) -> dict[str, Any]:
        """Why it is parked, what went wrong last, how often, and the age of the oldest that is being sent."""
        age_ns = 0 if self._oldest_ns is None else self._around.clock.steady_ns() - self._oldest_ns
        return {"parked": self.parked, "why": self.trouble, "tries": self._tries, "oldest_s": age_ns / 1e9}

    def interrupt(self) -> None:
        """Give up what can not be delivered now; it is leased anew when the gate is open."""
        self._interrupted.set()

    def revoke(self) -> None:
        """What it has leased is accounted for by somebody else: do not confirm it."""
        self._revoked = True
        self.interrupt()

    async def run(self) -> None:
        """Deliver until the bridge stops, and what is ready then."""
        stopping = self._around.stopping
        self.ready.set()  # there may be something from before
        more = False
        while True:
            if not more:
                await self._arrival()
            if not await self._gate.passed(stopping):
                return
            self._revoked = False
            self._interrupted.clear()
            lease = await self._cursor.lease(self._tenant, self._max_bytes(), self._around.config.max_batch_items)
            more = lease is not None and lease.more
            self.leased = lease is not None
            if lease is not None:
                self._oldest_ns = lease.oldest_ns
                try:
                    outcomes: Outcomes | None = await self._deliver(lease)
                except _StoppingError:
                    return
                except _InterruptedError:
                    outcomes = None
                if outcomes is None or self._revoked:
                    more = True
                    continue
                self._cursor.confirm(self._tenant, lease.position, outcomes)
                self.leased = False
                self._count(outcomes)
                self._oldest_ns = None
            elif stopping.is_set():
                return

    async def _arrival(self) -> None:
        """Return when there may be something, and what came a moment later as well; at once if the bridge stops."""
        stopping = self._around.stopping
        if not stopping.is_set():
            await self.ready.wait()
            await self._around.clock.within(self._around.config.max_batch_age, stopping.wait())
        self.ready.clear()

    def _max_bytes(self) -> int:
        if self._around.clock.monotonic() >= self._limit_until_s:
            self._limit_bytes = self._around.config.max_batch_bytes
        return self._limit_bytes

    async def _deliver(self, lease: Lease) -> Outcomes:
        """Send all of a lease; returns what became of its items."""
        losses: Outcomes = Counter(lease.losses)
        for unfit in lease.unfit:
            await self._set_aside(unfit, "translation", "it could not be translated; the log says why")
            losses[unfit.signal, Outcome.DEAD_LETTERED, "translation"] += unfit.item_count
        waiting = deque(await asyncio.to_thread(self._cut, lease.pieces, self._max_bytes()))
        while waiting:
            piece = waiting.popleft()
            try:
                await self._send_until_taken(piece, lease)
            except (RefusedError, TooLargeError) as refusal:
                if not is_single(piece):
                    waiting.extendleft(reversed(await asyncio.to_thread(split, piece)))
                    continue
                reason = "refused" if isinstance(refusal, RefusedError) else "too_large"
                await self._set_aside(piece, reason, str(refusal))
                losses[signal_of(piece), Outcome.DEAD_LETTERED, reason] += count(piece)
            except _ExpiredError:
                for late in (piece, *waiting):
                    losses[signal_of(late), Outcome.EXPIRED, "max_age"] += count(late)
                break
        return account(lease.items, losses)

    def _cut(self, pieces: Sequence[Piece], max_bytes: int) -> list[Piece]:
        max_items = self._around.config.max_batch_items
        return [piece for whole in pieces for piece in cut(whole, max_bytes, max_items)]

    async def _send_until_taken(self, piece: Piece, lease: Lease) -> None:
        """Try until it is taken: the same object again, so the same bytes.

        Raises:
            RefusedError, TooLargeError: it will never be taken as it is.
            _ExpiredError: it reached its age.
            _StoppingError: it was not taken before the bridge stopped.
            _InterruptedError: it was not taken before the lane was interrupted.
        """
        self._tries = 0
        while True:
            delay_s = await self._try(piece)
            if delay_s is None:
                self._tries = 0
                return
            self._tries += 1
            self._around.counters.add("delivery_retries", pipeline=self._pipeline, exporter=self._exporter)
            left_s = (lease.expires_ns - self._around.clock.steady_ns()) / 1e9
            stopping = self._around.stopping
            if await self._around.clock.within(min(delay_s, left_s), first(stopping.wait(), self._interrupted.wait())):
                raise _StoppingError if stopping.is_set() else _InterruptedError
            if self._around.clock.steady_ns() >= lease.expires_ns:
                raise _ExpiredError

    async def _try(self, piece: Piece) -> float | None:
        """Send once; None if it was taken, else how many seconds to wait."""
        pace = self._around.pace
        try:
            await self._send(piece)
        except RetryableError as error:
            self.parked = None
            self._tell(error)
            return pace.backoff(self._tries, error.retry_after_s)
        except ParkedError as error:
            return self._park(error.reason, error)
        except (RefusedError, TooLargeError) as refusal:
            if is_single(piece):
                if self._is_systemic(refusal):
                    return self._park("systemic_refusal", refusal)
            elif isinstance(refusal, TooLargeError):
                self._limit_bytes = max(min(size(piece), self._limit_bytes) // 2, LEAST_LIMIT_BYTES)
                self._limit_until_s = self._around.clock.monotonic() + LEARNED_FOR_S
            raise
        except Exception:  # noqa: BLE001 - a bug in an exporter must not stop the flow, nor lose what it was given
            self._around.counters.add("task_restarts", task=self._exporter)
            logger(self._exporter).exception("an exporter failed, trying again", tenant=self._tenant)
            return pace.backoff(self._tries)
        self._recover()
        self._refusals = 0
        return None

    def _is_systemic(self, refusal: ConsumeError) -> bool:
        """Of the refusal of a single item: whether too many in a row were refused with one and the same answer."""
        answer = str(refusal)
        self._refusals = self._refusals + 1 if answer == self._last_refusal else 1
        self._last_refusal = answer
        return self._refusals > SAME_REFUSALS

    def _tell(self, why: ConsumeError) -> None:
        """Say once that it does not work; not of a first failure, which is common and soon over."""
        self.trouble = printable(str(why))
        if self._tries and not self._told:
            self._told = True
            logger(self._exporter).warning(
                "not delivered, trying again until it is; everything is kept", tenant=self._tenant, why=self.trouble
            )

    def _park(self, reason: str, why: ConsumeError) -> float:
        self.trouble = printable(str(why))
        if self.parked != reason:
            self.parked = reason
            self._told = True
            logger(self._exporter).error(
                "nothing can be delivered until somebody acts; everything is kept",
                tenant=self._tenant,
                reason=reason,
                why=self.trouble,
            )
        return self._around.pace.probe()

    def _recover(self) -> None:
        self.parked = self.trouble = None
        if self._told:
            self._told = False
            logger(self._exporter).info("delivering again", tenant=self._tenant)

    async def _set_aside(self, piece: Piece, reason: str, answer: str) -> None:
        letter = await asyncio.to_thread(
            DeadLetter.of,
            piece,
            pipeline=self._pipeline,
            exporter=self._exporter,
            reason=reason,
            answer=answer,
            at_ns=self._around.clock.steady_ns(),
        )
        await self._around.dead_letters.add(letter)

    def _count(self, outcomes: Outcomes) -> None:
        for (_, outcome, reason), items in outcomes.items():
            self._around.counters.add(outcome, items, pipeline=self._pipeline, exporter=self._exporter, reason=reason)


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
