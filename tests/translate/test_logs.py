"""Log records find their span in any order; evaluation results become scores."""

import itertools
from typing import Any

import orjson
import pytest

from otel_bridge.batch import Batch
from otel_bridge.model import Score
from otel_bridge.trace import Settled, Trace
from otel_bridge.translate import gather, to_json, traces_of, translate

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.response.id": "r1"}
EVALUATION = "gen_ai.evaluation.result"


def test_the_order_of_arrival_changes_nothing(otlp: Any) -> None:
    parts = [
        otlp.span(1, attrs=CHAT),
        otlp.span(2, 1, attrs=CHAT | {"gen_ai.usage.input_tokens": 5}),
        otlp.log(1, name="gen_ai.user.message", body={"content": "Hi"}, at_ms=1),
        otlp.log(1, name="gen_ai.choice", body={"message": {"role": "assistant", "content": "Hello"}}, at_ms=2),
        otlp.log(9, name="gen_ai.user.message", body={"content": "late"}, at_ms=3),
    ]

    outcomes = {
        orjson.dumps(to_json(translate(otlp.trace(*order))), option=orjson.OPT_SORT_KEYS)
        for order in itertools.permutations(parts)
    }

    assert len(outcomes) == 1


def test_the_same_record_twice_speaks_once(otlp: Any) -> None:
    said = otlp.log(1, name="gen_ai.user.message", body={"content": "Hi"})

    [seen] = translate(otlp.trace(otlp.span(1, attrs=CHAT), said, said)).observations

    assert seen.input == [{"role": "user", "content": "Hi"}]


def test_content_of_a_span_that_is_not_here_becomes_an_event_below_it(otlp: Any, id_of: Any) -> None:
    """The span was sent in an earlier part, and what was sent cannot be changed."""
    attrs = {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 5}
    late = otlp.log(1, name="gen_ai.client.inference.operation.details", attrs=attrs)

    [seen] = translate(otlp.trace(late, part=1)).observations

    assert (seen.type, seen.parent_id, seen.usage) == ("EVENT", id_of(1), None)


def test_a_record_that_tells_of_a_call_stands_for_its_span_where_that_will_not_come(otlp: Any, id_of: Any) -> None:
    """As of OpenLIT's streams of LangChain, or where the spans were sampled out and the records were not."""
    attrs = CHAT | {
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "Sunny."}]}]',
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 2,
    }
    alone = otlp.log(1, name="gen_ai.client.inference.operation.details", attrs=attrs, at_ms=9)
    below = otlp.span(2, 1, name="POST", at_ms=(2, 8))

    first = translate(otlp.trace(alone, below))
    call, request = first.observations
    again = translate(otlp.trace(otlp.span(1, attrs=attrs), part=1, known=first.known))

    assert (call.type, call.name, call.id, call.parent_id) == ("GENERATION", "chat gpt-4o", id_of(1), None)
    assert (call.output, call.usage) == (
        [{"role": "assistant", "content": "Sunny."}],
        {"input": 5, "output": 2, "total": 7},
    )
    assert (call.start_ns, request.parent_id) == (request.start_ns, call.id)
    assert [(late.type, late.usage, late.parent_id) for late in again.observations] == [("EVENT", None, call.id)]


@pytest.mark.parametrize(("settled", "kind"), [(Settled.IDLE, "GENERATION"), (Settled.WHOLE, "EVENT")])
def test_a_record_alone_stands_for_its_span_only_where_that_had_time_to_come(
    otlp: Any, settled: Settled, kind: str
) -> None:
    """A closed input may be a part of what was sent."""
    alone = otlp.log(1, name="gen_ai.client.inference.operation.details", attrs=CHAT)

    assert [str(seen.type) for seen in translate(otlp.trace(alone, settled=settled)).observations] == [kind]


def test_a_record_of_the_trace_alone_hangs_below_its_root(otlp: Any, id_of: Any) -> None:
    seen = translate(otlp.trace(otlp.span(1), otlp.log(0, name="task.start", body="begun"))).observations[1]

    assert (seen.type, seen.name, seen.parent_id, seen.input) == ("EVENT", "task.start", id_of(1), "begun")


def test_a_record_that_nobody_reads_is_kept_with_its_span(otlp: Any) -> None:
    [seen] = translate(otlp.trace(otlp.span(1), otlp.log(1, name="cache.hit", attrs={"key": "k"}))).observations

    assert seen.metadata["otel.logs"][0]["attributes"] == {"key": "k"}


def test_an_exception_record_fails_its_span(otlp: Any) -> None:
    attrs = {"exception.type": "ValueError", "exception.message": "no"}

    [seen] = translate(otlp.trace(otlp.span(1), otlp.log(1, name="exception", attrs=attrs))).observations

    assert (seen.level, seen.status_message) == ("ERROR", "ValueError: no")


