"""The filter language: what it finds, and that nothing typed into it can do harm."""

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_bridge.batch import Batch
from otel_bridge.errors import UsageError
from otel_bridge.model import ObservationType, Score
from otel_bridge.query.filter import compile_filter
from otel_bridge.query.sessions import list_sessions
from otel_bridge.query.traces import list_traces
from otel_bridge.store.writer import Writer
from tests.query.conftest import Opened, Settled

START = 1_700_000_000_000_000_000


@pytest.fixture
def asked(settled: Settled, reader: Opened) -> Callable[[str], list[int]]:
    """Numbers of the traces that a filter finds among four."""
    settled(
        1,
        name="chat with ada",
        session_id="morning",
        user_id="ada@example.org",
        tags=["blue", "v1"],
        seconds=20,
        observation={
            "model": "gpt-5",
            "type": ObservationType.GENERATION,
            "usage": {"total": 2000},
            "cost": {"total": 0.5},
            "input": [{"role": "user", "content": 'the "wobble" timeout, 100%'}],
            "metadata": {"workflow.id": "w1", 'odd"key': True, "team": {"name": "blue"}},
            "resource": {"k8s.namespace.name": "agents"},
        },
    )
    settled(2, name="chat", session_id="evening", error=True, start_s=3600, metadata={"team": "blue", "job.id": "7"})
    settled(
        3,
        name="100_percent",
        observation={"type": ObservationType.TOOL},
        scores=(Score("s", "helpful", 1.0, "NUMERIC", START, trace_id=f"{3:032x}"),),
    )
    settled(4, name="plan: a *trip*", environment="production", release="r2", version="7")

    def ask(text: str) -> list[int]:
        return [int(trace["id"], 16) for trace in list_traces(reader(), text, sort="start")["traces"]]

    return ask


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [1, 3, 4, 2]),
        ("status:error", [2]),
        ("status:ok", [1, 3, 4]),
        ("-status:error", [1, 3, 4]),
        ("duration:>10s", [1]),
        ("duration:<=1s", [3, 4, 2]),
        ("duration:[500ms TO 2s]", [3, 4, 2]),
        ("duration:[* TO *]", [1, 3, 4, 2]),
        ("name:chat", [2]),
        ("name:CHAT*", [1, 2]),
        ("name:chat*ada", [1]),
        ("name:cha?", [2]),
        ("name:100_percent", [3]),
        ("name:100?percent", [3]),
        (r"name:100\?percent", []),
        ('name:"plan: a *trip*"', [4]),
        ("session:morning user:ada@example.org", [1]),
        ("session:morning OR session:evening", [1, 2]),
        ("session:(morning OR evening) AND status:error", [2]),
        ("NOT (session:morning OR session:evening)", [3, 4]),
        ("-session:morning", [3, 4, 2]),
        ("tokens:>1000", [1]),
        ("tokens:2000", [1]),
        ("-tokens:>1000", [3, 4, 2]),
        ("cost:>0.1", [1]),
        ("cost:[0.5 TO *]", [1]),
        ("cost:{0.5 TO *}", []),
        ("errors:>0", [2]),
        ("observations:1", [1, 3, 4, 2]),
        ("model:gpt*", [1]),
        ("-model:gpt*", [3, 4, 2]),
        ("type:tool", [3]),
        ("type:TOOL", [3]),
        ("tag:blue", [1]),
        ("score:helpful", [3]),
        ("metadata.team:blue", [2]),
        (r"metadata.job.id:7", [2]),
        ("metadata.workflow.id:w1", [1]),
        ("metadata.workflow.id:w*", [1]),
        ("metadata.workflow_id:w1", []),
        ("-metadata.workflow.id:w1", [3, 4, 2]),
        (r"metadata.odd\"key:1", [1]),
        ("metadata.name:blue", []),
        ("resource.k8s.namespace.name:agents", [1]),
        ("-resource.k8s.namespace.name:agents", [3, 4, 2]),
        ("environment:production release:r2 version:7", [4]),
        ("env:prod*", [4]),
        ("wobble", [1]),
        ('"the \\"wobble\\" timeout"', [1]),
        ('"100%"', [1]),
        ("wobble -status:ok", []),
        ("id:000000000000*2", [2]),
        ("start:>2023-11-14T23:00:00Z", [2]),
        ("start:[2023-11-14 TO 2023-11-15]", [1, 3, 4, 2]),
        ("start:[* TO 2023-11-14]", [1, 3, 4, 2]),
        ("start:[2023-11-14 TO 2023-11-14}", []),
        ("start:<=2023-11-14", [1, 3, 4, 2]),
        ("start:>2023-11-14", []),
        ("start:>=2023-11-14", [1, 3, 4, 2]),
        ("start:<2023-11-14", []),
        ("start:<2023-11-15", [1, 3, 4, 2]),
        ("start:{2023-11-13 TO 2023-11-15}", [1, 3, 4, 2]),
        ("start:{2023-11-14 TO *]", []),
        ("start:>2023-11-14T22:13", [2]),
        ("start:>2023-11-15T00:12+01:00", [2]),
        ("start:<=2023-11-15T00:12+01:00 -status:error", [1, 3, 4]),
        ("start:[2023-11-14T17:00-05 TO 2023-11-14T19:00-05:00]", [1, 3, 4, 2]),
        ('"at 2023-11-15T00:12+01:00 "', []),
        ("start:2023-11-14", [1, 3, 4, 2]),
        ("start:2023-11-13", []),
        ('start:"2023-11-14T23:13"', [2]),
        ('start:"2023-11-15T00:13:20+01:00"', [2]),
        ('start:"2023-11-14T23:13:19"', []),
        ("age:>1d", [1, 3, 4, 2]),
        ("age:<1m", []),
    ],
)
def test_finds(asked: Callable[[str], list[int]], text: str, found: list[int]) -> None:
    assert asked(text) == found


