"""What is looked at, and how what was found is told."""

from pathlib import Path

import pytest

from otel_bridge.errors import UsageError
from otel_bridge.query import detect as asking
from otel_bridge.query.detect import chosen, detect, detectors, window
from otel_bridge.query.detector import MAX_FINDINGS, Detector, Finding, Severity
from otel_bridge.store.reader import reading
from otel_bridge.store.writer import Writer
from otel_bridge.telemetry import Counters
from tests.query.conftest import START, Opened
from tests.query.detectors.spans import SECOND, came, span


def test_the_newest_traces_of_the_time_are_looked_at_as_many_as_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MAX_SPANS", 5)
    now = [START]
    path = tmp_path / "store.db"
    writer = Writer(path, max_age_s=1e9, max_bytes=1 << 30, counters=Counters(), now_ns=lambda: now[0])
    for number in (1, 2, 3, 4):
        now[0] = START + number * 60 * SECOND
        came(writer, *[span(each, trace=number) for each in (1, 2)], tenant="acme" if number == 4 else "default")

    def seen(last: str, tenant: str | None = None) -> tuple[list[int], bool]:
        with reading(path) as reader:
            found = window(reader, last, tenant=tenant, now_ns=START + 240 * SECOND)
        return [int(trace_id, 16) for trace_id, _ in found.traces], found.is_cut

    assert seen("1m") == ([4, 3], False)
    assert seen("1h") == ([4, 3], True)
    assert seen("2m", "default") == ([3, 2], False)
    monkeypatch.setattr(asking, "MAX_TRACES", 1)
    assert seen("1h") == ([4], True)
    monkeypatch.setattr(asking, "MAX_SPANS", 1)
    assert seen("1m") == ([], True), "none that is larger than all of the room is read"
    monkeypatch.setattr(asking, "MAX_TRACES", 9)
    monkeypatch.setattr(asking, "MAX_SPANS", 2)
    came(writer, span(3, trace=4), tenant="acme")
    assert seen("1m") == ([3], True), "the next ones are"
    writer.close()


@pytest.mark.parametrize("last", ["", "0s", "-1h", "an hour", "9" * 400 + "d", "1e9d", "99999d"])
def test_a_time_that_is_none_is_refused(reader: Opened, writer: Writer, last: str) -> None:
    with pytest.raises(UsageError, match=r"last is|is no duration"):
        detect(reader(), last=last)


def test_a_detector_or_tenant_that_there_is_not_is_refused(reader: Opened, writer: Writer) -> None:
    with pytest.raises(UsageError, match="no detector 'staled', did you mean stalled"):
        detect(reader(), ["staled"])
    with pytest.raises(UsageError, match="no tenant 'nobody'"):
        detect(reader(), tenant="nobody")


def test_advice_is_given_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [Detector(name, "", lambda reader, window: [], is_advice=name == "advice") for name in ("advice", "fault")]
    monkeypatch.setattr(asking, "detectors", lambda: some)

    assert [[one.name for one in chosen(names)] for names in ([], ["advice"], ["fault", "advice"])] == [
        ["fault"], ["advice"], ["advice", "fault"],
    ]  # fmt: skip


def test_the_worst_comes_first_and_no_detector_floods(
    monkeypatch: pytest.MonkeyPatch, reader: Opened, writer: Writer
) -> None:
    def many(severity: Severity) -> Detector:
        one = Finding(severity, severity, "x" * 5000, "y", "default", ["1"] * 500, ["2"] * 500)
        return Detector(severity, "", lambda reader, window: [one] * (MAX_FINDINGS + 50))

    monkeypatch.setattr(
        asking, "detectors", lambda: [many(Severity.INFO), many(Severity.WARNING), many(Severity.ERROR)]
    )
    found = detect(reader())["findings"]

    kinds = [one["kind"] for one in found]
    assert kinds == ["error"] * MAX_FINDINGS + ["warning"] * MAX_FINDINGS + ["info"] * MAX_FINDINGS
    assert (len(found[0]["says"]), len(found[0]["traceIds"])) == (1001, 100)


def test_the_detectors_are_the_files() -> None:
    folder = Path(asking.folder.__path__[0])
    assert [one.name for one in detectors()] == sorted(
        file.stem for file in folder.glob("*.py") if file.stem != "__init__"
    )
