"""What every component is: a config and one async generator.

Before `yield` it gets ready; it yields its consumer and runs; after `yield` it lets go. Stacked on an AsyncExitStack
this gives the order of start and stop for free, and there is no "built but not started".
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from otel_bridge.batch import Batch
from otel_bridge.config import Config
from otel_bridge.model import Translation
from otel_bridge.telemetry import Counters, logger
from otel_bridge.tenants import ONLY, Tenants
from otel_bridge.trace import Trace

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

Consume: TypeAlias = Callable[[Batch], Awaitable[None]]
"""Returns: mine now, to deliver or to drop and count. Raises one of the four errors: still yours."""

Settle: TypeAlias = Callable[[Translation], Awaitable[None]]
"""The same promise for the translation of settled traces (whole ones, or pieces that delivery split)."""

Pass: TypeAlias = Callable[[Trace], Awaitable[None]]
"""The same for a settled trace on its way through the trace processors; not passing it on drops it."""

Translated: TypeAlias = Callable[[Trace], Awaitable[Translation]]
"""What a trace would become as it is; who asks pays nothing for it if the trace goes on as it is."""

Probe: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
"""Asks a destination whether it would take anything, and raises as a delivery would. Returns what is known of it, as
plain JSON without secrets: `project` with `id` and `name`; `trace_url`, with `{traceId}` in it, where it shows one."""

C = TypeVar("C", bound=Config)


class Door(Protocol):
    """What a receiver hands on to: a Consume that takes several batches, as of several tenants, all or none."""

    def __call__(self, *batches: Batch) -> Awaitable[None]:
        """As Consume says, of all of them."""


async def _untranslated(_trace: Trace) -> Translation:
    raise AssertionError("only a running bridge translates")


class Kind(StrEnum):
    """The five kinds of components; the values are the sections of the configuration."""

    RECEIVER = "receivers"
    SPAN_PROCESSOR = "span_processors"
    TRACE_PROCESSOR = "trace_processors"
    EXPORTER = "exporters"
    EXTENSION = "extensions"


class Takes(StrEnum):
    """What an exporter is given: batches as they come, translations of settled traces, or both."""

    BATCHES = "batches"
    SETTLED = "settled"
    BOTH = "both"


@dataclass(slots=True, frozen=True)
class Sinks:
    """What an exporter that takes both yields."""

    batches: Consume
    settled: Settle


class Operator(Protocol):
    """What people ask of delivery while it runs; answers are plain JSON.

    All raise UsageError where nothing is known by a name that they were given.
    """

    async def letters(
        self, *, exporter: str | None, tenant: str | None, reason: str | None, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """A page of dead letters, the newest first: `letters`, `nextCursor`."""

    async def letter(self, letter_id: str) -> dict[str, Any] | None:
        """A dead letter with what it holds; None where there is none."""

    async def retry(self, ids: Sequence[str]) -> dict[str, Any]:
        """Hand dead letters to their exporters once more; those that are taken are none any more."""

    async def drop(self, ids: Sequence[str]) -> dict[str, Any]:
        """Give dead letters up."""

    async def pause(self, exporter: str, tenant: str | None = None) -> dict[str, Any]:
        """Send an exporter nothing of a tenant (None: of all) until it is resumed, also after a restart; its data is
        kept."""

    async def resume(self, exporter: str, tenant: str | None = None) -> dict[str, Any]:
        """Go on where it was paused."""

    async def give_up(self, exporter: str, tenant: str | None = None) -> dict[str, Any]:
        """Send an exporter nothing of what waits for it, of a tenant (None: of all), ever; it is counted as evicted."""

    async def replay(
        self, exporter: str, *, since_ns: int, until_ns: int | None = None, tenant: str | None = None
    ) -> dict[str, Any]:
        """Begin to send again what the journal still holds and the exporter has had."""

    def replays(self) -> dict[str, Any]:
        """What is being sent again, and what became of all that ever was."""


class Bridge(Protocol):
    """What a component sees of the running bridge."""

    @property
    def operator(self) -> Operator | None:
        """Does what people ask of delivery; None where there is none."""

    def status(self) -> dict[str, Any]:
        """Pipelines, endpoints, waiting items, parked destinations, counters: plain JSON without secrets."""

    def destinations(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """What is known of where exporters send to, by exporter and tenant, as a `Probe` returns it."""

    async def consume(self, batch: Batch) -> None:
        """Take a batch in as if a receiver had sent it, into every pipeline."""


@dataclass(slots=True)
class Host:
    """What the engine gives to a component.

    id: `otlp` or `langfuse/eu`, as the configuration calls it.
    data_dir: exists, and is shared by all: a component that may be there twice has its id in its files' names.
    bridge: the running bridge; None where a component is opened alone, as in its tests.
    tenants: those of the newest configuration; may change while it runs.
    translate: for trace processors, what a trace would become; as the pipelines do it, with the user's prices.
    endpoints: a receiver or extension puts the addresses here that it really bound, by name, as {"http": "http://127.0.0.1:4318"}.
    probe: an exporter may put here what is asked before there is anything to deliver.
    """

    id: str
    data_dir: Path
    counters: Counters = field(default_factory=Counters)
    bridge: Bridge | None = None
    tenants: Tenants = ONLY
    translate: Translated = _untranslated
    endpoints: dict[str, str] = field(default_factory=dict)
    probe: Probe | None = None

    @property
    def log(self) -> "FilteringBoundLogger":
        """The logger of this component."""
        return logger(self.id)


@dataclass(slots=True, frozen=True)
class Component(Generic[C]):
    """A component as its decorator leaves it; `open` is the async generator function.

    max_batch_age_s: of an exporter, what it waits for more at most when something has come.
    """

    kind: Kind
    name: str
    config: type[C]
    open: Callable[..., AsyncIterator[Any]]
    takes: Takes = Takes.BATCHES
    max_batch_age_s: float = math.inf

    @property
    def summary(self) -> str:
        """The first line of its docstring, or of its module's."""
        import sys

        text = self.open.__doc__ or sys.modules[self.open.__module__].__doc__ or ""
        return text.strip().partition("\n")[0]


