"""Who may ask by HTTP: for which names, from which web pages, and how often from one machine.

A page on the web can make a browser send to 127.0.0.1, under a name that it has pointed there. So where the bridge
listens on loopback, a request has to be for a name that nobody can give out on the Internet. Elsewhere any name may be
used: those of containers, services and proxies are not known here.
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

LOCAL = ("localhost", "internal")  # top-level names that are reserved: containers reach their host by the second
HEADER_NAMES = re.compile(rb"[A-Za-z0-9_, -]{1,1000}")


def sharing_address(peer: str) -> str | None:
    """What the connections of one machine have in common, to be counted; None for this machine.

    Here all agents share one address: to limit it would be to limit them together, as `max_connections` does. An IPv6
    network (/64) counts as one, since a machine there has as many addresses as it likes.
    """
    address = ip_address(peer.partition("%")[0])
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return None
    return address.packed[:8].hex() if isinstance(address, IPv6Address) else str(address)


@lru_cache(maxsize=64)
def is_local_name(host: bytes, allowed: tuple[str, ...]) -> bool:
    """Whether a Host header is one that no attacker can have pointed here: an address, a reserved name, or allowed."""
    try:
        name = (urlsplit(f"//{host.decode('latin-1')}").hostname or "").removesuffix(".")
    except ValueError:
        return False
    if name in allowed or name.rpartition(".")[2] in LOCAL:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def allowing(origin: bytes) -> bytes:
    """The headers by which the page of an allowed origin may read an answer."""
    return b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n" % origin


def preflight(asked_headers: bytes) -> bytes:
    """The headers of the answer to a browser that asks what a page may send."""
    names = asked_headers if HEADER_NAMES.fullmatch(asked_headers) else b"content-type"
    return (
        b"Access-Control-Allow-Methods: POST\r\nAccess-Control-Allow-Headers: %b\r\nAccess-Control-Max-Age: 600\r\n"
        % names
    )
