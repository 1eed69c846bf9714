"""A load of numbered spans over OTLP: which of them were acknowledged is known exactly.

Spans are numbered from 0 without gaps. A sender (a number too) and its span's number make the span id, so that what
arrives somewhere can be compared with what was said OK to, span by span, in a byte for each. Requests are serialised
once; ids and times have a fixed width in OTLP and are written over in place, so that the generator costs next to
nothing beside what it measures.
"""

import asyncio
import heapq
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, TypeAlias

import aiohttp
import grpc.aio
import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Body: TypeAlias = Literal["light", "mid", "llm"]
Outcome: TypeAlias = Literal["acked", "refused", "failed"]  # OK; an answer that is not; no answer
Send: TypeAlias = Callable[[bytes], Awaitable[Outcome]]

BODIES: tuple[Body, ...] = ("light", "mid", "llm")  # about 145 B, 911 B and 3.4 KB a span
SENT, ACKED = 1, 2
PER_SENDER = 1 << 40  # spans
RETRY_S = 0.02  # the bridge is down or full: what a client's backoff is for
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HEADERS = {"Content-Type": "application/x-protobuf"}
RECONNECT = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
WORDS = __doc__.split()


def span_id(sender: int, number: int) -> bytes:
    """The id of a sender's span; `numbered` is the way back."""
    return (sender * PER_SENDER + number + 1).to_bytes(8, "big")


def numbered(span_id: bytes) -> tuple[int, int]:
    """(sender, number of the span)."""
    sender, number = divmod(int.from_bytes(span_id, "big"), PER_SENDER)
    return sender, number - 1


@dataclass(slots=True, frozen=True)
class Shape:
    """How spans come: `traces` traces of `spans` spans at once, the root being span 0 of each.

    parts: which spans of each trace come with the first request, with the second, ...
    late: the same, for requests that come `late_s` after the others.
    """

    traces: int
    spans: int
    parts: tuple[tuple[int, ...], ...]
    late: tuple[tuple[int, ...], ...] = ()
    late_s: float = 1.5

    @property
    def round_spans(self) -> int:
        return self.traces * self.spans


AGENT = Shape(traces=1, spans=5, parts=((1, 2, 3), (4, 0)))  # the root comes last, as with real agents
TORN = Shape(traces=1, spans=8, parts=((1, 2), (3, 4), (5, 0)), late=((6,), (7,)))
BULK = Shape(traces=4, spans=25, parts=(tuple(range(25)),))


class Template:
    """One request of a shape, to be numbered again and again."""

    def __init__(self, shape: Shape, body: Body, indexes: Sequence[int]) -> None:
        self._shape = shape
        self._spans = [(trace, index) for trace in range(shape.traces) for index in indexes]
        chance = random.Random(f"{body} {indexes}")
        traces = [chance.randbytes(16) for _ in range(shape.traces)]
        ids = [[chance.randbytes(8) for _ in range(shape.spans)] for _ in range(shape.traces)]
        times = {key: [chance.randbytes(8) for _ in range(2)] for key in self._spans}
        request = ExportTraceServiceRequest()
        scoped = request.resource_spans.add().scope_spans.add()
        scoped.scope.name = "load"
        for trace, index in self._spans:
            start, end = (int.from_bytes(mark, "little") for mark in times[trace, index])
            scoped.spans.add(
                trace_id=traces[trace],
                span_id=ids[trace][index],
                parent_span_id=ids[trace][0] if index else b"",
                name="chat" if index else "agent",
                kind=Span.SPAN_KIND_INTERNAL,
                start_time_unix_nano=start,
                end_time_unix_nano=end,
                attributes=_attributes(body, chance, root=not index),
            )
        self._wire = bytearray(request.SerializeToString())
        self._traces = [self._places(mark) for mark in traces]
        self._ids = [
            (trace * shape.spans + index, self._places(mark))
            for trace, row in enumerate(ids)
            for index, mark in enumerate(row)
        ]
        self._times = [
            (index, *(self._places(mark)[0] for mark in times[trace, index])) for trace, index in self._spans
        ]

    def numbers(self, turn: int) -> list[int]:
        """The numbers of the spans in it, the `turn`-th time that its shape is sent."""
        first = turn * self._shape.round_spans
        return [first + trace * self._shape.spans + index for trace, index in self._spans]

    def numbered(self, sender: int, turn: int, now_ns: int) -> bytes:
        """The request, with the ids of that turn; every span begins now, and ends a millisecond later."""
        wire, first = self._wire, turn * self._shape.round_spans
        for trace, places in enumerate(self._traces):
            made = sender.to_bytes(8, "big") + (turn * self._shape.traces + trace + 1).to_bytes(8, "big")
            for place in places:
                wire[place : place + 16] = made
        for offset, places in self._ids:
            made = span_id(sender, first + offset)
            for place in places:
                wire[place : place + 8] = made
        for index, start, end in self._times:
            wire[start : start + 8] = (now_ns + index).to_bytes(8, "little")
            wire[end : end + 8] = (now_ns + index + 1_000_000).to_bytes(8, "little")
        return bytes(wire)

    def _places(self, mark: bytes) -> list[int]:
        found, place = [], self._wire.find(mark)
        while place >= 0:
            found.append(place)
            place = self._wire.find(mark, place + 1)
        return found


