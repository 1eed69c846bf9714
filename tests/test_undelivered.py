"""What is said of what was not delivered: how much, to whom, and only what is known of why."""

from typing import Any

from otel_bridge.undelivered import last_words, undelivered

LANE: dict[str, Any] = {"waiting": 1, "parked": None, "why": None, "settled": False}
SETTLED = {**LANE, "settled": True}


def status(open_traces: int = 0, **more: Any) -> dict[str, Any]:
    return {"assembly": {"main": {"open_traces": open_traces}}, "exporters": {}, "counters": [], **more}


def test_what_was_not_delivered_is_told_with_the_reason() -> None:
    left = {"langfuse": {"traces": 1, "logs": 2}, "otlp/copy": {"traces": 12}}
    lane = {**SETTLED, "why": "nobody answers"}
    counters = [{"name": "dead_lettered", "exporter": "store.settled", "reason": "refused", "value": 1}]
    exporters = {
        "main/langfuse": {"default": lane, "acme": {**lane, "parked": "forbidden"}, "b": SETTLED},
        "main/otlp/copy": {"default": {**LANE, "waiting": 12}},
    }
    said = last_words(left, status(1, exporters=exporters, counters=counters))
    waiting, dead = undelivered(said, " -c bridge.yaml")
    assert said["waiting"] == {"langfuse": {"spans": 1, "logRecords": 2}, "otlp/copy": {"spans": 12}}
    assert waiting == (
        "still to be delivered: 1 span and 2 log records to langfuse (nobody answers; forbidden: nobody answers),"
        " 12 spans to otlp/copy (there was no time left for it);"
        " the next bridge with these files does that, `otel-bridge audit -c bridge.yaml` counts it"
    )
    assert dead == "not taken by store: 1 item (refused); `otel-bridge dead-letter list -c bridge.yaml` shows why"


def test_an_open_trace_is_the_reason_only_for_who_waits_for_its_end() -> None:
    """That is a side of an exporter, and of a pipeline."""
    exporters = {
        "main/langfuse": {"default": SETTLED},
        "main/otlp": {"default": LANE},
        "main/store": {"default": LANE},
        "main/store.settled": {"default": SETTLED},
        "main/file": {"default": LANE},
        "main/file.settled": {"default": {**SETTLED, "waiting": 0}},
        "other/langfuse/two": {"default": SETTLED},
    }
    left = {to: {"traces": 1} for to in ("langfuse", "otlp", "store", "file", "langfuse/two")}
    no_time, is_open = "there was no time left for it", "of traces that are open"
    assert last_words(left, status(1, exporters=exporters))["why"] == {
        "langfuse": [is_open],
        "otlp": [no_time],
        "store": [is_open, no_time],
        "file": [no_time],
        "langfuse/two": [no_time],
    }
