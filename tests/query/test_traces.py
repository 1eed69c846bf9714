"""Lists to page through, trees in order, and one observation with all it holds."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_bridge.batch import Batch
from otel_bridge.errors import UsageError
from otel_bridge.model import Omitted, Score, Translation
from otel_bridge.query.answer import SHOWN_CHARACTERS
from otel_bridge.query.find import NotFoundError
from otel_bridge.query.observations import one_observation
from otel_bridge.query.outline import outline
from otel_bridge.query.scores import list_scores
from otel_bridge.query.sessions import TURN_CHARACTERS, list_sessions, one_session
from otel_bridge.query.traces import list_traces, one_trace
from otel_bridge.query.transcript import transcript
from otel_bridge.query.tree import guides, in_tree_order
from otel_bridge.query.unfinished import SQL as WHAT_IS_OPEN
from otel_bridge.store.reader import Reader, SlowQuestionError
from otel_bridge.store.writer import Writer
from otel_bridge.trace import Decision

START = 1_700_000_000_000_000_000
ONE = f"{1:032x}"

Settled = Callable[..., None]
Opened = Callable[[], Reader]


def still_open(writer: Writer, span: int, name: str, number: int = 1) -> None:
    """A record that tells of a span that has not ended after a minute."""
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(
        time_unix_nano=START + 60 * 10**9, trace_id=number.to_bytes(16), span_id=span.to_bytes(8),
        event_name="otel_bridge.span.heartbeat",
    )  # fmt: skip
    record.attributes.add(key="otel_bridge.span.name").value.string_value = name
    record.attributes.add(key="otel_bridge.span.start_time_unix_nano").value.int_value = START + span - 1
    writer.batch(Batch.from_request(logs))


def came(
    writer: Writer,
    number: int = 1,
    span: int = 9,
    parent: int = 1,
    flags: int = 0,
    start_ns: int = START + 50,
    service: str = "agents",
    message: str = "broke",
) -> None:
    """A span with attributes, an event and a log record, as it comes."""
    traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    scoped = traces.resource_spans.add().scope_spans.add()
    traces.resource_spans[0].resource.attributes.add(key="service.name").value.string_value = service
    scoped.scope.name = "acme"
    added = scoped.spans.add(
        trace_id=number.to_bytes(16),
        span_id=span.to_bytes(8),
        parent_span_id=parent.to_bytes(8) if parent else b"",
        flags=flags,
        name="running",
        start_time_unix_nano=start_ns,
        end_time_unix_nano=START + 1_500_000_050,
        status=Status(code=Status.STATUS_CODE_ERROR, message=message),
    )
    added.attributes.add(key="ratio").value.double_value = float("nan")
    added.events.add(name="exception", time_unix_nano=START).attributes.add(key="type").value.string_value = "E"
    record = (
        logs.resource_logs.add()
        .scope_logs.add()
        .log_records.add(
            time_unix_nano=START, trace_id=number.to_bytes(16), span_id=span.to_bytes(8), event_name="said"
        )
    )
    record.body.string_value = "hello"
    writer.batch(Batch.from_request(traces))
    writer.batch(Batch.from_request(logs))


@pytest.mark.parametrize("sort", ["start", "-start", "duration", "-tokens", "-cost", "errors"])
def test_pages_hold_every_trace_once(settled: Settled, reader: Opened, sort: str) -> None:
    for number in range(1, 24):
        settled(number, start_s=number % 5, seconds=number % 3, error=number % 2 == 0)

    seen: list[str] = []
    cursor = None
    while True:
        answer = list_traces(reader(), sort=sort, limit=5, cursor=cursor)
        seen += [trace["id"] for trace in answer["traces"]]
        cursor = answer["nextCursor"]
        if cursor is None:
            break

    whole = [trace["id"] for trace in list_traces(reader(), sort=sort, limit=100)["traces"]]
    assert seen == whole
    assert len(set(seen)) == 23


def test_a_summary_says_what_lists_show(settled: Settled, reader: Opened) -> None:
    settled(
        1, ((1, 0), (2, 1)), seconds=2.5, session_id="s", user_id="u", tags=["a"], environment="e", error=True,
        observation={"usage": {"input": 1, "output": 2, "total": 3}, "cost": {"total": 0.25}},
    )  # fmt: skip

    assert list_traces(reader())["traces"] == [
        {
            "id": ONE, "tenant": "default", "name": "trace 1", "status": "error", "settled": True, "partial": False,
            "omitted": None, "startTime": "2023-11-14T22:13:20.000000Z", "endTime": "2023-11-14T22:13:22.500000Z",
            "durationMs": 2500.0,
            "observationCount": 2, "errorCount": 2, "totalTokens": 6, "totalCost": 0.5, "userId": "u", "sessionId": "s",
            "environment": "e", "release": None, "version": None, "tags": ["a"],
        }
    ]  # fmt: skip


def test_costs_have_no_digits_of_adding(settled: Settled, reader: Opened) -> None:
    settled(1, ((1, 0), (2, 1), (3, 1)), session_id="s", observation={"cost": {"input": 0.1 + 0.2, "total": 0.1 + 0.2}})

    trace = one_trace(reader(), ONE)
    observation = one_observation(reader(), ONE, f"{1:016x}")
    assert (trace["totalCost"], trace["observations"][0]["totalCost"]) == (0.9, 0.3)
    assert observation["costDetails"] == {"input": 0.3, "total": 0.3}
    assert list_sessions(reader())["sessions"][0]["totalCost"] == 0.9


def test_an_open_trace_is_listed_and_shown(writer: Writer, reader: Opened) -> None:
    came(writer, parent=0)

    listed = list_traces(reader(), "status:open")["traces"]
    shown = one_trace(reader(), ONE)
    assert [(trace["name"], trace["settled"], trace["observationCount"], trace["errorCount"]) for trace in listed] == [
        ("running", False, 1, 1)
    ]
    assert [(row["name"], row["settled"], row["level"], row["type"]) for row in shown["observations"]] == [
        ("running", False, "ERROR", "SPAN")
    ]


def test_what_has_not_settled_is_read_as_its_dialect_says_it(writer: Writer, reader: Opened) -> None:
    """Messages, counts, parameters of a call, for who looks on while its agent runs; what nobody understands stays."""
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=(1).to_bytes(16), span_id=b"\1" * 8, name="chat gpt-9", start_time_unix_nano=START)
    )
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]',
        "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "hello"}]}]',
        "team": "blue",
    }
    for key, value in said.items():
        span.attributes.add(key=key).value.string_value = value
    span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 3
    span.attributes.add(key="gen_ai.request.temperature").value.double_value = 0.5
    writer.batch(Batch.from_request(request))

    shown = one_observation(reader(), ONE, "chat")
    assert (shown["type"], shown["settled"]) == ("GENERATION", False)
    assert [each["role"] for each in (*shown["input"], *shown["output"])] == ["user", "assistant"]
    assert (shown["usageDetails"]["input"], shown["modelParameters"]) == (3, {"temperature": 0.5})
    assert (shown["metadata"]["team"], "gen_ai.input.messages" in shown["metadata"]) == ("blue", False)
    assert "hello" in str(transcript(shown))


def test_of_an_open_trace_is_said_what_has_not_ended(writer: Writer, reader: Opened) -> None:
    """That is the span above those that came, whether anything has told of it or not; and it is no mistake."""

    def said() -> tuple[str, str]:
        found = one_trace(reader(), ONE)
        return found["unfinished"]["said"], outline(found)

    came(writer, parent=1)
    above, text = said()
    assert above == "still running: what stands above running has not ended"
    assert f"open: {above}\nsince: 2023-11-14 22:13:20 UTC\n" in text
    assert one_trace(reader(), ONE)["unfinished"]["parents"] == [f"{1:016x}"]

    still_open(writer, 1, "agent")
    above, text = said()
    assert above == "still running: agent has not ended"
    assert "told of last: 2023-11-14 22:14:20 UTC\n" in text
    assert "SPAN  agent  60.0 s · not ended" in text
    [told] = [row for row in one_trace(reader(), ONE)["observations"] if row["open"]]
    shown = one_observation(reader(), ONE, told["id"])
    assert (shown["name"], shown["open"], shown["logCount"]) == ("agent", True, 0)
    for number in range(2, 7):
        still_open(writer, number, f"tool {number}")
    assert said()[0] == "still running: agent, tool 2, tool 3 and 3 more have not ended"

    came(writer, number=2, parent=0)
    assert one_trace(reader(), f"{2:032x}")["unfinished"]["said"].startswith("all that came has ended")


def test_what_has_settled_has_not_ended_where_something_runs_still(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    """A parent in another program may never come here; of what is not kept, nothing is waited for."""
    for number in (1, 2, 3, 4, 6):
        settled(number, ((9, 0),))
    came(writer, number=1, parent=0)
    came(writer, number=2, parent=1, flags=0x100)
    came(writer, number=3, parent=1, flags=0x300)
    still_open(writer, 1, "agent", number=4)
    came(writer, number=6, parent=1)
    came(writer, number=5)
    writer.settled(Translation(dropped=[Omitted("", f"{5:032x}", "rate", Decision.SAMPLED_OUT)]))

    found = [one_trace(reader(), f"{number:032x}") for number in (1, 2, 3, 4, 6, 5)]
    assert [one["unfinished"] and one["unfinished"]["said"] for one in found] == [
        None,
        "settled in part: what stands above running has not come: it runs still, or was dropped",
        None,
        "settled in part: agent has not ended",
        None,
        None,
    ]
    assert f"{found[5]['id']} not kept (sampled: rate)\n" in outline(found[5])


def test_a_trace_that_settled_in_part_is_marked_and_keeps_the_root_that_is_known(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    """Told elsewhere as two without a parent; here they stand below what they came under, and that names the trace."""

    def shown(number: int = 1) -> tuple[str, bool, list[tuple[str, int]]]:
        [listed] = list_traces(reader(), f"id:{number:032x}")["traces"]
        found = one_trace(reader(), f"{number:032x}", full=True)
        assert (found["name"], found["partial"]) == (listed["name"], listed["partial"])
        return listed["name"], listed["partial"], [(row["name"], row["depth"]) for row in found["observations"]]

    def parts(number: int) -> None:
        for span in (8, 9):
            came(writer, number, span, parent=1, flags=0x100)
        settled(number, ((8, 0), (9, 0)), name="observation 8")

    still_open(writer, 1, "agent")
    parts(1)
    assert shown() == ("agent", True, [("agent", 0), ("observation 8", 1), ("observation 9", 1)])
    assert "(in part)" in outline(one_trace(reader(), ONE))
    assert len(list_traces(reader(), "status:partial")["traces"]) == 1
    came(writer, span=1, parent=0)
    settled(1, ((1, 0),), name="observation 1")
    assert shown() == ("observation 1", False, [("observation 1", 0), ("observation 8", 1), ("observation 9", 1)])

    parts(2)
    assert shown(2) == ("observation 8", True, [("observation 8", 0), ("observation 9", 0)])
    still_open(writer, 1, "agent", number=3)
    settled(3, ((8, 0),), name="by hand")
    assert shown(3)[:2] == ("by hand", True)


def test_a_trace_whose_root_has_ended_is_whole_but_where_heartbeats_tell_otherwise(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    """What a processor leaves out at the door is no span that runs still."""

    def shown() -> tuple[bool, str | None]:
        found = one_trace(reader(), ONE)
        assert len(list_traces(reader(), "status:partial")["traces"]) == found["partial"]
        return found["partial"], found["unfinished"] and found["unfinished"]["said"]

    came(writer, span=1, parent=0)
    came(writer, span=3, parent=2, flags=0x100)
    settled(1, ((1, 0), (3, 1)))
    assert shown() == (False, None)

    still_open(writer, 2, "inner")
    assert shown() == (True, "settled in part: inner has not ended")


@pytest.mark.parametrize(
    ("parents", "shown"),
    [
        ({1: 2, 2: 1, 3: 2}, [(1, 0, 0), (2, 1, 1), (3, 2, 2)]),
        ({1: 1, 2: 1}, [(1, 0, 0), (2, 1, 1)]),
        ({1: 3, 2: 1, 3: 2, 4: 0}, [(4, 0, 0), (1, 0, 0), (2, 1, 1), (3, 2, 2)]),
        ({2: 1}, [(2, 1, 0)]),
    ],
)
def test_who_follows_parents_comes_to_a_root(
    settled: Settled, writer: Writer, reader: Opened, parents: dict[int, int], shown: list[tuple[int, int, int]]
) -> None:
    """Of spans in a circle the first is one, also where that has settled; what has not come may be named."""
    first = next(iter(parents))
    for span, parent in parents.items():
        came(writer, span=span, parent=parent, start_ns=START + span)

    def rows() -> list[tuple[int, int, int]]:
        found = one_trace(reader(), ONE)["observations"]
        return [(int(row["id"], 16), int(row["parentObservationId"] or "0", 16), row["depth"]) for row in found]

    assert rows() == shown
    if len(parents) > 1:
        settled(1, tuple((span, 0 if span == first else parent) for span, parent in parents.items()))
        assert rows() == shown


def test_parents_elsewhere_do_not_hide_the_one_that_is_missing_here(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    settled(1)
    for number in range(21):
        came(writer, span=100 + number, parent=200 + number, flags=0x300)
    assert one_trace(reader(), ONE)["unfinished"] is None

    came(writer, span=9, parent=8, flags=0x100, start_ns=START + 60)
    assert one_trace(reader(), ONE)["unfinished"]["parents"] == [f"{8:016x}"]


def test_a_span_that_nothing_stands_for_is_shown_in_its_place(settled: Settled, writer: Writer, reader: Opened) -> None:
    """Late ones, and those a processor dropped; those that settled are not shown twice."""
    settled(1, ((1, 0), (2, 1)))
    came(writer, span=9, parent=1)
    came(writer, span=2, parent=1)

    rows = one_trace(reader(), ONE)["observations"]
    assert [(int(row["id"], 16), row["depth"], row["settled"]) for row in rows] == [
        (1, 0, True), (2, 1, True), (9, 1, False),
    ]  # fmt: skip


def test_an_observation_holds_all_it_said(settled: Settled, writer: Writer, reader: Opened) -> None:
    """Events and log records come once: what translation made of them is not shown again, what it left is."""
    left = {
        "otel.events": [
            {"name": "retry", "time_ns": START, "attributes": {"attempt": 2}},
            {"name": "token", "time_ns": START, "last_time_ns": START + 10**9, "count": 3000},
        ],
        "otel.logs": [{"time_ns": START, "severity": "INFO", "body": "hello"}],
    }
    settled(1, observation={"input": {"q": 1}, "metadata": {"a": "b", **left}, "usage": {"total": 3}, "model": "m"})
    came(writer, span=1, parent=0)

    found = one_observation(reader(), ONE, f"{1:016x}")
    assert (found["input"], found["metadata"], found["usageDetails"], found["model"]) == (
        {"q": 1}, {"a": "b"}, {"total": 3}, "m",
    )  # fmt: skip
    time = "2023-11-14T22:13:20.000000Z"
    last = "2023-11-14T22:13:21.000000Z"
    assert found["events"] == [
        {"time": time, "name": "retry", "attributes": {"attempt": 2}},
        {"time": time, "lastTime": last, "count": 3000, "name": "token", "attributes": {}},
    ]
    assert (f"{time} · token · 3000 until {last}", "") in dict(transcript(found))["Events"]
    assert found["logs"] == [{"time": time, "name": None, "severity": "INFO", "body": "hello", "attributes": {}}]
    assert (found["eventCount"], found["logCount"]) == (2, 1)


def test_an_event_for_each_token_leaves_the_metadata_readable(settled: Settled, reader: Opened) -> None:
    tokens = [{"name": "token", "time_ns": START + i, "attributes": {"text": "x" * 10_000}} for i in range(300)]
    settled(1, observation={"metadata": {"a": "b", "otel.events": tokens}})

    found = one_observation(reader(), ONE, f"{1:016x}")
    assert found["metadata"] == {"a": "b"}
    assert (len(found["events"]), found["eventCount"]) == (200, 300)
    assert len(orjson.dumps(found)) < 2_000_000


@pytest.mark.parametrize("odd", ["text", [1], [{"name": "x"}], [{"time_ns": "now"}], {"time_ns": 1}])
def test_an_attribute_that_is_called_as_events_are_stays_metadata(
    settled: Settled, reader: Opened, odd: object
) -> None:
    settled(1, observation={"metadata": {"otel.events": odd}})

    found = one_observation(reader(), ONE, f"{1:016x}")
    assert (found["metadata"], found["events"]) == ({"otel.events": odd}, [])


def test_an_observation_may_be_called_by_its_name(settled: Settled, writer: Writer, reader: Opened) -> None:
    """By what the tree calls it, or by what its span is called; an id in full is never ambiguous."""
    settled(1, ((1, 0), (0x10 << 56, 1), (0x11 << 56, 1), (0x1 << 60, 1)))
    came(writer, span=0x11 << 56, parent=1)

    called = {
        said: one_observation(reader(), ONE, said)["id"][:2] for said in ("observation 1", "11", "running", "unni")
    }
    assert called == {"observation 1": "00", "11": "11", "running": "11", "unni": "11"}
    with pytest.raises(UsageError, match=f"give the id of one, as {0x11 << 56:x}, {0x10 << 56:x}"):
        one_observation(reader(), ONE, "1")
    with pytest.raises(UsageError, match="answer to 'observation'"):
        one_observation(reader(), ONE, "observation")
    for nothing in ("ff", "observations", "%", "\ud800"):
        with pytest.raises(NotFoundError):
            one_observation(reader(), ONE, nothing)


def test_a_full_trace_holds_what_its_observations_hold(
    settled: Settled, writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page where that is much; those that have not settled are among them."""
    monkeypatch.setattr("otel_bridge.query.traces.FULL_BYTES", 3000)
    settled(1, ((1, 0), *((child, 1) for child in range(2, 9))), observation={"input": "x" * 1000})
    came(writer)

    pages = [one_trace(reader(), ONE, full=True)]
    while pages[-1]["nextCursor"]:
        pages.append(one_trace(reader(), ONE, full=True, cursor=pages[-1]["nextCursor"]))
    rows = [row for page in pages for row in page["observations"]]
    assert len(pages) == 3
    assert [int(row["id"], 16) for row in rows] == list(range(1, 10))
    for row in rows:
        depth = row.pop("depth")
        assert {**row, "tenant": "default", "otherTenants": []} == one_observation(reader(), ONE, row["id"])
        assert depth == (row["id"] != f"{1:016x}")


