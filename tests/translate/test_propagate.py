"""What is true of a trace as a whole stands on every observation, whoever said it."""

from typing import Any

import pytest

from otel_bridge.exporters.langfuse.otlp import encode
from otel_bridge.model import Translation
from otel_bridge.translate import translate
from otel_bridge.translate.propagate import LEFT_OUT, MAX_TAGS

EXPERIMENT = {"langfuse.experiment.id": "run-1", "langfuse.experiment.item.id": "item-1"}


def experiments(made: Translation) -> list[dict[str, Any]]:
    return [
        {key: item for key, item in seen.metadata.items() if key.startswith("langfuse.experiment.")}
        for seen in made.observations
    ]


def test_a_span_that_says_other_metadata_of_its_trace_keeps_it(otlp: Any) -> None:
    key = "langfuse.trace.metadata.tier"
    spans = [otlp.span(1, attrs={key: "gold"}), otlp.span(2, 1, attrs={key: "silver"}), otlp.span(3, 1)]

    made = translate(otlp.trace(*spans))

    assert made.traces[0].metadata == {"tier": "gold"}
    assert [seen.metadata.get("tier") for seen in made.observations] == [None, "silver", None]


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        ([{"workflow.id": "w1", "agent.id": "a"}, {"agent.id": "b"}, {}], {"workflow.id": "w1", "agent.id": "a"}),
        ([{}, {"workflow.id": "w1", "agent.id": "a"}, {"workflow.id": "w1", "agent.id": "b"}], {"workflow.id": "w1"}),
        ([{"langfuse.trace.metadata.run.id": "by hand"}, {"run.id": "r"}, {}], {"run.id": "by hand"}),
        ([{"run.id": 7}, {}, {}], {"run.id": 7}),
        ([{"run.id": ["r"]}, {}, {}], {}),
    ],
)
def test_what_a_trace_is_a_part_of_is_what_its_root_says_or_all_say(
    otlp: Any, said: list[dict[str, Any]], whole: dict[str, Any]
) -> None:
    """So that it can be found by it, here and in Langfuse; each span keeps what it says."""
    made = translate(otlp.trace(*[otlp.span(n, n - 1, attrs=attrs) for n, attrs in enumerate(said, 1)]))
    assert made.traces[0].metadata == whole
    assert made.observations[1].metadata.get("agent.id") == said[1].get("agent.id")


class TestConfigured:
    def test_it_overrules_what_the_spans_say(self, otlp: Any) -> None:
        spans = [otlp.span(1, attrs={"langfuse.user.id": "by hand", "session.id": "s-1"}), otlp.span(2, 1)]

        made = translate(otlp.trace(*spans, attributes={"user_id": "ada", "name": "weather"}))

        for seen in made.observations:
            assert (seen.trace.user_id, seen.trace.session_id, seen.trace.name) == ("ada", "s-1", "weather")
        assert made.observations[0].metadata["user.id"] == "by hand"

    def test_late_parts_carry_it_too(self, otlp: Any) -> None:
        first = translate(otlp.trace(otlp.span(1), attributes={"user_id": "ada", "tags": ["a"], "metadata": {"k": 1}}))
        late = otlp.span(2, 1, attrs={"langfuse.user.id": "by hand", "langfuse.trace.metadata.k": "2"})

        second = translate(otlp.trace(late, part=1, known=first.known))

        assert second.traces[0].user_id == "ada"
        assert second.traces[0].tags == ["a"]
        assert second.traces[0].metadata == {"k": 1}

    def test_found_late_it_holds_for_what_comes_after(self, otlp: Any) -> None:
        first = translate(otlp.trace(otlp.span(1, attrs={"langfuse.user.id": "by hand"})))
        second = translate(otlp.trace(otlp.span(2, 1), part=1, known=first.known, attributes={"user_id": "ada"}))
        third = translate(otlp.trace(otlp.span(3, 1), part=2, known=second.known))

        assert [made.traces[0].user_id for made in (first, second, third)] == ["by hand", "ada", "ada"]

    def test_tags_and_metadata_join_those_of_the_spans(self, otlp: Any) -> None:
        span = otlp.span(1, attrs={"langfuse.trace.tags": ["b", "a"], "langfuse.trace.metadata.k": "span"})

        made = translate(otlp.trace(span, attributes={"tags": ["a"], "metadata": {"k": "mine", "l": 1}}))

        assert made.traces[0].tags == ["a", "b"]
        assert made.traces[0].metadata == {"k": "mine", "l": 1}

    def test_an_environment_is_made_one_that_langfuse_takes(self, otlp: Any) -> None:
        made = translate(otlp.trace(otlp.span(1), attributes={"environment": "Prod EU"}))
        none = translate(
            otlp.trace(otlp.span(1, attrs={"langfuse.environment": "dev"}), attributes={"environment": "//"})
        )

        assert made.traces[0].environment == "prod-eu"
        assert none.traces[0].environment == "dev"


