"""TLS and client certificates at both doors, with stock exporters; files that change; handshakes that are refused."""

import asyncio
import datetime as dt
import os
import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_bridge import tls
from otel_bridge.component import Host
from otel_bridge.errors import FilesError
from otel_bridge.tls import Certificates, TlsConfig, names_of, reason_of
from tests.receivers.conftest import export_one
from tests.receivers.http1 import ONE, Client, request
from tests.waiting import until

pytestmark = pytest.mark.slow  # keys take time to be made
DAY = dt.timedelta(days=1)
KEY = "acme-key-0123456789"
TENANTS = {
    "acme": {"keys": [KEY], "certificates": ["agent.acme.example"]},
    "beta": {"certificates": ["spiffe://beta/agent"]},
    "gamma": {"certificates": ["Agents of Gamma"]},
}


@dataclass
class Files:
    """The server's files, its authority, and the one of clients."""

    folder: Path
    server: trustme.CA
    clients: trustme.CA

    @property
    def config(self) -> dict[str, Path]:
        return {"cert_file": self.folder / "cert.pem", "key_file": self.folder / "key.pem"}

    @property
    def mutual(self) -> dict[str, Path]:
        return self.config | {"client_ca_file": self.folder / "clients.pem"}

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self) -> None:
        """A new certificate for the server."""
        cert = self.server.issue_cert("127.0.0.1", "localhost")
        cert.private_key_pem.write_to_path(self.folder / "key.pem")
        (self.folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in cert.cert_chain_pems))

    def client(self, cert: trustme.LeafCert | None = None, **options: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        for name, value in options.items():
            setattr(context, name, value)
        if cert is not None:
            with cert.private_key_and_cert_chain_pem.tempfile() as path:
                context.load_cert_chain(path)
        return context


@pytest.fixture(scope="module")
def authorities() -> tuple[trustme.CA, trustme.CA]:
    return trustme.CA(), trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authorities: tuple[trustme.CA, trustme.CA]) -> Files:
    made = Files(tmp_path, *authorities)
    made.issue()
    made.server.cert_pem.write_to_path(made.ca)
    made.clients.cert_pem.write_to_path(tmp_path / "clients.pem")
    return made


@pytest.fixture
def looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LOOK_EVERY_S", 0.0)


def named(ca: trustme.CA, *names: x509.GeneralName) -> trustme.LeafCert:
    """A client certificate with alternative names that trustme does not know."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(tz=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca._certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca._certificate.public_key()), critical=False)
        .sign(ca._private_key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return trustme.LeafCert(pem, made.public_bytes(serialization.Encoding.PEM), [])


class TlsClient(Client):
    """The same within TLS."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        super().__init__(address)
        self.context = context

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(*self.address, ssl=self.context)
        return self

    @property
    def served_with(self) -> bytes:
        found = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(found, bytes)
        return found


