"""However a program ends, everything that ended arrives, and its end is its own."""

import subprocess

import pytest

from tests.sdk.programs import ENDED, INSTALL, run
from tests.sdk.sink import Sink


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('x')", 1),
        ("asyncio.run(asyncio.sleep(0))", 0),
    ],
    ids=["end", "exit", "exception", "asyncio"],
)
def test_all_that_ended_arrives(arrived: Sink, then: str, code: int) -> None:
    done = run(then, arrived.url)
    assert done.returncode == code
    assert arrived.names == ENDED
    assert arrived.resource["service.name"] == "agent"


@pytest.mark.slow
def test_a_forked_child_and_its_parent_each_send_their_own(arrived: Sink) -> None:
    then = """
child = os.fork()
tracer.start_span("child" if child == 0 else "parent").end()
if child:
    os.waitpid(child, 0)
"""
    run(then, arrived.url)
    assert arrived.names == ["child", *ENDED, "parent"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "protocol", "why"),
    [
        (None, "", "Connection refused"),
        (None, "grpc", "StatusCode.UNAVAILABLE"),
        (503, "", "Service Unavailable"),
        (401, "", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_without_a_bridge_the_program_is_the_same(arrived: Sink, status: int | None, protocol: str, why: str) -> None:
    """One line of warning that says why; the end waits for nobody who has said no, however long it may."""
    arrived.status = status or 200
    url = arrived.url if status else "http://127.0.0.1:9"
    said = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        "OTEL_BRIDGE_EXIT_SECONDS": "50",
    }
    done, exit_s = ending(url, **said)
    assert (done.returncode, done.stdout) == (0, "ready\ndone\n")
    [line] = done.stderr.splitlines()
    assert line.startswith("otel-bridge: ")
    assert why in line
    assert exit_s < 50


@pytest.mark.slow
def test_what_is_lost_at_the_end_is_told_of_each_kind() -> None:
    """In the one line, with how much of it there was."""
    done = run("still.end(); from otel_bridge.sdk import event; event('one'); event('two')", "http://127.0.0.1:9")
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    lost = "11 spans and 2 log records to http://127.0.0.1:9 ([Errno 111] Connection refused)"
    assert line.startswith(f"otel-bridge: not sent in time, and dropped: {lost}. Is a bridge there?")


@pytest.mark.slow
def test_the_end_comes_at_most_two_seconds_later(arrived: Sink) -> None:
    """Where it is asked to wait, which OpenTelemetry's exporter does for ten; a busy machine has some for the rest."""
    arrived.status = 503
    done, exit_s = ending(arrived.url, OTEL_BRIDGE_EXIT_SECONDS="2")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (0, "ready\ndone\n", 1)
    assert exit_s < 8


def ending(url: str, **said: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """A program that is over, and how many seconds it took from its last line to the last that Python does of it."""
    last = "import atexit, time; end = []; atexit.register(lambda: print(time.monotonic() - end[0]))"
    done = run("print('done'); end.append(time.monotonic())", url, first=f"{last}\n{INSTALL}", **said)
    done.stdout, _, exit_s = done.stdout.rstrip("\n").rpartition("\n")
    done.stdout += "\n"
    return done, float(exit_s)


@pytest.mark.slow
@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_BRIDGE_ENABLED": "false"}])
def test_switched_off_it_sends_and_says_nothing(arrived: Sink, off: dict[str, str]) -> None:
    done = run("", arrived.url, **off)
    assert (done.stdout, done.stderr) == ("ready\n", "")
    assert arrived.spans == []
