"""Lists to page through, and one trace: whole, or page by page."""

from typing import Any

import pytest

from otel_bridge.errors import UsageError
from otel_bridge.model import Omitted, Translation
from otel_bridge.query.answer import SHOWN_CHARACTERS
from otel_bridge.query.find import NotFoundError
from otel_bridge.query.observations import one_observation
from otel_bridge.query.sessions import list_sessions, one_session
from otel_bridge.query.traces import list_traces, one_trace
from otel_bridge.query.unfinished import SQL as WHAT_IS_OPEN
from otel_bridge.store.reader import SlowQuestionError
from otel_bridge.store.writer import Writer
from otel_bridge.trace import Decision
from tests.query.conftest import Opened, Settled
from tests.query.spans import ONE, START, came


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("sort", "shown"),
    [
        ("start", "startTime"),
        ("duration", "durationMs"),
        ("tokens", "totalTokens"),
        ("cost", "totalCost"),
        ("errors", "errorCount"),
    ],
)
def test_pages_hold_every_trace_once_in_order(
    settled: Settled, reader: Opened, sort: str, shown: str, descending: bool
) -> None:
    for number in range(1, 24):
        said = {"usage": {"total": number % 4}, "cost": {"total": number % 6}}
        settled(number, start_s=number % 5, seconds=number % 3, error=number % 2 == 0, observation=said)

    seen: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = list_traces(reader(), sort=f"-{sort}" if descending else sort, limit=5, cursor=cursor)
        seen += answer["traces"]
        cursor = answer["nextCursor"]
        if cursor is None:
            break

    assert len({trace["id"] for trace in seen}) == len(seen) == 23
    found = [trace[shown] for trace in seen]
    assert found == sorted(found, reverse=descending)
    assert len(set(found)) > 1


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
