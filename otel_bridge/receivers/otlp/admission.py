"""The one way in behind both doors: bytes → decoded → counted → validated → consumed → what to answer."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

from otel_bridge import otlp_json, otlp_repair
from otel_bridge.batch import RESPONSES, Batch, Response, Signal
from otel_bridge.component import Door, Host
from otel_bridge.errors import (
    BridgeError,
    JournalFullError,
    MalformedError,
    ParkedError,
    RetryableError,
    TooLargeError,
)
from otel_bridge.model import Omitted
from otel_bridge.receivers.otlp.memory import Memory
from otel_bridge.receivers.otlp.routing import FOREIGN, Routing
from otel_bridge.receivers.otlp.senders import (
    RateError,
    Sender,
    Senders,
    Shown,
    TooManyFailuresError,
    UnauthenticatedError,
)
from otel_bridge.telemetry import Counters
from otel_bridge.validate import check, check_at_once, summary

SAY_EVERY_S = 10  # of each reason
FAILED_HERE = "this failed in the bridge, whose log says why: send it again"
INLINE_BYTES = 256 << 10  # decompressed; more is unpacked and decoded in a thread, so that the loop goes on
INLINE_JSON_BYTES = 64 << 10  # which takes ten times as long
MAX_PARTS = 1 << 18  # resources, scopes and items of one request: nobody sends more, and two bytes each would be a bomb
OBJECT_BYTES = 16  # of a body for each object or list in JSON: honest ones have more, and the smallest are three bytes
FEW_OBJECTS = 1 << 20  # so many of each in any
OPENING = {  # what an object or a list begins with → texts of JSON, and between them none of these
    begin: re.compile(rb'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?[^"\%b]*+)++' % begin, re.DOTALL) for begin in (b"{", b"[")
}

T = TypeVar("T")

Unpack: TypeAlias = Callable[[bytes, int], bytes]
"""Compressed bytes and the most that may come out → the plain bytes; raises TooLargeError, MalformedError."""

Close: TypeAlias = Callable[[], Awaitable[None]]
"""Closes a door: at once to what is new, within `close_timeout` to what is running."""

Hold: TypeAlias = Callable[[int], None]
"""Takes so many more bytes into account for a request; raises InflightFullError when all together hold too many."""


class InflightFullError(RetryableError):
    """As much as may come in at once does."""


class MemoryFullError(RetryableError):
    """The bridge has as much memory as it may have."""


class SlowSenderError(RetryableError):
    """The request took too long to arrive."""


RETRY_REASONS: dict[type[BridgeError], str] = {
    InflightFullError: "busy",
    JournalFullError: "journal_full",
    MemoryFullError: "memory",
    SlowSenderError: "slow_client",
}


@dataclass(slots=True, frozen=True)
class Refusal:
    """What a sender is told when nothing of its request was taken.

    reason: for the counter `refused`.
    code: of google.rpc.Code, which gRPC shares.
    status: of HTTP.
    retry_after_s: when the sender should try again; None means never.
    """

    reason: str
    code: int
    status: int
    message: str
    retry_after_s: float | None = None


def refusal(error: BridgeError) -> Refusal:
    """The answer to an error of `Admission.take`."""
    text = str(error)
    if isinstance(error, UnauthenticatedError):
        return Refusal("unauthenticated", 16, 401, text)
    if isinstance(error, RateError | TooManyFailuresError):
        reason = "rate_limited" if isinstance(error, RateError) else "too_many_failures"
        return Refusal(reason, 8, 429, text, max(1.0, error.retry_after_s or 0))
    if isinstance(error, MalformedError):
        return Refusal("malformed", 3, 400, text)
    if isinstance(error, TooLargeError):
        return Refusal("too_large", 8, 413, text)
    if isinstance(error, RetryableError | ParkedError):
        reason = RETRY_REASONS.get(type(error), "unavailable")
        after_s = error.retry_after_s if isinstance(error, RetryableError) else None
        return Refusal(reason, 14, 503, text, max(1.0, after_s or random.uniform(1, 5)))  # noqa: S311 - spreads senders
    return Refusal("refused", 3, 400, text)


@dataclass(slots=True, frozen=True)
class _Body:
    """What a request brings, unpacked; from whom, and how it came."""

    signal: Signal
    plain: bytes
    json: bool
    transport: str
    sender: Sender


_Read: TypeAlias = tuple[list[Batch], list[Omitted]]
"""What is to be handed on, and what was rejected."""


def _parsed(body: _Body, rejected: list[Omitted], counters: Counters) -> Batch:
    """A request in JSON; empty is an empty one."""
    most = max(FEW_OBJECTS, len(body.plain) // OBJECT_BYTES)
    if any(_has_more(begin, body.plain, most) for begin in OPENING):
        raise MalformedError(f"more than {most} objects or lists in one {body.signal} request: send smaller batches")
    return Batch.from_request(otlp_json.parse(body.signal, body.plain or b"{}", rejected, counters))


def _has_more(begin: bytes, json: bytes, most: int) -> bool:
    """Whether more objects, or lists, begin; in texts there are none, whatever stands there."""
    if json.count(begin) <= most:
        return False
    found = at = 0
    for texts in OPENING[begin].finditer(json):
        found += json.count(begin, at, texts.start())
        if found > most:
            return True
        at = texts.end()
    return found + json.count(begin, at) > most


class Refusals:
    """Counts what is refused, by reason, and lets the log say it once in a while: senders repeat their mistakes."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._said_s: dict[str, float] = {}

    def add(self, reason: str, message: str, peer: str) -> None:
        """Count a refusal.

        reason: a word of ours, of which there are few.
        peer: the address it came from.
        """
        self._host.counters.add("refused", reason=reason)
        self.say(reason, message, peer)

    def say(self, reason: str, message: str, peer: str) -> None:
        """The same without counting, for what is counted elsewhere."""
        now_s = time.monotonic()
        if now_s - self._said_s.get(reason, float("-inf")) >= SAY_EVERY_S:
            self._said_s[reason] = now_s
            self._host.log.warning("a sender is refused", reason=reason, why=message, sender=peer)


