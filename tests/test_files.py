"""Files that a configuration refers to: what is read of them, what is refused, and when they have changed."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from select import select
from threading import Thread

import pytest

from otel_bridge.files import Files, as_now, content, reason, remedy, stamp


def test_a_file_is_read_without_its_last_newline_and_from_the_folder_on(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b" two\nlines\r\n")
    files = Files(tmp_path)

    assert files.text("key") == " two\nlines"
    assert files.text(str(tmp_path / "key")) == " two\nlines"
    assert files.text("none") is None
    assert files.stamps == {tmp_path / "key": stamp(tmp_path / "key"), tmp_path / "none": None}


def test_what_can_not_be_meant_is_refused_and_named(tmp_path: Path) -> None:
    """Nothing of its content is said, and nobody who writes into a pipe is waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * (65 << 10))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    files = Files(tmp_path)

    for name, why in (
        ("pipe", "is a pipe, and no file"),
        (".", "is a folder, and no file"),
        ("large", "larger than 64KiB"),
        ("binary", "not UTF-8"),
        ("binary/x", "binary is a file, and no folder"),
    ):
        with pytest.raises(ValueError, match=f"{tmp_path / name}.*{why}"):
            files.text(name)


def test_of_a_pipe_is_read_what_is_written_into_it(tmp_path: Path) -> None:
    """As what a shell makes of `<(…)`; but nobody waits for a writer that is not there."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as out:
        writer = Thread(target=lambda: (out.write("a" * 100_000), out.close()))
        path = Path(f"/dev/fd/{reading}")
        writer.start()
        assert content(path) == b"a" * 100_000
        writer.join()
        with pytest.raises(OSError, match="nobody writes into it"):
            content(path)


def test_of_a_terminal_is_read_what_is_typed() -> None:
    keyboard, terminal = os.openpty()
    with os.fdopen(keyboard, "wb", buffering=0) as typed, os.fdopen(terminal), ThreadPoolExecutor() as pool:
        typed.write(b"service:\n")
        read = pool.submit(content, Path(f"/dev/fd/{terminal}"))
        while select([terminal], [], [], 0)[0]:
            time.sleep(0)
        typed.write(b"  data_dir: here\n\x04")
        assert read.result(10) == b"service:\n  data_dir: here\n"


def test_who_may_not_read_is_told_by_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, denied = tmp_path / "closed", PermissionError(errno.EACCES, "Permission denied")
    closed.mkdir()
    assert reason(closed / "file", denied) == "Permission denied"
    monkeypatch.setattr("os.access", lambda path, _right: path != closed)
    assert reason(closed / "file", denied) == f"Permission denied by {closed}"


@pytest.mark.parametrize(
    ("number", "helps"), [(errno.EMFILE, "ulimit -n"), (errno.ENOSPC, "make room"), (errno.EACCES, "give that user")]
)
def test_what_is_to_be_done_is_what_helps(number: int, helps: str) -> None:
    assert helps in remedy(OSError(number, os.strerror(number)))


def test_a_change_is_seen_through_links(tmp_path: Path) -> None:
    """As Kubernetes changes what it mounts: a link to another folder takes the place of the one before."""
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "key").write_text(number)
    (tmp_path / "data").symlink_to("1")
    (tmp_path / "key").symlink_to("data/key")
    files = Files(tmp_path)
    assert (files.text("key"), files.text("later")) == ("1", None)
    assert as_now(files.stamps) == files.stamps

    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "data")
    assert as_now(files.stamps) != files.stamps

    assert Files(tmp_path).text("key") == "2"
    again = Files(tmp_path)
    again.text("later")
    (tmp_path / "later").touch()
    assert as_now(again.stamps) != again.stamps
