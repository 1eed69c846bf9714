"""TLS of the ports that the bridge listens on; its files are read again when they change."""

import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from otel_bridge.component import Host
from otel_bridge.config import Config, LocalPath
from otel_bridge.errors import FilesError

LOOK_EVERY_S = 1.0
SAY_EVERY_S = 10.0  # of each reason
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CERTIFICATE, PRIVATE_KEY, PEM_END = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----", "-----END CERTIFICATE-----"
NAMES = ("DNS", "URI", "email")  # of a certificate's alternative names, those that can be a tenant's

PLAINTEXT = "it does not speak TLS: its address has to begin with https://"
REASONS: dict[str, tuple[str, str]] = {
    "HTTP_REQUEST": ("plaintext", PLAINTEXT),
    "HTTPS_PROXY_REQUEST": ("plaintext", PLAINTEXT),
    "WRONG_VERSION_NUMBER": ("plaintext", PLAINTEXT),
    "RECORD_LAYER_FAILURE": ("plaintext", PLAINTEXT),
    "PACKET_LENGTH_TOO_LONG": ("plaintext", PLAINTEXT),
    "UNSUPPORTED_PROTOCOL": ("tls_version", "it speaks only versions of TLS that are too old"),
    "VERSION_TOO_LOW": ("tls_version", "it speaks only versions of TLS that are too old"),
    "NO_SHARED_CIPHER": ("no_shared_cipher", "it speaks no cipher that is safe"),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("no_certificate", "it shows no client certificate, and has to"),
}
"""What OpenSSL calls it → a word for the counter, and a sentence."""

UNKNOWN_CA = ("unknown_ca", "its certificate is of an authority that is not in client_ca_file")
VERIFY_CODES: dict[int, tuple[str, str]] = {
    9: ("certificate_not_yet_valid", "its certificate is not valid yet"),
    10: ("expired_certificate", "its certificate has expired"),
    **dict.fromkeys((2, 18, 19, 20, 21), UNKNOWN_CA),
}


class TlsConfig(Config):
    """A certificate, and whose certificates clients have to show.

    Files are PEM, and read again when they change.
    """

    cert_file: LocalPath  # with the certificates between it and its authority
    key_file: LocalPath
    client_ca_file: LocalPath | None = (
        None  # with it every client has to show a certificate of one of these authorities
    )
    min_version: Literal["1.2", "1.3"] = "1.2"


@dataclass(slots=True, frozen=True)
class Pem:
    """What the files hold."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """The files of a port as they are now; may be asked from one thread at a time.

    Raises:
        FilesError: they can not be used. Once they could, the last that could be used stay in use.
    """

    def __init__(self, config: TlsConfig, host: Host) -> None:
        self._config = config
        self._host = host
        self._said_s: dict[str, float] = {}
        self._lock = threading.Lock()
        self._looked_s = time.monotonic()
        self._seen = self._stamps()
        try:
            self._context, self._pem = self._read()
        except (OSError, ValueError) as error:
            raise FilesError(f"{host.id}: {_unusable(config, error)}") from error
        self.version = 1

    def pem(self) -> Pem:
        """What the files hold; `version` tells whether it is new."""
        self._look()
        return self._pem

    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        self._look()
        return self._context

    def front(self) -> ssl.SSLContext:
        """For a server that is given one context for all its life: each connection is under the newest."""
        front = _Front(ssl.PROTOCOL_TLS_SERVER)
        front.certificates = self
        return front

    def refused(self, error: ssl.SSLError) -> None:
        """Count a handshake that failed, and let the log say why once in a while."""
        reason, why = reason_of(error)
        self._host.counters.add("tls_refused", reason=reason, component=self._host.id)
        now_s = time.monotonic()
        if now_s - self._said_s.get(reason, float("-inf")) >= SAY_EVERY_S:
            self._said_s[reason] = now_s
            self._host.log.warning("a TLS handshake is refused", reason=reason, why=why)

    def _look(self) -> None:
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._looked_s < LOOK_EVERY_S:
                return
            self._looked_s = now_s
            stamps = self._stamps()
            if stamps == self._seen:
                return
            try:
                context, pem = self._read()
            except (OSError, ValueError) as error:
                why = _unusable(self._config, error)
                self._host.counters.add("tls_reload_failed", component=self._host.id)
                self._host.log.warning("new TLS files can not be used, the old ones stay in use", why=why)
                self._seen = stamps
                return
            if self._stamps() != stamps:
                return  # they change just now
            self._context, self._pem, self._seen = context, pem, stamps
            self.version += 1
            self._host.counters.add("tls_reloaded", component=self._host.id)
            self._host.log.info("new TLS files are in use")

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in _files(self._config))

    def _read(self) -> tuple[ssl.SSLContext, Pem]:
        config = self._config
        certificate, key, *client_ca = [path.read_bytes() for path in _files(config)]
        context = _Context(ssl.PROTOCOL_TLS_SERVER)
        context.certificates = self
        context.sslobject_class = _Handshake
        context.minimum_version = VERSIONS[config.min_version]
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.num_tickets = 0  # who comes again shows the certificate again
        context.load_cert_chain(config.cert_file, config.key_file, password=_no_password)
        if config.client_ca_file is not None:
            context.load_verify_locations(config.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context, Pem(certificate, key, client_ca[0] if client_ca else None)


class _Context(ssl.SSLContext):
    certificates: Certificates


class _Front(_Context):
    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self.certificates.context().wrap_bio(*args, **kwargs)


class _Handshake(ssl.SSLObject):
    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if isinstance(self.context, _Context):
                self.context.certificates.refused(error)
            raise


def reason_of(error: ssl.SSLError) -> tuple[str, str]:
    """Why a handshake failed: a word for the counter, and a sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return VERIFY_CODES.get(error.verify_code, ("bad_certificate", "its certificate can not be verified"))
    reason = getattr(error, "reason", None) or ""  # which OpenSSL has not always
    if "_ALERT_" in reason:
        return "refused_by_client", "it refuses the certificate of this port, or what is spoken here"
    return REASONS.get(reason, ("other", "the handshake failed"))


