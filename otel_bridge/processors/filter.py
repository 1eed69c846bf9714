"""Drop spans, log records and metrics at the door, before the journal.

What is dropped was never accepted: it is counted here, as `dropped` with its rule, and stands in no exporter's account.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from otel_bridge.batch import BLOCKS, Batch, Signal, in_parts, keep_items
from otel_bridge.component import Consume, Host, span_processor
from otel_bridge.condition import OF_SCOPE, Condition, LogCondition, Rules, SpanCondition
from otel_bridge.config import Config
from otel_bridge.patterns import NamePattern, Pattern
from otel_bridge.trace import LogEntry, SpanRecord

RuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


class DropConfig(Config):
    """What is dropped: conditions under the names that they are counted by, and names of metrics."""

    spans: dict[RuleName, SpanCondition] = Field(default_factory=dict)
    logs: dict[RuleName, LogCondition] = Field(default_factory=dict)
    metrics: list[NamePattern] = Field(default_factory=list)  # names, or patterns as `process.*`


class FilterConfig(Config):
    """What does not come in."""

    drop: DropConfig = DropConfig()


@span_processor(FilterConfig)
async def filter(config: FilterConfig, consume: Consume, host: Host) -> AsyncIterator[Consume]:  # noqa: A001 - its name
    """Drop spans, log records and metrics at the door."""
    drop = config.drop
    judges: dict[Signal, _Judge | _MetricJudge] = {
        Signal.TRACES: _Judge(SpanRecord, drop.spans),
        Signal.LOGS: _Judge(LogEntry, drop.logs),
        Signal.METRICS: _MetricJudge(drop.metrics),
    }

    async def keep(batch: Batch) -> None:
        dropped: Counter[str] = Counter()
        kept = await in_parts(batch, partial(without, judge=judges[batch.signal], dropped=dropped))
        for rule, items in dropped.items():
            host.counters.add("dropped", items, processor=host.id, reason=rule, signal=batch.signal)
        if kept.item_count:
            await consume(kept)

    yield keep


class _Judge:
    """Which rule each span or log record falls under; what asks for its scope and resource alone is asked once."""

    def __init__(self, record: Callable[[Any, Any, Any], Any], conditions: Mapping[str, Condition]) -> None:
        of_scope = {name: one for name, one in conditions.items() if one.asks <= OF_SCOPE}
        self._record = record
        self._of_scope: Rules[Any] = Rules(of_scope)
        self._of_item: Rules[Any] = Rules({name: one for name, one in conditions.items() if name not in of_scope})

    def __bool__(self) -> bool:
        return bool(self._of_scope or self._of_item)

    def rules(self, items: Sequence[Any], scope: Any, resource: Any, tenant: str) -> list[str | None]:
        if not items:
            return []
        whole = self._of_scope.first(self._record(items[0], scope, resource), tenant)
        if whole is not None or not self._of_item:
            return [whole] * len(items)
        return [self._of_item.first(self._record(item, scope, resource), tenant) for item in items]


class _MetricJudge:
    """The same for metrics, whose rules are patterns of their names."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [Pattern(text) for text in patterns]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def rules(self, items: Sequence[Any], _scope: Any, _resource: Any, _tenant: str) -> list[str | None]:
        return [next((one.text for one in self._patterns if one.fits(item.name)), None) for item in items]


def without(batch: Batch, judge: _Judge | _MetricJudge, dropped: Counter[str]) -> Batch:
    """The batch without what falls under a rule, which is counted; the very same where nothing does."""
    if not judge:
        return batch
    blocks, scopes, items = (attrgetter(name) for name in BLOCKS[batch.signal])
    rules = [
        rule
        for block in blocks(batch.request)
        for scoped in scopes(block)
        for rule in judge.rules(items(scoped), scoped.scope, block.resource, batch.tenant)
    ]
    under = [rule for rule in rules if rule is not None]
    if not under:
        return batch
    dropped.update(under)
    if len(under) == len(rules):
        return Batch.of_parts([], like=batch)
    kept = batch.editable()
    rule_of_each = iter(rules)
    keep_items(batch.signal, kept, lambda _: next(rule_of_each) is None)
    return Batch.from_request(kept, tenant=batch.tenant, item_count=len(rules) - len(under))
