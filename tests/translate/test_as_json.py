"""What `to_json` prints beside what the span said."""

from typing import Any

from otel_bridge.translate import to_json, translate


def test_attributes_called_as_langfuses_own_metadata_stay_beside_it(otlp: Any) -> None:
    said = {"scope": "mine", "_scope": "mine, too", "resourceAttributes": 3}
    trace = otlp.trace(otlp.span(attrs=said, scope="acme", resource={"service.name": "a"}))

    [seen] = to_json(translate(trace))["observations"]

    assert seen["metadata"]["scope"] == {"name": "acme", "version": ""}
    assert seen["metadata"]["resourceAttributes"] == {"service.name": "a"}
    moved = {key: seen["metadata"][key] for key in ("__scope", "_scope", "_resourceAttributes")}
    assert moved == {"__scope": "mine", "_scope": "mine, too", "_resourceAttributes": 3}
