"""What an operator does while it runs: dead letters handed out again or given up, exporters paused and resumed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge.delivery import DEAD_LETTERS_FILE, JOURNAL_DIR, DeadLetter, locate
from otel_bridge.delivery.dead_letter import Chosen, page_of, read_letters
from otel_bridge.errors import ParkedError, RefusedError, RetryableError, TooLargeError, UsageError
from otel_bridge.model import Omitted
from otel_bridge.trace import Decision, Ruling, Settled
from tests.delivery.conftest import gather, translate

if TYPE_CHECKING:
    from otel_bridge.model import Translation
    from otel_bridge.trace import Trace
    from tests.delivery.conftest import House, Sink

BACKOFF_S = 7.0


def picky(names: list[str]) -> Exception | None:
    return RefusedError("no poison here") if any("poison" in name for name in names) else None


async def set_aside(house: "House", count: int) -> list[DeadLetter]:
    while house.counters.value("dead_lettered") < count:  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(0.001)
    return list(await house.dead_letters.list())


async def retried(house: "House", *ids: str) -> dict[str, str]:
    answer = await house.delivery.operator.retry(ids)
    return {one["id"]: one["result"] for one in answer["letters"]}


def reasons(house: "House") -> dict[str, int]:
    [line] = house.audit().lines
    return {reason: items for reason, items in line.reasons.items() if items}


async def test_a_letter_that_is_taken_now_is_delivered_and_none_any_more(house: "House", sinks: "type[Sink]") -> None:
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


async def test_a_letter_that_is_refused_again_stays_with_the_new_answer(house: "House", sink: "Sink") -> None:
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
async def test_a_destination_that_is_down_is_knocked_at_once(house: "House", sink: "Sink", why: Exception) -> None:
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
    house: "House", sink: "Sink"
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

    def mended(trace: Any) -> "Translation":
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
    house: "House", sink: "Sink", now: Decision, result: str, counted: dict[str, int]
) -> None:
    decided = {Decision.FILTERED: "without_llm", Decision.SAMPLED_OUT: "rate"}

    async def process(trace: "Trace") -> "Trace | None":
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

    def mended(trace: Any) -> "Translation":
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


async def test_of_a_letter_that_goes_in_pieces_each_may_be_refused(house: "House", sink: "Sink") -> None:
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
    house: "House", sink: "Sink", moment: str, monkeypatch: pytest.MonkeyPatch
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


async def test_letters_of_the_same_reason_are_never_counted_twice(house: "House", sink: "Sink") -> None:
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


async def test_dropped_letters_stay_counted(house: "House", sink: "Sink") -> None:
    sink.trouble = picky
    await house.start(batches={"store": sink})
    await house.append("poison")
    [letter] = await set_aside(house, 1)

    assert await house.delivery.operator.drop([letter.id, "0" * 16]) == {"dropped": [letter.id], "unknown": ["0" * 16]}

    await house.stop()
    assert house.outcomes("store") == {"dead_lettered": 1}


async def test_letters_are_listed_by_exporter_tenant_and_reason_a_page_at_a_time(house: "House", sink: "Sink") -> None:
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


def ruin(house: "House", how: Callable[[bytearray], None]) -> None:
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
    house: "House", sink: "Sink", how: Callable[[bytearray], None]
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


async def test_a_paused_exporter_keeps_its_data_over_a_restart(house: "House", sinks: "type[Sink]") -> None:
    store, langfuse = sinks(), sinks()
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.delivery.operator.pause("langfuse")
    await house.append("agent", "llm")
    await house.settle()
    await store.has(2)
    await house.state.flush()
    await house.kill()
    assert house.outcomes("langfuse") == {"waiting": 2}
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    assert house.delivery.status()["paused"] == ["langfuse"]
    assert house.delivery.status()["exporters"]["main/langfuse"]["t"]["parked"] == "paused"
    assert langfuse.calls == []
    await house.delivery.operator.resume("langfuse")
    assert await langfuse.has(2) == ["agent", "llm"]
    assert house.delivery.status()["paused"] == []
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 2}


async def test_one_tenant_is_paused_alone_over_a_restart(house: "House", sinks: "type[Sink]") -> None:
    """Drains and replays leave it alone too; it is resumed alone, and not before the exporter is."""
    store, langfuse = sinks(), sinks()
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.append("acme's first", tenant="acme", trace=1)
    await house.append("beta's first", tenant="beta", trace=2)
    await house.settle()
    await langfuse.has(2)
    operator = house.delivery.operator
    with pytest.raises(UsageError, match="no tenant 'acmee', did you mean acme"):
        await operator.pause("langfuse", "acmee")
    told = await operator.pause("langfuse", "acme")
    assert told == {"exporter": "langfuse", "tenant": "acme", "paused": True, "pausedTenants": ["acme"]}
    await operator.replay("langfuse", since_ns=0)
    await house.append("acme's", tenant="acme", trace=3)
    await house.append("beta's", tenant="beta", trace=4)
    await house.settle()
    await langfuse.has(4)
    while len(operator.replays()["replays"]) > 1:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.001)
    assert [(one["tenant"], one["why"]) for one in operator.replays()["replays"]] == [("acme", "paused")]
    await house.stop()
    assert sorted(langfuse.names[2:]) == ["beta's", "beta's first"]
    assert house.outcomes("langfuse") == {"delivered": 3, "waiting": 1}

    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    operator, status = house.delivery.operator, house.delivery.status()
    assert (status["paused"], status["paused_tenants"]) == ([], {"langfuse": ["acme"]})
    lanes = status["exporters"]["main/langfuse"]
    assert {tenant: lane["parked"] for tenant, lane in lanes.items()} == {"acme": "paused", "beta": None}
    await operator.pause("langfuse")
    assert (await operator.resume("langfuse", "acme"))["paused"] is True
    assert (await operator.resume("langfuse"))["paused"] is False
    assert sorted((await langfuse.has(6))[4:]) == ["acme's", "acme's first"]
    await house.stop()
    assert house.outcomes("langfuse") == {"delivered": 4}


async def test_a_pause_takes_hold_while_a_destination_is_down(house: "House", sink: "Sink") -> None:
    sink.trouble = lambda _names: RetryableError("down")
    await house.start(batches={"store": sink})
    await house.append("a")
    await house.clock.asleep(BACKOFF_S)
    await house.delivery.operator.pause("store")
    await house.clock.advance(10 * BACKOFF_S)
    assert len(sink.calls) == 1
    sink.trouble = lambda _names: None
    await house.delivery.operator.resume("store")
    await sink.has(1)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1}


async def test_what_waits_is_given_up_for_one_tenant_and_counted(house: "House", sinks: "type[Sink]") -> None:
    """As it came and settled, for an exporter that is there; the others' goes, and so does what comes after it."""
    store, langfuse = sinks(), sinks()
    store.trouble = langfuse.trouble = lambda _names: ParkedError("no keys", "no_keys")
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.append("gone's", "too", tenant="gone", trace=1)
    await house.append("acme's", tenant="acme", trace=2)
    await house.settle()
    await store.called(2)
    await langfuse.called(2)
    give_up = house.delivery.operator.give_up
    with pytest.raises(UsageError, match="no exporter 'langfus', did you mean langfuse"):
        await give_up("langfus", "gone")
    with pytest.raises(UsageError, match="no tenant 'gome', did you mean gone"):
        await give_up("langfuse", "gome")

    for exporter in ("store", "langfuse"):
        row = {"pipeline": "main", "exporter": exporter, "tenant": "gone", "items": 2}
        assert await give_up(exporter, "gone") == {"exporter": exporter, "givenUp": [row], "waiting": 0}
        assert (await give_up(exporter, "gone"))["givenUp"] == []

    await house.kill()
    for exporter in ("store", "langfuse"):
        assert house.outcomes(exporter) == {"evicted": 2, "waiting": 1}
    store.trouble = langfuse.trouble = lambda _names: None
    await house.start(batches={"store": store}, settled={"langfuse": langfuse})
    await house.append("new", tenant="gone", trace=3)
    await house.settle()
    assert sorted(await store.has(2)) == sorted(await langfuse.has(2)) == ["acme's", "new"]
    await house.stop()
    for exporter in ("store", "langfuse"):
        assert house.outcomes(exporter) == {"evicted": 2, "delivered": 2}


