"""Where else a trace can be looked at: in the destinations that show traces, and have told where."""

from urllib.parse import quote, urlsplit

from otel_bridge.component import Bridge
from otel_bridge.query.answer import Answer


def links(bridge: Bridge | None, trace: Answer) -> list[dict[str, str]]:
    """`[{"exporter": "langfuse", "url": "https://…"}]` for a trace that is sent there: not while it is open, nor where
    it was left out."""
    if bridge is None or not trace["settled"] or trace["omitted"]:
        return []
    found = []
    for exporter, tenants in bridge.destinations().items():
        template = tenants.get(trace["tenant"], {}).get("trace_url")
        if isinstance(template, str) and _is_web(template):
            found.append({"exporter": exporter, "url": template.replace("{traceId}", quote(trace["id"], safe=""))})
    return found


def _is_web(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False
