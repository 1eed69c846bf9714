"""Dead letters that an operator lists, hands out again or drops: each is delivered or stays, and is counted once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.delivery import DEAD_LETTERS_FILE, DeadLetter
from otel_bridge.delivery.dead_letter import Chosen, page_of, read_letters
from otel_bridge.errors import RefusedError, RetryableError, TooLargeError, UsageError
from otel_bridge.model import Omitted, Translation
from otel_bridge.trace import Decision, Ruling, Settled, Trace
from tests.delivery.conftest import House, Sink, translate
from tests.delivery.letters import picky, set_aside


async def retried(house: House, *ids: str) -> dict[str, str]:
    answer = await house.delivery.operator.retry(ids)
    return {one["id"]: one["result"] for one in answer["letters"]}


def reasons(house: House) -> dict[str, int]:
    [line] = house.audit().lines
    return {reason: items for reason, items in line.reasons.items() if items}


async def test_a_letter_that_is_taken_now_is_delivered_and_none_any_more(house: House, sinks: type[Sink]) -> None:
    store, langfuse = sinks(), sinks()
    store.trouble = langfuse.trouble = picky
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.append("agent", "poison", "llm")
    await house.settle()
    letters = await set_aside(house, 2)
    store.trouble = langfuse.trouble = lambda _names: None

    assert set((await retried(house, *(letter.id for letter in letters))).values()) == {"delivered"}

    assert sorted(store.names) == sorted(langfuse.names) == ["agent", "llm", "poison"]
    assert await house.dead_letters.list() == []
    await house.stop()
    assert house.outcomes("store") == house.outcomes("langfuse") == {"delivered": 3}


async def test_a_letter_that_is_refused_again_stays_with_the_new_answer(house: House, sink: Sink) -> None:
    sink.trouble = lambda _names: TooLargeError("too large")
    await house.start(batches={"store": sink})
    await house.append("poison")
    [letter] = await set_aside(house, 1)
    sink.trouble = lambda _names: RefusedError("still not")

    assert await retried(house, letter.id) == {letter.id: "refused"}

    [same] = await house.dead_letters.list()
    assert (same.id, same.answer) == (letter.id, "still not")
    await house.stop()
    assert house.outcomes("store") == {"dead_lettered": 1}
    assert reasons(house) == {"dead_lettered:refused": 1}


@pytest.mark.parametrize("why", [RetryableError("down"), OSError("bug")])
async def test_a_destination_that_is_down_is_knocked_at_once(house: House, sink: Sink, why: Exception) -> None:
    sink.trouble = picky
    await house.start(batches={"store": sink})
    await house.append("poison 1", "poison 2", "poison 3")
    letters = await set_aside(house, 3)
    before = len(sink.calls)
    sink.trouble = lambda _names: why

    assert set((await retried(house, *(letter.id for letter in letters))).values()) == {"kept"}

    assert len(sink.calls) == before + 1
    assert len(await house.dead_letters.list()) == 3


async def test_what_could_not_be_translated_is_translated_again_with_the_rest_of_its_trace(
    house: House, sink: Sink
) -> None:
    """As after an update of the bridge; what is refused of it then is set aside alone."""
    await house.start(settled={"langfuse": sink})
    await house.append("bug", "neighbour", "poison")
    await house.settle()
    [letter] = await set_aside(house, 3)
    assert letter.reason == "translation"
    assert await retried(house, letter.id) == {letter.id: "kept"}
    parts = house.delivery._parts["main"]
    as_before = parts._translate

    def mended(trace: Any) -> Translation:
        for record in trace.spans:
            record.span.name = record.span.name.replace("bug", "mended")
        return as_before(trace)

    parts._translate = mended
    sink.trouble = picky
    assert await retried(house, letter.id) == {letter.id: "delivered"}

    assert sorted(sink.names) == ["mended", "neighbour"]
    [alone] = await house.dead_letters.list()
    assert (alone.reason, alone.items) == ("refused", 1)
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 2, "dead_lettered": 1}
    assert reasons(house) == {"dead_lettered:refused": 1}


@pytest.mark.parametrize(
    ("now", "result", "counted"),
    [
        (Decision.KEPT, "delivered", {"filtered:noise:http": 1}),
        (Decision.FILTERED, "filtered", {"filtered:without_llm": 3}),
        (Decision.SAMPLED_OUT, "sampled_out", {"sampled_out:rate": 3}),
    ],
)
async def test_what_is_left_out_of_a_letter_is_counted_by_its_reason(
    house: House, sink: Sink, now: Decision, result: str, counted: dict[str, int]
) -> None:
    decided = {Decision.FILTERED: "without_llm", Decision.SAMPLED_OUT: "rate"}

    async def process(trace: Trace) -> Trace | None:
        if trace.settled is not Settled.HELD or now is Decision.KEPT:  # what settled, not what is handed out again
            return trace
        trace.rulings["some"] = Ruling(now, decided[now])
        return None

    await house.start(settled={"langfuse": sink}, process=process)
    await house.append("bug", "agent", "GET /")
    await house.settle()
    [letter] = await set_aside(house, 3)
    parts = house.delivery._parts["main"]
    as_before = parts._translate

    def mended(trace: Any) -> Translation:
        trace.spans[0].span.name = "mended"
        made = as_before(trace)
        made.dropped.append(Omitted(made.observations.pop().id, trace.key, "noise:http"))
        return made

    parts._translate = mended
    assert await retried(house, letter.id) == {letter.id: result}

    await house.stop()
    assert sink.names == (["mended", "agent"] if now is Decision.KEPT else [])
    assert sum(house.outcomes("langfuse").values()) == 3
    assert reasons(house) == counted


async def test_of_a_letter_that_goes_in_pieces_each_may_be_refused(house: House, sink: Sink) -> None:
    house.config = house.config.model_copy(update={"max_batch_items": 1})
    await house.start(settled={"langfuse": sink})
    await house.append("bug", "agent")
    await house.settle()
    [letter] = await set_aside(house, 2)
    house.delivery._parts["main"]._translate = lambda trace: translate(
        replace(trace, spans=[one._replace(span=Span(span_id=one.span.span_id, name="ok")) for one in trace.spans])
    )
    sink.trouble = lambda _names: RefusedError("never")

    assert await retried(house, letter.id) == {letter.id: "refused"}

    assert [one.items for one in await house.dead_letters.list()] == [1, 1]
    await house.stop()
    assert house.outcomes("langfuse") == {"dead_lettered": 2}
    assert reasons(house) == {"dead_lettered:refused": 2}


@pytest.mark.parametrize("moment", ["before the account", "before the letter is gone"])
async def test_a_kill_amid_a_retry_leaves_a_letter_or_its_delivery_never_neither(
    house: House, sink: Sink, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.trouble = picky
    await house.start(batches={"store": sink})
    await house.append("poison")
    [letter] = await set_aside(house, 1)
    await house.state.flush()
    sink.trouble = lambda _names: None

    async def dies(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        if moment == "before the account":
            patched.setattr(house.delivery.operator, "_redeem", dies)
        else:
            patched.setattr(house.dead_letters, "drop", dies)
        with pytest.raises(RuntimeError, match="killed"):
            await house.delivery.operator.retry([letter.id])
        await house.kill()
    counted = house.outcomes("store")
    await house.start(batches={"store": sink})
    if moment == "before the account":
        assert counted == {"dead_lettered": 1}
        assert await retried(house, letter.id) == {letter.id: "delivered"}
    assert await house.dead_letters.list() == []
    assert sink.names.count("poison") >= 1
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1}


async def test_letters_of_the_same_reason_are_never_counted_twice(house: House, sink: Sink) -> None:
    """A letter whose items the ledger does not count (its state was lost) moves none of another's."""
    sink.trouble = picky
    await house.start(batches={"store": sink})
    await house.append("poison")
    [letter] = await set_aside(house, 1)
    stranger = DeadLetter("f" * 16, *[getattr(letter, name) for name in letter.__slots__[1:-2]], 0, letter.content)
    await house.dead_letters.add(stranger)
    sink.trouble = lambda _names: None

    assert await retried(house, stranger.id, "0" * 16) == {stranger.id: "damaged", "0" * 16: "unknown"}
    assert (await house.delivery.operator.drop([stranger.id]))["dropped"] == [stranger.id]
    await house.stop()
    assert house.outcomes("store") == {"dead_lettered": 1}


