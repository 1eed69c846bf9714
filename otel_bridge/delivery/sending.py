"""Sending what a lane has leased, piece by piece: what is refused is halved, cut, or given up; what is slow is sent in
less at once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from otel_bridge.delivery.cursor import Lease
from otel_bridge.delivery.gate import Gate
from otel_bridge.delivery.limit import LEAST_BYTES, SizeLimit
from otel_bridge.delivery.piece import Piece, cut, is_single, size, split
from otel_bridge.delivery.surroundings import Surroundings
from otel_bridge.delivery.truncate import truncated
from otel_bridge.errors import ConsumeError, ParkedError, RefusedError, RetryableError, SlowError, TooLargeError
from otel_bridge.journal.exporters import Outcomes
from otel_bridge.telemetry import logger

SAME_REFUSALS = 64  # more of them one after the other are no poison, but a wrong address or version
PATIENCE = 20  # failed tries of what is postponed, until it is bisected; of one item, while others are taken
SLOW_TRIES = 2  # without an answer in time, until less is sent at once


class LeaseAnewError(Exception):
    """The gate was closed, or the lease was revoked: it is to be leased anew when the gate is open."""


@dataclass(slots=True)
class Parcel:
    """A piece that is to be sent, and what became of that so far.

    tries: failed ones; said: the last answer; slow: how many of them had no answer in time.
    strikes: failed ones between which the lane delivered something else; seen: how much it had delivered at the last.
    patience: strikes until it is cut in two, or given up.
    is_one_too_many: a single item, refused with the same answer as too many before it.
    whole: what it was before it was cut down to a size that is taken; None where it is whole.
    """

    piece: Piece
    patience: int = PATIENCE
    tries: int = 0
    said: str = ""
    slow: int = 0
    strikes: int = 0
    seen: int = 0
    is_one_too_many: bool = False
    whole: Piece | None = None


@dataclass(slots=True)
class Sending:
    """A lease on its way.

    waiting: what of it is still to be sent; taken: how many pieces were.
    given_up: single items that are to be set aside when all else is done, each with a reason.
    revoked: set when somebody else has accounted for something of it: nothing of it may be confirmed.
    """

    lease: Lease
    waiting: deque[Parcel]
    losses: Outcomes
    revoked: asyncio.Event
    taken: int = 0
    given_up: list[tuple[Parcel, str]] = field(default_factory=list)

    def exchange(self, parcels: Sequence[Parcel]) -> None:
        """Put these in the place of the first that waits."""
        self.waiting.popleft()
        self.waiting.extendleft(reversed(parcels))


class Sender:
    """Sends for one lane; its tries are the lane's to repeat.

    taken: how many pieces the destination has taken.
    """

    def __init__(
        self,
        pipeline: str,
        exporter: str,
        tenant: str,
        send: Callable[[Any], Awaitable[None]],
        around: Surroundings,
        gate: Gate,
        limit: SizeLimit,
    ) -> None:
        self.taken = 0
        self._pipeline = pipeline
        self._exporter = exporter
        self._tenant = tenant
        self._send = send
        self._around = around
        self._gate = gate
        self._limit = limit
        self._refusals = 0
        self._last_refusal = ""

    async def step(self, sending: Sending) -> ConsumeError | None:
        """Try the first that waits: None if it is done, or smaller ones stand in its place; else why it waits on."""
        parcel = sending.waiting[0]
        error = await self.attempt(parcel, sending)
        if error is None:
            sending.waiting.popleft()
            sending.taken += 1
            if parcel.is_one_too_many:  # so it was not the items' fault
                sending.waiting.extend(other for other, _ in sending.given_up if other.said == parcel.said)
                sending.given_up = [given_up for given_up in sending.given_up if given_up[0].said != parcel.said]
            return None
        if isinstance(error, RefusedError | TooLargeError):
            return await self._refused(error, parcel, sending)
        if isinstance(error, SlowError):
            await self._slow(parcel, sending)
        return error

    async def attempt(self, parcel: Parcel, sending: Sending) -> ConsumeError | None:
        """Send once: the same object again, so the same bytes."""
        if sending.revoked.is_set() or not self._gate.is_open:
            raise LeaseAnewError
        try:
            await self._send(parcel.piece)
        except ConsumeError as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 - a bug in an exporter must not stop the flow, nor lose what it was given
            self._around.counters.add("task_restarts", task=self._exporter)
            logger(self._exporter).exception("an exporter failed, trying again", tenant=self._tenant)
            refusal = RetryableError(f"the exporter failed: {type(error).__name__}")
        else:
            self.taken += 1
            self._refusals = 0
            self._limit.taken(size(parcel.piece))
            return None
        parcel.tries += 1
        parcel.said = str(refusal)
        return refusal

    async def _refused(
        self, refusal: RefusedError | TooLargeError, parcel: Parcel, sending: Sending
    ) -> ParkedError | None:
        """It will never be taken as it is: halve it, cut it, or give it up; but not everything for the same reason."""
        piece = parcel.piece
        is_too_large = isinstance(refusal, TooLargeError)
        if not is_single(piece):
            if is_too_large:
                self._limit.too_large(size(piece))
            halves = await asyncio.to_thread(split, piece)
            sending.exchange([Parcel(half, parcel.patience, seen=parcel.seen) for half in halves])
            return None
        if is_too_large and size(piece) > LEAST_BYTES:
            smaller = await asyncio.to_thread(truncated, piece, size(piece) // 2)
            if smaller is not None:
                if parcel.whole is None:
                    self._around.counters.add("truncated", pipeline=self._pipeline, exporter=self._exporter)
                sending.exchange([replace(parcel, piece=smaller, whole=parcel.whole or piece)])
                return None
        if self._is_systemic(refusal):
            parcel.is_one_too_many = True
            return ParkedError(str(refusal), "systemic_refusal")
        sending.waiting.popleft()
        sending.given_up.append((parcel, "too_large" if is_too_large else "refused"))
        return None

    async def _slow(self, parcel: Parcel, sending: Sending) -> None:
        """There was no answer in time; after the second time less is sent at once."""
        parcel.slow += 1
        if parcel.slow < SLOW_TRIES or is_single(parcel.piece):
            return
        self._limit.too_slow(size(parcel.piece))
        smaller = await asyncio.to_thread(cut, parcel.piece, self._limit.bytes, self._around.config.max_batch_items)
        if len(smaller) > 1:
            sending.exchange([replace(parcel, piece=piece, slow=0) for piece in smaller])

    def _is_systemic(self, refusal: ConsumeError) -> bool:
        """Of the refusal of a single item: whether too many in a row were refused with one and the same answer."""
        answer = str(refusal)
        self._refusals = self._refusals + 1 if answer == self._last_refusal else 1
        self._last_refusal = answer
        return self._refusals > SAME_REFUSALS