def receiver(
    config: type[C],
) -> Callable[[Callable[[C, Door, Host], AsyncIterator[None]]], Component[C]]:
    """`async def otlp(config, consume, host)`: yields nothing, and calls `consume` for what it receives."""
    return lambda opened: Component(Kind.RECEIVER, opened.__name__, config, opened)


def span_processor(
    config: type[C],
) -> Callable[[Callable[[C, Consume, Host], AsyncIterator[Consume]]], Component[C]]:
    """`async def drop(config, consume, host)`: yields the consumer that stands before `consume`, at the door."""
    return lambda opened: Component(Kind.SPAN_PROCESSOR, opened.__name__, config, opened)


def trace_processor(
    config: type[C],
) -> Callable[[Callable[[C, Pass, Host], AsyncIterator[Pass]]], Component[C]]:
    """`async def noise(config, consume, host)`: the same with a settled trace in the batch's place."""
    return lambda opened: Component(Kind.TRACE_PROCESSOR, opened.__name__, config, opened)


def exporter(
    config: type[C], takes: Takes = Takes.BATCHES, *, max_batch_age_s: float = math.inf
) -> Callable[[Callable[[C, Host], AsyncIterator[Consume | Settle | Sinks]]], Component[C]]:
    """`async def file(config, host)`: yields what it takes; cursor, retry and batching are put around it.

    max_batch_age_s: it rather takes little at a time than late; else `service::deliver::max_batch_age` says.
    """
    return lambda opened: Component(Kind.EXPORTER, opened.__name__, config, opened, takes, max_batch_age_s)


def extension(
    config: type[C],
) -> Callable[[Callable[[C, Host], AsyncIterator[None]]], Component[C]]:
    """`async def viewer(config, host)`: yields nothing, and lives beside the flow."""
    return lambda opened: Component(Kind.EXTENSION, opened.__name__, config, opened)
