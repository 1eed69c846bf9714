"""A signal that ends a program ends what is open, sends everything, and then does what it would have done."""

import signal

import pytest

from tests.sdk.programs import ENDED, INSTALL, run
from tests.sdk.sink import Sink


@pytest.mark.slow
@pytest.mark.parametrize("handler", ["", "signal.signal(15, lambda *_: print('theirs', flush=True) or sys.exit(7))"])
def test_sigterm_sends_what_ended_and_ends_what_is_open(arrived: Sink, handler: str) -> None:
    """And then does what it would have done without us."""
    then = "os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()"
    done = run(then, arrived.url, first=f"import signal, sys; {handler or 'pass'}\n{INSTALL}")
    assert done.returncode == (7 if handler else -signal.SIGTERM)
    assert ("theirs" in done.stdout) is bool(handler)
    assert arrived.names == [*ENDED, "open"]
    [interrupted] = [span for span in arrived.spans if span.name == "open"]
    assert interrupted.status.message == "interrupted: SIGTERM"


@pytest.mark.slow
@pytest.mark.parametrize("of_theirs", ["", "signal.signal(1, lambda *_: print('reloaded', flush=True))"])
def test_so_does_sighup_where_nobody_has_a_use_for_it(arrived: Sink, of_theirs: str) -> None:
    """As when a terminal is closed; to others it is a word to reload, and no end."""
    then = f"os.kill(os.getpid(), 1); {'still.end()' if of_theirs else 'threading.Event().wait()'}"
    done = run(then, arrived.url, first=f"import signal\n{of_theirs}\n{INSTALL}")
    [still] = [span for span in arrived.spans if span.name == "open"]
    if of_theirs:
        assert (done.returncode, done.stdout, still.status.message) == (0, "ready\nreloaded\n", "")
    else:
        assert (done.returncode, still.status.message) == (-signal.SIGHUP, "interrupted: SIGHUP")
    assert arrived.names == [*ENDED, "open"]


@pytest.mark.slow
def test_a_program_that_ctrl_c_ends_says_so(arrived: Sink) -> None:
    """By SIGINT, and not by 1: a script that runs it goes on else. What is imported to send ran text meanwhile. What is
    open is ended, as an instrumentation leaves it that ends its spans by `except Exception`.
    """
    then = "signal.signal(2, signal.default_int_handler); os.kill(os.getpid(), 2)"
    done = run(then, arrived.url, first=f"import signal\n{INSTALL}")
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert arrived.names == [*ENDED, "open"]
    [interrupted] = [span for span in arrived.spans if span.name == "open"]
    assert interrupted.status.message == "interrupted: SIGINT"


@pytest.mark.slow
def test_a_program_that_ends_while_sigterm_is_seen_to_sends_all(arrived: Sink) -> None:
    """As under uvicorn, which ends in its own way and then raises the signal again."""
    run("import signal; signal.raise_signal(signal.SIGTERM)", arrived.url)
    assert arrived.names == [*ENDED, "open"]


@pytest.mark.slow
def test_sigterm_reaches_an_agent_that_holds_a_lock(arrived: Sink) -> None:
    """The lock of the span that is to be ended, say: the code that the signal stopped goes on meanwhile."""
    then = """
with still._lock:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(100):
        pass
threading.Event().wait()
"""
    done = run(then, arrived.url)
    assert done.returncode == -signal.SIGTERM
    assert arrived.names == [*ENDED, "open"]


@pytest.mark.slow
def test_a_handler_that_raises_it_again_is_held_up_by_no_lock_for_longer_than_the_end_may_take(arrived: Sink) -> None:
    then = """
def handler(number, _):
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    print("not reached", flush=True)
signal.signal(signal.SIGTERM, handler)
with still._lock:
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()
"""
    done = run(then, arrived.url, OTEL_BRIDGE_EXIT_SECONDS="0.5")
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "ready\n")


@pytest.mark.slow
def test_a_signal_that_is_raised_where_it_is_blocked_ends_nothing(arrived: Sink) -> None:
    """The program waits for it, and goes on."""
    then = """
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
signal.raise_signal(signal.SIGTERM)
signal.sigwait([signal.SIGTERM])
tracer.start_span("last words").end()
"""
    done = run(then, arrived.url)
    assert done.returncode == 0
    assert arrived.names == [*ENDED, "last words"]


@pytest.mark.slow
def test_who_ends_in_an_orderly_way_is_let(arrived: Sink) -> None:
    """Spans that go on after SIGTERM are whole, and those after them are sent."""
    first = f"import signal, threading; stop = threading.Event(); signal.signal(15, lambda *_: stop.set())\n{INSTALL}"
    then = """
os.kill(os.getpid(), signal.SIGTERM)
stop.wait()
still.set_attribute("result", "fine")
still.end()
tracer.start_span("last words").end()
left = tracer.start_span("left open")
"""
    done = run(then, arrived.url, first=first)
    assert done.returncode == 0
    assert arrived.names == [*ENDED, "last words", "left open", "open"]
    told = {span.name: span.status.message for span in arrived.spans}
    assert (told["open"], told["left open"]) == ("", "interrupted: SIGTERM")