async def test_what_is_postponed_and_what_is_being_tried_is_given_up_too(
    house: "House", sink: "Sink", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_bridge.delivery.giving_up.READ_BYTES", 1)  # an entry at a time
    sink.trouble = lambda names: RetryableError("500") if "cursed" in names else None
    await house.start(batches={"store": sink})
    await house.append("cursed")
    for number in range(3):
        await house.clock.asleep(BACKOFF_S)
        await house.append(f"well {number}")
        await house.clock.advance(10 * BACKOFF_S)
    await sink.has(3)
    assert house.delivery.status()["exporters"]["main/store"]["t"]["postponed"] == 1
    sink.trouble = lambda _names: RetryableError("down")
    await house.append("being tried")

    assert (await house.delivery.operator.give_up("store"))["givenUp"][0]["items"] == 2

    sink.trouble = lambda _names: None
    await house.append("after")
    await sink.has(4)
    assert "cursed" not in sink.names
    await house.stop()
    assert house.outcomes("store") == {"evicted": 2, "delivered": 4}


async def test_nobody_is_paused_by_a_wrong_name(house: "House", sink: "Sink") -> None:
    await house.start(batches={"store": sink})
    with pytest.raises(UsageError, match="did you mean store"):
        await house.delivery.operator.pause("stor")


async def test_a_span_is_found_wherever_it_is(house: "House", sinks: "type[Sink]") -> None:
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


async def test_a_span_is_found_by_the_beginning_of_its_id(house: "House", sink: "Sink") -> None:
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
    house: "House", sink: "Sink"
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
