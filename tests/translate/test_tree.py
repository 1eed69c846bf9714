"""What only the whole tree can tell: usage once, one generation for each call, roots, late parts."""

from typing import Any

import pytest

from otel_bridge.model import ObservationType, Translation
from otel_bridge.trace import Settled, Trace
from otel_bridge.translate import choose, translate

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
AGENT = {"gen_ai.operation.name": "invoke_agent"}
TOOL = {"gen_ai.operation.name": "execute_tool"}
SAID = {"gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "Hi"}]}]'}


def used(tokens_in: int, tokens_out: int) -> dict[str, int]:
    return {"gen_ai.usage.input_tokens": tokens_in, "gen_ai.usage.output_tokens": tokens_out}


def by_number(translation: Translation) -> dict[int, Any]:
    return {int(seen.id, 16): seen for seen in translation.observations}


def tokens(translation: Translation) -> int:
    return sum(seen.usage["total"] for seen in translation.observations if seen.usage)


def later(trace: Trace, before: Translation, part: int = 1) -> Trace:
    trace.part, trace.known = part, before.known
    return trace


def test_an_agents_sum_gives_way_to_the_calls_below_it(otlp: Any) -> None:
    seen = by_number(
        translate(
            otlp.trace(
                otlp.span(1, attrs=AGENT | used(300, 30)),
                otlp.span(2, 1, attrs=CHAT | used(100, 10)),
                otlp.span(3, 1, attrs=CHAT | used(200, 20)),
            )
        )
    )

    assert seen[1].usage is None
    assert seen[1].metadata["uncounted_usage"]["total"] == 330
    assert (seen[2].usage["total"], seen[3].usage["total"]) == (110, 220)


def test_what_is_too_long_for_a_response_id_is_not_remembered_as_one(otlp: Any) -> None:
    calls = [otlp.span(n, attrs=CHAT | used(1, 1) | {"gen_ai.response.id": "r" * n}) for n in (200, 201)]
    assert translate(otlp.trace(*calls)).known.calls == ["r" * 200]


def test_an_agents_sum_counts_where_no_call_below_says_anything(otlp: Any) -> None:
    seen = by_number(translate(otlp.trace(otlp.span(1, attrs=AGENT | used(300, 30)), otlp.span(2, 1, attrs=CHAT))))

    assert seen[1].usage["total"] == 330


def test_a_call_within_a_tool_of_a_call_is_another_call(otlp: Any) -> None:
    """Automatic function calling: the tool runs inside the generation, and asks a model itself."""
    translation = translate(
        otlp.trace(
            otlp.span(1, attrs=CHAT | used(5, 5)),
            otlp.span(2, 1, attrs=TOOL),
            otlp.span(3, 2, attrs=CHAT | used(7, 7)),
        )
    )

    assert tokens(translation) == 24
    assert [seen.type for seen in translation.observations].count(ObservationType.GENERATION) == 2


def test_of_two_spans_of_one_call_the_poorer_becomes_a_span(otlp: Any) -> None:
    inner = CHAT | used(5, 5) | {"gen_ai.response.id": "r1", "gen_ai.response.time_to_first_chunk": 0.01}
    seen = by_number(
        translate(
            otlp.trace(
                otlp.span(1, attrs=CHAT | used(5, 5) | SAID | {"gen_ai.response.id": "r1"}),
                otlp.span(2, 1, scope="sdk", attrs=inner, at_ms=(10, 90)),
            )
        )
    )

    assert seen[1].type is ObservationType.GENERATION
    assert seen[2].type is ObservationType.SPAN
    assert seen[2].usage is None
    assert seen[1].completion_start_ns == seen[2].start_ns + 10_000_000


def test_after_a_retry_the_failed_call_stays_a_failed_call(otlp: Any) -> None:
    seen = by_number(
        translate(
            otlp.trace(
                otlp.span(1, attrs=CHAT | used(5, 5) | SAID | {"gen_ai.response.id": "r1"}),
                otlp.span(2, 1, attrs=CHAT | {"error.type": "529"}, at_ms=(10, 20)),
                otlp.span(3, 1, attrs=CHAT | used(5, 5) | {"gen_ai.response.id": "r1"}, at_ms=(30, 90)),
            )
        )
    )

    assert [seen[number].type for number in (1, 2, 3)] == ["GENERATION", "GENERATION", "SPAN"]
    assert seen[2].level == "ERROR"


def test_a_call_that_repeats_what_the_last_of_several_counted_is_told_by_that(otlp: Any) -> None:
    """Automatic function calling again: Google's SDK hands on the last response, and its spans nest."""
    translation = translate(
        otlp.trace(
            otlp.span(1, attrs=CHAT | used(7, 7) | SAID),
            otlp.span(2, 1, attrs=CHAT | used(5, 5) | SAID),
            otlp.span(3, 1, attrs=CHAT | used(7, 7) | SAID),
        )
    )

    seen = by_number(translation)
    assert seen[1].type is ObservationType.SPAN
    assert (seen[2].usage["total"], seen[3].usage["total"]) == (10, 14)


def test_the_call_that_names_its_model_counts_what_a_step_around_it_knows(otlp: Any) -> None:
    around = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": '[{"role": "user", "parts": []}]'}
    model = CHAT | SAID | {"gen_ai.input.messages": '[{"role": "user", "parts": []}]'}
    translation = translate(
        otlp.trace(otlp.span(1, attrs=around | used(5, 5) | SAID), otlp.span(2, 1, attrs=model)),
    )

    seen = by_number(translation)
    assert seen[1].type is ObservationType.SPAN
    assert (seen[2].model, seen[2].usage["total"]) == ("m", 10)


def test_a_reused_response_id_does_not_make_two_calls_one(otlp: Any) -> None:
    """Hand-made spans name every response alike; side by side in one instrumentation they are different calls."""
    call = CHAT | used(5, 5) | {"gen_ai.response.id": "r1"}

    translation = translate(otlp.trace(otlp.span(1), otlp.span(2, 1, attrs=call), otlp.span(3, 1, attrs=call)))

    assert tokens(translation) == 20


def test_a_call_told_by_two_instrumentations_side_by_side_counts_once(otlp: Any) -> None:
    call = CHAT | used(5, 5) | {"gen_ai.response.id": "r1"}

    translation = translate(
        otlp.trace(
            otlp.span(1),
            otlp.span(2, 1, scope="a", attrs=call | SAID, at_ms=(10, 90)),
            otlp.span(3, 1, scope="b", attrs=call, at_ms=(20, 80)),
        )
    )

    assert tokens(translation) == 10


def test_a_wrapper_and_an_instrumentation_side_by_side_count_once_where_one_names_no_response(otlp: Any) -> None:
    wrapped = {"langfuse.observation.type": "generation", "langfuse.observation.model.name": "m"}
    usage = {"langfuse.observation.usage_details": '{"prompt_tokens": 5, "completion_tokens": 5}'}
    named = CHAT | used(5, 5) | {"gen_ai.response.id": "r1"}
    translation = translate(
        otlp.trace(
            otlp.span(1, attrs={}),
            otlp.span(2, 1, scope="langfuse-sdk", attrs=wrapped | usage, at_ms=(0, 50)),
            otlp.span(3, 1, scope="instrumentation", attrs=named, at_ms=(10, 40)),
            otlp.span(4, 1, scope="instrumentation", attrs=named | {"gen_ai.response.id": "r2"}, at_ms=(60, 90)),
            otlp.span(5, 1, scope="instrumentation", attrs=named | {"gen_ai.response.id": "r3"}, at_ms=(12, 38)),
        )
    )

    seen = by_number(translation)
    assert [seen[number].type for number in (2, 3)] == [ObservationType.GENERATION, ObservationType.SPAN]
    assert tokens(translation) == 30


def test_a_parent_that_never_came_leaves_a_root(otlp: Any) -> None:
    [seen] = translate(otlp.trace(otlp.span(2, 1))).observations

    assert seen.parent_id is None
    assert seen.app_root
    assert seen.metadata["otel.parent_span_id"] == "0000000000000001"


def test_a_parent_that_may_still_come_is_kept(otlp: Any, id_of: Any) -> None:
    [seen] = translate(otlp.trace(otlp.span(2, 1), settled=Settled.HELD)).observations

    assert (seen.parent_id, seen.app_root) == (id_of(1), False)


def test_a_remote_parent_is_kept_and_the_topmost_stands_for_the_root(otlp: Any, id_of: Any) -> None:
    [seen] = translate(otlp.trace(otlp.span(2, 1), settled=Settled.REMOTE)).observations

    assert (seen.parent_id, seen.app_root) == (id_of(1), True)


def test_a_circle_of_parents_is_cut(otlp: Any) -> None:
    translation = translate(otlp.trace(otlp.span(1, 2), otlp.span(2, 1), otlp.span(3, 3)))

    assert len(translation.observations) == 3
    assert sum(seen.parent_id is None for seen in translation.observations) == 2


def test_who_and_where_stand_on_every_observation(otlp: Any) -> None:
    translation = translate(
        otlp.trace(
            otlp.span(1, name="handle", attrs={"langfuse.trace.tags": ["x"]}, resource={"service.version": "1.2"}),
            otlp.span(2, 1, attrs={"session.id": "s", "tag.tags": ["y"]}),
            otlp.span(3, 1, attrs={"user.id": "u", "deployment.environment.name": "Prod"}),
        )
    )

    assert len(translation.observations) == 3
    for seen in translation.observations:
        assert (seen.trace.session_id, seen.trace.user_id, seen.trace.tags) == ("s", "u", ["x", "y"])
        assert (seen.trace.environment, seen.trace.version, seen.trace.name) == ("prod", "1.2", "handle")


def test_a_span_of_another_session_keeps_it_in_its_metadata(otlp: Any) -> None:
    seen = by_number(
        translate(otlp.trace(otlp.span(1, attrs={"session.id": "a"}), otlp.span(2, 1, attrs={"session.id": "b"})))
    )

    assert seen[2].trace.session_id == "a"
    assert seen[2].metadata["session.id"] == "b"


def test_what_was_set_by_hand_is_heard_before_the_roots_words(otlp: Any) -> None:
    """A browser's session and user go along with the request; what the application says of them is meant."""
    translation = translate(
        otlp.trace(
            otlp.span(1, attrs={"enduser.id": "anon", "session.id": "rum"}),
            otlp.span(2, 1, attrs={"langfuse.user.id": "alice", "langfuse.session.id": "chat"}),
        )
    )

    seen = by_number(translation)
    assert (seen[2].trace.user_id, seen[2].trace.session_id) == ("alice", "chat")
    assert seen[1].metadata["session.id"] == "rum"


def test_the_conversation_of_a_call_is_heard_before_the_session_of_a_request(otlp: Any) -> None:
    [seen, _] = translate(
        otlp.trace(
            otlp.span(1, kind=2, attrs={"session.id": "rum", "http.request.method": "GET"}),
            otlp.span(2, 1, attrs=CHAT | {"gen_ai.conversation.id": "chat"}),
        )
    ).observations

    assert seen.trace.session_id == "chat"


def test_the_version_of_a_service_is_that_of_its_own_spans(otlp: Any) -> None:
    seen = by_number(
        translate(
            otlp.trace(
                otlp.span(1, resource={"service.version": "1.0"}), otlp.span(2, 1, resource={"service.version": "7.3"})
            )
        )
    )

    assert (seen[1].version, seen[2].version) == ("1.0", "7.3")


def test_a_version_that_was_said_is_that_of_all(otlp: Any) -> None:
    seen = by_number(
        translate(
            otlp.trace(
                otlp.span(1, attrs={"langfuse.version": "2"}), otlp.span(2, 1, resource={"service.version": "7.3"})
            )
        )
    )

    assert (seen[2].version or seen[2].trace.version) == "2"


def test_keys_of_any_length_are_not_kept(otlp: Any) -> None:
    before = len(choose.MARKS)

    translate(otlp.trace(otlp.span(1, attrs={f"{n}{'k' * 300}": n for n in range(50)})))

    assert len(choose.MARKS) - before < 50


def test_a_span_that_comes_twice_counts_once(otlp: Any) -> None:
    translation = translate(otlp.trace(otlp.span(1, attrs=CHAT | used(5, 5)), otlp.span(1, attrs=CHAT | used(5, 5))))

    assert tokens(translation) == 10
    assert translation.dropped == []


def test_another_span_under_a_taken_id_is_dropped_with_a_reason(otlp: Any) -> None:
    translation = translate(otlp.trace(otlp.span(1), otlp.span(1, name="other")))

    assert [omitted.reason for omitted in translation.dropped] == ["duplicate_span_id"]


def test_invalid_spans_are_rejected_alone(otlp: Any) -> None:
    """No valid id, no time: each is named with its reason, its neighbours are translated."""
    bad_id, no_time = otlp.span(2), otlp.span(3)
    bad_id.span.span_id = b"short"
    no_time.span.start_time_unix_nano = no_time.span.end_time_unix_nano = 0

    translation = translate(otlp.trace(otlp.span(1), bad_id, no_time))

    assert len(translation.observations) == 1
    assert sorted(omitted.reason for omitted in translation.rejected) == ["invalid_span_id", "no_time"]


class TestLateParts:
    """What comes after a trace was sent goes with what is known of it, and counts nothing twice."""

    def test_the_traces_attributes_are_repeated(self, otlp: Any) -> None:
        before = translate(otlp.trace(otlp.span(1, name="root", attrs={"session.id": "s", "user.id": "u"})))

        [seen] = translate(later(otlp.trace(otlp.span(2, 1)), before)).observations

        assert (seen.trace.session_id, seen.trace.user_id, seen.trace.name) == ("s", "u", "root")

    def test_parents_are_kept(self, otlp: Any, id_of: Any) -> None:
        before = translate(otlp.trace(otlp.span(1)))

        [seen] = translate(later(otlp.trace(otlp.span(2, 1)), before)).observations

        assert (seen.parent_id, seen.app_root) == (id_of(1), False)

    def test_a_late_agents_sum_gives_way_to_calls_sent_before(self, otlp: Any) -> None:
        before = translate(otlp.trace(otlp.span(3, 2, attrs=CHAT | used(5, 5)), settled=Settled.HELD))

        after = translate(
            later(otlp.trace(otlp.span(1, attrs=AGENT), otlp.span(2, 1, attrs=AGENT | used(5, 5))), before)
        )

        assert tokens(before) + tokens(after) == 10

    def test_it_gives_way_across_a_part_in_between(self, otlp: Any) -> None:
        first = translate(otlp.trace(otlp.span(3, 2, attrs=CHAT | used(5, 5)), settled=Settled.HELD))
        second = translate(later(otlp.trace(otlp.span(2, 1), settled=Settled.HELD), first))
        third = translate(later(otlp.trace(otlp.span(1, attrs=AGENT | used(5, 5))), second, part=2))

        assert tokens(first) + tokens(second) + tokens(third) == 10

    def test_a_late_call_below_a_sum_sent_before_is_not_added(self, otlp: Any) -> None:
        before = translate(otlp.trace(otlp.span(1, attrs=AGENT | used(5, 5)), otlp.span(2, 1, attrs=TOOL)))

        after = translate(later(otlp.trace(otlp.span(3, 2, attrs=CHAT | used(5, 5))), before))

        assert (tokens(before), tokens(after)) == (10, 0)

    def test_a_late_twin_of_a_call_sent_before_is_no_second_call(self, otlp: Any) -> None:
        call = CHAT | used(5, 5) | {"gen_ai.response.id": "r1"}
        before = translate(otlp.trace(otlp.span(1, attrs=call)))

        [seen] = translate(later(otlp.trace(otlp.span(2, 9, scope="sdk", attrs=call)), before)).observations

        assert (seen.type, seen.usage) == (ObservationType.SPAN, None)


@pytest.mark.parametrize(
    ("model", "sides", "counted"),
    [("gpt-4o-2024-08-06", (100, 10), 110), ("claude-3", (100, 10), 220), ("gpt-4o", (90, 20), 220)],
    ids=["one call, by two instrumentations", "another model", "other sides of the same total"],
)
def test_calls_side_by_side_are_one_only_if_they_count_alike(
    otlp: Any, model: str, sides: tuple[int, int], counted: int
) -> None:
    told = translate(
        otlp.trace(
            otlp.span(1, attrs=AGENT, at_ms=(0, 300)),
            otlp.span(
                2, 1, scope="one", attrs=CHAT | {"gen_ai.request.model": "gpt-4o"} | used(100, 10), at_ms=(10, 200)
            ),
            otlp.span(3, 1, scope="two", attrs=CHAT | {"gen_ai.request.model": model} | used(*sides), at_ms=(20, 190)),
        )
    )
    assert tokens(told) == counted
