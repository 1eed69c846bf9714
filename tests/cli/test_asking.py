"""Questions to what listens at an address, which may be anybody: it can neither hold us up nor make us fail."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from otel_bridge.cli.app import _end
from otel_bridge.cli.asking import ask
from otel_bridge.errors import AddressInUseError, UnreachableError
from otel_bridge.receivers.otlp.address import unbindable

OK = b"HTTP/1.1 200 OK\r\n"
EVERY_S, TIMES = 0.02, 100


@contextmanager
def answering(*answers: bytes, piece: bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """A `host:port` that gives these answers, and then this piece again and again; with what it was asked."""
    asked: list[bytes] = []
    over = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                asked.append(connection.recv(65536))
                connection.sendall(answer)
                for _ in range(TIMES if piece else 0):
                    connection.sendall(piece)
                    if over.wait(EVERY_S):
                        break

    with server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", asked
        over.set()
        thread.join()


def whole(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("begins", "piece"), [(OK + b"Content-Type: text/event-stream\r\n\r\n", b": ping\n\n"), (OK, b"A: b\r\n")]
)
def test_an_answer_that_goes_on_and_on_is_no_answer(begins: bytes, piece: bytes) -> None:
    """Each piece of it, of the body or of the headers, comes in time."""
    with (
        answering(begins, piece=piece) as (endpoint, _),
        pytest.raises(UnreachableError, match=r"no whole answer in 0\.1 s"),
    ):
        ask(f"http://{endpoint}", "/api/v1/status", timeout_s=0.1)


@pytest.mark.parametrize("sent", [whole(b'{"a": 1}' + b" " * 90), OK + b"\r\n" + b" " * 99, whole(b'{"a": 1}')[:-2]])
def test_an_answer_that_is_too_long_or_breaks_off_is_no_answer(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr("otel_bridge.cli.asking.MAX_ANSWER_BYTES", 90)
    with answering(sent) as (endpoint, _), pytest.raises(UnreachableError, match="IncompleteRead"):
        ask(f"http://{endpoint}", "/api/v1/status")


def test_an_answer_that_is_as_long_as_may_be_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_bridge.cli.asking.MAX_ANSWER_BYTES", 8)
    with answering(whole(b'{"a": 1}'), OK + b'\r\n{"a": 1}') as (endpoint, _):
        assert [ask(f"http://{endpoint}", "/") for _ in range(2)] == [{"a": 1}] * 2


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system does not tell who listens, as of another user's process."""
    monkeypatch.setattr("otel_bridge.cli.holder.PROC", tmp_path)


@pytest.mark.usefixtures("unknown")
def test_the_bridge_that_has_the_port_is_named_as_far_as_it_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever has it may be anybody: it is shown no password, and what it says is escaped."""
    monkeypatch.setenv("OTEL_BRIDGE_VIEWER_PASSWORD", "secret")
    with answering(whole(b'{"data_dir": "/other\\u001b[2J", "pid": 7}')) as (endpoint, asked):
        everywhere = endpoint.replace("127.0.0.1", "0.0.0.0")
        assert _end(AddressInUseError("viewer can not listen", everywhere, is_viewer=True)) == 73
    assert capsys.readouterr().err == (
        "otel-bridge: viewer can not listen; it is the bridge on /other\\x1b[2J, process 7\n"
    )
    [request] = asked
    assert request.startswith(b"GET /api/v1/status ")
    assert b"Authorization" not in request


@pytest.mark.usefixtures("unknown")
@pytest.mark.parametrize(
    "body",
    [
        b'{"no": "bridge of ours"}',
        b'{"data_dir": "x", "pid": Infinity}',
        b'{"data_dir": "x", "pid": true}',
        b'{"data_dir": "x", "pid": "7"}',
        b"[" * 100_000,
        b"<html>",
    ],
    ids=lambda body: body[:30].decode(),
)
def test_whoever_has_the_port_and_is_no_bridge_is_not_named(body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(whole(body)) as (endpoint, _):
        assert _end(AddressInUseError("viewer can not listen", endpoint, is_viewer=True)) == 73
    assert "says which" in capsys.readouterr().err


def test_who_has_the_port_of_a_receiver_is_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """No viewer is there, and what is may answer anything."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"127.0.0.1:{other.getsockname()[1]}"
        assert _end(unbindable("http", endpoint)) == 73
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert capsys.readouterr().err.startswith(f"otel-bridge: http: {endpoint} can not be bound: another program")
