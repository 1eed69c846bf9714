"""What a call cost, where nobody said it: the user's own prices, else those that the package genai-prices holds.

Nothing is fetched: the package's prices are as old as its version. A model, provider or kind of token that it does
not know has no cost, for a guess would be counted like the truth.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from otel_bridge.model import CALLS, Observation
from otel_bridge.translate.node import ACTORS, Node

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

Card: TypeAlias = Sequence[tuple[int, Mapping[str, float]]]
"""Dollars per million tokens by usage bucket, each with the input tokens that a call must exceed, highest first."""

COST_SOURCE = "otel_bridge.cost_source"
SAID, OWN = "said", "your price table"

MTOK = 1_000_000
MAX_NAME = 200  # no model's name is longer; names come from outside
MAX_CARDS = 4096
SLOT_NS = 30 * 60 * 1_000_000_000  # prices change at midnight, and those with cheaper hours on the half hour

PROVIDER = (
    "gen_ai.provider.name",
    "gen_ai.system",
    "llm.provider",
    "llm.system",
    "ai.model.provider",
    "gen_ai.provider",
    "ls_provider",
)
SERVICE_TIER = ("openai.response.service_tier", "gen_ai.openai.response.service_tier", "gen_ai.response.service_tier")
STANDARD_TIERS = (None, "default", "standard", "on_demand", "auto")
GO_BETWEENS = frozenset(
    {
        *("_other", "agno", "autogen", "crewai", "dspy", "gateway", "haystack", "langchain", "langgraph", "litellm"),
        *("llama_index", "llamaindex", "microsoft.agent_framework", "strands-agents", "vercel"),
    }
)
"""What frameworks and gateways give as provider, and who does not charge."""

ALIASES = {
    "bedrock": "aws",
    "fireworks_ai": "fireworks",
    "gcp.gen_ai": "google",
    "gemini": "google",
    "together_ai": "together",
    "togetherai": "together",
    "vertex_ai": "google",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
"""Names of providers that the package does not take for the one they mean."""


PRICED_BY = {
    bucket: keys
    for buckets, keys in {
        ("input",): ("input_mtok",),
        ("input_cached_tokens", "input_cache_read", "cache_read_input_tokens"): ("cache_read_mtok", "input_mtok"),
        ("input_cache_creation", "cache_creation_input_tokens"): ("cache_write_mtok", "input_mtok"),
        ("input_cache_creation_5m",): ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
        ("input_cache_creation_1h",): ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
        ("input_audio_tokens", "input_audio"): ("input_audio_mtok", "input_mtok"),
        ("input_image_tokens", "input_image"): ("input_image_mtok", "input_mtok"),
        ("output",): ("output_mtok",),
        ("output_reasoning_tokens", "output_reasoning"): ("output_reasoning_mtok", "output_mtok"),
        ("output_audio_tokens", "output_audio"): ("output_audio_mtok", "output_mtok"),
        ("output_image_tokens", "output_image"): ("output_image_mtok", "output_mtok"),
        ("output_accepted_prediction_tokens", "output_rejected_prediction_tokens"): ("output_mtok",),
    }.items()
    for bucket in buckets
}
"""Usage bucket → the package's prices for it; what has none of its own is charged like the whole it is part of."""


