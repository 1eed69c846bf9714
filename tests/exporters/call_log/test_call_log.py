"""Each call has one file in the folder of its run, whatever comes how often and however it is called."""

import asyncio
import fcntl
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from ruamel.yaml import YAML

from otel_bridge.component import Host, Settle
from otel_bridge.errors import FilesError, RetryableError
from otel_bridge.exporters.call_log import CallLogConfig, call_log, logs
from otel_bridge.exporters.call_log.runs import INDEX
from otel_bridge.model import Level, TraceAttributes
from otel_bridge.telemetry import Counters
from tests.exporters.call_log.made import seen, translated


@asynccontextmanager
async def writing(folder: Path, counters: Counters | None = None, **settings: Any) -> AsyncIterator[Settle]:
    config = CallLogConfig(dir=folder, **settings)
    host = Host("call_log", folder.parent, counters or Counters())
    async with asynccontextmanager(call_log.open)(config, host) as settle:
        yield settle


async def written(folder: Path, *observations: Any, tenant: str = "default", **settings: Any) -> None:
    async with writing(folder, **settings) as settle:
        await settle(translated(*observations, tenant=tenant))


def files(folder: Path) -> list[str]:
    """All that a user sees."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    )


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def everything(folder: Path) -> list[Path]:
    return [folder, *folder.rglob("*")] if folder.exists() else []


def read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


def a_run() -> list[Any]:
    return [
        seen("a1", "AGENT", name="invoke_agent planner"),
        seen("s1", "CHAIN", parent_id="a1", at=0.1),
        seen(
            "c1", parent_id="s1", at=0.2, model="m1", usage={"input": 3, "output": 4, "total": 7}, cost={"total": 0.5}
        ),
        seen("c2", at=0.4, metadata={"gen_ai.agent.name": "writer"}, model="m2", level=Level.ERROR),
        seen("e1", "EMBEDDING", at=0.6, name="embed it", model="m1", usage={"input": 2, "total": 2}),
        seen("x1", "TOOL", at=0.7),
    ]


async def test_a_run_has_a_file_for_each_call_and_a_summary(folder: Path) -> None:
    """The name is that of the agent that makes the call, else the call's own."""
    await written(folder, *a_run())

    calls = ["call_001_planner.yaml", "call_002_writer.yaml", "call_003_embed_it.yaml"]
    assert files(folder) == [*(f"t1/llm_calls/{name}" for name in calls), "t1/summary.yaml"]
    said = read(folder / "t1" / "summary.yaml")
    assert said | {"models": ..., "agents": ...} == {
        "run_id": "t1",
        "name": "plan a week",
        "started": "2026-09-21T14:13:20.200Z",
        "ended": "2026-09-21T14:13:20.850Z",
        "calls": 3,
        "failed": 1,
        "tokens": {"input": 5, "output": 4, "total": 9},
        "cost": {"total": 0.5},
        "latency_ms": {"total": 750.0, "mean": 250.0, "median": 250.0, "p95": 250.0, "longest": 250.0},
        "models": ...,
        "agents": ...,
        "trace_ids": ["t1"],
    }
    assert {name: (of["calls"], of["failed"]) for name, of in said["models"].items()} == {"m1": (2, 0), "m2": (1, 1)}
    assert list(said["agents"]) == ["embed it", "planner", "writer"]


async def test_what_counts_tokens_and_is_no_call_is_in_the_sum_and_has_no_file(folder: Path) -> None:
    await written(folder, seen("c1"), seen("a1", "AGENT", usage={"input": 9, "total": 9}))

    assert read(folder / "t1" / "summary.yaml")["tokens"] == {"input": 9, "total": 9}
    assert len(files(folder)) == 2


async def test_without_a_call_there_is_no_run(folder: Path) -> None:
    await written(folder, seen("a1", "AGENT"), seen("x1", "TOOL"))

    assert files(folder) == []