def names_of(certificate: Mapping[str, Any] | None) -> list[str]:
    """The names in a client's certificate, as `ssl` tells of it: alternative ones, else the common name."""
    if not certificate:
        return []
    names = [name for kind, name in certificate.get("subjectAltName", ()) if kind in NAMES]
    common = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return names or common


def mistakes(config: TlsConfig) -> Iterator[tuple[str, str]]:
    """What keeps the files as they are now from being used, and clients from trusting them: a key of the configuration,
    and what to do."""
    unreadable = [(name, said) for name, path in _named(config) if (said := _unreadable(path))]
    yield from unreadable
    if not {"cert_file", "key_file"} & {name for name, _ in unreadable}:
        yield from _pair_mistakes(config.cert_file, config.key_file)
    if config.client_ca_file is not None and "client_ca_file" not in dict(unreadable):
        yield from _authority_mistakes(config.client_ca_file)


def _unreadable(path: Path) -> str | None:
    try:
        path.read_bytes()
    except FileNotFoundError:
        hint = "put it there, or correct the path (a relative one begins where the configuration file is)"
        return f"there is no file {path.absolute()}: {hint}"
    except PermissionError:
        return f"{path} can not be read by who runs this: chown it to that user"
    except OSError as error:
        return f"{path} can not be read ({error.strerror})"
    return None


def _pair_mistakes(certificate: Path, key: Path) -> Iterator[tuple[str, str]]:
    for name, path, mark in (("cert_file", certificate, CERTIFICATE), ("key_file", key, PRIVATE_KEY)):
        if mark not in path.read_bytes():
            yield name, f"{path} has no `{mark.decode()}`: it has to be PEM"
            return
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(certificate, key, password=_no_password)
    except ValueError:
        yield "key_file", f"{key} is encrypted, and nobody is there to ask: write it without a password"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield "key_file", f"{key} is not the key of {certificate}: name the one that it was issued for"
        else:
            yield "cert_file", f"{certificate} and {key} can not be used ({error.reason or error}): issue them anew"
    else:
        if said := _distrust(server, certificate):
            yield "cert_file", f"{certificate}: {said}"


def _distrust(server: ssl.SSLContext, certificate: Path) -> str | None:
    """Why a client that knows this very certificate does not trust it; found by meeting one, in memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # under which name clients come is theirs to know
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    said = certificate.read_text(encoding="ascii", errors="ignore")  # also what it is for, in anybody's letters
    context.load_verify_locations(cadata=said.partition(PEM_END)[0] + PEM_END)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, door = context.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, door, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return f"clients refuse it, {error.verify_message}: renew it"
    return None


def _authority_mistakes(path: Path) -> Iterator[tuple[str, str]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        yield "client_ca_file", f"{path} has no certificate: it has to be the PEM of the authorities of your clients"
        return
    for authority in context.get_ca_certs():
        if ssl.cert_time_to_seconds(str(authority["notAfter"])) < time.time():
            what = f"an authority in {path} has expired on {authority['notAfter']}: renew it, or nobody of it gets in"
            yield "client_ca_file", what


def is_readable_by_all(path: Path) -> bool:
    """Whether every user of this machine can read a file that holds a secret."""
    try:
        return bool(path.stat().st_mode & 0o004)
    except OSError:
        return False  # that it is not there is told elsewhere


def _files(config: TlsConfig) -> list[Path]:
    return [path for _, path in _named(config)]


def _named(config: TlsConfig) -> list[tuple[str, Path]]:
    names = ("cert_file", "key_file", "client_ca_file")
    return [(name, path) for name in names if (path := getattr(config, name)) is not None]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _unusable(config: TlsConfig, error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        found = "the key is not that of the certificate" if error.reason == "KEY_VALUES_MISMATCH" else "no PEM in it"
        return f"the TLS files {', '.join(map(str, _files(config)))} can not be used: {found}"
    if isinstance(error, OSError):
        return f"the TLS file {error.filename} can not be read: {error.strerror}"
    return f"the TLS file {config.key_file} can not be used: {error}"
