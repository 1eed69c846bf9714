"""Names that Langfuse's SDK does not know are taken for those that are meant, and that is said."""

import pytest

from otel_bridge.langfuse_names import ALL, as_meant, is_enabled


def test_common_names_are_taken_and_told_in_a_line() -> None:
    said = {"LANGFUSE_HOST": "http://h", "LANGFUSE_ENABLED": "false", "OTHER": "1"}
    meant = as_meant(said)
    values = meant.environ
    assert (values["LANGFUSE_BASE_URL"], is_enabled(values), values["OTHER"]) == ("http://h", False, "1")
    assert (meant.called("LANGFUSE_BASE_URL"), meant.called("OTHER")) == ("LANGFUSE_HOST", "OTHER")
    assert meant.hint(ALL) == (
        "LANGFUSE_HOST is taken for LANGFUSE_BASE_URL, LANGFUSE_ENABLED is taken for LANGFUSE_TRACING_ENABLED:"
        " write that, which Langfuse's own SDK knows too"
    )
    assert meant.hint({"LANGFUSE_SAMPLE_RATE"}) is None


@pytest.mark.parametrize(
    "said", [{}, {"LANGFUSE_HOST": ""}, {"LANGFUSE_HOST": "http://h", "LANGFUSE_BASE_URL": "http://b"}]
)
def test_the_right_name_alone_counts_and_nothing_is_said(said: dict[str, str]) -> None:
    assert as_meant(said).environ == said
    assert as_meant(said).hint(ALL) is None


def test_of_two_common_names_the_usual_one_counts() -> None:
    meant = as_meant({"LANGFUSE_URL": "http://u", "LANGFUSE_HOST": "http://h"})
    assert meant.environ["LANGFUSE_BASE_URL"] == "http://h"
    assert meant.called("LANGFUSE_BASE_URL") == "LANGFUSE_HOST"
