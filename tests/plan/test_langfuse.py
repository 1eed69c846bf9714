"""Langfuse's own variables: what of them a bridge does, where that stands, and what it says of the others."""

from pathlib import Path

import pytest

from otel_bridge import plan
from otel_bridge.batch import Batch
from otel_bridge.errors import PlanError
from otel_bridge.pipeline import running
from otel_bridge.ratio import is_kept
from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.reloading import batch
from tests.values import pairs
from tests.waiting import until

KEYS = {"LANGFUSE_PUBLIC_KEY": "pk-lf-fake", "LANGFUSE_SECRET_KEY": "sk-lf-fake"}
OWN = """\
receivers: {otlp: {}}
exporters: {langfuse: {public_key: pk, secret_key: sk}}
service: {pipelines: {main: {receivers: [otlp], exporters: [langfuse]}}}
"""


def test_common_names_are_taken_and_the_source_is_the_one_that_was_read() -> None:
    read = plan.load(None, environ={**KEYS, "LANGFUSE_HOST": "http://h", "LANGFUSE_SAMPLING_RATE": "0.25"})
    assert read.exporters["langfuse"].config.model_dump()["base_url"] == "http://h"
    assert read.processors["sample"].config.model_dump()["rate"] == 0.25
    assert read.sources["exporters::langfuse::base_url"].endswith(" env LANGFUSE_HOST")
    assert read.sources["processors::sample::rate"].endswith(" env LANGFUSE_SAMPLING_RATE")
    [warning] = read.warnings
    assert warning == (
        "LANGFUSE_HOST is taken for LANGFUSE_BASE_URL, LANGFUSE_SAMPLING_RATE is taken for LANGFUSE_SAMPLE_RATE:"
        " write that, which Langfuse's own SDK knows too"
    )


def test_without_a_configuration_it_sends_nothing_there_where_tracing_is_off() -> None:
    read = plan.load(None, environ={**KEYS, "LANGFUSE_TRACING": "false", "LANGFUSE_HOST": "http://h"})
    assert "langfuse" not in read.exporters
    [warning] = read.warnings
    assert warning.startswith("LANGFUSE_TRACING is taken for LANGFUSE_TRACING_ENABLED:")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"LANGFUSE_SAMPLING_RATE": "0.5"}, "LANGFUSE_SAMPLING_RATE is set, and bridge.yaml does not use it: a proc"),
        ({"LANGFUSE_ENVIRONMENT": "prod"}, "LANGFUSE_ENVIRONMENT is set, and bridge.yaml does not use it: `environ"),
        ({"LANGFUSE_TRACING_ENABLED": "0"}, "LANGFUSE_TRACING_ENABLED is set, and bridge.yaml does not use it: Langf"),
        ({"LANGFUSE_SAMPLE_RATE": "1.0", "LANGFUSE_TRACING": "true", "LANGFUSE_HOST": "http://h"}, None),
    ],
)
def test_what_a_configuration_does_not_use_is_not_said_to_be_taken(
    tmp_path: Path, said: dict[str, str], told: str | None
) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(OWN)
    warnings = plan.load(file, environ=said).warnings
    assert [warning[: len(told or "")] for warning in warnings] == ([told] if told else [])


@pytest.mark.parametrize(
    ("name", "value"),
    [("LANGFUSE_SAMPLE_RATE", "most"), ("LANGFUSE_SAMPLING_RATE", "2"), ("LANGFUSE_ENVIRONMENT", "langfuse")],
)
def test_what_can_not_be_used_is_a_mistake_under_its_own_name(name: str, value: str) -> None:
    with pytest.raises(PlanError, match=f"^{name}: "):
        plan.load(None, environ={**KEYS, name: value})


async def test_without_a_configuration_the_rate_and_the_environment_count(tmp_path: Path) -> None:
    """What an agent has sampled at this rate all arrives: the two are no share of a share."""
    here = dict.fromkeys(("OTEL_BRIDGE_GRPC", "OTEL_BRIDGE_HTTP", "OTEL_BRIDGE_VIEWER"), "127.0.0.1:0")
    said = {"LANGFUSE_SAMPLE_RATE": "0.25", "LANGFUSE_ENVIRONMENT": "Staging"}  # as people write it
    made = [f"{number * 0x9E3779B97F4A7C15 % (1 << 128):032x}" for number in range(1, 101)]
    kept = {trace_id for trace_id in made if is_kept(int(trace_id, 16), 0.25)}
    async with FakeLangfuse().running() as fake:
        files = {"OTEL_BRIDGE_DATA_DIR": str(tmp_path), "LANGFUSE_BASE_URL": fake.url}
        read = plan.load(None, environ={**KEYS, **here, **said, **files})
        async with running(read, settle=True, drain_s=lambda: 20.0) as bridge:
            for trace_id in made:
                resource = {"deployment.environment.name": "prod"} if trace_id == min(kept) else {}
                sent = batch("answer", trace_id=bytes.fromhex(trace_id)).request
                sent.resource_spans[0].resource.attributes.extend(pairs(resource))
                await bridge.consume(Batch.from_request(sent))
            await until(lambda: bridge.status()["assembly"]["main"]["open_traces"] == len(made))
        found = {row.trace_id: row.attributes["langfuse.environment"] for row in fake.rows}
    assert 15 < len(kept) < 35
    assert found == {trace_id: "prod" if trace_id == min(kept) else "staging" for trace_id in kept}
