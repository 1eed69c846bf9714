"""Where the time goes, and what could run at once."""

from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.store.writer import Writer
from tests.query.conftest import Opened
from tests.query.detectors.spans import came, found, span

CHAT = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "m"}


def tool(number: int, start: float, end: float, name: str = "search", **said: Any) -> Span:
    return span(number, 1, start, end, name=name, gen_ai__operation__name="execute_tool", **said)


def said(asked: str, answered: str = "") -> dict[str, str]:
    return {"gen_ai__tool__call__arguments": asked, **({"gen_ai__tool__call__result": answered} if answered else {})}


def says(reader: Opened) -> list[str]:
    return [one["says"] for one in found(reader(), "bottlenecks")]


def test_the_slowest_is_named_with_its_part_of_the_time(writer: Writer, reader: Opened) -> None:
    came(
        writer, span(1, 0, 0, 2.4, name="document.process"), span(2, 1, 0, 0.1, name="parse"),
        span(3, 1, 0.1, 2.3, name="panel"), span(4, 3, 0.2, 2.0, name="distributeToPanel"),
        span(5, 3, 0.2, 0.9, name="notify"),
    )  # fmt: skip
    first, second = found(reader(), "bottlenecks")
    assert first["says"] == "distributeToPanel takes 75% of the time: 1.8 s in 1 trace"
    assert (first["severity"], first["observationIds"]) == ("info", [f"{4:016x}"])
    assert first["numbers"] == {"ownMs": 1800.0, "share": 0.75, "times": 1, "slowestMs": 1800.0}
    assert second["says"].startswith("panel takes 17% of the time: 400 ms")


def test_over_many_traces_names_are_added_up_and_the_slowest_comes_first(writer: Writer, reader: Opened) -> None:
    for number, seconds in ((1, 1.0), (2, 3.0), (3, 2.0)):
        came(
            writer, span(1, 0, 0, seconds + 0.05, trace=number, name="agent"),
            span(2, 1, 0, seconds, trace=number, name="chat m", **CHAT),
        )  # fmt: skip
    [one] = found(reader(), "bottlenecks")
    assert one["says"] == "chat m takes 98% of the time: 6.0 s in 3 traces, the slowest 3.0 s"
    assert one["traceIds"] == [f"{number:032x}" for number in (2, 3, 1)]
    assert "smaller model" in one["remedy"]


def test_nothing_is_said_of_what_is_quick_or_alone(writer: Writer, reader: Opened) -> None:
    came(writer, span(1, 0, 0, 0.05), span(2, 1, 0, 0.04), span(3, trace=2, end=60))

    assert says(reader) == []


def test_advice_is_not_given_unasked(writer: Writer, reader: Opened) -> None:
    came(writer, span(1), span(2, 1))

    assert says(reader)
    assert found(reader()) == []


def test_calls_one_after_another_that_need_nothing_of_each_other(writer: Writer, reader: Opened) -> None:
    came(
        writer, span(1, end=1.3, name="agent"), tool(2, 0, 0.4, **said('{"city": "Lisbon"}', "21 degrees")),
        tool(3, 0.41, 0.8, **said('{"city": "Porto"}', "20 degrees")), tool(4, 0.8, 1.2, **said('{"city": "Faro"}')),
    )  # fmt: skip
    one = found(reader(), "bottlenecks")[-1]
    assert (
        one["says"] == "3 calls of search ran one after another, and could run at once: that would save 790 ms of 1.3 s"
    )
    assert one["observationIds"] == [f"{number:016x}" for number in (2, 3, 4)]
    assert "TaskGroup" in one["remedy"]


@pytest.mark.parametrize(
    "spans",
    [
        [tool(2, 0, 0.4, **said("weather", "found document 4711")), tool(3, 0.4, 0.8, "fetch", **said("4711"))],
        [tool(2, 0, 0.4, **said("weather")), tool(3, 0.4, 0.8, "fetch")],
        [tool(2, 0, 0.4, **said("weather", "no")), tool(3, 0.4, 0.8, **said("weather", "21"))],
        [tool(2, 0, 0.4, status=2), tool(3, 0.4, 0.8)],
        [tool(2, 0, 0.4), tool(3, 0.1, 0.5)],
        [tool(2, 0, 0.4), tool(3, 0.6, 1.0)],
        [tool(2, 0, 0.4), span(4, 1, 0.4, 0.41, name="chat m", **CHAT), tool(3, 0.42, 0.8)],
        [tool(2, 0, 0.15), tool(3, 0.15, 0.3)],
    ],
    ids=["needs the answer", "nothing is known", "the same again", "failed", "at once", "thinks", "asks", "quick"],
)
def test_what_has_its_reason_runs_on(writer: Writer, reader: Opened, spans: list[Span]) -> None:
    came(writer, span(1, end=1.2), *spans)

    assert not [one for one in says(reader) if "at once" in one]


def test_where_nothing_was_taken_down_calls_of_one_thing_are_apart(writer: Writer, reader: Opened) -> None:
    came(writer, span(1, end=1), tool(2, 0, 0.4), tool(3, 0.4, 0.8))

    assert "2 calls of search ran one after another" in says(reader)[-1]