class TestExperiments:
    def test_all_below_an_item_belong_to_it(self, otlp: Any) -> None:
        own = {"langfuse.experiment.item.expected_output": "4"}
        made = translate(
            otlp.trace(otlp.span(1), otlp.span(2, 1, attrs=EXPERIMENT | own), otlp.span(3, 2), otlp.span(4, 3))
        )

        assert experiments(made) == [{}, EXPERIMENT | own, EXPERIMENT, EXPERIMENT]

    def test_an_item_within_another_is_its_own(self, otlp: Any) -> None:
        inner = {"langfuse.experiment.item.id": "item-2"}
        made = translate(otlp.trace(otlp.span(1, attrs=EXPERIMENT), otlp.span(2, 1, attrs=inner), otlp.span(3, 2)))

        assert experiments(made)[1:] == [EXPERIMENT | inner, EXPERIMENT | inner]

    def test_what_comes_late_belongs_to_the_roots(self, otlp: Any) -> None:
        first = translate(otlp.trace(otlp.span(1, attrs=EXPERIMENT)))
        second = translate(otlp.trace(otlp.span(2, 1), otlp.span(3, 2), part=1, known=first.known))
        third = translate(otlp.trace(otlp.span(4, 1), part=2, known=second.known))

        assert experiments(second) == [EXPERIMENT, EXPERIMENT]
        assert experiments(third) == [EXPERIMENT]


class TestMuch:
    """What is said of a trace stands on every observation: so that it does not multiply, there is a most of it."""

    def test_tags_beyond_it_stay_where_they_were_said(self, otlp: Any) -> None:
        spans = [otlp.span(1 + n, min(n, 1), attrs={"langfuse.trace.tags": f"tag {n}"}) for n in range(MAX_TAGS + 5)]
        made = translate(otlp.trace(*spans, otlp.span(999, 1, attrs={"langfuse.trace.tags": ["x" * 201, "tag 1"]})))
        later = translate(otlp.trace(otlp.span(1000, 1, attrs={"langfuse.tags": "z"}), part=1, known=made.known))

        [trace] = made.traces
        own = {tag for seen in made.observations for tag in seen.metadata.get("tags", ())}
        assert len(trace.tags) == MAX_TAGS
        assert own == {"x" * 201, *(f"tag {n}" for n in range(MAX_TAGS + 5))} - set(trace.tags)
        assert trace.metadata == {"otel_bridge.tags_left_out": 6}
        assert later.traces[0].tags == trace.tags
        assert later.traces[0].metadata == {"otel_bridge.tags_left_out": 6}
        assert later.observations[0].metadata["tags"] == ["z"]

    def test_what_each_part_says_again_is_counted_once(self, otlp: Any) -> None:
        large = {f"langfuse.trace.metadata.{n}": "x" * 5_000 for n in range(6)}
        said = large | {"langfuse.trace.tags": [f"tag {n}" for n in range(MAX_TAGS + 5)]}
        others = [otlp.span(n, 1) for n in range(2, 300)]
        made = translate(otlp.trace(otlp.span(1, attrs=said), *others))
        for part in (1, 2):
            spans = [otlp.span(1_000 * part + n, 1, attrs=said) for n in range(300)]
            made = translate(otlp.trace(*spans, part=part, known=made.known))

        told = made.traces[0].metadata
        assert {key: told[key] for key in LEFT_OUT} == dict(zip(LEFT_OUT, (5, 3), strict=True))

    def test_metadata_beyond_it_stays_where_it_was_said(self, otlp: Any) -> None:
        said = {"langfuse.trace.metadata.large": "x" * 20_000, "langfuse.trace.metadata.small": "y"}
        found = {"metadata": {"found": "z" * 20_000, "k": 1}}

        others = [otlp.span(n, 1) for n in range(3, 300)]
        made = translate(otlp.trace(otlp.span(1), otlp.span(2, 1, attrs=said), *others, attributes=found))

        root, child, *_ = made.observations
        assert made.traces[0].metadata == {"small": "y", "k": 1, "otel_bridge.metadata_left_out": 2}
        assert root.metadata["found"] == "z" * 20_000
        assert child.metadata["large"] == "x" * 20_000

    def test_of_a_small_trace_there_may_be_more(self, otlp: Any) -> None:
        said = {"langfuse.trace.metadata.state": "x" * 400_000}
        made = translate(otlp.trace(*(otlp.span(n, min(n - 1, 1), attrs=said) for n in range(1, 11))))

        assert made.traces[0].metadata == {"state": "x" * 400_000}

    def test_a_long_id_is_cut_and_stays_whole_where_it_was_said(self, otlp: Any) -> None:
        made = translate(otlp.trace(otlp.span(1), otlp.span(2, 1, attrs={"session.id": "s" * 2_000})))

        assert made.traces[0].session_id == "s" * 1_000
        assert [seen.metadata.get("session.id") for seen in made.observations] == [None, "s" * 2_000]

    @pytest.mark.parametrize(
        "said",
        [
            lambda n: {"langfuse.trace.tags": f"{n:0100}"},
            lambda n: {f"langfuse.trace.metadata.{n}": "x" * 100},
            lambda n: {"session.id": "s" * 20_000} if n == 1 else {},
            lambda n: {"langfuse.experiment.metadata": "x" * 20_000} if n == 1 else {},
            lambda n: {"langfuse.experiment.metadata": "x" * 2_000} if n == 1 else {},
        ],
        ids=["tags", "metadata", "session", "experiment", "small_experiment"],
    )
    def test_the_size_of_an_observation_is_what_is_sent(self, otlp: Any, said: Any) -> None:
        made = translate(otlp.trace(*(otlp.span(n, min(n - 1, 1), attrs=said(n)) for n in range(1, 301))))

        assert made.size < 10_000_000
        assert encode(made).ByteSize() < 1.3 * made.size + 300 * 500
