"""Something that always fails, while the rest is taken: it holds up nobody, and is found. An outage is none of that."""

import asyncio
from collections.abc import Callable

import pytest

from otel_bridge.delivery import locate
from otel_bridge.errors import ConsumeError, ParkedError, RetryableError
from tests.delivery.conftest import BACKOFF_S, PROBE_S, House, Sink, gather

ERRORS = [RetryableError("500"), OSError("an exporter's bug"), ParkedError("403: a firewall dislikes it", "forbidden")]


def cursed(error: Exception) -> Callable[[list[str]], Exception | None]:
    return lambda names: error if "cursed" in names else None


async def pass_by(house: House, sink: Sink, *, until: Callable[[], bool], step_s: float = BACKOFF_S) -> None:
    """Let time pass; once something is postponed, something new arrives before each step."""
    number = 0
    while not until():
        status = house.delivery.status()["exporters"]["main/store"]["t"]
        if status["postponed"]:
            await house.append(f"traffic {(number := number + 1)}")
            await sink.has(len(sink.names) + 1)
        await house.clock.advance(step_s)
        await asyncio.sleep(0.001)  # the threads of the journal and of cutting need a moment of real time


async def go_by(house: House, *, until: Callable[[], bool]) -> None:
    """Let time pass, and nothing new come."""
    while not until():
        await house.clock.advance(BACKOFF_S)
        await asyncio.sleep(0.001)  # as above


async def failed_often(house: House, sink: Sink, step_s: float = BACKOFF_S) -> None:
    """The first in line has failed three times, and waits."""
    for tries in (1, 2, 3):
        await sink.called(tries)
        await house.clock.asleep(step_s)
        if tries < 3:
            await house.clock.advance(step_s)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_always_fails_is_found_while_the_rest_goes_on(house: House, sink: Sink, error: Exception) -> None:
    """One span of sixteen: its neighbours and all that is behind it arrive; it is dead-lettered with what was said."""
    sink.trouble = cursed(error)
    await house.start(batches={"store": sink})
    names = [f"span {number}" for number in range(15)]
    await house.append(*names[:7], "cursed", *names[7:])
    step_s = PROBE_S if isinstance(error, ParkedError) else BACKOFF_S
    await failed_often(house, sink, step_s)
    await house.append("behind")
    await pass_by(house, sink, until=lambda: house.counters.value("dead_lettered") > 0, step_s=step_s)

    assert set(names) <= set(sink.names)
    assert sink.names.index("behind") < sink.names.index("span 0"), "the rest did not wait"
    [letter] = await house.dead_letters.list()
    assert letter.reason == "failing"
    assert letter.answer == (str(error) if isinstance(error, ConsumeError) else "the exporter failed: OSError")
    assert 20 <= sum("cursed" in names for names in sink.calls) <= 20 + 4 * 3 + 5
    assert house.delivery.status()["exporters"]["main/store"]["t"]["postponed"] == 0
    await house.stop()
    counted = house.outcomes("store")
    assert counted["dead_lettered"] == 1
    assert counted["delivered"] == len(set(sink.names))


async def test_a_settled_trace_that_always_fails_is_found_too(house: House, sink: Sink) -> None:
    sink.trouble = cursed(RetryableError("500"))
    await house.start(settled={"langfuse": sink})
    await house.append("agent", "cursed", "llm", trace=1)
    number = 1
    while not house.counters.value("dead_lettered"):
        await house.append("traffic", trace=(number := number + 1))
        await house.clock.advance(BACKOFF_S)
        await asyncio.sleep(0.001)  # as above
    assert {"agent", "llm"} <= set(sink.names)
    await house.stop()
    assert house.outcomes("langfuse")["dead_lettered"] == 1


async def test_an_outage_is_never_taken_for_it(house: House, sink: Sink) -> None:
    """However long it lasts and whatever comes in: nothing is given up, nothing is cut, and then all arrives."""
    sink.trouble = lambda _names: RetryableError("503")
    await house.start(batches={"store": sink})
    await house.append("a", "b")
    for number in range(40):
        await house.append(f"later {number}")
        await house.clock.asleep(BACKOFF_S)
        await house.clock.advance(BACKOFF_S)
    assert not house.counters.value("postponed")
    assert all("b" in names for names in sink.calls if "a" in names)
    await house.clock.asleep(BACKOFF_S)
    sink.trouble = lambda _names: None
    await house.clock.advance(BACKOFF_S)
    await sink.has(42)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 42}


