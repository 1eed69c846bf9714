"""What all lanes share: how batches are cut, the clock and the counters, and that the bridge is stopping."""

import asyncio
from dataclasses import dataclass, field

from pydantic import Field

from otel_bridge.clock import Clock
from otel_bridge.config import Bytes, Config, Seconds
from otel_bridge.delivery.dead_letter import DeadLetters
from otel_bridge.delivery.retry import Pace, Supervision
from otel_bridge.telemetry import Counters

PROBES_AT_ONCE = 8


class DeliverConfig(Config):
    """How batches are cut for an exporter."""

    max_batch_bytes: Bytes = 3584 << 10  # Langfuse Cloud takes 5 MB
    max_batch_items: int = Field(default=512, ge=1)
    max_batch_age: Seconds = 0.5  # how long more is waited for when something has come


@dataclass(slots=True)
class Surroundings:
    """What all lanes share.

    stopping: set when what can not be delivered at once is to stay in the journal.
    probing: held by who asks a destination before there is anything for it, as many tenants may at a start.
    leaving: then what has not been leased stays there as well, though it could be delivered.
    """

    config: DeliverConfig
    counters: Counters
    clock: Clock
    pace: Pace
    dead_letters: DeadLetters
    supervision: Supervision
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: bool = False
    probing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PROBES_AT_ONCE))
