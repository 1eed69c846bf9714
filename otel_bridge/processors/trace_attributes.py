"""Find what is true of a trace as a whole (session, user, tags, metadata ...) wherever in it that is said.

Every observation of the trace carries it then, in Langfuse and in the store. The journal keeps what the agent said.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from otel_bridge.component import Host, Pass, trace_processor
from otel_bridge.condition import OF_SCOPE, Source
from otel_bridge.config import Config
from otel_bridge.trace import LogEntry, SpanRecord, Trace

Record: TypeAlias = SpanRecord | LogEntry
MANY = 200  # spans and log records, from which looking through them would keep others waiting

Sources = Annotated[list[Source], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)]
"""One place to look, or several in their order."""


class TraceAttributesConfig(Config):
    """Where to look: expressions, of which the first that finds something is heard.

    The spans without a parent are asked first, then the others by time, then log records. What is found overrules what
    the spans say; where nothing is, it is as without.
    """

    session_id: Sources = Field(default_factory=list)
    user_id: Sources = Field(default_factory=list)
    name: Sources = Field(default_factory=list)
    environment: Sources = Field(default_factory=list)
    release: Sources = Field(default_factory=list)
    version: Sources = Field(default_factory=list)
    tags: Sources = Field(default_factory=list)  # all that is found, in every span; a list is several
    metadata: dict[str, Sources] = Field(default_factory=dict)  # key of the trace's metadata → where its value is


@trace_processor(TraceAttributesConfig)
async def trace_attributes(config: TraceAttributesConfig, consume: Pass, host: Host) -> AsyncIterator[Pass]:
    """Find session, user, tags, metadata ... wherever in a trace they are said, for all its observations."""
    thread = ThreadPoolExecutor(1, thread_name_prefix=host.id)

    async def tell(trace: Trace) -> None:
        if len(trace.spans) + len(trace.logs) < MANY:
            found, left_out = look(config, trace)
        else:
            found, left_out = await asyncio.get_running_loop().run_in_executor(thread, look, config, trace)
        for key in left_out:
            host.counters.add("no_json", processor=host.id, metadata=key)
        await consume(replace(trace, attributes={**trace.attributes, **found}) if found else trace)

    try:
        yield tell
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def look(config: TraceAttributesConfig, trace: Trace) -> tuple[dict[str, Any], list[str]]:
    """What is found in a trace, by the names of its attributes; and for which metadata there was what is no JSON."""
    records = _in_order(trace)
    found: dict[str, Any] = {}
    for name in ("session_id", "user_id", "name", "environment", "release", "version"):
        said = _first(_texts(getattr(config, name), records, trace.tenant))
        if said is not None:
            found[name] = said
    if tags := list(dict.fromkeys(_texts(config.tags, records, trace.tenant))):
        found["tags"] = tags
    metadata: dict[str, Any] = {}
    left_out: list[str] = []
    for key, sources in config.metadata.items():
        for said in _found(sources, records, trace.tenant):
            kept = _json(said)
            if kept is not said and kept != said and key not in left_out:
                left_out.append(key)
            if kept is not None:
                metadata[key] = kept
                break
    if metadata:
        found["metadata"] = metadata
    return found, left_out


def _in_order(trace: Trace) -> Sequence[Record]:
    spans = sorted(
        trace.spans, key=lambda one: (one.span.parent_span_id != b"", one.span.start_time_unix_nano, one.span.span_id)
    )
    return [
        *spans,
        *sorted(trace.logs, key=lambda one: one.record.time_unix_nano or one.record.observed_time_unix_nano),
    ]


def _found(sources: Sequence[Source], records: Sequence[Record], tenant: str) -> Iterator[Any]:
    """All that there is, source by source; what asks for the scope and resource alone is asked once for each."""
    for source in sources:
        asked: set[tuple[int, int]] = set()
        for record in records:
            if source.asks <= OF_SCOPE:
                origin = (id(record.resource), id(record.scope))
                if origin in asked:
                    continue
                asked.add(origin)
            if (said := source.of(record, tenant)) not in (None, ""):
                yield said


def _texts(sources: Sequence[Source], records: Sequence[Record], tenant: str) -> Iterator[str]:
    """The same as texts; a list is each of its items, as headers are, and what can be no text is nothing."""
    for said in _found(sources, records, tenant):
        for one in said if isinstance(said, list) else [said]:
            if (isinstance(one, str) and one) or (isinstance(one, int | float) and not isinstance(one, bool)):
                yield str(one)


def _json(said: Any) -> Any:
    """What of it can stand in metadata, as JSON can: no times, and in maps no keys but texts. None for nothing."""
    if isinstance(said, str | int | float):
        return said
    if isinstance(said, list):
        items = [item if item is None else _json(item) for item in said]
        kept_items = [item for item, was in zip(items, said, strict=True) if item is not None or was is None]
        return kept_items if kept_items or not said else None
    if isinstance(said, dict):
        members = {key: value if value is None else _json(value) for key, value in said.items() if isinstance(key, str)}
        kept = {key: value for key, value in members.items() if value is not None or said[key] is None}
        return kept if kept or not said else None
    return None


def _first(found: Iterator[Any]) -> Any:
    return next(found, None)