class TestScores:
    """`gen_ai.evaluation.result` wherever it comes."""

    def test_number_and_label(self, otlp: Any, id_of: Any) -> None:
        attrs = {
            "gen_ai.evaluation.name": "Relevance",
            "gen_ai.evaluation.score.value": 0.85,
            "gen_ai.evaluation.score.label": "pass",
            "gen_ai.evaluation.explanation": "on topic",
        }

        [score] = translate(otlp.trace(otlp.span(1), otlp.log(1, name=EVALUATION, attrs=attrs))).scores

        assert (score.name, score.value, score.data_type, score.comment) == ("Relevance", 0.85, "NUMERIC", "on topic")
        assert score.metadata == {"label": "pass"}
        assert (score.trace_id, score.observation_id) == (otlp.trace_id, id_of(1))

    def test_a_label_alone_is_categorical(self, otlp: Any) -> None:
        attrs = {"gen_ai.evaluation.name": "Toxicity", "gen_ai.evaluation.score.label": "none"}

        [score] = translate(otlp.trace(otlp.span(1, events=[(EVALUATION, attrs)]))).scores

        assert (score.value, score.data_type) == ("none", "CATEGORICAL")

    def test_on_the_span_itself(self, otlp: Any) -> None:
        attrs = {"gen_ai.evaluation.name": "Fluency", "gen_ai.evaluation.score.value": 4}

        [score] = translate(otlp.trace(otlp.span(1, attrs=attrs))).scores

        assert (score.value, score.data_type) == (4.0, "NUMERIC")

    def test_a_plain_score_event(self, otlp: Any) -> None:
        [score] = translate(otlp.trace(otlp.span(1, events=[("score", {"name": "ok", "value": True})]))).scores

        assert (score.name, score.value, score.data_type) == ("ok", 1.0, "BOOLEAN")

    def test_a_failed_evaluation_is_no_score_and_not_lost(self, otlp: Any) -> None:
        attrs = {"gen_ai.evaluation.name": "Failed", "error.type": "TimeoutError"}

        translation = translate(otlp.trace(otlp.span(1), otlp.log(1, name=EVALUATION, attrs=attrs)))

        assert translation.scores == []
        assert translation.observations[0].metadata["otel.logs"][0]["attributes"] == attrs

    def test_the_same_result_gives_the_same_id_and_another_another(self, otlp: Any) -> None:
        attrs = {"gen_ai.evaluation.name": "R", "gen_ai.evaluation.score.value": 1}

        def ids(*times_ms: float) -> list[str]:
            logs = [otlp.log(1, name=EVALUATION, attrs=attrs, at_ms=at_ms) for at_ms in times_ms]
            return [score.id for score in translate(otlp.trace(otlp.span(1), *logs)).scores]

        assert ids(1) == ids(1)
        assert len(set(ids(1, 2))) == 2

    @pytest.mark.parametrize(
        "differing",
        [
            {"gen_ai.evaluation.score.value": 0},
            {"gen_ai.response.id": "r2"},
            {"judge": "another"},
            {"gen_ai.evaluation.explanation": "for another reason"},
        ],
    )
    @pytest.mark.parametrize("at_span", [0, 1])
    def test_two_results_of_one_name_and_moment_are_two_scores(
        self, otlp: Any, differing: dict[str, Any], at_span: int
    ) -> None:
        attrs = {"gen_ai.evaluation.name": "R", "gen_ai.evaluation.score.value": 1, "gen_ai.response.id": "r1"}
        logs = [otlp.log(at_span, name=EVALUATION, attrs=said) for said in (attrs, attrs | differing)]

        scores = translate(otlp.trace(otlp.span(1), *logs)).scores

        assert len({score.id for score in scores}) == 2

    def test_a_result_has_the_same_id_with_its_span_and_without(self, otlp: Any) -> None:
        attrs = {"gen_ai.evaluation.name": "R", "gen_ai.evaluation.score.value": 1, "gen_ai.request.model": "m"}
        log = otlp.log(1, name=EVALUATION, attrs=attrs)

        [joined] = translate(otlp.trace(otlp.span(1, attrs={"gen_ai.request.model": "m"}), log)).scores
        [alone] = translate(otlp.trace(log)).scores

        assert joined.id == alone.id

    @pytest.mark.parametrize(
        ("said", "wanted"),
        [
            ({"gen_ai.evaluation.score.value": 1.0, "gen_ai.evaluation.score.label": "true"}, (1.0, "BOOLEAN")),
            ({"gen_ai.evaluation.score.value": 0.0, "gen_ai.evaluation.score.label": "false"}, (0.0, "BOOLEAN")),
            ({"gen_ai.evaluation.score.value": 1.0, "gen_ai.evaluation.score.label": "pass"}, (1.0, "NUMERIC")),
            ({"gen_ai.evaluation.score.label": "pass"}, ("pass", "CATEGORICAL")),
            ({"gen_ai.evaluation.score.value": "word " * 30}, ("word " * 30, "TEXT")),
        ],
    )
    def test_the_type_is_that_of_what_was_said(
        self, otlp: Any, said: dict[str, Any], wanted: tuple[float | str, str]
    ) -> None:
        log = otlp.log(1, name=EVALUATION, attrs={"gen_ai.evaluation.name": "R", **said})

        [score] = translate(otlp.trace(otlp.span(1), log)).scores

        assert (score.value, score.data_type) == wanted

    def test_a_result_without_a_span_finds_the_response_it_names(self, otlp: Any, id_of: Any) -> None:
        attrs = {
            "gen_ai.evaluation.name": "R",
            "gen_ai.evaluation.score.value": 1,
            "gen_ai.response.id": "r1",
        }

        [score] = translate(otlp.trace(otlp.span(1, attrs=CHAT), otlp.log(0, name=EVALUATION, attrs=attrs))).scores

        assert score.observation_id == id_of(1)

    @pytest.mark.parametrize(
        ("attrs", "scope"),
        [
            (CHAT, "test"),
            (
                {"openinference.span.kind": "LLM", "output.value": '{"id": "r1"}'},
                "openinference.instrumentation.openai",
            ),
            ({"ai.operationId": "ai.generateText.doGenerate", "ai.response.id": "r1"}, "ai"),
        ],
        ids=["conventions", "openinference", "vercel"],
    )
    def test_even_without_a_trace_id_in_a_closed_input(
        self, otlp: Any, id_of: Any, attrs: dict[str, Any], scope: str
    ) -> None:
        """As in the running bridge: whatever words the response is told in."""
        [score] = scores_of(otlp.span(1, attrs=attrs, scope=scope), judgement_of_r1(otlp))
        assert (score.trace_id, score.observation_id) == (otlp.trace_id, id_of(1))

    def test_in_a_closed_input_it_goes_to_the_trace_that_counts_the_response(self, otlp: Any, id_of: Any) -> None:
        """Not to one that names it earlier, as what hands it on does."""
        names = otlp.span(1, attrs={"gen_ai.response.id": "r1"})
        other = type(otlp)(trace_id="ab" * 16)
        counts = other.span(2, attrs=CHAT | {"gen_ai.usage.input_tokens": 1}, at_ms=(5, 9))

        [score] = scores_of(names, counts, judgement_of_r1(otlp))
        assert (score.trace_id, score.observation_id) == (other.trace_id, id_of(2))


