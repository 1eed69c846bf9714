"""Where a span or a trace is: on its way, delivered, set aside or given up."""

import pytest

from otel_bridge.delivery import JOURNAL_DIR, locate
from otel_bridge.errors import RefusedError, UsageError
from tests.delivery.conftest import House, Sink, gather
from tests.delivery.letters import picky, set_aside


async def test_a_span_is_found_wherever_it_is(house: House, sinks: type[Sink]) -> None:
    store, langfuse = sinks(), sinks()
    store.trouble = picky
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.delivery.operator.pause("langfuse")
    await house.append("agent", "poison", trace=1)
    await house.settle()
    await set_aside(house, 1)
    await house.append("open", trace=2)
    await store.has(2)
    await house.caught_up()
    await house.state.flush()

    def places(**wanted: str) -> dict[tuple[str, str], str]:
        found = locate(house.directory, gather=gather, **wanted)
        return {(item.name, at.exporter): f"{at.where} {at.said}" for item in found.items for at in item.places}

    first = places(trace_id=f"{1:032x}")
    assert first["agent", "store"].startswith("delivered unless it is among this account's 1 dead_lettered")
    assert first["poison", "store"].startswith("dead_lettered refused: no poison here (letter ")
    assert first["agent", "langfuse"] == "waiting in part 0 of its trace, which has settled"
    assert places(trace_id=f"{2:032x}")["open", "langfuse"] == "waiting in an open trace"
    assert {name for name, _ in places(span_id=f"{2:016x}")} == {"poison"}
    assert "never accepted" in locate(house.directory, span_id="ab" * 8, gather=gather).notes[-1]
    await house.delivery.operator.resume("langfuse")
    await langfuse.has(2)
    await house.state.flush()
    assert places(trace_id=f"{1:032x}")["agent", "langfuse"] == "delivered in part 0 of its trace"
    for wrong in ("abc", "", "00000000000000g1", "0" * 33):
        with pytest.raises(UsageError, match="32 hex digits, or at least the first 4"):
            places(trace_id=wrong)


async def test_a_span_is_found_by_the_beginning_of_its_id(house: House, sink: Sink) -> None:
    """In the journal or only in a dead letter; where several begin so, their trace may tell which."""
    sink.trouble = lambda names: RefusedError("no") if "poison" in names else None
    await house.start(batches={"store": sink})
    for trace, names in ((1, ("poison", "llm")), (2, ("agent",))):
        await house.append(*names, trace=trace)
    await set_aside(house, 1)
    await sink.has(2)
    await house.append("other", trace=3, ids=0xABCD << 48)
    await sink.has(3)
    await house.state.flush()

    def names(**wanted: str) -> list[str]:
        return [item.name for item in locate(house.directory, gather=gather, **wanted).items]

    assert names(span_id="ABCD") == names(span_id="abcd0000000") == ["other"]
    assert names(span_id="abcd", trace_id=f"{3:032x}") == ["other"]
    assert names(span_id="0000", trace_id=f"{2:032x}") == ["agent"]
    with pytest.raises(UsageError, match=f"--span: several begin with 0000: {1:016x}, {2:016x}$"):
        names(span_id="0000")
    for wrong in ("abc", "", "00000000000000g1", "0" * 17):
        with pytest.raises(UsageError, match="--span: write the id, 16 hex digits, or at least the first 4"):
            names(span_id=wrong)
    elsewhere = {"span_id": "abcd", "trace_id": f"{1:032x}"}
    for wanted, said in (({"span_id": "abce"}, "no span begins with abce: "), (elsewhere, "abcd in this trace: ")):
        found = locate(house.directory, gather=gather, **wanted)
        assert (found.items, said in found.notes[0]) == ([], True)
    for segment in (house.directory / JOURNAL_DIR).iterdir():
        segment.unlink()  # letters are kept for longer
    assert "names it" in locate(house.directory, span_id="0000", gather=gather).notes[0]


async def test_a_trace_is_found_by_the_beginning_of_its_id_and_each_tenant_s_for_itself(
    house: House, sink: Sink
) -> None:
    """A span is not taken for dead-lettered because another tenant's of the same id is."""
    one, other = 0xABCD0 << 108, 0xABCD1 << 108
    sink.trouble = picky
    await house.start(batches={"store": sink})
    await house.append("poison", trace=one, tenant="acme")
    await house.append("agent", trace=one, tenant="beta")
    await house.append("agent", trace=other, tenant="beta")
    await set_aside(house, 1)
    await sink.has(2)
    await house.state.flush()

    for said in ("ABCD0", "abcd00", f"{one:032x}"):
        found = locate(house.directory, trace_id=said, gather=gather).items
        assert [(item.tenant, item.places[0].where) for item in found] == [
            ("acme", "dead_lettered"),
            ("beta", "delivered"),
        ]
    with pytest.raises(UsageError, match=f"several begin with abcd: {one:032x}, {other:032x}$"):
        locate(house.directory, trace_id="abcd", gather=gather)
    for segment in (house.directory / JOURNAL_DIR).iterdir():
        segment.unlink()  # letters are kept for longer
    assert "dead letter" in locate(house.directory, trace_id="abcd0", gather=gather).notes[0]
    nothing = locate(house.directory, trace_id="abcf", gather=gather)
    assert nothing.items == []
    assert "no trace begins with abcf" in nothing.notes[0]
