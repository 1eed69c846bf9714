"""Why an address cannot be listened on, and what to do about it."""

import errno
import socket

from otel_bridge.errors import AddressInUseError, FilesError


def unbindable(door: str, endpoint: str, error: OSError | None = None) -> FilesError:
    """The refusal for `host:port`; without an error, as gRPC tells of none, the system is asked for it."""
    error = error or _refused(endpoint)
    port = endpoint.rpartition(":")[2]
    said = f"{door}: {endpoint} can not be bound"
    if error is None or error.errno == errno.EADDRINUSE:
        instead = f"choose another address (OTEL_BRIDGE_{door.upper()}, where there is no configuration file)"
        return AddressInUseError(f"{said}: another program uses it; stop it, or {instead}", endpoint)
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        what = f"it is no address of this machine; choose one that is, as 127.0.0.1:{port}, or 0.0.0.0:{port} for all"
    elif error.errno == errno.EACCES:
        what = "the system lets only root use it; choose a port above 1023"
    else:
        what = f"{error.strerror or error}; choose another address"
    return FilesError(f"{said}: {what}")


def _refused(endpoint: str) -> OSError | None:
    host, _, port = endpoint.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        socket.create_server((host.strip("[]"), int(port)), family=family).close()
    except OSError as error:
        return error
    return None
