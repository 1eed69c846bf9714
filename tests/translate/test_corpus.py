"""Recorded payloads of real instrumentations, judged by what really happened on the wire while they were made.

`tests/corpus/<emitter>/META.json` has the truth: which calls were made, with how many tokens, and what was answered.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from otel_bridge.batch import Batch, Signal
from otel_bridge.model import Translation
from otel_bridge.translate import to_json, traces_of, translate

CORPUS = Path(__file__).parents[1] / "corpus"
AT_ONE_SPAN = {"otel-google-genai"}  # automatic function calling: one span, with the numbers of the last of two calls
UNTOLD = {"traceloop038-anthropic": ("stream", "stream_helper_tool")}  # it guesses, or gives up, when streaming
SILENT = {"otel-genai-smolagents", "otel-genai-openai-agents", "openinference-mcp"}  # no spans for calls to the model


def scenarios() -> Iterator[Any]:
    for folder in sorted(CORPUS.iterdir()):
        meta = json.loads((folder / "META.json").read_text())
        for scenario in meta["scenarios"]:
            yield pytest.param(folder, scenario, id=f"{folder.name}/{scenario['name']}")


def translated(folder: Path, scenario: dict[str, Any]) -> tuple[list[Any], Translation]:
    first, last = scenario["files"]
    batches = [
        Batch.from_wire(Signal(signal), path.read_bytes())
        for number in range(first, last + 1)
        for signal in ("traces", "logs")
        if (path := folder / f"{number:03d}.{signal}.pb").exists()
    ]
    traces = traces_of(batches)
    return traces, Translation.merge([translate(trace) for trace in traces])


@pytest.mark.parametrize(("folder", "scenario"), list(scenarios()))
def test_what_happened_is_what_is_shown(folder: Path, scenario: dict[str, Any]) -> None:
    traces, translation = translated(folder, scenario)
    seen = translation.observations
    shown = orjson.dumps(to_json(translation)).decode()

    spans = [record.span for trace in traces for record in trace.spans]
    assert {span.span_id.hex() for span in spans} <= {observation.id for observation in seen}
    assert not translation.rejected
    for span in spans:
        if span.status.code == 2:
            [observation] = [o for o in seen if o.id == span.span_id.hex()]
            assert observation.level == "ERROR"
    ids = {observation.id for observation in seen}
    assert all(observation.parent_id is None or observation.parent_id in ids for observation in seen)

    answered = [call for call in scenario.get("llm_calls") or [] if call["status"] == 200]
    told = folder.name not in SILENT | AT_ONE_SPAN and scenario["name"] not in UNTOLD.get(folder.name, ())
    if told and answered and spans:
        assert _calls(seen) == len(answered)
        for call in answered:
            assert not call.get("text") or not _shows_content(folder) or json.dumps(call["text"])[1:-1] in shown
        wanted = [call["usage_reported"] for call in answered if call.get("usage_reported")]
        if len(wanted) == len(answered):
            assert _tokens(seen, "output") == sum(usage.get("output", 0) for usage in wanted)
            assert _tokens(seen, "input") in _inputs(wanted)
    by_hand = scenario.get("hand_expected") or {}
    if "generations" in by_hand and "input_tokens" in by_hand:
        assert _tokens(seen, "input") == by_hand["input_tokens"]
        assert _tokens(seen, "output") == by_hand["output_tokens"]


def _calls(seen: list[Any]) -> int:
    return sum(o.type in ("GENERATION", "EMBEDDING") and o.level != "ERROR" for o in seen)


def _tokens(seen: list[Any], side: str) -> int:
    return sum(count for o in seen for bucket, count in (o.usage or {}).items() if side in bucket)


def _inputs(wanted: list[dict[str, int]]) -> set[int]:
    """What the providers counted, with the cache if the instrumentation tells of it."""
    return {
        sum(usage.get("input_total", 0) for usage in wanted),
        sum(usage.get("input_uncached", usage.get("input_total", 0)) for usage in wanted),
    }


def _shows_content(folder: Path) -> bool:
    return not folder.name.endswith("nocontent")