@cache
def template(shape: Shape, body: Body, indexes: tuple[int, ...]) -> Template:
    """Made once; the bodies of a shape are the same in every run."""
    return Template(shape, body, indexes)


def _attributes(body: Body, chance: random.Random, *, root: bool) -> list[KeyValue]:
    """Of about the size that the body is named for; text compresses as text does."""

    def text(size: int) -> str:
        said = ""
        while len(said) < size:
            said += f"{chance.choice(WORDS)} {chance.randrange(1000)} "
        return said[:size]

    said: dict[str, str | int]
    if body == "light":
        said = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": text(6)}
    elif body == "mid":
        said = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
        said |= {f"app.step.detail_{number:02}": text(18) for number in range(18)}
    else:
        messages = [{"role": "user", "parts": [{"type": "text", "content": text(2080)}]}]
        answers = [{"role": "assistant", "parts": [{"type": "text", "content": text(830)}], "finish_reason": "stop"}]
        said = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.id": text(24),
            "gen_ai.usage.input_tokens": 480,
            "gen_ai.usage.output_tokens": 190,
            "gen_ai.input.messages": orjson.dumps(messages).decode(),
            "gen_ai.output.messages": orjson.dumps(answers).decode(),
        }
    if root:
        said["session.id"] = f"session-{chance.randrange(10)}"
    return [
        KeyValue(key=key, value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value))
        for key, value in said.items()
    ]


class Spread:
    """Durations, to a tenth of a millisecond; of several loads they add up."""

    def __init__(self, counts: Counter[int] | None = None) -> None:
        self.counts = counts if counts is not None else Counter()

    def add(self, seconds: float) -> None:
        self.counts[int(seconds * 10_000)] += 1

    def ms(self, share: float) -> float:
        """The least duration that this share of all does not exceed; 0 where there is none."""
        left = share * self.counts.total()
        for tenth, count in sorted(self.counts.items()):
            left -= count
            if left <= 0:
                return tenth / 10
        return 0.0

    def __str__(self) -> str:
        return f"p50 {self.ms(0.5):.1f}, p99 {self.ms(0.99):.1f}, max {self.ms(1):.1f} ms"