def exporter(door: str, url: str, files: Files, cert: trustme.LeafCert | None, key: str | None) -> Any:
    """The stock exporter, as an agent sets it up."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    own: list[Path | None] = [None, None]
    if cert is not None:
        own = [files.folder / "client-key.pem", files.folder / "client.pem"]
        cert.private_key_pem.write_to_path(own[0])
        cert.cert_chain_pems[0].write_to_path(own[1])
    if door == "grpc":
        credentials = grpc.ssl_channel_credentials(files.ca.read_bytes(), *(path and path.read_bytes() for path in own))
        return GrpcSpans(endpoint=url, credentials=credentials, headers=headers, timeout=2)
    return HttpSpans(
        endpoint=f"{url}/v1/traces",
        certificate_file=str(files.ca),
        client_key_file=own[0] and str(own[0]),
        client_certificate_file=own[1] and str(own[1]),
        headers=headers,
        timeout=2,
    )


@pytest.mark.parametrize("door", ["grpc", "http"])
async def test_the_stock_exporters_send_by_tls(
    receiving: Any, files: Files, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key, or with a certificate whose alternative name, else common name, is a tenant's."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # to requests they matter more than what it is told
        monkeypatch.delenv(name, raising=False)
    certificates = {
        "acme": files.clients.issue_cert("agent.acme.example"),
        "beta": named(files.clients, x509.UniformResourceIdentifier("spiffe://beta/agent")),
        "gamma": files.clients.issue_cert(common_name="Agents of Gamma"),
    }
    stranger = files.clients.issue_cert("agent.delta.example")
    async with receiving(tenants=TENANTS, tls=files.mutual) as taken:
        url = taken.host.endpoints[door]
        assert url.startswith("https://127.0.0.1:")
        for cert in certificates.values():
            assert (
                await asyncio.to_thread(export_one, exporter(door, url, files, cert, None)) is SpanExportResult.SUCCESS
            )
        assert (
            await asyncio.to_thread(export_one, exporter(door, url, files, stranger, KEY)) is SpanExportResult.SUCCESS
        )
        assert (
            await asyncio.to_thread(export_one, exporter(door, url, files, stranger, None)) is SpanExportResult.FAILURE
        )
    assert [batch.tenant for batch in taken.batches] == [*certificates, "acme"]

    async with receiving(tenants=TENANTS, tls=files.config) as taken:
        url = taken.host.endpoints[door]
        assert await asyncio.to_thread(export_one, exporter(door, url, files, None, KEY)) is SpanExportResult.SUCCESS
        assert await asyncio.to_thread(export_one, exporter(door, url, files, None, None)) is SpanExportResult.FAILURE
    assert [batch.tenant for batch in taken.batches] == ["acme"]


async def test_a_key_decides_where_a_certificate_is_shown_as_well(receiving: Any, files: Files) -> None:
    """A proxy shows its own certificate, and the keys of those that it sends for; a bad key is not made good by it."""
    beta = files.client(named(files.clients, x509.UniformResourceIdentifier("spiffe://beta/agent")))
    async with (
        receiving(tenants=TENANTS, tls=files.mutual) as taken,
        TlsClient(taken.address("http"), beta) as client,
    ):
        assert (await client.post(ONE, authorization=f"Bearer {KEY}")).status == 200
        assert (await client.post(ONE)).status == 200
        assert (await client.post(ONE, authorization="Bearer nobody-s-key-0123456789")).status == 401
    assert [batch.tenant for batch in taken.batches] == ["acme", "beta"]


async def test_certificates_that_ask_who_it_is_need_no_tenants(receiving: Any, files: Files) -> None:
    async with receiving(tls=files.mutual) as taken:
        anybody = files.client(files.clients.issue_cert("anybody.example"))
        async with TlsClient(taken.address("http"), anybody) as client:
            assert (await client.post(ONE)).status == 200
    assert [batch.tenant for batch in taken.batches] == ["default"]


async def refused(address: tuple[str, int], context: ssl.SSLContext) -> bool:
    """Whether nothing can be asked; with TLS 1.3 a client learns of it when it reads."""
    try:
        async with TlsClient(address, context) as client:
            client.say(request(ONE))
            await client.answer()
            return False
    except (OSError, asyncio.IncompleteReadError):
        return True


def hostile(files: Files) -> Iterator[tuple[str, ssl.SSLContext]]:
    yesterday = dt.datetime.now(tz=dt.UTC) - DAY
    name = "agent.acme.example"
    yield "no_certificate", files.client()
    yield "expired_certificate", files.client(files.clients.issue_cert(name, not_after=yesterday))
    yield (
        "certificate_not_yet_valid",
        files.client(files.clients.issue_cert(name, not_before=yesterday + 2 * DAY, not_after=yesterday + 3 * DAY)),
    )
    yield "unknown_ca", files.client(trustme.CA().issue_cert(name))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old = files.client(files.clients.issue_cert(name), minimum_version=ssl.TLSVersion.TLSv1)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    yield "tls_version", old


def mistrusts(address: tuple[str, int]) -> bool:
    """A client that does not know the server's authority, and says so."""
    context = ssl.create_default_context()
    with socket.create_connection(address) as plain:
        try:
            context.wrap_socket(plain, server_hostname=address[0])
        except ssl.SSLCertVerificationError:
            return True
    return False


