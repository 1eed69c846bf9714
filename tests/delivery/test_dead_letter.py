"""The file of dead letters, damaged or on a full disk: delivery goes on, and what can be read is."""

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from otel_bridge.delivery.dead_letter import DeadLetter, DeadLetters, open_dead_letters
from otel_bridge.model import Observation, ObservationType, TraceAttributes, Translation
from otel_bridge.telemetry import Counters


def letter(number: int, content: bytes = b"x") -> DeadLetter:
    return DeadLetter(f"{number:016x}", "main", "store", "t", "traces", "refused", "no", number, 1, content)


async def filled(path: Path, count: int) -> None:
    async with open_dead_letters(path, Counters()) as letters:
        for number in range(count):
            await letters.add(letter(number, bytes([number]) * 3000))


def damage(path: Path, content: bytes) -> None:
    """Where this content is."""
    raw = bytearray(path.read_bytes())
    page = raw.index(content) // 4096 * 4096
    raw[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(raw)


def moved_aside(folder: Path) -> int:
    return len(list(folder.glob("dead_letters.db.unreadable-*")))


async def test_a_file_that_is_none_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.db"
    await asyncio.to_thread(path.write_bytes, b"not a database" * 100)
    async with open_dead_letters(path, Counters()) as letters:
        await letters.add(letter(1))
        assert await letters.list() == [letter(1)]
    assert moved_aside(tmp_path) == 1


async def test_what_is_not_damaged_is_read_and_what_is_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.db"
    await filled(path, 20)
    damage(path, bytes([7]) * 1000)
    async with open_dead_letters(path, Counters()) as letters:
        listed = await letters.list()
        whole = [one for one in listed if one.reason == "refused"]
        bad = [one for one in listed if one.reason == "damaged"]
        assert len(whole) + len(bad) == 20
        assert letter(7).id in {one.id for one in bad}
        assert len(whole) >= 15
        assert [one.at_ns for one in whole] == sorted((one.at_ns for one in whole), reverse=True)


async def test_a_letter_that_meets_damage_begins_a_new_file_with_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.db"
    await filled(path, 20)
    damage(path, bytes([7]) * 1000)
    counters = Counters()
    async with open_dead_letters(path, counters) as letters:
        readable = [one for one in await letters.list() if one.reason == "refused"]
        assert len(readable) >= 15
        await letters.add(letter(99))
        assert await letters.list() == [letter(99), *readable]
    assert moved_aside(tmp_path)
    assert counters.value("dead_letters_damaged") == 20 - len(readable)


async def test_a_letter_whose_owner_can_not_be_read_stops_no_other(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.db"
    await filled(path, 2)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE letter SET exporter = CAST(x'6c61ff' AS TEXT) WHERE rowid = 1")
    connection.close()
    async with open_dead_letters(path, Counters()) as letters:
        await letters.add(letter(99))
        assert letter(99) in await letters.list()


async def test_it_is_known_how_many_there_are_whatever_becomes_of_them(tmp_path: Path) -> None:
    """Those from before, of both sides of an exporter; what comes, is dropped, answered anew, or goes as there are too
    many; and where what a replay sets aside is among them."""
    path = tmp_path / "dead_letters.db"

    def told(letters: DeadLetters) -> dict[tuple[str, str, str], int]:
        return {(one["exporter"], one["tenant"], one["reason"]): one["letters"] for one in letters.waiting()}

    async with open_dead_letters(path, Counters()) as letters:
        assert letters.waiting() == []
        for number in range(3):
            await letters.add(letter(number, b"x" * 1000))
        await letters.add(replace(letter(3), exporter="store.settled"))
    counters = Counters()
    async with open_dead_letters(path, counters, max_bytes=3000) as letters:
        assert told(letters) == {("store", "t", "refused"): 4}
        await letters.answered(letter(3).id, "too_large", "no")
        assert told(letters) == {("store", "t", "refused"): 2, ("store", "t", "too_large"): 1}  # the oldest went
        assert counters.value("dead_letters_removed") == 1
        await letters.drop(letter(3).id)
        await letters.unaccounted().add(letter(1, b"x" * 1000))
        await letters.unaccounted().add(replace(letter(4), tenant="u"))
        assert told(letters) == {("store", "t", "refused"): 2, ("store", "u", "refused"): 1}
    await filled(path, 20)
    damage(path, bytes([7]) * 1000)
    async with open_dead_letters(path, Counters()) as letters:
        assert sum(told(letters).values()) == len(await letters.list())
        assert told(letters)["", "", "damaged"] >= 1


async def test_letters_that_somebody_took_out_of_the_file_take_no_room(tmp_path: Path) -> None:
    path, counters = tmp_path / "dead_letters.db", Counters()
    async with open_dead_letters(path, counters, max_bytes=3000) as letters:
        for number in range(3):
            await letters.add(letter(number, b"x" * 1000))
        with closing(apsw.Connection(str(path))) as other:
            other.execute("DELETE FROM letter")
        for number in range(3, 6):
            await letters.add(letter(number, b"x" * 1000))
        assert {one.id for one in await letters.list()} == {letter(number, b"x" * 1000).id for number in range(3, 6)}
        assert sum(one["letters"] for one in letters.waiting()) == 3
        await letters.add(letter(6, b"x" * 1000))
        assert counters.value("dead_letters_removed") == 1


async def test_a_letter_waits_for_a_disk_that_is_full(tmp_path: Path) -> None:
    """It is not confirmed before, so its item stays in the journal."""
    counters = Counters()
    async with open_dead_letters(tmp_path / "dead_letters.db", counters) as letters:
        limit = await pages(letters, 1)
        adding = asyncio.create_task(letters.add(letter(1, bytes(20_000))))
        while not counters.value("dead_letter_write_failures"):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        assert not adding.done()
        await pages(letters, limit + 1000)
        await asyncio.wait_for(adding, 10)
        assert await letters.show(letter(1).id) is not None


async def pages(letters: DeadLetters, most: int) -> int:
    def limit(connection: apsw.Connection) -> int:
        before: int = connection.pragma("max_page_count")
        connection.pragma("max_page_count", most)
        return before

    return await letters._database.run(limit)


async def test_whatever_a_translation_holds_it_can_be_set_aside(tmp_path: Path) -> None:
    """Else its lane would stand still, and send those beside it again and again."""
    odd = Observation("01", "aa", None, ObservationType.SPAN, "a\ud800", 1, 2, TraceAttributes("aa"))
    odd.metadata = {"half": "\ud800", "bytes": b"\xff", "nan": float("nan"), "huge": 2**70, "ok": "kept"}
    piece = Translation(tenant="t", observations=[odd])
    async with open_dead_letters(tmp_path / "dead_letters.db", Counters()) as letters:
        for _ in range(2):
            await letters.set_aside(
                piece, pipeline="main", exporter="store", reason="refused", answer="no\ud800", at_ns=1
            )
        [letter] = await letters.list()
        again = letter.piece()
        assert letter.intact
        assert isinstance(again, Translation)
        [seen] = again.observations
        assert (seen.name, seen.metadata["half"], seen.metadata["ok"]) == ("a?", "?", "kept")


def test_what_is_refused_once_more_in_a_replay_is_the_same_letter() -> None:
    made = {
        DeadLetter.of(
            Translation(traces=[TraceAttributes("t" * 32)], again=again),
            pipeline="main",
            exporter="langfuse",
            reason="refused",
            answer="no",
            at_ns=1,
        ).id
        for again in (False, True)
    }
    assert len(made) == 1


async def test_a_letter_that_is_set_aside_anew_is_not_gone_with_the_one_before(tmp_path: Path) -> None:
    """That one was redeemed, and is to be dropped."""
    async with open_dead_letters(tmp_path / "dead_letters.db", Counters()) as letters:
        await letters.add(letter(1))
        await letters.add(replace(letter(1), at_ns=7))
        assert not await letters.drop(letter(1).id, 1)
        assert await letters.show(letter(1).id) == replace(letter(1), at_ns=7)


@pytest.mark.slow
async def test_to_add_a_letter_takes_no_longer_where_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or ten thousand that are refused one after the other would take a quarter of an hour."""
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    monkeypatch.setattr(apsw, "connection_hooks", [lambda opened: opened.set_progress_handler(count, 10)])
    taken = []
    for there in (5, 60):
        path = tmp_path / f"{there}.db"
        await filled(path, there)
        async with open_dead_letters(path, Counters()) as letters:
            await letters.add(letter(2000))
            steps = 0
            await letters.add(letter(2001))
            taken.append(steps)

    assert taken[1] <= taken[0] + 5
