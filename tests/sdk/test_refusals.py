"""A destination whose certificate is not trusted: the reason is said whole, and what helps in this environment."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from tests.sdk.programs import run


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
