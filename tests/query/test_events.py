"""Log records: which are found, in what order, and that no answer is without bounds."""

from collections.abc import Iterator
from pathlib import Path
from time import time_ns

import apsw
import orjson
import pytest

from otel_bridge.errors import UsageError
from otel_bridge.query.events import ANY, OF_NAME, OF_TRACE, SQL, list_events
from otel_bridge.query.find import NotFoundError
from otel_bridge.store.database import open_reading
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from tests.query.conftest import START, Opened
from tests.query.records import logged
from tests.query.spans import still_open

HOUR_NS = 3600 * 10**9


class Clock:
    """When records come."""

    def __init__(self) -> None:
        self.now_ns = time_ns() - 3 * HOUR_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(tmp_path: Path, clock: Clock) -> Iterator[Writer]:
    opened = Writer(tmp_path / "store.db", max_age_s=1e9, max_bytes=1 << 30, counters=Counters(), now_ns=clock)
    yield opened
    opened.close()


def bodies(found: dict[str, list[dict[str, object]]]) -> list[object]:
    return [event["body"] for event in found["events"]]


def test_all_that_came_is_listed_with_what_it_says(writer: Writer, reader: Opened, clock: Clock) -> None:
    """Also what names no trace; but not what only tells that a span is open."""
    logged(writer, "file.created", trace=1, span=2, attributes={"path": "a.md"}, severity_number=10, service="scribe")
    clock.now_ns += 1000
    logged(writer, body="a plain line", time_unix_nano=0, severity_text="WARNING", service="")
    still_open(writer, 1, "running")

    line, event = list_events(reader())["events"]
    assert event == {
        "name": "file.created", "time": "2023-11-14T22:13:20.000000Z", "seenTime": event["seenTime"],
        "severity": "INFO", "tenant": "default", "traceId": f"{1:032x}", "observationId": f"{2:016x}", "scope": "acme",
        "service": "scribe", "body": None, "attributes": {"path": "a.md"},
    }  # fmt: skip
    assert (line["body"], line["severity"], line["name"], line["traceId"]) == ("a plain line", "WARNING", None, None)
    assert line["time"] == line["seenTime"] > event["seenTime"]
    assert line["service"] is None


