"""Who has an address that a bridge wanted: what the system tells of it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_bridge.announcement import announce
from otel_bridge.cli.app import _end
from otel_bridge.cli.holder import holder
from otel_bridge.journal.disk import held
from otel_bridge.receivers.otlp.address import unbindable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell who listens")


@contextmanager
def listening() -> Iterator[str]:
    """A `host:port` on which this process listens, and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_the_bridge_that_has_a_port_is_named_by_its_data_dir(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a receiver as well, which nobody asks anything."""
    folder = tmp_path / "other\x1b[2J"
    folder.mkdir()
    with held(folder), listening() as endpoint:
        announce(folder, {})
        assert _end(unbindable("http", endpoint)) == 73
    said = capsys.readouterr().err
    assert said.startswith(f"otel-bridge: http: {endpoint} can not be bound: another program uses it;")
    assert said.endswith(f"; it is the bridge on {tmp_path}/other\\x1b[2J, process {os.getpid()}\n")


def test_another_program_that_has_it_is_named_by_its_process() -> None:
    with listening() as endpoint:
        said = holder(endpoint, is_viewer=False)
    assert said.startswith(f"it is process {os.getpid()} (")


def test_of_what_several_have_or_nobody_that_we_see_it_is_said_how_to_find_out() -> None:
    with listening() as endpoint, socket.create_server(("127.0.0.2", int(endpoint.rpartition(":")[2]))) as other:
        words = [sys.executable, "-S", "-c", "print('up', flush=True); input()"]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[other.fileno()]
        ) as shares:
            assert shares.stdout is not None
            shares.stdout.readline()
            of_two = holder(endpoint, is_viewer=False)
            shares.communicate(b"\n")
    of_none = holder(endpoint, is_viewer=False)
    assert (
        of_two
        == of_none
        == f"`ss -ltnp 'sport = :{endpoint.rpartition(':')[2]}'` says which, as root also of other users"
    )
