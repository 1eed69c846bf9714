"""A directory is held by one process, and by nobody else."""

import subprocess
import sys
from pathlib import Path

import pytest

from otel_bridge.errors import InUseError
from otel_bridge.journal.disk import held

PROGRAM = """
import os, signal, sys
from pathlib import Path
from otel_bridge.journal.disk import held
lock = held(Path(sys.argv[1]))
lock.__enter__()
parent = os.fork()
os.write(1, b"held\\n")  # in one piece: the two share the pipe
if parent:
    signal.pause()
sys.stdin.read()
lock.__exit__(None, None, None)
"""


@pytest.mark.slow
def test_a_forked_child_does_not_hold_on_when_its_parent_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        try:
            come_so_far = [parent.stdout.readline(), parent.stdout.readline()]  # the child too
            with pytest.raises(InUseError, match=f"process {parent.pid}"), held(tmp_path):
                pass
        finally:
            parent.kill()
        assert come_so_far == ["held\n"] * 2
        parent.wait(30)
        with held(tmp_path):  # the child lives, and waits for the end of its input
            pass