async def test_an_outage_ends_the_count_of_what_is_postponed(house: House, sink: Sink) -> None:
    """While nothing else is taken, it may fail for ever."""
    sink.trouble = cursed(RetryableError("500"))
    await house.start(batches={"store": sink})
    await house.append("cursed")
    await failed_often(house, sink)
    await house.append("well")
    await go_by(house, until=lambda: "well" in sink.names)
    sink.trouble = lambda _names: RetryableError("503")
    await house.append("in the outage")
    tries = len(sink.calls)
    await go_by(house, until=lambda: len(sink.calls) > tries + 30)
    assert not house.counters.value("dead_lettered")
    assert house.delivery.status()["exporters"]["main/store"]["t"]["postponed"] == 1
    sink.trouble = lambda _names: None
    await go_by(house, until=lambda: house.counters.value("delivered") == 3)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 3}


async def test_four_in_a_row_hold_up_nobody(house: House, sink: Sink) -> None:
    house.config = house.config.model_copy(update={"max_batch_items": 1})
    sink.trouble = lambda names: RetryableError("500") if "cursed" in names[0] else None
    await house.start(batches={"store": sink})
    for name in ("cursed 1", "cursed 2", "cursed 3", "cursed 4", "well"):
        await house.append(name)
    await go_by(house, until=lambda: "well" in sink.names)
    assert house.delivery.status()["exporters"]["main/store"]["t"]["postponed"] == 4
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1, "waiting": 4}


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("kind", ["batches", "settled"])
async def test_what_is_postponed_survives_a_restart_and_the_rest_is_not_sent_again(
    house: House, sink: Sink, kind: str, kill: bool
) -> None:
    sink.trouble = cursed(RetryableError("500"))
    house.segment_bytes = 4096
    await house.start(**{kind: {"store": sink}})
    await house.append("cursed", trace=1)
    if kind == "settled":
        await house.settle()
    await failed_often(house, sink)
    await house.append("well", "x" * 5000, trace=2)
    if kind == "settled":
        await house.settle()
    await go_by(house, until=lambda: house.counters.value("delivered") == 2)
    await house.state.flush()
    await house.delivery.tidy()
    await (house.kill() if kill else house.stop())
    assert house.outcomes("store") == {"delivered": 2, "waiting": 1}
    await house.start(**{kind: {"store": sink}})
    await house.delivery.tidy()
    sink.trouble = lambda _names: None
    await go_by(house, until=lambda: "cursed" in sink.names)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 3}
    assert sorted(sink.names)[:2] == ["cursed", "well"]


async def test_it_says_so_once(house: House, sink: Sink, capsys: pytest.CaptureFixture[str]) -> None:
    sink.trouble = cursed(RetryableError("500: \x1b[2J"))
    await house.start(batches={"store": sink})
    await house.append("cursed")
    await failed_often(house, sink)
    await house.append("behind")
    await pass_by(house, sink, until=lambda: house.counters.value("dead_lettered") > 0)
    said = capsys.readouterr().err
    assert said.count("it is tried beside the rest") == 1
    assert said.count("trying again until it is") == 1
    assert "\x1b" not in said


async def test_it_expires_as_everything_does(house: House, sink: Sink) -> None:
    sink.trouble = cursed(RetryableError("500"))
    house.max_age_s = 10_000
    await house.start(batches={"store": sink})
    await house.append("cursed")
    await failed_often(house, sink)
    await house.append("well")
    await go_by(house, until=lambda: "well" in sink.names)
    await go_by(house, until=lambda: house.counters.value("expired") > 0)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1, "expired": 1}


async def postponed(house: House, sink: Sink, kind: str = "batches") -> None:
    """One entry (or part) fails for ever and waits beside the rest; another has been taken."""
    sink.trouble = cursed(RetryableError("500"))
    await house.start(**{kind: {"store": sink}})
    for number, name in enumerate(("cursed", "well"), start=1):
        await house.append(name, trace=number)
        if kind == "settled":
            await house.settle()
        if number == 1:
            await failed_often(house, sink)
    await go_by(house, until=lambda: house.counters.value("delivered") == 1)
    assert house.delivery.status()["exporters"]["main/store"]["t"]["postponed"] == 1


async def test_a_pause_holds_it_back_too_and_it_goes_on_after_that(house: House, sink: Sink) -> None:
    await postponed(house, sink)
    await house.delivery.operator.pause("store")
    calls = len(sink.calls)
    await house.append("new")
    for _ in range(10):
        await house.clock.advance(BACKOFF_S)
        await asyncio.sleep(0.001)  # as above
    assert len(sink.calls) == calls
    sink.trouble = lambda _names: None
    await house.delivery.operator.resume("store")
    await sink.has(3)
    await go_by(house, until=lambda: house.counters.value("delivered") == 3)
    await house.stop()
    assert house.outcomes("store") == {"delivered": 3}


