"""With a bridge in the process, the end of a program comes when its own threads have ended."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, threading
from concurrent.futures import ThreadPoolExecutor
from otel_bridge.sdk.ending import before_threads_end
ours = []
def begin():
    ours.append(ThreadPoolExecutor(1))
    ours[0].submit(int).result()
engine = threading.Thread(target=begin, daemon=True)
engine.start(); engine.join()
pid = os.getpid()
before_threads_end(lambda: os.getpid() == pid and print("end", ours[0].submit(str, "works").result(), flush=True))
over = threading.Event()
def work():
    over.wait(0.1)
    print("work", flush=True)
{then}
"""

POLLS = """
def poll():
    while threading.main_thread().is_alive():
        over.wait(0.01)
    work()
threading.Thread(target=poll).start()
"""
HOOKED = """
import functools
threading._threading_atexits.insert(0, functools.partial(over.set))
threading.Thread(target=lambda: (over.wait(), work())).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("threading.Thread(target=work).start()", ["work", "end works"]),
        ("ThreadPoolExecutor().submit(work)", ["work", "end works"]),
        ("kept = ThreadPoolExecutor(); kept.submit(int).result(); kept.submit(work)", ["work", "end works"]),
        ("threading.Thread(target=threading.Event().wait, daemon=True).start()", ["end works"]),
        ("threading.Thread(target=lambda: (threading.main_thread().join(), work())).start()", ["end works", "work"]),
        (
            POLLS,
            ["work", "end works"],
        ),
        (
            HOOKED,
            ["end works", "work"],
        ),
    ],
    ids=["thread", "pool", "idle pool", "daemon", "waits for main", "asks for main", "is ended by a hook"],
)
def test_what_the_program_still_does_is_waited_for(then: str, said: list[str]) -> None:
    """As Python would, which comes after: what waits for Python is left to it, and pools that are not the program's."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(then=then)], capture_output=True, text=True, timeout=20)
    assert (done.stdout.splitlines(), done.stderr) == (said, "")


@pytest.mark.slow
def test_an_idle_pool_of_processes_ends() -> None:
    then = (
        "from concurrent.futures import ProcessPoolExecutor\nkept = ProcessPoolExecutor(1); kept.submit(int).result()"
    )
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(then=then)], capture_output=True, text=True, timeout=20)
    assert (done.stdout.splitlines()[-1:], done.stderr) == (["end works"], "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("del threading._register_atexit", []),  # the end is left to `atexit`, by which it is registered, too
        ("import otel_bridge.sdk.ending as ending; ending._end_pools = None", ["end works"]),
    ],
)
def test_a_python_that_is_otherwise_inside_ends_all_the_same(other: str, said: list[str]) -> None:
    program = PROGRAM.format(then="").replace("pid = os", f"{other}\npid = os", 1)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (said, "", 0)