def test_newest_is_what_came_last_and_not_what_says_the_latest_time(
    writer: Writer, reader: Opened, clock: Clock
) -> None:
    for number, said_ns in enumerate((START, START + HOUR_NS, START - HOUR_NS)):
        logged(writer, body=str(number), time_unix_nano=said_ns)
        clock.now_ns += HOUR_NS

    assert bodies(list_events(reader())) == ["2", "1", "0"]
    assert bodies(list_events(reader(), last="90m")) == ["2"]
    assert bodies(list_events(reader(), last="150m")) == ["2", "1"]
    assert bodies(list_events(reader(), last="9" * 400 + "d")) == ["2", "1", "0"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("file.created", {"file.created"}),
        ("file.*", {"file.created", "file.deleted"}),
        ("*.deleted", {"file.deleted", "dir.deleted"}),
        ("f*.*d", {"file.created", "file.deleted"}),
        ("*", {"file.created", "file.deleted", "dir.deleted", "odd[1]?", "File.created"}),
        ("odd[1]?", {"odd[1]?"}),
        ("odd[1]*", {"odd[1]?"}),
        ("odd?1*", set()),
        ("file", set()),
        ("otel_bridge.span.*", set()),
        ("otel_bridge.span.heartbeat", set()),
        ("file.\ud800", set()),
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_events_are_found_by_name(
    writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch, pattern: str, found: set[str], many: bool
) -> None:
    """By the index of names, and, where a pattern fits too many of them, among all; of one trace as of all."""
    for name in ("file.created", "file.deleted", "dir.deleted", "odd[1]?", "File.created", ""):
        logged(writer, name, "x", trace=1)
    still_open(writer, 1, "running")
    if many:
        monkeypatch.setattr("otel_bridge.query.events.MAX_NAMES", 0)

    assert {event["name"] for event in list_events(reader(), pattern)["events"]} == found
    assert {event["name"] for event in list_events(reader(), pattern, trace=f"{1:032x}")["events"]} == found


@pytest.mark.parametrize("pattern", ["", "e.*", "e.1"])
def test_pages_hold_each_record_once(writer: Writer, reader: Opened, clock: Clock, pattern: str) -> None:
    """Where many came at once, and where more come meanwhile."""
    for number in range(20):
        logged(writer, f"e.{number % 2}", str(number))
        clock.now_ns += number % 3 == 0
    expected = [str(number) for number in reversed(range(20)) if pattern != "e.1" or number % 2]

    found, cursor = [], None
    while True:
        page = list_events(reader(), pattern, 3, cursor)
        assert len(page["events"]) <= 3
        found += bodies(page)
        logged(writer, "e.1", "later")
        if (cursor := page["nextCursor"]) is None:
            break
    assert found == expected


def test_no_answer_is_without_bounds(writer: Writer, reader: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        logged(writer, "n" * 10_000, "b" * 2**20, attributes={"a": f"{number}" * 2**20}, service="s" * 2**21)
    assert len(orjson.dumps(list_events(reader()))) < 4 * 12_000

    monkeypatch.setattr("otel_bridge.query.events.PAGE_BYTES", 3 << 20)
    first = list_events(reader())
    rest = list_events(reader(), cursor=first["nextCursor"])
    assert (len(first["events"]), len(rest["events"]), rest["nextCursor"]) == (2, 2, None)


def test_records_of_a_trace(writer: Writer, reader: Opened) -> None:
    """Its id may be short, and nothing else of the trace need have come."""
    one, other = "ab" + "0" * 30, "abc" + "0" * 29
    logged(writer, body="one", trace=one)
    logged(writer, body="other", trace=other, tenant="acme")
    logged(writer, body="none")

    assert bodies(list_events(reader(), trace="AB0")) == ["one"]
    assert bodies(list_events(reader(), trace=other)) == ["other"]
    assert bodies(list_events(reader(), trace="ab", tenant="acme")) == ["other"]
    with pytest.raises(UsageError, match="several traces begin with 'ab'"):
        list_events(reader(), trace="ab")
    for unknown in ("ff", "no id", "last"):
        with pytest.raises(NotFoundError):
            list_events(reader(), trace=unknown)


def test_records_of_a_tenant(writer: Writer, reader: Opened) -> None:
    logged(writer, body="ours")
    logged(writer, body="theirs", tenant="acme")

    assert bodies(list_events(reader())) == ["theirs", "ours"]
    assert bodies(list_events(reader(), tenant="acme")) == ["theirs"]
    assert list_events(reader(), tenant="beta", tenants=("beta",))["events"] == []
    with pytest.raises(UsageError, match="no tenant 'betta', did you mean beta"):
        list_events(reader(), tenant="betta", tenants=("beta",))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"limit": 0}, "1 to 200"),
        ({"limit": 201}, "1 to 200"),
        ({"pattern": "*" * 257}, "256 at most"),
        ({"last": "soon"}, "write it as 500ms, 10s"),
        ({"cursor": "x"}, "begin again without one"),
        ({"cursor": "WzEsICJhIl0="}, "begin again without one"),
    ],
)
def test_what_can_not_be_used_is_said(writer: Writer, reader: Opened, asked: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        list_events(reader(), **asked)


def test_an_index_leads_to_what_is_asked_for(writer: Writer, tmp_path: Path) -> None:
    """Nothing is gone through that is not asked for, and nothing is sorted but the records of one trace."""
    connection: apsw.Connection = open_reading(tmp_path / "store.db")

    def plan(sql: str) -> str:
        values = dict.fromkeys(("name", "trace", "since_ns", "tenant", "seen_ns", "row", "limit", "pattern", "most"))
        return " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))

    pages = {condition: plan(SQL["page"].format(condition=condition)) for condition in (ANY, OF_NAME, OF_TRACE)}
    assert pages[ANY] == "SEARCH logs USING INDEX logs_by_seen (seen_ns>? AND seen_ns<?)"
    assert pages[OF_NAME] == "SEARCH logs USING INDEX logs_by_name (event_name=? AND seen_ns>? AND seen_ns<?)"
    assert "SEARCH logs USING INDEX logs_by_trace (trace_id=?)" in pages[OF_TRACE]
    assert "SEARCH logs USING COVERING INDEX logs_by_name (event_name>?)" in plan(SQL["names"])
    connection.close()
