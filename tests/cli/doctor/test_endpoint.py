"""What `otel-bridge doctor` says of where programs send to, and what it shows nobody."""

import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from otel_bridge.cli.doctor.endpoint import endpoint
from otel_bridge.cli.doctor.finding import Finding
from tests.cli.conftest import Run
from tests.e2e.process import free_port

OTLP = "OTEL_EXPORTER_OTLP_"
SECRET = "5ec7e7"


class Taking(BaseHTTPRequestHandler):
    """Takes whatever it is sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    """Lets whom it refuses read why: it reads on until they have gone, as else the connection is reset."""

    def shutdown_request(self, request: Any) -> None:
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            while request.recv(1024):
                pass
        request.close()

    def handle_error(self, *_: object) -> None: ...


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Taking)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Files:
    """PEM of an authority, of a client with its key, and of neither."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca, self.client, self.key, self.other = (str(folder / name) for name in ("ca", "client", "key", "other"))
        self.authority.cert_pem.write_to_path(self.ca)
        client = self.authority.issue_cert("client.example")
        client.cert_chain_pems[0].write_to_path(self.client)
        client.private_key_pem.write_to_path(self.key)
        Path(self.other).write_text("no PEM")

    def context(self, *, asks: bool = False) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1").configure_cert(made)
        if asks:
            self.authority.configure_trust(made)
            made.verify_mode = ssl.CERT_REQUIRED
        return made


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def found(monkeypatch: pytest.MonkeyPatch, url: str, **said: str) -> Finding:
    for name, value in {"ENDPOINT": url, **said}.items():
        monkeypatch.setenv(f"{OTLP}{name}", value)
    [one] = endpoint(None).checked(None)
    return one


@pytest.mark.parametrize("prefix", ["", "TRACES_"])
def test_a_file_that_can_not_be_read_is_named_by_its_variable(
    files: Files, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    missing, url = "/nowhere/ca.pem", f"https://127.0.0.1:{free_port()}"
    for what in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        given = {
            f"{prefix}CERTIFICATE": files.ca,
            f"{prefix}CLIENT_CERTIFICATE": files.client,
            f"{prefix}CLIENT_KEY": files.key,
            f"{prefix}{what}": missing,
        }
        one = found(monkeypatch, url, **given)
        assert one.said.startswith(f"{OTLP}{prefix}{what} names a file that can not be read ({missing}: No such file")
        assert (one.level, one.exit_code) == ("fault", 1)


def test_a_file_that_is_no_certificate(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    assert f"{OTLP}CERTIFICATE names no certificate in PEM" in found(monkeypatch, url, CERTIFICATE=files.other).said
    one = found(monkeypatch, url, CERTIFICATE=files.ca, CLIENT_CERTIFICATE=files.client, CLIENT_KEY=files.other)
    assert one.said.startswith(f"{OTLP}CLIENT_CERTIFICATE and {OTLP}CLIENT_KEY name no certificate with its key (")


def test_nobody_speaks_tls_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as url:
        said = found(monkeypatch, url.replace("http", "https")).said
    assert "/v1/traces: nobody speaks TLS there; OTEL_EXPORTER_OTLP_ENDPOINT begins with http:// then" in said
    assert "trust" not in said


def test_who_is_not_trusted_is_once_the_authority_is_named(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of spans counts before that of all signals."""
    other = Path(files.other)
    trustme.CA().cert_pem.write_to_path(str(other))
    with listening(files.context()) as url:
        one = found(monkeypatch, url, CERTIFICATE=files.other)
        assert "can not be trusted (unable to get local issuer certificate): " in one.said
        assert one.said.endswith(f"{OTLP}CERTIFICATE names whom to trust")
        assert found(monkeypatch, url, TRACES_CERTIFICATE=files.ca).level == "ok"


def test_who_asks_for_a_certificate_is_shown_that_of_spans(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(files.context(asks=True)) as url:
        one = found(monkeypatch, url, CERTIFICATE=files.ca)
        assert f"{OTLP}CLIENT_CERTIFICATE and …_CLIENT_KEY name it" in one.said
        shown = {"TRACES_CLIENT_CERTIFICATE": files.client, "TRACES_CLIENT_KEY": files.key}
        assert found(monkeypatch, url, **shown).level == "ok"


def test_who_hangs_up_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reset = threading.Thread(target=hang_up, args=(server,))
        reset.start()
        one = found(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        reset.join()
    assert "/v1/traces hangs up ([Errno 104] Connection reset by peer): " in one.said
    assert "start a bridge" not in one.said


def hang_up(server: socket.socket) -> None:
    """With what was sent unread, by which the connection is reset."""
    peer, _ = server.accept()
    peer.recv(1, socket.MSG_PEEK)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("url", [f"http://me:{SECRET}/7@b:4318", "http://[::1"])
def test_what_is_no_address_is_not_shown(monkeypatch: pytest.MonkeyPatch, url: str, protocol: str) -> None:
    one = found(monkeypatch, url, PROTOCOL=protocol)
    assert one.said == "where programs send to is no address: write it as http://HOST:4318"


@pytest.mark.parametrize(
    ("said", "why", "words"),
    [
        (f"authorization:Bearer {SECRET}", "is not read", ()),
        (f"authorization:Bearer {SECRET}", "is not read", ("--json",)),
        (f"authorization=Bearer%20{SECRET}…", "is not read", ()),
        (f"authorization=Bearer%20{SECRET}%0D%0AX:1", "has a line break in it, or letters", ("--json",)),
        (f"authorization=Bearer%20{SECRET}%E2%80%A6", "has a line break in it, or letters", ()),
    ],
)
def test_a_key_is_in_neither_stream(run: Run, said: str, why: str, words: tuple[str, ...]) -> None:
    user = f"http://me:{SECRET}@127.0.0.1:{free_port()}"
    done = run("doctor", *words, more={f"{OTLP}HEADERS": said, f"{OTLP}ENDPOINT": user})
    assert f"{OTLP}HEADERS {why}" in " ".join(done.stdout.split())
    assert SECRET not in done.stdout
    assert done.stderr == ""
