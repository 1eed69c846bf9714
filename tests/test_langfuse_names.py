"""Names that Langfuse's SDK does not know are taken for those that are meant, and that is said."""

import pytest

from otel_bridge.langfuse_names import as_meant, is_enabled
from otel_bridge.plan import load


def test_common_names_are_taken_and_told_in_a_line() -> None:
    said = {"LANGFUSE_HOST": "http://h", "LANGFUSE_ENABLED": "false", "OTHER": "1"}
    meant, hint = as_meant(said)
    assert (meant["LANGFUSE_BASE_URL"], is_enabled(meant), meant["OTHER"]) == ("http://h", False, "1")
    assert hint == (
        "LANGFUSE_HOST is taken for LANGFUSE_BASE_URL, LANGFUSE_ENABLED is taken for LANGFUSE_TRACING_ENABLED:"
        " write that, which Langfuse's own SDK knows too"
    )


@pytest.mark.parametrize(
    "said", [{}, {"LANGFUSE_HOST": ""}, {"LANGFUSE_HOST": "http://h", "LANGFUSE_BASE_URL": "http://b"}]
)
def test_the_right_name_alone_counts_and_nothing_is_said(said: dict[str, str]) -> None:
    assert as_meant(said) == (said, None)


def test_of_two_common_names_the_usual_one_counts() -> None:
    meant, _ = as_meant({"LANGFUSE_URL": "http://u", "LANGFUSE_HOST": "http://h"})
    assert meant["LANGFUSE_BASE_URL"] == "http://h"


KEYS = {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk"}


def test_the_bridge_takes_them_too() -> None:
    plan = load(None, environ={**KEYS, "LANGFUSE_HOST": "http://h"})
    assert plan.exporters["langfuse"].config.model_dump()["base_url"] == "http://h"
    [warning] = plan.warnings
    assert warning.startswith("LANGFUSE_HOST is taken for LANGFUSE_BASE_URL")


def test_without_a_configuration_it_sends_nothing_there_where_tracing_is_off() -> None:
    assert "langfuse" not in load(None, environ={**KEYS, "LANGFUSE_TRACING": "false"}).exporters