def judgement_of_r1(otlp: Any) -> Any:
    attrs = {"gen_ai.evaluation.name": "R", "gen_ai.evaluation.score.value": 1, "gen_ai.response.id": "r1"}
    return otlp.log(0, name=EVALUATION, attrs=attrs, traced=False)


def scores_of(*records: Any) -> list[Score]:
    """Of a closed input: spans, and a log record as the last."""
    traces = traces_of([traces_request(*records[:-1]), logs_request(records[-1])])
    return [score for trace in traces for score in translate(trace).scores]


def traces_request(*records: Any) -> Batch:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    for record in records:
        request.resource_spans.add(resource=record.resource).scope_spans.add(scope=record.scope, spans=[record.span])
    return Batch.from_request(request)


def logs_request(*entries: Any) -> Batch:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest()
    for entry in entries:
        block = request.resource_logs.add(resource=entry.resource)
        block.scope_logs.add(scope=entry.scope, log_records=[entry.record])
    return Batch.from_request(request)


def test_gather_groups_by_trace_and_sets_the_homeless_apart(otlp: Any) -> None:
    other = otlp.span(1)
    other.span.trace_id = bytes(range(16))
    invalid = otlp.span(2)
    invalid.span.trace_id = bytes(16)

    found = gather(traces_request(otlp.span(1), other, otlp.span(3), invalid))

    assert {key: len(spans) for key, (spans, _) in found.items()} == {
        otlp.trace_id: 2,
        bytes(range(16)).hex(): 1,
        "": 1,
    }


def test_what_belongs_to_no_trace_is_counted_out_with_a_reason(otlp: Any) -> None:
    invalid = otlp.span(2)
    invalid.span.trace_id = bytes(16)
    homeless = otlp.log(0, name="lost", traced=False)

    translation = translate(Trace(key="", spans=[invalid], logs=[homeless]))

    assert [omitted.reason for omitted in translation.rejected] == ["invalid_trace_id"]
    assert [omitted.reason for omitted in translation.dropped] == ["log_without_trace"]


def test_a_call_told_in_two_traces_counts_in_the_one_that_says_more(otlp: Any) -> None:
    usage = {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 5}
    bare = otlp.span(1, scope="sdk", attrs=CHAT | usage, at_ms=(10, 90))
    bare.span.trace_id = bytes(range(16))
    rich = otlp.span(2, scope="framework", attrs=CHAT | usage | {"gen_ai.output.messages": "[]"})

    observations = [seen for trace in traces_of([traces_request(bare, rich)]) for seen in translate(trace).observations]

    assert sum(seen.usage["total"] for seen in observations if seen.usage) == 10