async def test_dropped_letters_stay_counted(house: House, sink: Sink) -> None:
    sink.trouble = picky
    await house.start(batches={"store": sink})
    await house.append("poison")
    [letter] = await set_aside(house, 1)

    assert await house.delivery.operator.drop([letter.id, "0" * 16]) == {"dropped": [letter.id], "unknown": ["0" * 16]}

    await house.stop()
    assert house.outcomes("store") == {"dead_lettered": 1}


async def test_letters_are_listed_by_exporter_tenant_and_reason_a_page_at_a_time(house: House, sink: Sink) -> None:
    sink.trouble = picky
    await house.start(batches={"store": sink, "otlp": sink})
    await house.append("poison 1", "poison 2", tenant="a")
    await house.append("poison 3", tenant="b")
    await set_aside(house, 6)

    async def asked(**chosen: str) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            "exporter": None,
            "tenant": None,
            "reason": None,
            "limit": 2,
            "cursor": None,
            **chosen,
        }
        return await house.delivery.operator.letters(**wanted)

    page = await asked(exporter="otlp")
    rest = await asked(exporter="otlp", cursor=page["nextCursor"])
    assert [len(page["letters"]), len(rest["letters"]), rest["nextCursor"]] == [2, 1, None]
    assert {one["exporter"] for one in page["letters"] + rest["letters"]} == {"otlp"}
    assert len((await asked(tenant="b"))["letters"]) == 2
    assert (await asked(reason="too_large"))["letters"] == []
    assert (await asked(tenant="default"))["letters"] == []
    with pytest.raises(UsageError, match="no tenant 'c', there are: a, b, default"):
        await asked(tenant="c")
    shown = await house.delivery.operator.letter(page["letters"][0]["id"][:8])
    assert shown is not None
    assert "poison" in str(shown["content"])
    with pytest.raises(UsageError, match="limit"):
        await house.delivery.operator.letters(exporter=None, tenant=None, reason=None, limit=0, cursor=None)