async def test_a_pause_is_kept_over_a_restart_and_holds_up_no_stop(house: House, sink: Sink) -> None:
    await postponed(house, sink)
    await house.delivery.operator.pause("store")
    await asyncio.wait_for(house.stop(), 1)  # the test's clock stands still: any waiting would be for ever
    calls = len(sink.calls)
    await house.start(batches={"store": sink})
    await house.append("new")
    await house.clock.advance(BACKOFF_S)
    await asyncio.wait_for(house.stop(), 1)
    assert len(sink.calls) == calls
    assert house.outcomes("store") == {"delivered": 1, "waiting": 2}


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("kind", ["batches", "settled"])
async def test_when_it_is_evicted_it_is_counted_once(house: House, sink: Sink, kind: str, kill: bool) -> None:
    house.segment_bytes, house.max_bytes, house.drop_oldest = 4096, 32 << 10, True
    await postponed(house, sink, kind)
    number = 2
    while not house.counters.value("evicted"):
        await house.append(f"{(number := number + 1)} {'x' * 2000}", trace=number)
        await house.clock.advance(BACKOFF_S)
        await asyncio.sleep(0.001)  # as above
    assert house.audit().balanced, house.audit().to_dict()
    if kill:
        await house.kill()
        await house.start(**{kind: {"store": sink}})
    await go_by(house, until=lambda: not any(house.delivery.waiting().values()))
    assert house.delivery.status()["exporters"]["main/store"]["t"]["postponed"] == 0
    await house.stop()
    counted = house.outcomes("store")
    assert counted["evicted"] >= 1
    assert sum(counted.values()) == number
    assert "cursed" not in sink.names


async def test_its_answer_counts_for_nothing_when_it_was_evicted_meanwhile(house: House, sink: Sink) -> None:
    house.segment_bytes, house.max_bytes, house.drop_oldest = 4096, 32 << 10, True
    await postponed(house, sink)
    going, arrived = asyncio.Event(), asyncio.Event()
    taken = sink.__call__

    async def slow(batch: object) -> None:
        if not arrived.is_set():
            arrived.set()
            await going.wait()
        await taken(batch)  # type: ignore[arg-type]

    lane = house.delivery._destinations["main", "store"].lanes["t"]
    lane._sender._send = slow
    sink.trouble = lambda _names: None
    await go_by(house, until=arrived.is_set)
    for number in range(40):
        await house.append(f"{number} {'x' * 2000}")
        await asyncio.sleep(0.001)  # as above
    going.set()
    await go_by(house, until=lambda: not any(house.delivery.waiting().values()))
    await house.stop()
    assert "cursed" in sink.names
    counted = house.outcomes("store")
    assert counted["evicted"] >= 1
    assert sum(counted.values()) == 42


async def test_a_span_of_it_is_said_to_wait(house: House, sink: Sink) -> None:
    await postponed(house, sink)
    await house.state.flush()
    [item] = locate(house.directory, trace_id=f"{1:032x}", gather=gather).items
    [place] = item.places
    assert (place.where, place.said[:9]) == ("waiting", "postponed")


async def test_many_leases_with_a_bad_item_each_hold_up_nobody(house: House, sink: Sink) -> None:
    """More of them than are tried at one time: the others wait for their turn, and the rest goes on."""
    sink.trouble = lambda names: RetryableError("500") if any("poison" in name for name in names) else None
    house.config = house.config.model_copy(update={"max_batch_items": 4})
    await house.start(batches={"store": sink})
    for lease in range(7):
        await house.append(f"poison {lease}", *[f"beside {lease} {item}" for item in range(3)])
        await house.append(*[f"good {lease} {item}" for item in range(4)])
    later = [f"later {number}" for number in range(40)]
    for name in later:
        await house.append(name)
    wanted = {f"good {lease} {item}" for lease in range(7) for item in range(4)} | set(later)
    wanted |= {f"beside {lease} {item}" for lease in range(7) for item in range(3)}
    while not wanted <= set(sink.names):
        await house.clock.advance(BACKOFF_S)
        await asyncio.sleep(0)


async def test_the_neighbours_of_a_bad_item_arrive_though_nothing_else_comes(house: House, sink: Sink) -> None:
    """Cutting needs no evidence, only giving up does: the bad one waits on."""
    sink.trouble = lambda names: RetryableError("500") if "poison" in names else None
    await house.start(batches={"store": sink})
    await house.append("poison", *[f"beside {item}" for item in range(15)])
    await sink.called(1)
    await house.append("behind")
    while len(sink.names) < 16:
        await house.clock.advance(BACKOFF_S)
        await asyncio.sleep(0)
    assert "poison" not in sink.names
    await house.stop()
    assert house.outcomes("store") == {"delivered": 1, "waiting": 16}