def test_an_open_trace_is_found_by_what_is_shown_of_it(
    asked: Callable[[str], list[int]], writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By how many spans and errors came, by their names, models and types, and by what they say of their trace; lists
    are in that order, too.
    """
    said = {
        "session.id": "night",
        "user.id": "bob",
        "langfuse.release": "r9",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-9",
    }
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.add(key="deployment.environment.name").value.string_value = "staging"
    spans = block.scope_spans.add().spans
    for span in (1, 2, 3):
        spans.add(trace_id=(5).to_bytes(16), span_id=span.to_bytes(8), name=f"tool {span}", start_time_unix_nano=START)
        spans[-1].status.code = Status.STATUS_CODE_ERROR
        for key, value in said.items() if span == 2 else ():
            spans[-1].attributes.add(key=key).value.string_value = value
        tags = spans[-1].attributes.add(key="langfuse.trace.tags").value.array_value.values
        tags.add().string_value = f"tag {span}"
    writer.batch(Batch.from_request(request))
    monkeypatch.setattr(writer, "_now_ns", lambda: time.time_ns() + 10**10)
    writer.hear(for_s=60)

    by_number = ("errors:3", "observations:>2", "-errors:<3")
    by_name = ("observation:tool*2", '"tool 2"', 'tag:"tag 3"')
    by_word = ("session:night", "user:bob", "env:staging", "release:r9", "model:gpt-9", "level:error status:error")
    for text in (*by_number, *by_name, *by_word, "type:generation -model:gpt-5"):
        assert 5 in asked(text), text
        assert set(asked(text)) <= {2, 5}, text
    listed = list_traces(reader(), sort="-errors")["traces"]
    assert [trace["errorCount"] for trace in listed] == [3, 1, 0, 0, 0]
    assert (listed[0]["sessionId"], listed[0]["userId"], listed[0]["tags"]) == (
        "night",
        "bob",
        ["tag 1", "tag 2", "tag 3"],
    )
    assert [each["id"] for each in list_sessions(reader())["sessions"]] == ["evening", "morning", "night"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle:gpt", "did you mean model?"),
        ("start:>2026-11-28 22:50", "a time is written as 2026-11-28T22:…"),
        ("durations:>1s", "did you mean duration?"),
        ("zzz:1", "there are id, trace, name"),
        ("duration:>soon", "write it as 500ms"),
        ("tokens:>many", "write it as tokens:>1000"),
        ("start:>yesterday", "write it as 2026-01-31"),
        ("cost:nan", "no number"),
        ("duration:10s", "write > or <"),
        ("age:1h", "write > or <"),
        ("http://x.example/", 'written "in quotes"'),
        ("status:great", "there are error, ok, open"),
        ("name:>a", "no order"),
        ("tokens:(1 2) (", "can not be read"),
        ("name:roam~", "fuzzy"),
        ("/regex/", "regular expressions"),
        ("name:x^2", "boosted"),
        ("a " * 600, "1000 at most"),
        ("(" * 200 + "a" + ")" * 200, "levels deep"),
        ("half \ud800", "not UTF-8"),
    ],
)
def test_says_what_it_can_not_use(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        compile_filter(text)


def test_a_filter_never_becomes_sql() -> None:
    condition = compile_filter("""name:"x' OR 1=1 --" metadata.a'b:c""")

    assert "1=1" not in condition.sql
    assert "a'b" not in condition.sql
    assert {"x' OR 1=1 --", "a'b"} <= set(condition.values)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            ["name:", "tokens:", "metadata.a:", "status:", "tag:", "(", ")", '"', "[", "TO", "]", "*", "?", "-", "NOT",
             "OR", "AND", ">", "<=", "5", "x", "10s", "\\", "'", "%", "~", "^", "/", " ", "error", ":"]
        ),
        max_size=15,
    ).map("".join)
)  # fmt: skip
def test_any_text_finds_or_says_why_not(asked: Callable[[str], list[int]], text: str) -> None:
    """Whatever is typed: an answer or a UsageError, and SQLite understands every condition."""
    try:
        found = asked(text)
    except UsageError:
        return
    assert set(found) <= {1, 2, 3, 4}
