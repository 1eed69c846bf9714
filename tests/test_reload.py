"""A bridge goes over to another plan while it runs: nothing lost, nothing doubled, nothing in another's project."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.config import SecretStr
from otel_bridge.errors import JournalFullError, PlanError, RetryableError
from otel_bridge.pipeline import RunningBridge, running
from otel_bridge.plan import Plan, parse
from otel_bridge.testing.fake_langfuse import FakeLangfuse
from tests.reloading import Said, World, batch
from tests.waiting import until

TENANTS = ("acme", "globex", "initech")


@pytest.fixture
def world() -> World:
    return World()


def reloads(bridge: RunningBridge, outcome: str) -> int:
    return sum(
        one["value"] for one in bridge.status()["counters"] if one["name"] == "reloads" and one["outcome"] == outcome
    )


async def test_what_did_not_change_stays_open_and_what_did_is_opened_anew(world: World, tmp_path: Path) -> None:
    two = (world.planned("door"), world.planned("door/two", "before"))
    async with running(world.plan(tmp_path, doors=two)) as bridge:
        world.happened.clear()
        await bridge.reload(world.plan(tmp_path, doors=(two[0], world.planned("door/two", "after"))))

        assert world.happened == ["marked opens", "sink opens", "door/two closes", "door/two opens after"]
        assert bridge.endpoints["door/two"] == {"door": "after"}
        assert reloads(bridge, "done") == 1

        await bridge.reload(world.plan(tmp_path))
        assert set(bridge.endpoints) == {"door", "beside"}
        with pytest.raises(RetryableError):
            await world.knock["door/two"](batch("late"))


@pytest.mark.parametrize("changed", ["door", "marked", "sink"])
async def test_what_can_not_be_opened_changes_nothing_and_is_told_of(
    changed: str, world: World, tmp_path: Path
) -> None:
    """It goes on as it was, is ready, and says what is wrong until there is a good one."""
    world.bad.add("taken")
    bad = {
        "door": lambda: world.plan(tmp_path, doors=(world.planned("door", "taken"),)),
        "marked": lambda: world.plan(tmp_path, marked="taken"),
        "sink": lambda: world.plan(tmp_path, world.planned("sink", "taken")),
    }[changed]()
    async with running(world.plan(tmp_path, world.planned("sink", "good"))) as bridge:
        with pytest.raises(PlanError, match="taken"):
            await bridge.reload(bad)

        await world.knock["door"](batch("one"))
        await until(lambda: world.projects["good"]["default", "one"] == 1)
        assert bridge.status()["ready"] is True
        assert bridge.status()["configuration_rejected"]["mistakes"] == [
            f"test.yaml: {changed} can not listen on taken"
        ]
        assert reloads(bridge, "failed") == 1

        await bridge.reload(world.plan(tmp_path, world.planned("sink", "better")))
        assert bridge.status()["configuration_rejected"] is None
        await world.knock["door"](batch("two"))
        await until(lambda: world.projects["better"]["default", "two"] == 1)


async def test_what_can_not_change_while_it_runs_is_told_of(world: World, tmp_path: Path) -> None:
    async with running(world.plan(tmp_path / "here")) as bridge:
        world.happened.clear()
        moved = world.plan(tmp_path / "there", service={"journal": {"durability": "os"}})
        with pytest.raises(PlanError) as caught:
            await bridge.reload(replace(moved, sources={"service::data_dir": "bridge.yaml:7"}))

        assert [one.partition(", until")[0] for one in caught.value.mistakes] == [
            f"bridge.yaml:7 service::data_dir: {tmp_path / 'there'} needs a restart",
            "test.yaml service::journal::durability: os needs a restart",
        ]
        assert world.happened == []
        assert reloads(bridge, "needs_restart") == 1


@pytest.mark.slow
async def test_the_journals_limits_can_change(world: World, tmp_path: Path) -> None:
    """It is full by the first, and takes again by the second."""
    world.parked.add("")
    small, large = ({"journal": {"max_bytes": f"{size}MiB"}} for size in (1, 64))
    async with running(world.plan(tmp_path, service=small)) as bridge:
        with pytest.raises(RetryableError):  # noqa: PT012 - by the time it is full
            for _ in range(20):
                await world.knock["door"](batch("x" * 100_000))
        await bridge.reload(world.plan(tmp_path, service=large))

        for _ in range(20):
            await world.knock["door"](batch("x" * 100_000))
        assert bridge.status()["journal"]["max_bytes"] == 64 << 20


async def test_what_is_being_sent_is_let_finish(world: World, tmp_path: Path) -> None:
    """What waits behind it goes by the new plan, and senders are answered meanwhile."""
    world.at_once = asyncio.Event()
    async with running(world.plan(tmp_path, world.planned("sink", "old"))) as bridge:
        await world.knock["door"](batch("first"))
        await until(lambda: _leased(bridge))
        await world.knock["door"](batch("second"))

        async def release() -> None:
            await world.knock["door"](batch("meanwhile"))
            assert world.at_once is not None
            world.at_once.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(release())
            await bridge.reload(world.plan(tmp_path, world.planned("sink", "new")))
        await until(lambda: world.projects["new"].total() == 2)

    assert world.projects == {
        "old": Counter({("default", "first"): 1}),
        "new": Counter({("default", "second"): 1, ("default", "meanwhile"): 1}),
    }


def _leased(bridge: RunningBridge) -> bool:
    assert bridge._delivery is not None
    return any(lane.leased for lane in bridge._delivery._destinations["main", "sink"].lanes.values())


async def test_who_wants_to_stop_does_not_wait_for_what_is_being_sent(world: World, tmp_path: Path) -> None:
    world.at_once, hurry = asyncio.Event(), asyncio.Event()
    async with running(world.plan(tmp_path), drain_s=lambda: 0, hurry=hurry) as bridge:
        await world.knock["door"](batch("first"))
        await until(lambda: _leased(bridge))
        asyncio.get_running_loop().call_later(0.05, hurry.set)
        async with asyncio.timeout(5):
            await bridge.reload(world.plan(tmp_path))


@pytest.mark.slow
async def test_while_the_slowest_is_waited_for_a_full_journal_refuses(world: World, tmp_path: Path) -> None:
    """Also where its oldest may go, for whose account delivery is needed: who sends does not wait as long as that."""
    dropping = {"journal": {"max_bytes": "1MiB", "when_full": "drop_oldest"}}
    world.at_once = asyncio.Event()
    async with running(world.plan(tmp_path, service=dropping)) as bridge:
        for _ in range(20):
            await world.knock["door"](batch("x" * 100_000))
        await until(lambda: _leased(bridge))
        reloading = asyncio.create_task(bridge.reload(world.plan(tmp_path, service=dropping)))
        await until(lambda: bridge.operator is None)
        async with asyncio.timeout(5):
            with pytest.raises(JournalFullError, match="send again later"):  # noqa: PT012 - by the time it is full
                for _ in range(20):
                    await world.knock["door"](batch("x" * 100_000))
        assert not reloading.done()

        world.at_once.set()
        await reloading
        for _ in range(20):
            await world.knock["door"](batch("x" * 100_000))


async def test_a_corrected_key_is_tried_at_once(world: World, tmp_path: Path) -> None:
    """Not when it would be its turn, a minute later."""
    world.parked.add("wrong")
    async with running(world.plan(tmp_path, world.planned("sink", "wrong"))) as bridge:
        await world.knock["door"](batch("one"))
        await until(lambda: bridge.status()["parked"] == 1)
        await bridge.reload(world.plan(tmp_path, world.planned("sink", "right")))
        await until(lambda: world.projects["right"].total() == 1)
        assert bridge.status()["parked"] == 0


async def test_a_tenant_without_keys_of_its_own_gets_nobody_elses(world: World, tmp_path: Path) -> None:
    """Its data is kept, and goes where it belongs once it has keys; other exporters take all of it."""
    rest = world.planned("sink/all", "all")
    own = world.planned("sink", "of nobody", {"acme": "acme's"})
    async with running(world.plan(tmp_path, own, rest)) as bridge:
        assert bridge.status()["tenants_with_own_keys"] == {"sink": ["acme"]}
        for tenant in ("acme", "globex"):
            await world.knock["door"](batch(f"of {tenant}", tenant=tenant))
        await until(lambda: world.projects["all"].total() == 2 and bridge.status()["parked"] == 1)
        kept = bridge.status()["exporters"]["main/sink"]["globex"]
        assert (kept["parked"], kept["waiting"]) == ("no_keys", 1)
        assert "service::tenants::globex::exporters::sink" in kept["why"]
        assert world.projects["acme's"] == Counter({("acme", "of acme"): 1})

        await bridge.reload(
            world.plan(tmp_path, world.planned("sink", "", {"acme": "acme's", "globex": "globex's"}), rest)
        )
        await until(lambda: world.projects["globex's"] == Counter({("globex", "of globex"): 1}))

    assert "of nobody" not in world.projects


@pytest.mark.parametrize("others_stay", [True, False])
async def test_what_the_last_tenant_with_keys_left_is_not_sent_to_the_project_of_all(
    others_stay: bool, world: World, tmp_path: Path
) -> None:
    """Also where no tenants are left at all: the exporter's own keys are those of `default`."""
    world.parked.add("acme's")
    base = world.planned("sink", "shared")
    shared = replace(base, config=Said(word="shared", key=SecretStr("of the shared project")))
    stay = {"tenants": {"globex": {"keys": ["0123456789abcdef"]}}} if others_stay else {}
    async with running(world.plan(tmp_path, world.planned("sink", "shared", {"acme": "acme's"}))) as bridge:
        await world.knock["door"](batch("left", tenant="acme"))
        await until(lambda: bridge.status()["parked"] == 1)

        await bridge.reload(world.plan(tmp_path, shared, service=stay))
        await world.knock["door"](batch("own", tenant="default"))
        await until(lambda: world.projects["shared"].total() == 1 and bridge.status()["parked"] == 1)

        kept = bridge.status()["exporters"]["main/sink"]["acme"]
        assert (kept["parked"], kept["waiting"]) == ("no_keys", 1)
        assert "as {} where those of the exporter are meant" in kept["why"]
    assert world.projects["shared"] == Counter({("default", "own"): 1})
    assert world.projects["acme's"].total() == 0


