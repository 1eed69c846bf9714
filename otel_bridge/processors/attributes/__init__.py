"""Change attributes at the door, before the journal: set, copy, rename, delete, hash, truncate, promote.

Actions run in their order, each on what those before it left: of resources first, then of scopes, then of spans or log
records. Values keep their types, and what no action touches stays as it was, to the byte.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from operator import attrgetter
from typing import Any

from pydantic import Field

from otel_bridge.batch import BLOCKS, Batch, Signal, in_parts
from otel_bridge.component import Consume, Host, span_processor
from otel_bridge.config import Config, SecretStr
from otel_bridge.processors.attributes import steps
from otel_bridge.processors.attributes.actions import (
    ActionConfig,
    LogActionConfig,
    ResourceActionConfig,
    ScopeActionConfig,
    SpanActionConfig,
)
from otel_bridge.processors.attributes.steps import Spare, Step, read, run
from otel_bridge.trace import LogEntry, SpanRecord

COPIED_TIMES, COPIED_BYTES = 4, 1 << 20  # of what a request has on the wire, and besides: so much may be copied in it


class AttributesConfig(Config):
    """What is changed, in this order."""

    resources: list[ResourceActionConfig] = Field(default_factory=list)
    scopes: list[ScopeActionConfig] = Field(default_factory=list)
    spans: list[SpanActionConfig] = Field(default_factory=list)
    logs: list[LogActionConfig] = Field(default_factory=list)
    hash_key: SecretStr | None = None  # for `hash`: HMAC-SHA256; without it SHA-256, which whoever guesses can check


@span_processor(AttributesConfig)
async def attributes(config: AttributesConfig, consume: Consume, host: Host) -> AsyncIterator[Consume]:
    """Change attributes at the door: set, copy, rename, delete, hash, truncate, promote."""
    changes = _Changes(config)

    async def change(batch: Batch) -> None:
        counted: Counter[str] = Counter()
        changed = await in_parts(batch, lambda part: changes.of(part, counted))
        for name, times in counted.items():
            host.counters.add(name, times, processor=host.id, signal=batch.signal)
        await consume(changed)

    yield change


class _Changes:
    """All actions, made ready."""

    def __init__(self, config: AttributesConfig) -> None:
        key = config.hash_key.get_secret_value().encode() if config.hash_key else None

        def ready(actions: Sequence[ActionConfig]) -> list[Step]:
            return [steps.ready(action, key) for action in actions]

        self._resources, self._scopes = ready(config.resources), ready(config.scopes)
        self._items: dict[Signal, tuple[list[Step], Callable[[Any, Any, Any], Any]]] = {
            Signal.TRACES: (ready(config.spans), SpanRecord),
            Signal.LOGS: (ready(config.logs), LogEntry),
            Signal.METRICS: ([], LogEntry),
        }

    def of(self, batch: Batch, counted: Counter[str]) -> Batch:
        """The batch with all changes, how many of which is told; the very same where nothing changed."""
        of_items, record = self._items[batch.signal]
        if not any(step.may_change(batch.wire) for step in (*self._resources, *self._scopes, *of_items)):
            return batch
        request, tenant = batch.editable(), batch.tenant
        blocks, scopes, items = (attrgetter(name) for name in BLOCKS[batch.signal])
        changed = 0
        spare = Spare(COPIED_TIMES * len(batch.wire) + COPIED_BYTES)
        for block in blocks(request):
            resource = block.resource
            changed += run(self._resources, resource, resource, tenant, spare)
            around = {"resource": read(resource)}
            for scoped in scopes(block):
                scope = scoped.scope
                changed += run(self._scopes, scope, (resource, scope), tenant, spare)
                around["scope"] = read(scope)
                if of_items:
                    for item in items(scoped):
                        changed += run(of_items, item, record(item, scope, resource), tenant, spare, around)
        if spare.missing:
            counted["not_copied"] += spare.missing
        if not changed:
            return batch
        counted["changed"] += changed
        return Batch.from_request(request, tenant=tenant, item_count=batch.item_count)
