"""Who asks `otel-bridge run` to stop asks the program, and after it the bridge."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from otel_bridge.announcement import find
from otel_bridge.cli.own import use
from otel_bridge.cli.run import _Signals
from tests.cli.programs import PROGRAM, begin


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_who_asks_run_to_stop_asks_the_program_that_runs(number: int) -> None:
    """Each time; and after it the bridge that ends, for which it is always the signal to hurry."""
    program = "import signal; print('up', flush=True); print(signal.sigwait({1, 3, 15}), flush=True)"
    blocked = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {{1, 3, 15}}); {program}; {program}"
    before = signal.signal(number, signal.SIG_DFL)  # in the background SIGQUIT is ignored
    try:
        with subprocess.Popen([sys.executable, "-S", "-c", blocked], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                with _Signals() as signals:
                    for always in (None, signal.SIGTERM):
                        assert process.stdout.readline() == b"up\n"
                        with signals.to(process, always=always):
                            os.kill(os.getpid(), number)
                            assert int(process.stdout.readline()) == (always or number)
            finally:
                process.kill()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


LEADER = """
import os, signal, subprocess, sys
from otel_bridge.cli.run import _Signals

case, name, program = sys.argv[1:]
os.setsid()
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored by what runs in the background
terminal = os.open(name, os.O_RDWR) if case != "no terminal" else -1  # it is this session's now
group = 0 if case == "background" else None
command = [sys.executable, "-S", "-c", program]
with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=group) as process, _Signals() as signals:
    with signals.to(process):
        process.stdout.readline()
        if case == "background":
            os.tcsetpgrp(terminal, process.pid)
        if case == "foreground":
            print("up", flush=True)
            print(process.stdout.readline().decode(), flush=True)
        else:
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        print(process.stdout.read().decode())
"""


@pytest.mark.parametrize("case", ["no terminal", "background", "foreground"])
def test_sigint_comes_to_the_program_once(case: str) -> None:
    """From the terminal where it is typed there; else from us, as of a supervisor that knows us alone."""
    keyboard, terminal = os.openpty()
    came = "import signal, sys; signal.signal(2, lambda *_: print('came', flush=True))"
    program = (
        f"{came}; signal.signal(15, lambda *_: sys.exit()); print('up', flush=True); [signal.pause() for _ in range(9)]"
    )
    command = [sys.executable, "-c", LEADER, case, os.ttyname(terminal), program]
    with (
        os.fdopen(keyboard, "wb", buffering=0) as typed,
        os.fdopen(terminal),
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as leader,
    ):
        assert leader.stdout is not None
        if case == "foreground":
            assert leader.stdout.readline() == "up\n"
            typed.write(b"\x03")
        try:
            assert leader.communicate(timeout=20)[0].split() == ["came"]
        finally:
            leader.kill()


@pytest.mark.slow
def test_sigterm_reaches_the_program(tmp_path: Path) -> None:
    program = "import signal, sys, threading; signal.signal(15, lambda *_: sys.exit(9)); print('up', flush=True)"
    with begin(tmp_path, "--", sys.executable, "-c", f"{program}; threading.Event().wait()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(60) == 9
        assert time.monotonic() - began < 50


@pytest.mark.slow
@pytest.mark.parametrize("when", ["it starts", "it looks"])
def test_sigterm_before_and_after_the_program_ends_the_bridge_too(tmp_path: Path, when: str) -> None:
    program = PROGRAM.replace("sys.exit(3)", "").replace(
        '"said", sys.argv[1:]', "__import__('os').getpid(), flush=True"
    )
    with begin(tmp_path, "--", sys.executable, "-c", program, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        until_s = time.monotonic() + 60
        if when == "it starts":
            serve: list[int] = []
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while not serve and time.monotonic() < until_s:
                serve = [int(pid) for pid in children.read_text().split()]
        else:
            program_is = Path(f"/proc/{int(process.stdout.readline())}")
            serve = [found.pid] if (found := find(tmp_path)) else []
            while program_is.exists() and time.monotonic() < until_s:
                time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == (128 + signal.SIGTERM if when == "it starts" else 0)
        assert serve
        assert not Path(f"/proc/{serve[0]}").exists()


def test_whoever_asks_twice_for_the_end_of_a_bridge_that_hangs_gets_it(tmp_path: Path) -> None:
    waits = "import signal; signal.signal(15, lambda *_: print('asked', flush=True)); print('up', flush=True)"
    command = [sys.executable, "-S", "-c", f"{waits}; [signal.pause() for _ in range(9)]"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as bridge, _Signals() as signals:
        assert bridge.stdout is not None
        assert bridge.stdout.readline() == b"up\n"
        with signals.to(bridge, always=signal.SIGTERM):
            os.kill(os.getpid(), signal.SIGHUP)
            assert bridge.stdout.readline() == b"asked\n"
            os.kill(os.getpid(), signal.SIGHUP)
            assert bridge.wait(20) == -signal.SIGKILL


@pytest.mark.slow
def test_who_waits_for_the_end_of_a_bridge_that_another_ends_can_be_stopped(tmp_path: Path) -> None:
    """It has not begun that end, and so does not hurry it."""
    program = "import os, sys; os.remove(sys.argv[1]); print('up', flush=True)"
    where = tmp_path / "bridge.json"
    with (
        use(tmp_path, lambda: False),  # as the other one that sends to it
        subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as bridge,
    ):
        at = {"http": "http://127.0.0.1:1"}
        said = {"pid": bridge.pid, "endpoints": {"otlp": at, "viewer": at}, "whileUsed": True}
        where.write_text(json.dumps(said))
        with begin(tmp_path, "--", sys.executable, "-S", "-c", program, str(where)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            until_s = time.monotonic() + 10
            while process.poll() is None and time.monotonic() < until_s:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
            has_stopped = process.poll() is not None
            process.kill()
        assert has_stopped
        assert bridge.poll() is None
        bridge.communicate(b"\n")
