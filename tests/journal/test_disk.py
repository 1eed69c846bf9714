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
if os.fork():
    print("held", flush=True)
    signal.pause()
print("held", flush=True)
sys.stdin.read()
lock.__exit__(None, None, None)
"""


@pytest.mark.slow
def test_a_forked_child_does_not_hold_on_when_its_parent_has_ended(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    assert [parent.stdout.readline(), parent.stdout.readline()] == ["held\n"] * 2  # the child too has come so far
    with pytest.raises(InUseError, match=f"process {parent.pid}"), held(tmp_path):
        pass
    parent.kill()
    parent.wait(30)
    with held(tmp_path):  # the child lives, and waits for the end of its input
        pass
    parent.stdin.close()
    parent.stdout.close()
