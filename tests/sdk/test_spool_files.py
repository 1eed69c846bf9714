"""The files of a spool: what is damaged costs itself, what is sent leaves the disk, each has one owner."""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_bridge.sdk import sending, spool
from tests.sdk.spooling import Agent, leave, left

pytestmark = pytest.mark.usefixtures("soon")


def test_what_was_sent_of_a_file_is_not_sent_again(folder: Path) -> None:
    first = Agent(folder)
    first.client.statuses = {"b": 503}
    assert not first.end("a", "b")
    while first.client.names != ["a"]:  # they went together at first
        assert not first.end()
    first.processor.shutdown()
    second = Agent(folder)
    assert second.end("c")
    assert second.client.names == ["b", "c"]
    second.processor.shutdown()


def test_a_record_that_is_cut_off_costs_itself(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = leave(folder, "a", "b")
    os.truncate(path, path.stat().st_size - 1)
    agent = Agent(folder)
    assert agent.end("c")
    assert agent.client.names == ["a", "c"]
    assert agent.processor.dropped == {"cut_off": 1}
    assert "is cut off" in caplog.text
    agent.processor.shutdown()
    assert left(folder) == []


def test_a_damaged_record_costs_itself(folder: Path) -> None:
    path = leave(folder, "first", "middle", "last")
    path.write_bytes(path.read_bytes().replace(b"middle", b"muddle"))
    agent = Agent(folder)
    agent.client.status = 503
    assert not agent.end("c")  # it is tried again, and counted once
    agent.client.status = 200
    assert agent.end()
    assert agent.client.names == ["first", "last", "c"]
    assert agent.processor.dropped == {"damaged": 1}
    agent.processor.shutdown()


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, os.urandom(5000), b"\x7f\xff\xff\xff" + b"x" * 100])
def test_a_file_that_is_none_stops_nothing(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "1-1-x.traces.spool").write_bytes(content)
    (folder / "2-1-x.traces.spool").mkdir()
    (folder / "3-1-x.traces.spool").symlink_to("/etc/passwd")
    agent = Agent(folder)
    assert agent.end("a")
    assert agent.client.names == ["a"]
    agent.processor.shutdown()


def test_two_at_once_leave_each_others_files(folder: Path) -> None:
    first, second = Agent(folder), Agent(folder)
    first.client.status = 503
    assert not first.end("first")
    assert second.end("second")
    assert second.client.names == ["second"]
    first.client.status = 200
    assert first.end()
    assert first.client.names == ["first"]
    first.processor.shutdown()
    second.processor.shutdown()


def as_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS with root_squash has it, and CIFS with uid=."""
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(_file: object, _flags: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no)


def taken_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(_file: object, _flags: int) -> None:
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", no)


@pytest.mark.parametrize(
    ("makes", "why"),
    [
        (as_another_user, "what user .* writes there belongs to user"),
        (without_locks, "No locks available"),
        (taken_by_others, "others take each file"),
    ],
)
def test_where_no_file_can_be_had_none_are_left_and_it_is_gone_without(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    makes: Callable[[pytest.MonkeyPatch], None],
    why: str,
) -> None:
    makes(monkeypatch)
    agent = Agent(folder)
    assert agent.end("a")
    assert agent.end("b")
    assert (agent.straight, left(folder)) == (["a", "b"], [])
    assert caplog.text.count("go without the spool") == 1
    assert re.search(why, caplog.text)
    agent.processor.shutdown()


def test_what_is_written_in_part_leaves_no_trace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full takes a part of it."""
    for limit in ("FIRST_BACKOFF_S", "LAST_BACKOFF_S"):  # nothing is tried again until it is asked for
        monkeypatch.setattr(sending, limit, 60.0)
    agent = Agent(folder)
    agent.client.status = 503
    agent.end("a")
    before, write = left(folder), os.pwrite
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda fd, written, at: write(fd, written[:5], at))
        agent.client.status = 503
        assert not agent.end("b")
    assert left(folder) == before
    agent.client.status = 200
    assert agent.end("c")
    assert sorted(agent.client.names + agent.straight) == ["a", "b", "c"]
    agent.processor.shutdown()


def test_files_leave_the_disk_as_they_are_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "FILE_BYTES", 0)
    agent = Agent(folder)
    agent.client.status = 503
    agent.end("a", "b", "c")
    assert len(left(folder)) == 3
    agent.client.status = 200
    assert agent.end()
    assert left(folder) == [0]
    agent.processor.shutdown()


def test_files_are_their_owners_alone_and_say_nothing_by_their_names(folder: Path) -> None:
    path = leave(folder, "secret-name")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret" not in path.name