def test_an_observation_shows_its_resource_and_is_found_by_it(settled: Settled, reader: Opened) -> None:
    settled(1, observation={"resource": {"service.name": "ägents", "host": "of one"}})

    assert one_observation(reader(), ONE, f"{1:016x}")["resource"] == {"service.name": "ägents", "host": "of one"}
    assert [trace["id"] for trace in list_traces(reader(), "ägents")["traces"]] == [ONE]
    assert list_traces(reader(), "nobody")["traces"] == []


def test_a_span_shows_its_attributes_until_it_settles(writer: Writer, reader: Opened) -> None:
    """JSON has no NaN; it is shown as text."""
    came(writer)

    found = one_observation(reader(), ONE, f"{9:016x}")
    assert (found["metadata"], found["resource"], found["scope"], found["statusMessage"]) == (
        {"ratio": "NaN"}, {"service.name": "agents"}, {"name": "acme"}, "broke",
    )  # fmt: skip


def test_long_content_is_cut(settled: Settled, reader: Opened) -> None:
    settled(1, input="x" * 3_000_000, name="n" * 5000, observation={"output": ["y" * 3_000_000]})

    trace = one_trace(reader(), ONE)
    observation = one_observation(reader(), ONE, f"{1:016x}")
    assert len(trace["name"]) < 300
    assert SHOWN_CHARACTERS < len(trace["input"]) < SHOWN_CHARACTERS + 100
    assert observation["output"].endswith("(3000004 characters, cut)")


