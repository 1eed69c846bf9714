"""Why a destination takes nothing is said in words, and what helps with that: of each mistake its own."""

import logging
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue

import grpc
import pytest
import trustme
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.sdk.batch import BatchSpanProcessor
from otel_bridge.sdk.installing import Spans, otlp, quiet
from otel_bridge.sdk.refusals import HINT, raised
from tests.sdk.programs import run
from tests.sdk.sink import Sink


@pytest.fixture
def distrusted() -> Iterator[str]:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "helps"),
    [
        (["OTEL_EXPORTER_OTLP_CERTIFICATE"], "OTEL_EXPORTER_OTLP_CERTIFICATE names whom to trust"),
        (
            ["OTEL_EXPORTER_OTLP_CERTIFICATE", "CURL_CA_BUNDLE"],
            "CURL_CA_BUNDLE is set, which overrules OTEL_EXPORTER_OTLP_CERTIFICATE: unset it",
        ),
    ],
)
def test_who_is_not_trusted_is_said_and_what_helps(
    distrusted: str, tmp_path: Path, variables: list[str], helps: str
) -> None:
    trusted = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(trusted))
    none = {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", "OTEL_BRIDGE_EXIT_SECONDS": "2"}
    done = run("still.end()", distrusted, **none | dict.fromkeys(variables, str(trusted)))
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert f"{distrusted} (certificate verify failed: unable to get local issuer certificate). {helps}" in line


@pytest.fixture
def by_grpc() -> Iterator[str]:
    """A port that speaks gRPC."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


class Lines(logging.Handler):
    """What is said, also by a thread that goes on saying it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: SimpleQueue[str] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.put(record.getMessage())


@pytest.fixture
def lines() -> Iterator[Lines]:
    made = Lines()
    logging.getLogger("otel_bridge.sdk").addHandler(made)
    yield made
    logging.getLogger("otel_bridge.sdk").removeHandler(made)


def warned(lines: Lines, endpoint: str | None) -> str:
    """The line about a span that could not be sent."""
    quiet()
    processor = BatchSpanProcessor(Spans(*otlp("TRACES", endpoint)), exit_s=0)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("agent").start_span("a").end()
    assert processor.force_flush(30_000) is False
    line = lines.said.get(timeout=30)
    provider.shutdown()
    assert line.startswith("otel-bridge: nothing can be sent to ")
    assert HINT not in line
    return line


def test_http_to_a_port_of_grpc(by_grpc: str, lines: Lines) -> None:
    line = warned(lines, f"http://{by_grpc}")
    assert f"http://{by_grpc}/v1/traces: gRPC answers there, and no HTTP; " in line
    assert line.endswith("OTEL_EXPORTER_OTLP_PROTOCOL=grpc speaks to it, or name the port for HTTP: a bridge has 4318")


def test_grpc_to_a_port_of_http(arrived: Sink, monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    line = warned(lines, arrived.url)
    assert "HTTP answers there, and no gRPC; " in line
    assert line.endswith(
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf speaks to it, or name the port for gRPC: a bridge has 4317"
    )


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_tls_to_a_port_without(arrived: Sink, protocol: str, monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    line = warned(lines, arrived.url.replace("http", "https"))
    assert "nobody speaks TLS there; " in line
    assert line.endswith("OTEL_EXPORTER_OTLP_ENDPOINT begins with http:// then, or names a port that has TLS")


TWICE = "OTEL_EXPORTER_OTLP_ENDPOINT is an address without a path, as /v1/traces and /v1/logs are put behind it"
NO_PATH = "Nothing takes OTLP at that address: OTEL_EXPORTER_OTLP_ENDPOINT is that of a bridge's receiver"


@pytest.mark.parametrize(
    ("path", "variable", "helps"),
    [
        ("/v1/traces", None, TWICE),
        ("/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT", TWICE),
        ("/otlp", "OTEL_EXPORTER_OTLP_ENDPOINT", NO_PATH),
        ("/v1/spans", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", NO_PATH),
    ],
)
def test_a_path_that_nobody_has(
    arrived: Sink,
    path: str,
    variable: str | None,
    helps: str,
    monkeypatch: pytest.MonkeyPatch,
    lines: Lines,
) -> None:
    if variable is not None:
        monkeypatch.setenv(variable, arrived.url + path)
    line = warned(lines, None if variable else arrived.url + path)
    assert ": 404, reason: " in line
    assert helps in line


@pytest.mark.parametrize("value", ["5ec7e7%0D%0AX:1", "5ec7e7%E2%80%A6"])
def test_a_header_that_can_not_be_sent_is_said_and_its_key_is_not(
    arrived: Sink, monkeypatch: pytest.MonkeyPatch, lines: Lines, value: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{value}")
    line = warned(lines, arrived.url)
    assert ": a header can not be sent, for a line break or letters that no header has; " in line
    assert line.endswith("OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20… shows a key")
    assert "5ec7e7" not in line


def test_an_exporter_that_raises_it_is_heard_as_well() -> None:
    assert raised(ValueError("Invalid return character(s) in header value: 'Bearer 5ec7e7\n'")).startswith("a header")
    assert raised(ValueError("else")) == "ValueError: else"


def test_a_header_that_can_not_be_read_is_not_shown(
    arrived: Sink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization:Bearer 5ec7e7")
    quiet()
    processor = BatchSpanProcessor(Spans(*otlp("TRACES", arrived.url)), exit_s=0)
    with caplog.at_level(logging.WARNING):
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        provider.get_tracer("agent").start_span("a").end()
        assert processor.force_flush(30_000) is True
        provider.shutdown()
    [line] = [line for line in caplog.messages if "Header format invalid" in line]
    assert line.endswith("(not shown, as it may be a key)")
    assert "5ec7e7" not in caplog.text
