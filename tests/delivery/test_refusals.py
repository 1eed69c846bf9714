"""What a destination refuses, or finds too large: the poison is set aside, its neighbours arrive."""

from otel_bridge.errors import RefusedError, TooLargeError
from tests.delivery.conftest import PROBE_S, House, Sink
from tests.delivery.letters import set_aside


async def test_poison_spares_its_neighbours(house: House, sink: Sink) -> None:
    """One span in 512 that the destination refuses is set aside alone, within 20 requests."""
    sink.trouble = lambda names: RefusedError("bad span") if "poison" in names else None
    await house.start(batches={"store": sink})
    names = [f"span {number}" for number in range(512)]
    names[300] = "poison"
    await house.append(*names)
    await sink.has(511)
    assert len(sink.calls) <= 20
    await house.stop()
    assert house.outcomes("store") == {"delivered": 511, "dead_lettered": 1}


async def test_a_dead_letter_can_be_read_tried_again_and_dropped(house: House, sink: Sink) -> None:
    sink.trouble = lambda names: RefusedError("400: bad \x1b[31m span") if "poison" in names else None
    await house.start(batches={"store": sink}, settled={"langfuse": sink})
    await house.append("agent", "poison")
    await sink.has(1)
    await house.settle()
    await sink.has(2)
    await house.delivery.drain(5)
    letters = {letter.exporter: letter for letter in await house.dead_letters.list()}
    assert {(letter.reason, letter.answer) for letter in letters.values()} == {("refused", "400: bad \x1b[31m span")}
    sink.trouble = lambda _names: None
    for letter in letters.values():
        await sink(letter.piece())
    assert sink.names[-2:] == ["poison", "poison"]
    assert [letter.exporter for letter in await house.dead_letters.list(exporter="store")] == ["store"]
    assert await house.dead_letters.show(letters["store"].id) == letters["store"]
    assert await house.dead_letters.drop(letters["store"].id)
    assert not await house.dead_letters.drop(letters["store"].id)
    assert await house.dead_letters.show(letters["store"].id) is None


async def test_refusal_of_everything_is_not_poison(house: House, sink: Sink) -> None:
    """After 64 single refusals with one answer it is parked; once fixed, also those 64 arrive."""
    sink.trouble = lambda _names: RefusedError("400: no such version")
    await house.start(batches={"store": sink})
    await house.append(*(f"span {number}" for number in range(100)))
    await house.clock.asleep(PROBE_S)
    assert house.delivery.status()["exporters"]["main/store"]["t"]["parked"] == "systemic_refusal"
    sink.trouble = lambda _names: None
    await house.clock.advance(PROBE_S)
    await sink.has(100)
    assert not await house.dead_letters.list()
    await house.stop()
    assert house.outcomes("store") == {"delivered": 100}


async def test_refusals_over_many_leases_are_at_most_64(house: House, sink: Sink) -> None:
    sink.trouble = lambda _names: RefusedError("400: no such version")
    house.config = house.config.model_copy(update={"max_batch_items": 1})
    await house.start(batches={"store": sink})
    for number in range(80):
        await house.append(f"span {number}")
    await house.clock.asleep(PROBE_S)
    assert len(await house.dead_letters.list()) == 64
    sink.trouble = lambda _names: None
    await house.clock.advance(PROBE_S)
    await sink.has(16)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 16, "dead_lettered": 64}


async def test_what_is_too_large_is_halved_and_the_limit_learned(house: House, sink: Sink) -> None:
    sink.trouble = lambda names: TooLargeError("413") if len(names) > 3 else None
    await house.start(batches={"store": sink})
    await house.append(*("x" * 20_000 for _ in range(8)))
    await sink.has(8)
    before = len(sink.calls)
    await house.append(*("y" * 20_000 for _ in range(8)))
    await sink.has(16)
    assert all(len(names) <= 3 for names in sink.calls[before:])
    await house.stop()
    assert house.outcomes("store") == {"delivered": 16}


async def test_a_single_item_that_is_too_large_is_set_aside(house: House, sink: Sink) -> None:
    sink.trouble = lambda names: TooLargeError("413") if "huge" in names else None
    await house.start(batches={"store": sink})
    await house.append("small", "huge")
    await sink.has(1)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1, "dead_lettered": 1}


async def test_the_oldest_letters_go_when_there_are_too_many(house: House, sink: Sink) -> None:
    sink.trouble = lambda names: RefusedError(f"no {names}")
    house.letter_bytes = 1000
    await house.start(batches={"store": sink})
    for number in range(10):
        await house.append(f"{number} {'x' * 300}")
    letters = await set_aside(house, 10)
    assert sum(len(letter.content) for letter in letters) <= 1000
    assert letters[0].content.count(b"9 xxx") == 1
    assert house.counters.value("dead_letters_removed") == 10 - len(letters)
