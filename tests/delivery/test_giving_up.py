"""What waits for an exporter is given up by an operator, for one tenant or all, and counted."""

import pytest

from otel_bridge.errors import ParkedError, RetryableError, UsageError
from tests.delivery.conftest import BACKOFF_S, House, Sink


async def test_what_waits_is_given_up_for_one_tenant_and_counted(house: House, sinks: type[Sink]) -> None:
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
    house: House, sink: Sink, monkeypatch: pytest.MonkeyPatch
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