@pytest.mark.parametrize("form", ["yaml", "json", "jsonl"])
async def test_what_comes_twice_is_there_once_also_after_a_restart(folder: Path, form: str) -> None:
    """And what is new then goes on with the next number, in pieces and out of order."""
    await written(folder, *a_run(), format=form)
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    await written(folder, *a_run()[::-1], format=form)
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before

    await written(folder, *a_run(), seen("c9", at=9.0, name="late"), format=form)
    if form == "jsonl":
        lines = (folder / "t1" / "llm_calls" / "calls.jsonl").read_text().splitlines()
        assert [json.loads(line)["call"] for line in lines] == [1, 2, 3, 4]
    else:
        assert files(folder)[3] == f"t1/llm_calls/call_004_late.{form}"
        assert len(files(folder)) == 5


async def test_the_files_of_a_run_that_goes_on_in_another_format_stay(folder: Path) -> None:
    """At the level of now, where they come again."""
    await written(folder, seen("c1", name="one", input="asked"))
    await written(folder, seen("c1", name="one"), seen("c2", name="two", at=1), format="json", level="minimal")

    assert files(folder) == ["t1/llm_calls/call_001_one.yaml", "t1/llm_calls/call_002_two.json", "t1/summary.json"]
    assert "input" not in read(folder / "t1/llm_calls/call_001_one.yaml")


async def test_a_late_part_goes_on_in_the_run_of_its_trace(folder: Path) -> None:
    """Which only the first part names; its agent is known as well, but for a restart."""
    agent = seen("a1", "AGENT", name="planner", metadata={"run.id": "run-7"})
    async with writing(folder) as settle:
        await settle(translated(agent, seen("c1", parent_id="a1")))
        await settle(translated(seen("c2", parent_id="a1", at=1)))
    await written(folder, seen("c3", parent_id="a1", at=2, name="chat"))

    assert files(folder)[:3] == [
        f"run-7/llm_calls/{name}" for name in ("call_001_planner.yaml", "call_002_planner.yaml", "call_003_chat.yaml")
    ]
    assert {name.partition("/")[0] for name in files(folder)} == {"run-7"}


async def test_traces_with_one_run_id_are_one_run(folder: Path) -> None:
    both = [seen(f"c{n}", trace_id=f"t{n}", at=n, metadata={"run.id": 42}) for n in (1, 2)]
    await written(folder, *both)

    assert read(folder / "42" / "summary.yaml")["trace_ids"] == ["t1", "t2"]
    assert [name for name in files(folder) if "call_" in name] == [
        "42/llm_calls/call_001_chat_gpt-5.2.yaml",
        "42/llm_calls/call_002_chat_gpt-5.2.yaml",
    ]


HOSTILE = [
    "../../etc",
    "/etc/passwd",
    "..",
    ".hidden",
    "-rf",
    "a\x00b",
    "a\nb\x1b[2J",
    "x" * 199,
    "日" * 150,
    "\ud83d",
    "a/b",
    "CON:",
]


async def test_no_name_leads_out_of_the_folder_or_is_longer_than_a_file_system_takes(
    folder: Path, tmp_path: Path
) -> None:
    made = [
        seen(f"c{n}", trace_id=f"t{n}", metadata={"run.id": name, "gen_ai.agent.name": name})
        for n, name in enumerate(HOSTILE)
    ]
    await written(folder, *made)

    assert inside(tmp_path) == ["log"]
    names = [part for file in files(folder) for part in file.split("/")]
    assert all(name.isprintable() and name[0].isalnum() and len(name.encode()) < 200 for name in names)
    calls = [name for name in files(folder) if "call_001" in name]
    assert len(calls) == len(HOSTILE)
    assert {json.loads((folder / name).parents[1].joinpath(INDEX).read_bytes())["run_id"] for name in calls} >= {
        "../../etc",
        "a/b",
    }


async def test_runs_and_tenants_that_would_share_a_folder_do_not(folder: Path) -> None:
    """A name that looks as one with a hash does is no way into another's folder."""
    mine = seen("c1", metadata={"run.id": "r"})
    await written(folder, mine, tenant="acme")
    [of_acme] = inside(folder)
    await written(folder, mine)
    await written(folder, seen("c2", metadata={"run.id": of_acme}))
    await written(folder, seen("c3", metadata={"run.id": "a/b"}), seen("c4", metadata={"run.id": "a:b"}))

    assert len(inside(folder)) == 5
    assert sorted({name.partition("/")[0] for name in files(folder) if "call_001" in name}) == inside(folder)