class Prices:
    """Dollars per million tokens by model and usage bucket; `own` stands above what the package says.

    own: model → usage bucket → dollars per million tokens. A model may end in `*`; the longest that fits counts. A
    bucket without a price costs what `input` or `output` costs.
    """

    def __init__(self, own: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self._own = {model: _own_card(rates) for model, rates in (own or {}).items()}
        self._found = lru_cache(MAX_CARDS)(self._find_own)

    def tell(self, order: Sequence[Node]) -> None:
        """Write costs on the calls of a tree whose usage counts, and sums of calls; beside each cost where it is from.

        A call below a sum that was said, or around a cost that was, has none of its own: it is in that one.
        """
        said = [node for node in order if node.observation.cost]
        for node in said:
            node.observation.metadata[COST_SOURCE] = SAID
        held = _held(order) if said else set()
        for node in order:
            seen = node.observation
            counts = seen.type in CALLS or node.reading.aggregate
            if seen.cost or not seen.usage or not seen.model or not counts or node.paid:
                continue
            if id(node) not in held:
                self._price(seen)

    def _price(self, seen: Observation) -> None:
        card, source = self._card(seen)
        cost = _cost(seen.usage or {}, card)
        if cost is not None:
            seen.cost = cost
            seen.metadata[COST_SOURCE] = source

    def _card(self, seen: Observation) -> tuple[Card, str]:
        model = seen.model or ""
        if len(model) > MAX_NAME:
            return (), ""
        own = self._found(model) if self._own else None
        if own is not None:
            return own, OWN
        provider, tier = _first(seen, PROVIDER), _first(seen, SERVICE_TIER)
        return _known_card(model, provider, tier, seen.start_ns // SLOT_NS)

    def _find_own(self, model: str) -> Card | None:
        fitting = [name for name in self._own if name.endswith("*") and model.startswith(name[:-1])]
        return self._own.get(model) or (self._own[max(fitting, key=len)] if fitting else None)


def _held(order: Iterable[Node]) -> set[int]:
    """The calls that are in a cost that was said above them: not in that of a call if a tool or an agent stands before
    it, as its calls are other calls.

    `order` has parents before their children.
    """
    summed: set[int] = set()
    called: set[int] = set()
    held: set[int] = set()
    for node in order:
        one, above, seen = id(node), id(node.parent), node.observation
        if above in summed:
            summed.add(one)
            held.add(one)
        elif above in called and seen.type not in ACTORS:
            called.add(one)
            held.add(one)
        if seen.cost:
            (called if seen.type in CALLS else summed).add(one)
    return held


def _first(seen: Observation, keys: Iterable[str]) -> str | None:
    """The first of these that says something, in lower case; they are in the metadata, where no field holds them."""
    for key in keys:
        said = seen.metadata.get(key)
        if isinstance(said, str) and said:
            return said[:MAX_NAME].lower()
    return None


def _cost(usage: Mapping[str, int], card: Card) -> dict[str, float] | None:
    """Dollars by bucket and their total; None where a bucket has no price."""
    if not card:
        return None
    rates = card[0][1]
    if len(card) > 1:
        taken_in = sum(count for bucket, count in usage.items() if "input" in bucket)
        rates = next(rates for above, rates in card if taken_in > above)
    cost: dict[str, float] = {}
    for bucket, count in usage.items():
        if count and bucket != "total":
            rate = rates.get(bucket)
            if rate is None:
                return None
            cost[bucket] = count * rate / MTOK
    if not cost:
        return None
    cost["total"] = sum(cost.values())
    return cost


def _own_card(own: Mapping[str, float]) -> Card:
    rates = dict(own)
    for bucket in PRICED_BY:
        for name in ("input_cache_creation", "input", "output"):
            if name in bucket and name in own:
                rates.setdefault(bucket, own[name])
    return [(-1, rates)]


@lru_cache(MAX_CARDS)
def _known_card(model: str, provider: str | None, tier: str | None, slot: int) -> tuple[Card, str]:
    """What the package knows of a model at a time; empty if it knows nothing, or no price of this service tier."""
    import genai_prices

    found = _find(model.lower(), provider)
    if found is None:
        return (), ""
    offered_by, info = found
    at = datetime.fromtimestamp(slot * SLOT_NS // 1_000_000_000, UTC)
    context = None if tier in STANDARD_TIERS or tier is None else {"service_tier": tier}
    if context and not _offered(info, offered_by, context, at):
        return (), ""
    return _rates(info.get_prices(at, context)), f"genai-prices {genai_prices.__version__}"


def prepare() -> None:
    """Import the package, and build its prices."""
    from genai_prices.data_snapshot import get_snapshot

    get_snapshot()


def _offered(info: "ModelInfo", provider: "Provider", context: Mapping[str, str], at: datetime) -> bool:
    """Does the provider itself (not one whose models it offers) have prices for this service tier?"""
    return any(model is info for model in provider.models) and any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(at))
        for variant in info.price_variants or ()
    )


def _find(model: str, provider: str | None) -> "tuple[Provider, ModelInfo] | None":
    """Who offers the model: who was said to, else whom its name begins with, else whose models are called so.

    By the snapshot's own methods that keep no list of what they were asked: names come from outside.
    """
    from genai_prices.data_snapshot import get_snapshot

    every = get_snapshot().providers
    prefix, _, rest = model.replace(":", "/").partition("/")
    if provider is not None and provider not in GO_BETWEENS:
        offering = _provider(provider, every)
        offers = [(offering, model)]
        if rest and _provider(prefix, every) is offering:
            offers.append((offering, rest))  # who is said twice
    else:
        first = ALIASES.get(prefix, prefix)
        offers = [(each, rest) for each in every if each.id == first]
        offers += [(each, model) for each in every if each.model_match is not None and each.model_match.is_match(model)]
        if model.startswith("text-embedding-"):  # two makers call theirs so, and neither is known by it
            offers += [(each, model) for each in every if each.id in ("google", "openai")]
    for who, name in offers:
        info = who.find_model(name, all_providers=every) if who is not None else None
        if who is not None and info is not None:
            return who, info
    return None


def _provider(said: str, every: "list[Provider]") -> "Provider | None":
    from genai_prices.data_snapshot import find_provider_by_id

    if said.startswith(("azure", "az.", "microsoft.foundry")):
        said = "azure"
    first = said.partition(".")[0]
    for name in (ALIASES.get(said, said), ALIASES.get(first, first)):
        found = find_provider_by_id(every, name)
        if found is not None:
            return found
    return None


def _rates(prices: "ModelPrice") -> Card:
    """Prices as a card, with a row for each size of call from which on they change."""
    from genai_prices.types import TieredPrices

    stated = {key: price for key, price in vars(prices).items() if price is not None}
    if "requests_kcount" in stated:  # a price for the call itself has no bucket
        return ()
    starts = {tier.start for price in stated.values() if isinstance(price, TieredPrices) for tier in price.tiers}
    rows: list[tuple[int, Mapping[str, float]]] = []
    for start in sorted({-1, *starts}, reverse=True):
        rates: dict[str, float] = {}
        for bucket, keys in PRICED_BY.items():
            price = next((stated[key] for key in keys if key in stated), None)
            if isinstance(price, TieredPrices):
                price = next((tier.price for tier in reversed(price.tiers) if tier.start <= start), price.base)
            if price is not None:
                rates[bucket] = float(price)
        rows.append((start, rates))
    return rows