class Admission:
    """Takes requests in, from any door; `max_inflight` bounds the bytes of those that are being taken in."""

    def __init__(
        self,
        consume: Door,
        host: Host,
        threads: Executor,
        memory: Memory,
        max_body: int,
        max_inflight: int,
        *,
        senders: Senders,
        routing: Routing,
    ) -> None:
        self.refusals = Refusals(host)
        self.senders = senders
        self.routing = routing
        self._consume = consume
        self._counters = host.counters
        self._threads = threads
        self._memory = memory
        self._max_body = max_body
        self._max_inflight = max_inflight
        self._inflight = 0

    def sender(self, shown: Shown, peer: str, header: Callable[[str], str | None]) -> Sender:
        """Who a request is from; `header` has the values of its headers.

        Raises:
            UnauthenticatedError, TooManyFailuresError: nobody that is known.
        """
        tenant = self.senders.identify(shown, peer)
        return Sender(tenant, peer, header(self.routing.header) if self.routing.header else None)

    @contextmanager
    def holding(self, sender: Sender, announced: int = 0) -> Iterator[Hold]:
        """Let a request take bytes into account as they come in; gives them back at the end.

        announced: how many its sender says will come. There has to be room for them now, but room is taken only by
            what has come: else few who announce much and send little would keep everybody out.

        Raises:
            InflightFullError, MemoryFullError: there is no room for it.
            RateError: the sender has used up its quota.
        """
        self.senders.check(sender)
        if self._memory.full():
            raise MemoryFullError("the bridge has as much memory as it may have: send again later")
        self._check(announced)
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            self._check(size)
            self._inflight += size
            held += size

        try:
            yield hold
        finally:
            self._inflight -= held

    def _check(self, size: int) -> None:
        if self._inflight + size > self._max_inflight:
            raise InflightFullError(f"{self._inflight} bytes are being taken in already")

    async def take(
        self,
        signal: Signal,
        raw: bytes,
        hold: Hold,
        sender: Sender,
        *,
        transport: str,
        json: bool = False,
        unpack: Unpack | None = None,
    ) -> list[Omitted]:
        """Take a request in; when this returns it is the consumer's, but for the items that are returned.

        raw: its size is held already; what it is more than that when it is unpacked is held here. Empty is an empty
            request, in JSON too.

        Raises:
            MalformedError, TooLargeError: the request can not be read.
            ConsumeError: nothing was taken.
        """
        plain = raw
        if unpack:
            plain = await self._unpacked(raw, unpack)
            hold(len(plain))
        self.senders.take(sender, len(plain), "bytes")

        body = _Body(signal, plain, json, transport, sender)
        is_small = len(plain) <= (INLINE_JSON_BYTES if json else INLINE_BYTES)
        if (found := self._read_at_once(body) if is_small else None) is None:
            found = await self._in_thread(partial(self._read, body))
        batches, rejected = found
        if any(omitted.reason == FOREIGN for omitted in rejected):
            why = f"what it sends names a tenant that is not in sends_for of {sender.tenant}, and is rejected"
            self.refusals.say(FOREIGN, why, sender.peer)
        if batches:
            await self._hand_on(batches, sender)
        return rejected

    def _read(self, body: _Body) -> _Read:
        rejected: list[Omitted] = []
        if body.json:
            batch = _parsed(body, rejected, self._counters)
        else:
            batch = otlp_repair.decode(body.signal, body.plain, self._counters, most_parts=MAX_PARTS)
        checked, more = check(batch, body.transport, self._counters)
        for omitted in rejected:
            self._counters.add("rejected", reason=omitted.reason)
        batches, foreign = self._routed(checked, body.sender)
        return batches, rejected + more + foreign

    def _read_at_once(self, body: _Body) -> _Read | None:
        """None where there is more to do than to look at it."""
        rejected: list[Omitted] = []
        repaired = Counters()
        try:
            batch = _parsed(body, rejected, repaired) if body.json else Batch.from_wire(body.signal, body.plain)
            is_whole = not rejected and not repaired.snapshot()
            checked = check_at_once(batch, body.transport, self._counters) if is_whole else None
        except MalformedError:
            return None
        return None if checked is None else self._routed(checked, body.sender)

    def _routed(self, checked: Batch, sender: Sender) -> _Read:
        batches, foreign = self.routing.route(checked, sender) if checked.item_count else ([], [])
        for batch in batches:
            _ = batch.item_count, [part.wire for part in batch.parts]  # made here, where that is a thread
        return batches, foreign

    async def _hand_on(self, batches: Sequence[Batch], sender: Sender) -> None:
        """To the consumer, all or none: what is refused comes again as a whole, and counts then."""
        items = sum(batch.item_count for batch in batches)
        self.senders.take(sender, items, "items")
        try:
            await self._consume(*batches)
        except BridgeError:
            self.senders.give_back(sender, items, "items")
            raise

    async def _unpacked(self, raw: bytes, unpack: Unpack) -> bytes:
        if len(raw) <= INLINE_BYTES:
            try:
                return unpack(raw, min(INLINE_BYTES, self._max_body))
            except TooLargeError:
                pass  # for the loop; how much comes out is known only now
        return await self._in_thread(partial(unpack, raw, self._max_body))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do it there; cancelled before its turn, it is let go of with all that it holds."""
        left = [work]

        def do() -> T:
            return left.pop()()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, do)
        finally:
            left.clear()

    def refused(self, error: BridgeError, peer: str) -> Refusal:
        """Count a refusal, and say what to answer."""
        answer = refusal(error)
        self.refusals.add(answer.reason, answer.message, peer)
        return answer


def response(signal: Signal, rejected: list[Omitted]) -> Response:
    """OTLP's answer to a request that was taken, with what was rejected as its partial success."""
    kind, rejected_field = RESPONSES[signal]
    if not rejected:
        return kind()
    message = f"rejected: {summary(rejected)}"
    if signal is Signal.TRACES and all(omitted.reason.startswith(("no_", "bad_")) for omitted in rejected):
        message += " (spans need a trace id and a span id; log records go to the logs service)"
    answer = kind()
    answer.partial_success.error_message = message
    setattr(answer.partial_success, rejected_field, len(rejected))
    return answer
