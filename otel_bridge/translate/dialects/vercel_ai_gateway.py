"""Vercel AI Gateway's trace drains: one call to whoever asked, however many providers and models were tried for it.

There was no recorded payload: read off https://vercel.com/docs/ai-gateway/observability-and-spend/trace-drains.
"""

from otel_bridge.model import ObservationType
from otel_bridge.translate import table
from otel_bridge.translate.dialect import Dialect, Reading
from otel_bridge.translate.span import SpanView
from otel_bridge.translate.values import identifier, speaks_of, strings, text

GATEWAY = "vercel.ai_gateway."
ATTEMPT = f"{GATEWAY}attempt."
COST = f"{GATEWAY}cost.total"
TAGS = f"{GATEWAY}tags"


def read(span: SpanView) -> Reading:
    """Read who asked and what it cost; an attempt is no call beside the one that it was made for."""
    attrs = span.attrs
    reading = Reading(type=ObservationType.SPAN if speaks_of(attrs, ATTEMPT) else None)
    reading.user_id = identifier(attrs, f"{GATEWAY}user.id")
    reading.environment = text(attrs, f"{GATEWAY}environment")
    if attrs.get(f"{GATEWAY}cost.currency", "USD") == "USD":
        reading.cost = table.cost(attrs, (COST,), (), ())
    if TAGS in attrs and (tags := strings(attrs[TAGS])):
        reading.tags = tags
        del attrs[TAGS]
    return reading


DIALECT = Dialect(
    name="vercel_ai_gateway",
    marks=(f"{GATEWAY}*",),
    rank=20,
    read=read,
    checked="its documentation of November 2026",
)