def test_a_tree_comes_in_pages(settled: Settled, reader: Opened) -> None:
    settled(1, ((1, 0), *((child, 1) for child in range(2, 12))))

    first = one_trace(reader(), ONE, limit=4)
    second = one_trace(reader(), ONE, limit=100, cursor=first["nextCursor"])
    assert [int(row["id"], 16) for row in first["observations"] + second["observations"]] == list(range(1, 12))
    assert second["nextCursor"] is None


def test_what_is_said_of_a_whole_trace_is_found_out_once_and_never_instead_of_the_trace(
    writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    came(writer, parent=1)
    came(writer, span=10, parent=1)
    first = one_trace(reader(), ONE, limit=1)
    second = one_trace(reader(), ONE, limit=1, cursor=first["nextCursor"])
    assert (first["scoreCount"], first["unfinished"]["parents"]) == (0, [f"{1:016x}"])
    assert (second["scoreCount"], second["unfinished"]) == (None, None)

    monkeypatch.setattr("otel_bridge.store.reader.STEPS_BETWEEN_LOOKS", 1)
    late = reader()
    ask = late.rows

    def rows(sql: str, values: Any = ()) -> list[dict[str, Any]]:
        if sql in WHAT_IS_OPEN.values():
            late._deadline = 0
        return ask(sql, values)

    monkeypatch.setattr(late, "rows", rows)
    assert one_trace(late, ONE, limit=1) == {**first, "unfinished": None}


def test_a_page_of_a_tree_begins_where_the_one_before_ended(settled: Settled, writer: Writer, reader: Opened) -> None:
    """Also where a span has come meanwhile that stands before it: none comes twice, and none is passed over."""
    settled(1, ((1, 0), *((child, 1) for child in range(2, 12))))
    first = one_trace(reader(), ONE, limit=4)
    came(writer, span=99, parent=0, start_ns=START - 10**9)
    rest = one_trace(reader(), ONE, limit=100, cursor=first["nextCursor"])

    assert one_trace(reader(), ONE)["observations"][0]["id"] == f"{99:016x}"
    assert [int(row["id"], 16) for row in first["observations"] + rest["observations"]] == list(range(1, 12))


def test_an_id_may_be_short(settled: Settled, writer: Writer, reader: Opened) -> None:
    settled(1)
    for tenant in ("default", "acme"):
        settled(0xAB << 120, tenant=tenant)
    settled(0xAC << 120)

    assert one_trace(reader(), "AB")["id"] == f"{0xAB << 120:032x}"
    assert one_trace(reader(), "last")["id"] == f"{0xAC << 120:032x}"
    with pytest.raises(UsageError, match="several"):
        one_trace(reader(), "a")
    for nothing in ("bb", "", "x' OR 1", "%", "\ud800"):
        with pytest.raises(NotFoundError):
            one_trace(reader(), nothing)


def test_an_empty_store_has_no_last_trace(reader: Opened) -> None:
    with pytest.raises(NotFoundError, match="no trace yet"):
        one_trace(reader(), "last")


@pytest.mark.parametrize("cursor", ["", "x", "bm8=", "W10=", "WyJhIl0=", "WzFlMzAwLCJhIiwiYiJd", "é"])
def test_a_cursor_from_elsewhere_is_refused(reader: Opened, cursor: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        list_traces(reader(), cursor=cursor)


@pytest.mark.parametrize("asked", [{"limit": 0}, {"limit": 10_000}, {"sort": "name"}, {"sort": "--start"}])
def test_odd_wishes_are_refused(reader: Opened, asked: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        list_traces(reader(), **asked)  # type: ignore[arg-type]  # odd on purpose


def test_a_slow_question_is_interrupted(writer: Writer, reader: Opened) -> None:
    asking = reader()
    asking._deadline = 0

    with pytest.raises(SlowQuestionError, match="narrow the filter"):
        asking.rows("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")


def test_sessions_gather_their_traces(settled: Settled, reader: Opened) -> None:
    for number in range(1, 7):
        settled(number, start_s=number, session_id=f"s/{number % 3}", error=number == 6)
    settled(7)

    first = list_sessions(reader(), limit=2)
    rest = list_sessions(reader(), limit=2, cursor=first["nextCursor"])
    one = one_session(reader(), "s/0")
    assert [session["id"] for session in first["sessions"] + rest["sessions"]] == ["s/0", "s/2", "s/1"]
    assert (one["traceCount"], one["errorCount"], one["durationMs"]) == (2, 1, 4000.0)
    assert [int(trace["id"], 16) for trace in one["traces"]] == [6, 3]
    with pytest.raises(NotFoundError):
        one_session(reader(), "s")


def test_a_session_is_told_as_a_conversation(settled: Settled, writer: Writer, reader: Opened) -> None:
    """In order, of each turn what is new; who takes part; and the turn that runs."""
    system, hi, hello = ({"role": role, "content": role} for role in ("system", "user", "assistant"))
    more = {"role": "user", "content": "x" * TURN_CHARACTERS}
    settled(1, session_id="s", user_id="ada", input=[system, hi], output=hello)
    settled(2, session_id="s", user_id="bob", start_s=1, input={"messages": [system, hi, hello, more]}, output="yes")
    settled(3, session_id="s", user_id="ada", start_s=2, input=[hi, hello])
    settled(4, session_id="s", start_s=3, input={"city": "Oslo"}, output=0)
    run = [hi, *({**hello, "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "sunny"})]
    settled(5, session_id="s", start_s=4, input=[system, hi, hello, *run], output="it is")

    told = one_session(reader(), "s", sort="start", turns=True)
    assert told["userIds"] == ["ada", "bob"]
    turns = [(turn["input"], turn["output"]) for turn in told["traces"]]
    assert turns[0] == ([hi], hello)
    assert turns[1][0].endswith("characters, cut)")
    assert [turns[1][1], *turns[2:]] == ["yes", ([hello], None), ({"city": "Oslo"}, 0), (run, "it is")]
    assert "input" not in one_session(reader(), "s")["traces"][0]


def test_who_else_has_a_trace_or_a_session_of_one_id_is_told_and_can_be_chosen(
    settled: Settled, reader: Opened
) -> None:
    for seconds, tenant in enumerate(("default", "beta", "acme")):
        settled(1, tenant=tenant, name=f"of {tenant}", session_id="s", start_s=seconds)
    settled(2, tenant="beta", session_id="mine")

    for said, is_of, others in ((None, "default", ["acme", "beta"]), ("beta", "beta", ["acme", "default"])):
        found = one_trace(reader(), ONE, tenant=said)
        assert (found["name"], found["otherTenants"]) == (f"of {is_of}", others)
        one = one_observation(reader(), ONE, "observation 1", tenant=said)
        assert (one["tenant"], one["otherTenants"]) == (is_of, others)
    assert one_trace(reader(), f"{2:032x}")["otherTenants"] == []

    assert [one["tenants"] for one in list_sessions(reader())["sessions"]] == [["acme", "beta", "default"], ["beta"]]
    assert [one["id"] for one in list_sessions(reader(), tenant="acme")["sessions"]] == ["s"]
    assert list_sessions(reader(), tenant="new", tenants=["new"])["sessions"] == []
    with pytest.raises(UsageError, match="no tenant 'bet', did you mean beta"):
        list_sessions(reader(), tenant="bet")
    assert one_session(reader(), "s")["traceCount"] == 3
    mine = one_session(reader(), "s", tenant="acme")
    assert (mine["tenants"], [trace["name"] for trace in mine["traces"]]) == (["acme"], ["of acme"])
    with pytest.raises(NotFoundError, match="no session 'mine' of the tenant 'acme'"):
        one_session(reader(), "mine", tenant="acme")


def test_scores_come_with_their_trace(settled: Settled, reader: Opened) -> None:
    settled(
        1,
        scores=(
            Score("a", "helpful", 0.5, "NUMERIC", START, trace_id=ONE, observation_id=f"{1:016x}"),
            Score("b", "tone", "kind", "CATEGORICAL", START + 1, trace_id=ONE, comment="very"),
        ),
    )

    shown = [(score["name"], score["value"], score["observationId"]) for score in one_trace(reader(), ONE)["scores"]]
    assert shown == [("helpful", 0.5, f"{1:016x}"), ("tone", "kind", None)]
    assert [score["name"] for score in list_scores(reader())["scores"]] == ["tone", "helpful"]


def test_what_a_judge_wrote_can_be_read_and_no_answer_grows_without_bounds(
    settled: Settled, writer: Writer, reader: Opened
) -> None:
    comment = "Because of this, and that. " * 100
    long = {"name": "n" * 2**20, "status_message": "s" * 2**21, "resource": {"r": "r" * 2**21}, "model": "m" * 2**20}
    scores = [
        Score(f"{number:03}", "judged", "l" * 2**16, "TEXT", START + number, trace_id=ONE,
              comment=comment if number == 0 else "c" * 2**16, metadata={"m": "m" * 2**16})
        for number in range(201)
    ]  # fmt: skip
    settled(1, scores=tuple(scores), observation=long)
    came(writer, span=9, parent=1, service="x" * 2**21, message="x" * 2**21)

    found = one_trace(reader(), ONE)
    assert found["scores"][0]["comment"] == comment
    assert (len(found["scores"]), found["scoreCount"]) == (200, 201)
    assert len(outline(found)) < 200_000
    assert len(orjson.dumps(found)) < 4_000_000
    for span in (1, 9):
        assert len(orjson.dumps(one_observation(reader(), ONE, f"{span:016x}"))) < 2_000_000


def test_a_deep_tree_needs_no_deep_stack() -> None:
    ordered = in_tree_order((str(i), str(i - 1)) for i in range(20_000))

    assert ordered[-1] == ("19999", 19_999)
    assert len(guides([depth for _, depth in ordered])[-1]) < 200


@given(st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 12)), max_size=20))
def test_whatever_the_parents_say_every_node_comes_once(pairs: list[tuple[int, int | None]]) -> None:
    """Missing parents, circles and self-parents included; a child always comes one deeper than its parent, below it."""
    nodes = [(str(node), None if parent is None else str(parent)) for node, parent in pairs]
    ordered = in_tree_order(nodes)

    assert sorted(node for node, _ in ordered) == sorted({node for node, _ in nodes})
    for above, below in zip([("", -1), *ordered], ordered, strict=False):
        assert below[1] <= above[1] + 1


def test_guides_draw_the_tree() -> None:
    assert guides([0, 1, 2, 1, 2, 0]) == ["", "├─ ", "│  └─ ", "└─ ", "   └─ ", ""]


@pytest.mark.parametrize("first", ["what came", "what became of it"])
def test_what_is_left_out_stays_visible_and_says_why(writer: Writer, reader: Opened, first: str) -> None:
    """Whole traces and single spans, in whichever order the store hears of them."""
    left = [
        Omitted("", ONE, "budget", Decision.SAMPLED_OUT),
        Omitted(f"{9:016x}", ONE, "noise:fastapi"),
    ]
    steps = [lambda: came(writer, span=9, parent=0), lambda: writer.settled(Translation(dropped=left))]
    for step in steps if first == "what came" else reversed(steps):
        step()

    [trace] = list_traces(reader(), "status:sampled_out")["traces"]
    [span] = one_trace(reader(), ONE)["observations"]
    assert (trace["omitted"], trace["settled"], trace["totalTokens"]) == ("sampled_out:budget", False, None)
    assert (span["omitted"], span["settled"]) == ("noise:fastapi", False)
    assert not list_traces(reader(), "status:open")["traces"]
    assert not list_traces(reader(), "status:filtered")["traces"]
