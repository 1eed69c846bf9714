"""Where commands look for a bridge: its configuration names the data dir, its store and its viewer."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_bridge import call_log_names
from otel_bridge.announcement import DATA_DIR, DATA_DIR_VARIABLE, from_here
from otel_bridge.errors import PlanError, UsageError
from otel_bridge.files import FOLDER, Files, kind, local
from otel_bridge.written import (
    DEFAULT_DATA_DIR,
    DEFAULT_VIEWER,
    expand,
    path_at,
    read_text,
    read_yaml,
    text_at,
)

if TYPE_CHECKING:
    import ssl

PASSWORD = "OTEL_BRIDGE_VIEWER_PASSWORD"  # noqa: S105 - the name of a variable
CLIENT_CERT, CLIENT_KEY = "OTEL_BRIDGE_CLIENT_CERT", "OTEL_BRIDGE_CLIENT_KEY"
PEM_END = "-----END CERTIFICATE-----"


@dataclass(slots=True, frozen=True)
class Viewer:
    """A viewer to ask, and what gets in there.

    token: is shown to it, where it asks.
    certificate: the file with the certificate that it has to show; None for one of an authority that is known.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    certificate: Path | None = None

    @classmethod
    def at(cls, url: str) -> "Viewer":
        """A viewer anywhere; the password is in the environment."""
        return cls(url, os.environ.get(PASSWORD) or None)

    def headers(self) -> dict[str, str]:
        """What shows who asks."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def tls(self, *, verified: bool = True) -> "ssl.SSLContext":
        """How to know that it is the one; where not verified, anybody is, and is to be shown nothing.

        Raises:
            UsageError: a certificate can not be read.
        """
        import ssl

        try:
            if self.certificate is None:
                context = ssl.create_default_context()
            else:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False  # it is this very certificate, whatever names stand in it
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                written = self.certificate.read_text(encoding="ascii", errors="replace")
                context.load_verify_locations(cadata=written.partition(PEM_END)[0] + PEM_END)
            if not verified:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if own := os.environ.get(CLIENT_CERT):
                context.load_cert_chain(own, os.environ.get(CLIENT_KEY) or None)
        except OSError as error:  # ssl's errors are such
            name = self.certificate or f"of {CLIENT_CERT}"
            raise UsageError(f"the certificate {name} can not be used: {error.strerror or error}") from error
        return context


@dataclass(slots=True, frozen=True)
class Place:
    """Where a bridge is, as far as its configuration says; `url` is that of its viewer, else of `health`.

    call_log: where calls are logged, where they are.
    tenants: the names of those that are configured.
    """

    data_dir: Path
    store: Path
    call_log: Path
    url: str | None
    tenants: tuple[str, ...] = ()


def place(config: Path | None, data_dir: Path | None = None) -> Place:
    """Where a command has to look: in the data dir that was named, else where the configuration says.

    Only these few keys are read: whoever looks at traces needs no keys of Langfuse in the environment.

    Raises:
        PlanError: the configuration cannot be read, or what is read of it cannot be used.
    """
    written = {} if config is None else read_yaml(read_text(config), config.name)
    service = written.get("service")
    tenants = service.get("tenants") if isinstance(service, dict) else None
    tenants = tuple(map(str, tenants)) if isinstance(tenants, dict) else ()
    if config is None or data_dir is not None:
        name, said = ("--data-dir", data_dir) if data_dir else (DATA_DIR_VARIABLE, _default(DEFAULT_DATA_DIR))
        try:
            folder = local(said)
        except ValueError as error:
            raise PlanError([f"{name}: {error}"]) from None
        _check(folder, name)
        logged = _said_log(Path()) or folder / call_log_names.FOLDER
        return Place(folder, folder / "store.db", logged, from_here(f"http://{_default(DEFAULT_VIEWER)}"), tenants)

    def text(default: str, *path: str) -> str:
        return text_at(written, path, default, config, os.environ)

    folder = path_at(written, ("service", "data_dir"), DATA_DIR, config, os.environ)
    _check(folder, f"{config.name} service::data_dir")
    at_store = _first(written, "exporters", "store")
    has_own = text("", *at_store, "path")
    store = path_at(written, (*at_store, "path"), "", config, os.environ) if has_own else folder / "store.db"
    at_log = _first(written, "exporters", call_log_names.EXPORTER)
    if name := text("", *at_log, "dir") or _of_job(text("", *at_log, "job"), config):
        logged = _local(name, config.parent, f"{config.name} {'::'.join(at_log)}::dir")
    else:
        logged = folder / call_log_names.FOLDER
    logged = _said_log(config.parent) or logged
    for name, default in (("viewer", "127.0.0.1:4319"), ("health", "127.0.0.1:13133")):
        if at := _first(written, "extensions", name):
            scheme = "https" if _has(written, (*at, "tls")) else "http"
            return Place(folder, store, logged, from_here(f"{scheme}://{text(default, *at, 'endpoint')}"), tenants)
    return Place(folder, store, logged, None, tenants)


def _said_log(folder: Path) -> Path | None:
    """Where the environment says that calls are logged, which overrules a configuration; names begin at `folder`.

    Raises:
        PlanError: that leads nowhere.
    """
    name = call_log_names.variable(call_log_names.DIR, os.environ)
    return _local(said, folder, name) if (said := os.environ.get(name)) else None


def _of_job(name: str, config: Path) -> str:
    """The folder that a program's own job file names; empty where it names none.

    Raises:
        PlanError: it can not be followed.
    """
    if not name:
        return ""
    from otel_bridge.exporters.call_log.job import in_job

    try:
        return str(in_job(Files(config.parent).text(name), name).get("dir", ""))
    except ValueError as error:
        raise PlanError([f"{config.name}: {error}"]) from None


def _local(name: str, folder: Path, said: str) -> Path:
    try:
        return local(name, folder)
    except ValueError as error:
        raise PlanError([f"{said}: {error}"]) from None


def _check(data_dir: Path, name: str) -> None:
    if (there := kind(data_dir)) not in (FOLDER, None):
        raise PlanError([f"{name}: {data_dir} is a {there}, and no folder"])


def _default(reference: str) -> str:
    return expand(reference, os.environ, Files()).text


def _first(written: Mapping[str, Any], section: str, name: str) -> tuple[str, ...]:
    """The path to the first component of a type, empty where there is none."""
    keys = written.get(section)
    found = [key for key in keys if str(key).partition("/")[0] == name] if isinstance(keys, dict) else []
    return (section, found[0]) if found else ()


def _has(written: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Whether something is written under a path of keys."""
    node: Any = written
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node is not None


def viewer_of(data_dir: Path, url: str) -> Viewer:
    """The viewer at an address, with what it left in the data dir for those who may read that."""
    for path in sorted(data_dir.glob("viewer*.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            if from_here(said["url"]) == url:
                certificate = said["certificate"]
                return Viewer(url, said["token"], Path(certificate) if certificate else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return Viewer.at(url)