async def test_content_is_left_out_at_minimal_also_of_errors(folder: Path) -> None:
    secret = "the-secret-plan"
    call = seen("c1", input=secret, output=[secret], status_message=secret, level=Level.ERROR)
    call.metadata, call.model_parameters = {"k": secret}, {"system": secret}
    await written(folder, call, level="minimal")

    assert all(secret not in path.read_text() for path in everything(folder) if path.is_file())
    assert read(folder / "t1" / "llm_calls" / "call_001_chat_gpt-5.2.yaml")["ok"] is False


async def test_off_writes_nothing_and_takes_all(folder: Path) -> None:
    await written(folder, seen("c1"), level="off")

    assert everything(folder) == []


async def test_files_are_for_their_owner_alone(folder: Path) -> None:
    await written(folder, *a_run())

    assert {path.stat().st_mode & 0o77 for path in everything(folder)} == {0}


async def test_past_the_limits_the_oldest_runs_go_and_are_counted(folder: Path) -> None:
    counters = Counters()
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "notes.txt").write_text("no run")
    async with writing(folder, counters, max_runs=2) as settle:
        for n in range(4):
            await settle(translated(seen(f"c{n}", trace_id=f"t{n}")))
            newest = folder / f"t{n}" / INDEX
            assert newest.exists()

    assert inside(folder) == ["mine", "t2", "t3"]
    assert counters.value("call_log_runs_removed", exporter="call_log", reason="max_runs") == 2


async def test_bytes_are_limited_also_of_a_run_alone(folder: Path) -> None:
    """Whose calls are counted all the same."""
    counters = Counters()
    async with writing(folder, counters, max_bytes=8000) as settle:
        await settle(translated(seen("c0", trace_id="t0", input="x" * 4000)))
        await settle(translated(*(seen(f"c{n}", at=n, input="x" * 3000, usage={"total": 1}) for n in range(1, 5))))

    assert [name for name in files(folder) if "call_" in name] == [
        "t1/llm_calls/call_001_chat_gpt-5.2.yaml",
        "t1/llm_calls/call_002_chat_gpt-5.2.yaml",
    ]
    said = read(folder / "t1" / "summary.yaml")
    assert (said["calls"], said["tokens"], said["without_file"]) == (4, {"total": 4}, 2)
    assert counters.value("call_log_calls_left_out", reason="max_bytes") == 2
    assert counters.value("call_log_runs_removed", reason="max_bytes") == 1


async def test_so_is_the_number_of_calls_of_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_CALLS", 2)
    counters = Counters()
    async with writing(folder, counters) as settle:
        await settle(translated(*(seen(f"c{n}", at=n) for n in range(5))))

    said = read(folder / "t1" / "summary.yaml")
    assert (said["calls"], said["left_out"]) == (2, 3)
    assert counters.value("call_log_calls_left_out", reason="max_calls") == 3


async def test_old_runs_go_at_the_next_start(folder: Path) -> None:
    await written(folder, seen("c1"))
    await written(folder, seen("c2", trace_id="t2"), max_age=0.000001)

    assert {name.partition("/")[0] for name in files(folder)} == {"t2"}


async def test_lines_that_a_crash_left_behind_come_again_and_are_there_once(folder: Path) -> None:
    await written(folder, seen("c1"), format="jsonl")
    lines = folder / "t1" / "llm_calls" / "calls.jsonl"
    with lines.open("ab") as file:
        file.write(b'{"call": 2, "observation_id": "c2"}\n{"call": 3, "obser')
    await written(folder, seen("c2", at=1), seen("c3", at=2), format="jsonl")

    assert [json.loads(line)["observation_id"] for line in lines.read_text().splitlines()] == ["c1", "c2", "c3"]


async def test_what_was_known_of_a_run_is_lost_and_no_file_with_it(folder: Path) -> None:
    await written(folder, seen("c1", name="one", input="first"))
    (folder / "t1" / INDEX).write_text('{"run_id": ')
    await written(folder, seen("c2", name="one", at=1, input="second"))

    contents = [read(folder / name)["input"] for name in files(folder) if "call_" in name]
    assert contents == ["first", "second"]