async def test_handshakes_are_refused_and_counted_by_reason(
    receiving: Any, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    async with receiving(tenants=TENANTS, tls=files.mutual) as taken:
        for reason, context in hostile(files):
            assert await refused(taken.address("http"), context), reason
            assert taken.count("tls_refused", reason=reason, component="otlp") == 1, taken.host.counters.snapshot()
            assert await refused(taken.address("grpc"), context), reason  # which tells nobody of the reason
        assert await asyncio.to_thread(mistrusts, taken.address("http"))
        await until(lambda: taken.count("tls_refused", reason="refused_by_client"))
        assert taken.batches == []
        good = files.client(files.clients.issue_cert("agent.acme.example"))
        async with TlsClient(taken.address("http"), good) as client:
            assert (await client.post(ONE)).status == 200
    said = capsys.readouterr().err
    assert "its certificate has expired" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "plain", [request(ONE), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x01\x02\x03\x04\x05\x06\x07"]
)
async def test_plain_text_to_a_port_that_takes_tls_is_named(
    receiving: Any, files: Files, plain: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async with receiving(tls=files.config) as taken:
        async with Client(taken.address("http")) as client:
            client.say(plain)
            with suppress(ConnectionError):
                assert await client.closed()
        assert taken.count("tls_refused", reason="plaintext") == 1
    assert "its address has to begin with https://" in capsys.readouterr().err


async def test_tls_to_a_port_that_takes_plain_text_is_named(receiving: Any, files: Files) -> None:
    async with receiving() as taken:
        assert await refused(taken.address("http"), files.client())
        assert taken.count("refused", reason="wrong_protocol") == 1
        async with Client(taken.address("http")) as client:
            client.say(b"\x16\x03\x01")
            answer = await client.answer()
            assert (answer.status, "has to begin with http://" in answer.message) == (400, True)


async def test_nonsense_within_tls_is_no_failure_of_ours(receiving: Any, files: Files) -> None:
    """Or whoever likes fills the log with it."""
    async with receiving(grpc=None, tls=files.config) as taken:
        for said in (b"", request(ONE)[:50], request(ONE)[:-5]):
            async with TlsClient(taken.address("http"), files.client()) as client:
                client.say(said)
                await client.writer.drain()
                inner = client.writer.get_extra_info("socket")
                os.write(inner.fileno(), b"\x17\x03\x03\x00\x20" + b"nonsense" * 4)  # a record that nobody can decrypt
                with suppress(OSError):
                    await client.reader.read()
        assert taken.count("connection_failures") == 0


async def test_who_connects_and_says_nothing_is_closed(receiving: Any, files: Files) -> None:
    async with receiving(tls=files.config, header_timeout=0.1) as taken, Client(taken.address("http")) as client:
        assert await client.closed()


@pytest.mark.usefixtures("looks_each_time")
async def test_new_files_are_used_at_once_and_no_connection_is_dropped(receiving: Any, files: Files) -> None:
    async with receiving(tls=files.config) as taken, TlsClient(taken.address("http"), files.client()) as before:
        assert (await before.post(ONE)).status == 200
        channel = grpc.aio.secure_channel(
            "{}:{}".format(*taken.address("grpc")), grpc.ssl_channel_credentials(files.ca.read_bytes())
        )
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        await export(ONE)

        files.server = trustme.CA()  # another authority, so that nobody takes the old certificate for the new one
        files.issue()
        files.server.cert_pem.write_to_path(files.ca)

        async with TlsClient(taken.address("http"), files.client()) as after:
            assert after.served_with != before.served_with
            assert (await after.post(ONE)).status == 200
        assert (await before.post(ONE)).status == 200
        await export(ONE)
        result = await asyncio.to_thread(export_one, exporter("grpc", taken.host.endpoints["grpc"], files, None, None))
        assert result is SpanExportResult.SUCCESS
        await channel.close()
        assert taken.count("tls_reloaded") == 2  # a door each
    assert taken.items == 6


@pytest.mark.usefixtures("looks_each_time")
async def test_an_authority_that_is_taken_away_lets_nobody_in_any_more(receiving: Any, files: Files) -> None:
    """Also nobody who comes again: no session goes on under the new files."""
    old = files.client(files.clients.issue_cert("agent.acme.example"))
    async with receiving(tenants=TENANTS, tls=files.mutual) as taken:
        async with TlsClient(taken.address("http"), old) as client:
            assert (await client.post(ONE)).status == 200
        files.clients = trustme.CA()
        files.clients.cert_pem.write_to_path(files.folder / "clients.pem")
        assert await refused(taken.address("http"), old)
        assert await refused(taken.address("grpc"), old)
        new = files.client(files.clients.issue_cert("agent.acme.example"))
        async with TlsClient(taken.address("http"), new) as client:
            assert (await client.post(ONE)).status == 200


@pytest.mark.usefixtures("looks_each_time")
def test_new_files_that_can_not_be_used_change_nothing(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host("otlp", files.folder)
    certificates = Certificates(TlsConfig(**files.config), host)
    before = certificates.context()

    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(files.folder / "key.pem")  # the half of a pair
    assert certificates.context() is before
    (files.folder / "cert.pem").write_bytes(b"no certificate")
    assert certificates.context() is before
    (files.folder / "cert.pem").unlink()
    assert certificates.context() is before
    assert host.counters.value("tls_reload_failed") == 3
    assert "the key is not that of the certificate" in capsys.readouterr().err

    files.issue()
    assert certificates.context() is not before


def test_files_that_can_not_be_used_end_the_start(files: Files) -> None:
    config, key = TlsConfig(**files.config), files.folder / "key.pem"
    key.write_bytes(b"")
    with pytest.raises(FilesError, match="no PEM in it"):
        Certificates(config, Host("otlp", files.folder))
    key.unlink()
    with pytest.raises(FilesError, match=r"key.pem can not be read: No such file or directory"):
        Certificates(config, Host("otlp", files.folder))


def test_a_newer_version_alone_may_be_asked_for(files: Files) -> None:
    context = Certificates(TlsConfig(**files.config, min_version="1.3"), Host("otlp", files.folder)).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_the_names_in_a_certificate() -> None:
    subject = ((("organizationName", "Acme"),), (("commonName", "agent"),))
    assert names_of({"subject": subject, "subjectAltName": ()}) == ["agent"]
    both = (("DNS", "a.example"), ("IP Address", "192.0.2.1"), ("URI", "spiffe://a"), ("email", "a@a.example"))
    assert names_of({"subject": subject, "subjectAltName": both}) == ["a.example", "spiffe://a", "a@a.example"]
    assert names_of(None) == []


def test_a_reason_that_nobody_thought_of_is_counted_too() -> None:
    assert reason_of(ssl.SSLError(1, "[SSL] something"))[0] == "other"