def ruin(house: House, how: Callable[[bytearray], None]) -> None:
    path = house.directory / DEAD_LETTERS_FILE
    content = bytearray(path.read_bytes())
    how(content)
    path.write_bytes(content)


def flip(content: bytearray) -> None:
    content[content.index(b"poison 7 x")] ^= 1


def zero_a_page(content: bytearray) -> None:
    at = content.index(b"poison 7 x") // 4096 * 4096
    content[at : at + 4096] = bytes(4096)


@pytest.mark.parametrize("how", [flip, zero_a_page])
async def test_of_a_damaged_file_the_rest_is_readable_and_the_list_shows_the_bad_ones(
    house: House, sink: Sink, how: Callable[[bytearray], None]
) -> None:
    sink.trouble = picky
    await house.start(batches={"store": sink})
    await house.append(*(f"poison {number} {'x' * 3000}" for number in range(20)))
    await set_aside(house, 20)
    await house.stop()
    ruin(house, how)

    page = read_letters(house.directory / DEAD_LETTERS_FILE, lambda file: page_of(file, Chosen(), 100, None))
    bad = [letter for letter in page.letters if letter["damaged"]]
    assert 1 <= len(bad) <= 4
    good = [letter["id"] for letter in page.letters if not letter["damaged"]]
    assert len(good) >= 16

    sink.trouble = lambda _names: None
    await house.start(batches={"store": sink})
    await house.append("well")
    await sink.has(1)
    results = await retried(house, *good, *(letter["id"] for letter in bad))
    assert [results[letter_id] for letter_id in good] == ["delivered"] * len(good)
    assert {results[letter["id"]] for letter in bad} <= {"damaged"}
    sink.trouble = picky
    before = house.counters.value("dead_lettered")
    await house.append("poison new")
    while house.counters.value("dead_lettered") == before:  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(0.001)
    await house.stop()
    assert house.outcomes("store")["delivered"] == 1 + len(good)