async def test_two_processes_may_share_a_folder(folder: Path) -> None:
    """Each exporter opens the lock for itself, as processes do."""
    async with writing(folder) as one, writing(folder) as other:
        await asyncio.gather(
            *(
                settle(translated(seen(f"{name}{n}", metadata={"run.id": "r"}, at=n)))
                for n in range(10)
                for name, settle in (("a", one), ("b", other))
            )
        )

    numbers = sorted(read(path)["call"] for path in (folder / "r" / "llm_calls").iterdir())
    assert numbers == list(range(1, 21))


async def test_a_slow_disk_does_not_hold_up_the_loop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = logs.Logs._put

    def slow(self: logs.Logs, path: Path, body: bytes) -> None:
        time.sleep(0.1)
        put(self, path, body)

    monkeypatch.setattr(logs.Logs, "_put", slow)
    turns = 0
    async with writing(folder) as settle:
        working = asyncio.ensure_future(settle(translated(seen("c1"))))
        while not working.done():
            turns += 1
            await asyncio.sleep(0.001)

    assert turns > 20
    assert len(files(folder)) == 2


async def test_a_folder_that_can_not_be_used_is_told_of_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")

    with pytest.raises(FilesError, match="log cannot be written to: it is a file, and no folder; name another dir"):
        await written(tmp_path / "log", seen("c1"))


async def test_what_can_not_be_written_now_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it may be there by then, which costs nothing."""
    put, failing = logs.Logs._put, True

    def full(self: logs.Logs, path: Path, body: bytes) -> None:
        if failing and path.name.startswith("call_002"):
            raise OSError(28, "No space left on device")
        put(self, path, body)

    monkeypatch.setattr(logs.Logs, "_put", full)
    async with writing(folder) as settle:
        with pytest.raises(RetryableError, match="No space left on device"):
            await settle(translated(*a_run()))
        failing = False
        await settle(translated(*a_run()))

    assert [name for name in files(folder) if "call_" in name] == [
        f"t1/llm_calls/{name}" for name in ("call_001_planner.yaml", "call_002_writer.yaml", "call_003_embed_it.yaml")
    ]
    assert orjson.loads((folder / "t1" / INDEX).read_bytes())["numbered"] == 3


async def test_a_process_that_keeps_the_folder_locked_holds_up_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOCKED_S", 0.05)
    async with writing(folder) as settle:
        with (folder / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(RetryableError, match="could not be written: another process has it locked"):
                await settle(translated(seen("c1")))
        await settle(translated(seen("c1")))

    assert len(files(folder)) == 2


async def test_names_of_any_length_take_little_room(folder: Path) -> None:
    long = "x" * 100_000
    buckets = {f"input_{n}": 1 for n in range(10_000)} | {long: 1}
    call = seen("c1", name=long, model=long, usage=buckets, trace=TraceAttributes("t1", name=long))
    await written(folder, call, level="minimal")

    assert sum((folder / "t1" / name).stat().st_size for name in (INDEX, "summary.yaml")) < 10_000


async def test_a_file_is_there_as_it_was_or_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await written(folder, seen("c1", input="first"))
    before = {name: (folder / name).read_bytes() for name in files(folder)}

    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    async with writing(folder) as settle:
        monkeypatch.setattr(logs.os, "fsync", broken)
        with pytest.raises(RetryableError, match="Input/output error"):
            await settle(translated(seen("c1", input="second" * 10_000), seen("c2", at=1)))

    assert {name: (folder / name).read_bytes() for name in files(folder)} == before


async def test_what_is_said_of_the_whole_trace_names_its_run_first(folder: Path) -> None:
    """As a trace processor says it."""
    trace = TraceAttributes("t1", metadata={"run.id": "of-the-trace"})
    await written(folder, seen("c1", trace=trace), seen("x1", "TOOL", trace=trace, metadata={"run.id": "other"}))

    assert {name.partition("/")[0] for name in files(folder)} == {"of-the-trace"}


async def test_two_traces_of_a_run_may_have_spans_of_one_id(folder: Path) -> None:
    """Ids of spans are unique within a trace alone."""
    for trace_id in ("a", "b"):
        said = {"trace_id": trace_id, "metadata": {"run.id": "r"}, "usage": {"input": 5, "total": 5}}
        await written(folder, seen("0000000000000001", **said), run_key="run.id")

    assert len([name for name in files(folder) if "call_0" in name]) == 2
