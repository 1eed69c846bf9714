"""Send some traces and not others: whole ones, by policies, at rates on which all bridges agree, within a budget."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field, model_validator

from otel_bridge.component import Host, Pass, trace_processor
from otel_bridge.config import Config, Seconds
from otel_bridge.processors.sample.condition import TraceCondition, TraceFacts
from otel_bridge.ratio import RANDOM_BITS, is_kept
from otel_bridge.tenants import TenantName
from otel_bridge.trace import ANSWER, SESSION, Decision, Ruling, Trace

MANY = 200  # spans, from which on looking at them would keep others waiting

Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[int, Field(ge=0)]


class PolicyConfig(Config):
    """For traces that fit, at which rate they are kept; exactly one of the others says which fit.

    name: for the ledger and the trace's metadata; the criterion's own unless given.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$")] | None = None
    errors: bool = False  # one of its spans has failed
    scored: bool = False  # somebody has judged it
    slower_than: Seconds | None = None
    cost_above: Annotated[float, Field(ge=0)] | None = None  # US dollars
    tokens_above: Amount | None = None
    when: TraceCondition | None = None
    rate: Rate = 1.0

    @model_validator(mode="after")
    def _one(self) -> "PolicyConfig":
        if len(self._criteria()) != 1:
            raise ValueError("say one of errors, scored, slower_than, cost_above, tokens_above, when")
        return self

    def _criteria(self) -> list[str]:
        said = {
            "errors": self.errors,
            "scored": self.scored,
            "slow": self.slower_than is not None,
            "cost": self.cost_above is not None,
            "tokens": self.tokens_above is not None,
            "when": self.when is not None,
        }
        return [name for name, is_said in said.items() if is_said]

    @property
    def called(self) -> str:
        """Its name, or that of its criterion."""
        return self.name or self._criteria()[0]

    def fits(self, facts: TraceFacts) -> bool:
        """Whether it is about a trace."""
        if self.errors or self.scored:
            return facts.error if self.errors else facts.scored
        if self.slower_than is not None:
            return facts.duration_s > self.slower_than
        if self.cost_above is not None:
            return facts.cost > self.cost_above
        if self.tokens_above is not None:
            return facts.tokens > self.tokens_above
        return self.when is not None and self.when.of(facts)


class BudgetConfig(Config):
    """How much a tenant may have in a day (UTC); what is over it is sampled out, whatever a policy says."""

    traces: Amount | None = None
    observations: Amount | None = None


class TenantSampleConfig(Config):
    """What is otherwise for one tenant; what is not said is as for all."""

    policies: tuple[PolicyConfig, ...] | None = None
    rate: Rate | None = None
    budget: BudgetConfig | None = None


class SampleConfig(Config):
    """Which traces are kept.

    policies: the first that fits a trace decides at which rate it is kept.
    rate: for all that none of them fits.
    budget: for each day and tenant.
    tenants: by name, what is otherwise for them.
    """

    policies: tuple[PolicyConfig, ...] = ()
    rate: Rate = 1.0
    budget: BudgetConfig = BudgetConfig()
    tenants: dict[TenantName, TenantSampleConfig] = Field(default_factory=dict)

    def of(self, tenant: str) -> "SampleConfig":
        """As it is for one tenant."""
        own = self.tenants.get(tenant)
        if own is None:
            return self
        return self.model_copy(update={name: said for name, said in own if said is not None})


@trace_processor(SampleConfig)
async def sample(config: SampleConfig, consume: Pass, host: Host) -> AsyncIterator[Pass]:
    """Keep errors, judged, slow or expensive traces and a share of the rest; late spans follow their trace."""

    async def decide(trace: Trace) -> None:
        if trace.key.startswith((ANSWER, SESSION)):
            await consume(trace)  # judgements of what is in another trace, or in several
            return
        of_tenant = config.of(trace.tenant)
        day = f"{datetime.fromtimestamp(time.time(), UTC):%Y-%m-%d}"  # as the machine has it now, if it was set as well
        ruling = trace.rulings.get(host.id)
        purse = _Purse(of_tenant.budget, host, trace, day, is_first=ruling is None)
        if ruling is None:
            ruling = await _ruled(of_tenant, purse, trace, host)
            trace.rulings[host.id] = ruling
        if ruling.decision == Decision.KEPT:
            await purse.spend()
            await consume(trace)

    yield decide


async def _ruled(config: SampleConfig, purse: "_Purse", trace: Trace, host: Host) -> Ruling:
    called, rate = "rate", config.rate
    if config.policies:
        facts = TraceFacts(trace, await host.translate(trace))
        if len(trace.spans) < MANY:
            policy = _fitting(config.policies, facts)
        else:
            policy = await asyncio.to_thread(_fitting, config.policies, facts)
        if policy is not None:
            called, rate = policy.called, policy.rate
    if not is_kept(int(trace.key[-RANDOM_BITS // 4 :], 16), rate):
        return Ruling(Decision.SAMPLED_OUT, called)
    if await purse.is_empty():
        return Ruling(Decision.SAMPLED_OUT, "budget")
    return Ruling(Decision.KEPT, called, _weight(called, rate, config))


def _fitting(policies: Sequence[PolicyConfig], facts: TraceFacts) -> PolicyConfig | None:
    return next((policy for policy in policies if policy.fits(facts)), None)


def _weight(called: str, rate: float, config: SampleConfig) -> dict[str, Any]:
    """For how many traces a kept one stands, so that who counts them can."""
    if not config.policies and rate == 1:
        return {}
    return {"sample_rate": rate, "sample_weight": round(1 / rate, 6), "sample_policy": called}


class _Purse:
    """What a trace's tenant has of its budget today."""

    def __init__(self, budget: BudgetConfig, host: Host, trace: Trace, day: str, *, is_first: bool) -> None:
        self._most = {name: most for name, most in budget if most is not None}
        self._host = host
        self._trace = trace
        self._day = day
        self._is_first = is_first

    async def is_empty(self) -> bool:
        """Whether it has not enough for this part."""
        for name, most in self._most.items():
            if self._trace.spent.get(self._called(name), 0) + await self._costs(name) > most:
                return True
        return False

    async def spend(self) -> None:
        """Note what the part costs, also where it only follows a decision."""
        for name in self._most:
            self._trace.spends[self._called(name)] = await self._costs(name)

    def _called(self, name: str) -> str:
        return f"{self._host.id} {name} {self._day}"

    async def _costs(self, name: str) -> int:
        if name == "traces":
            return int(self._is_first)
        return len((await self._host.translate(self._trace)).observations)