@dataclass
class Load:
    """Sends over HTTP, and if it is told where also over gRPC, each taking turns.

    states: for each span that was ever sent, SENT or ACKED.
    spans: how many were sent (each once), acked, and refused or failed (each time).
    """

    url: str
    grpc: str = ""
    shape: Shape = AGENT
    bodies: Sequence[Body] = ("mid",)
    sender: int = 1
    stopped: bool = False
    turns: int = 0
    states: bytearray = field(default_factory=bytearray)
    spans: Counter[str] = field(default_factory=Counter)
    acks: Spread = field(default_factory=Spread)
    _late: list[tuple[float, int, tuple[int, ...]]] = field(default_factory=list)

    @property
    def acked(self) -> set[str]:
        """The ids of the spans whose request was answered OK."""
        return {span_id(self.sender, number).hex() for number, state in enumerate(self.states) if state == ACKED}

    @property
    def acked_count(self) -> int:
        return self.states.count(ACKED)

    def lost(self, counts: bytes) -> list[int]:
        """The numbers of the spans that were acknowledged, and came 0 times by these counts."""
        there = counts.ljust(len(self.states), b"\0")
        pairs = enumerate(zip(self.states, there, strict=False))
        return [number for number, (state, count) in pairs if state == ACKED and not count]

    async def run(self, workers: int = 8, traces: int | None = None) -> None:
        """Send until `stopped`, or until `traces` traces were sent; each request again until it is acknowledged."""
        turns = None if traces is None else traces // self.shape.traces
        async with self._doors() as doors, asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(doors, turns))

    async def run_at(self, spans_per_s: float, seconds: float, most_open: int = 512) -> None:
        """Send at a rate, whatever comes back, and nothing twice; what cannot even be sent at the rate counts `unsent`.

        most_open: requests without an answer; who waits for more than that has no connections left.
        """
        async with self._doors() as doors, asyncio.TaskGroup() as group:
            began, opened = time.perf_counter(), asyncio.Semaphore(most_open)
            every_s = self.shape.round_spans / spans_per_s
            for tick in range(round(seconds / every_s)):
                await asyncio.sleep(max(0.0, began + tick * every_s - time.perf_counter()))
                if self.stopped:
                    return
                if opened.locked():
                    self.spans["unsent"] += self.shape.round_spans
                    continue
                turn, self.turns = self.turns, self.turns + 1
                await opened.acquire()
                task = group.create_task(self._round(doors, turn))
                task.add_done_callback(lambda _: opened.release())

    async def _work(self, doors: Sequence[Send], turns: int | None) -> None:
        while not self.stopped:
            if self._late and self._late[0][0] <= time.monotonic():
                _, turn, part = heapq.heappop(self._late)
                await self._until_acked(doors, turn, part)
                continue
            if turns is not None and self.turns >= turns:
                return
            turn, self.turns = self.turns, self.turns + 1
            for part in self.shape.parts:
                await self._until_acked(doors, turn, part)
            for part in self.shape.late:
                heapq.heappush(self._late, (time.monotonic() + self.shape.late_s, turn, part))

    async def _round(self, doors: Sequence[Send], turn: int) -> None:
        for part in self.shape.parts:
            await self._send(doors, turn, part)

    async def _until_acked(self, doors: Sequence[Send], turn: int, part: tuple[int, ...]) -> None:
        while not self.stopped:
            if await self._send(doors, turn, part) == "acked":
                return
            await asyncio.sleep(RETRY_S)

    async def _send(self, doors: Sequence[Send], turn: int, part: tuple[int, ...]) -> Outcome:
        made = template(self.shape, self.bodies[turn % len(self.bodies)], part)
        numbers = made.numbers(turn)
        if len(self.states) <= numbers[-1]:
            self.states.extend(bytes((turn + 1) * self.shape.round_spans - len(self.states)))
        for number in numbers:
            if not self.states[number]:
                self.states[number] = SENT
                self.spans["sent"] += 1
        body = made.numbered(self.sender, turn, time.time_ns())
        began = time.perf_counter()
        outcome = await doors[turn % len(doors)](body)
        self.spans[outcome] += len(numbers)
        if outcome == "acked":
            self.acks.add(time.perf_counter() - began)
            for number in numbers:
                self.states[number] = ACKED
        return outcome

    @asynccontextmanager
    async def _doors(self) -> AsyncIterator[list[Send]]:
        async with AsyncExitStack() as stack:
            connector = aiohttp.TCPConnector(limit=0)
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), connector=connector)
            )
            doors = [over_http(session, f"{self.url}/v1/traces")]
            if self.grpc:
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(self.grpc, options=RECONNECT))
                doors.append(over_grpc(channel))
            yield doors


def over_http(session: aiohttp.ClientSession, url: str) -> Send:
    async def send(body: bytes) -> Outcome:
        try:
            async with session.post(url, data=body, headers=HEADERS) as answer:
                return "acked" if answer.status == 200 else "refused"
        except (aiohttp.ClientError, TimeoutError, OSError):
            return "failed"

    return send


def over_grpc(channel: grpc.aio.Channel) -> Send:
    export = channel.unary_unary(EXPORT)

    async def send(body: bytes) -> Outcome:
        try:
            await export(body, timeout=10)
        except grpc.aio.AioRpcError as error:
            return "refused" if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else "failed"
        return "acked"

    return send


class Counts:
    """How often each span of a sender came, in a byte for each by its number; 255 is also more."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    def add(self, number: int) -> bool:
        """Returns whether it had come before."""
        if len(self.bytes) <= number:
            self.bytes.extend(bytes(number + 4096 - len(self.bytes)))
        before = self.bytes[number]
        self.bytes[number] = min(before + 1, 255)
        return before > 0