@pytest.mark.slow
async def test_what_a_removed_tenant_left_is_kept_until_it_is_too_old(world: World, tmp_path: Path) -> None:
    """And is in nobody's project then either."""
    world.parked.add("globex's")
    both = world.planned("sink", "", {"acme": "acme's", "globex": "globex's"})
    async with running(world.plan(tmp_path, both)) as bridge:
        await world.knock["door"](batch("left", tenant="globex"))
        await until(lambda: bridge.status()["parked"] == 1)
        gone = world.plan(
            tmp_path, world.planned("sink", "", {"acme": "acme's"}), service={"journal": {"max_age": "200ms"}}
        )
        await bridge.reload(gone)
        await until(
            lambda: any(
                (one["name"], one.get("reason"), one["value"]) == ("expired", "max_age", 1)
                for one in bridge.status()["counters"]
            )
        )

    assert world.projects["acme's"].total() == 0


@pytest.mark.slow
async def test_under_load_no_reload_loses_or_doubles_and_no_span_is_in_anothers_project(
    world: World, tmp_path: Path
) -> None:
    """Exporters, processors and doors change, tenants come, have other projects and go, and bad plans come between."""
    world.bad.add("bad")
    acknowledged: set[tuple[str, str]] = set()
    refused: list[BaseException] = []
    stopped = False

    async def agent(tenant: str, number: int) -> None:
        count = 0
        while not stopped:
            name = f"{tenant} {number} {count}"
            try:
                await world.knock["door"](batch(name, tenant=tenant))
            except Exception as error:  # noqa: BLE001 - there must be none
                refused.append(error)
                return
            acknowledged.add((tenant, name))
            count += 1
            await asyncio.sleep(0.001)

    def plan(turn: int) -> Plan:
        there = TENANTS[: 1 + turn % 3]
        own = {tenant: f"{tenant} {turn % 2}" for tenant in there}  # keys are rotated
        exporters = [world.planned("sink", "", own), world.planned("sink/all", "all")]
        return world.plan(
            tmp_path,
            *(exporters if turn % 2 else reversed(exporters)),
            marked=str(turn % 4),
            doors=(world.planned("door"), *([world.planned("door/two", str(turn))] if turn % 3 else [])),
        )

    async with running(plan(0)) as bridge, asyncio.TaskGroup() as agents:
        for number in range(6):
            agents.create_task(agent(TENANTS[number % 3], number))
        for turn in range(1, 21):
            await asyncio.sleep(0.02)  # of load between them
            if turn % 3 == 0:
                with pytest.raises(PlanError):
                    await bridge.reload(world.plan(tmp_path, world.planned("sink", "bad")))
            await bridge.reload(plan(turn))
        stopped = True
        await bridge.reload(plan(2))  # in which all three have keys
        await until(lambda: not any(of["waiting"] for of in _waiting(bridge)))
        assert (reloads(bridge, "done"), reloads(bridge, "failed")) == (21, 6)

    assert refused == []
    assert len(acknowledged) > 200
    assert world.projects["all"] == Counter(acknowledged)
    owned = {word: found for word, found in world.projects.items() if word != "all"}
    assert all(tenant == word.split()[0] for word, found in owned.items() for tenant, _ in found)
    assert sum(owned.values(), Counter()) == Counter(acknowledged)


