"""Whether heartbeats still come: of the time between them nobody tells but they themselves."""

from otel_bridge.store.reader import Reader

SILENT_NS = 30 * 10**9
"""Three heartbeats, unless somebody has configured others: nobody is taken to be silent sooner."""


def is_awaited(now_ns: int) -> str:
    """SQL, true of an open span in `spans AS s` of which another heartbeat may come: for half a minute after the last,
    and for two and a half times as long as that one let wait, after the one before or the begin of the span.
    """
    before = r"""
        SELECT l.time_ns FROM logs l INDEXED BY logs_by_trace
        WHERE l.trace_id = s.trace_id AND l.tenant = s.tenant AND l.span_id = s.id AND l.time_ns < s.end_ns
        AND l.event_name LIKE 'otel\_bridge.span.%' ESCAPE '\' ORDER BY l.rowid DESC LIMIT 1
    """
    since = f"{now_ns} - s.end_ns"
    return f"({since} <= {SILENT_NS} OR {since} <= (s.end_ns - ifnull(({before}), s.start_ns)) * 5 / 2)"


def is_silent(reader: Reader, trace_id: str, tenant: str, now_ns: int) -> bool:
    """Whether no heartbeat is awaited of anything that is open in a trace: its programs may be gone."""
    still_open = "SELECT 1 FROM spans s INDEXED BY spans_open WHERE s.trace_id = ? AND s.tenant = ? AND s.status = -1"
    return reader.row(f"{still_open} AND {is_awaited(now_ns)} LIMIT 1", (trace_id, tenant)) is None
