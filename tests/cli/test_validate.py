"""`otel-bridge validate` says of TLS files what would keep senders away, before anybody is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from otel_bridge.cli.configuration import validate
from otel_bridge.errors import PlanError

CONFIG = """\
receivers:
  otlp:
    tls:
      cert_file: DIR/tls.crt
      key_file: DIR/tls.key
      client_ca_file: DIR/ca.crt
exporters: {store: {}}
service: {pipelines: {main: {receivers: [otlp], exporters: [store]}}}
"""
CA = trustme.CA()
NOW = datetime.now(UTC)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose files are good."""
    issued(tmp_path, CA.issue_cert("bridge.example"))
    CA.cert_pem.write_to_path(tmp_path / "ca.crt")
    path = tmp_path / "bridge.yaml"
    path.write_text(CONFIG.replace("DIR", str(tmp_path)))
    return path


def issued(folder: Path, of: trustme.LeafCert) -> None:
    (folder / "tls.crt").write_bytes(b"".join(pem.bytes() for pem in of.cert_chain_pems))
    of.private_key_pem.write_to_path(folder / "tls.key")
    (folder / "tls.key").chmod(0o600)


def expired(folder: Path) -> None:
    issued(folder, CA.issue_cert("x", not_before=NOW - timedelta(9), not_after=NOW - timedelta(1)))


def not_yet(folder: Path) -> None:
    issued(folder, CA.issue_cert("x", not_before=NOW + timedelta(1), not_after=NOW + timedelta(9)))


def anothers_key(folder: Path) -> None:
    CA.issue_cert("y").private_key_pem.write_to_path(folder / "tls.key")


def no_key(folder: Path) -> None:
    (folder / "tls.key").unlink()


def no_pem(folder: Path) -> None:
    (folder / "tls.crt").write_bytes(b"\x30\x82")


def no_authority(folder: Path) -> None:
    (folder / "ca.crt").write_text("# to be done")


def damaged(folder: Path) -> None:
    (folder / "tls.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_files_that_are_good(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = config.parent / "tls.crt"
    certificate.write_text("# für alle\n" + certificate.read_text())

    validate(config)

    assert "bridge.yaml: fine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (expired, "bridge.yaml:4 receivers::otlp::tls::cert_file: DIR/tls.crt: clients refuse it, certificate has exp"),
        (not_yet, "bridge.yaml:4 receivers::otlp::tls::cert_file: DIR/tls.crt: clients refuse it, certificate is not"),
        (anothers_key, "bridge.yaml:5 receivers::otlp::tls::key_file: DIR/tls.key is not the key of DIR/tls.crt"),
        (no_key, "bridge.yaml:5 receivers::otlp::tls::key_file: there is no file DIR/tls.key: put it there"),
        (no_pem, "bridge.yaml:4 receivers::otlp::tls::cert_file: DIR/tls.crt has no `-----BEGIN CERTIFICATE-----`"),
        (damaged, "bridge.yaml:4 receivers::otlp::tls::cert_file: DIR/tls.crt and DIR/tls.key can not be used"),
        (no_authority, "bridge.yaml:6 receivers::otlp::tls::client_ca_file: DIR/ca.crt has no certificate"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_files_that_are_not(spoil: Callable[[Path], None], said: str, config: Path) -> None:
    spoil(config.parent)

    with pytest.raises(PlanError) as error:
        validate(config)

    [mistake] = error.value.mistakes
    assert mistake.startswith(said.replace("DIR", str(config.parent)))


def test_a_file_of_somebody_else(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "tls.key":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)

    with pytest.raises(PlanError, match="can not be read by who runs this: chown it"):
        validate(config)


def test_an_authority_that_has_expired(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with it everything that it issued."""
    monkeypatch.setattr("otel_bridge.tls.time.time", lambda: NOW.timestamp() + 1e12)

    with pytest.raises(PlanError, match=r"an authority in .*ca\.crt has expired on"):
        validate(config)