PROJECTS = """\
receivers: {{in_process: {{}}}}
exporters:
  langfuse: {{timeout: 5s}}
service:
  data_dir: {folder}
  assemble: {{grace: 10ms}}
  deliver: {{max_batch_age: 10ms}}
  tenants:
    acme:
      exporters: {{langfuse: {{base_url: "{acme}", public_key: pk-lf-fake, secret_key: "{key}"}}}}
    globex:
      exporters: {globex}
  pipelines: {{main: {{receivers: [in_process], exporters: [langfuse]}}}}
"""


@pytest.mark.slow
async def test_two_projects_of_langfuse_get_what_is_theirs_while_keys_come_and_go(tmp_path: Path) -> None:
    """One tenant's key is wrong for a time, and the other has none for a time."""
    sent: dict[str, set[str]] = {"acme": set(), "globex": set()}
    async with FakeLangfuse().running() as acme, FakeLangfuse().running() as globex:

        def plan(turn: int) -> Plan:
            own = f'{{langfuse: {{base_url: "{globex.url}", public_key: pk-lf-fake, secret_key: sk-lf-fake}}}}'
            key = "sk-lf-wrong" if turn % 3 == 1 else "sk-lf-fake"
            text = PROJECTS.format(folder=tmp_path, acme=acme.url, key=key, globex="{}" if turn % 3 == 2 else own)
            return parse(text, "bridge.yaml", environ={})

        async with running(plan(0)) as bridge:
            for turn in range(1, 10):
                for number in range(10):
                    for tenant, names_of in sent.items():
                        name = f"{tenant} {turn} {number}"
                        await bridge.consume(batch(name, tenant=tenant, trace_id=name.encode().rjust(16, b"-")[:16]))
                        names_of.add(name)
                await bridge.reload(plan(turn))
            await until(lambda: len(acme.observations) + len(globex.observations) == 180)

        for tenant, fake in (("acme", acme), ("globex", globex)):
            assert {one["name"] for one in fake.observations.values()} == sent[tenant]
            assert fake.duplicates == 0


def _waiting(bridge: RunningBridge) -> list[dict[str, Any]]:
    exporters: dict[str, dict[str, dict[str, Any]]] = bridge.status()["exporters"]
    return [of for tenants in exporters.values() for of in tenants.values()]
