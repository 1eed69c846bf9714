"""HTTP to a destination: bounded, without proxy or cookies, and every failure one of the four errors.

Redirects are followed within one origin only, so that keys go nowhere else. Where a destination names another address,
that may be no nearer to this machine than the destination is: asked when it is connected to, whatever its name says.
"""

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import AfterValidator

from otel_bridge import __version__
from otel_bridge.answers import check
from otel_bridge.errors import ParkedError, RetryableError, SlowError

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.client_reqrep import ClientResponse
    from yarl import URL

CONNECT_TIMEOUT_S = 10.0
MAX_ANSWER = 64 << 10
REDIRECTS = (307, 308)  # the others turn a POST into a GET
MAX_REDIRECTS = 3
NAMES_KEPT_S = 10
RECONNECT_EVERY_S = 45.0  # so that a destination that moved is found within a minute, although its old address answers
KEEPALIVE = {  # a connection whose other end is gone is noticed in half a minute
    "SO_KEEPALIVE": (socket.SOL_SOCKET, 1),
    "TCP_KEEPIDLE": (socket.IPPROTO_TCP, 15),
    "TCP_KEEPINTVL": (socket.IPPROTO_TCP, 5),
    "TCP_KEEPCNT": (socket.IPPROTO_TCP, 3),
    "TCP_USER_TIMEOUT": (socket.IPPROTO_TCP, 30_000),
}
IN_THREAD_BYTES = 64 << 10  # compressing more than this would hold up the loop


def _address(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme not in ("http", "https") or not separator or not rest.strip("/") or set("@?# ") & set(rest):
        raise ValueError("write it as http://host:port or https://host, without keys in it")
    return url.rstrip("/")


Address: TypeAlias = Annotated[str, AfterValidator(_address)]
"""The address of a destination in a configuration, without a slash at its end."""


KEY_SERVERS = ("fd00:ec2::254", "100.100.100.200")  # of clouds, beside those that are link-local
CALL_FAILED = "onnect call failed"  # asyncio's word, of one address or several


class Nearness(IntEnum):
    """How near an address is; whatever answers at a near one takes less care of who asks."""

    PUBLIC = 0
    PRIVATE = 1
    OWN = 2  # this machine
    LINK = 3  # where clouds answer with keys to whoever asks

    @classmethod
    def of(cls, address: str) -> "Nearness":
        """That of an IP address."""
        found = ip_address(address.partition("%")[0])
        if isinstance(found, IPv6Address):
            found = found.ipv4_mapped or found
        if found.is_link_local or found.is_multicast or str(found) in KEY_SERVERS:
            return cls.LINK
        if found.is_loopback or found.is_unspecified:
            return cls.OWN
        return cls.PUBLIC if found.is_global else cls.PRIVATE


class Reach:
    """How near a destination is: as far as it has been connected to."""

    def __init__(self) -> None:
        self._nearest = Nearness.PUBLIC

    def note(self, address: str) -> None:
        """The destination is there."""
        self._nearest = max(self._nearest, Nearness.of(address))

    def check(self, address: str) -> None:
        """Raises OSError: the destination may not send us there."""
        if Nearness.of(address) > self._nearest:
            raise OSError(errno.EACCES, f"{address} is nearer to this machine than who named it")


class LostError(RetryableError):
    """There was no answer: whether it was taken, nobody knows."""


class LateError(LostError, SlowError):
    """There was no answer in time."""


@dataclass(slots=True, frozen=True)
class Answer:
    """A status of the 200s and the first bytes of what came with it; `date` as the header says, empty without one."""

    status: int
    body: bytes
    date: str = ""


class Http:
    """Requests to destinations over one pool of connections."""

    def __init__(self, session: "aiohttp.ClientSession") -> None:
        self._session = session
        self._reconnect_s = time.monotonic() + RECONNECT_EVERY_S

    async def request(
        self,
        method: str,
        url: "str | URL",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_answer: int = MAX_ANSWER,
    ) -> Answer:
        """What a 2xx came with, cut at `max_answer` bytes.

        Raises:
            RetryableError, RefusedError, TooLargeError, ParkedError: as `answers` reads the answer.
            LostError: there was none; LateError: not in time.
        """
        import aiohttp

        sent = dict(headers or {})
        if time.monotonic() >= self._reconnect_s:
            self._reconnect_s = time.monotonic() + RECONNECT_EVERY_S
            sent["Connection"] = "close"
        try:
            for hop in range(MAX_REDIRECTS + 1):
                async with self._session.request(
                    method, url, data=body, headers=sent, allow_redirects=False
                ) as response:
                    if hop < MAX_REDIRECTS and (elsewhere := _within_origin(response)) is not None:
                        url = elsewhere
                        continue
                    told = bytearray()
                    while len(told) < max_answer and (some := await response.content.read(max_answer - len(told))):
                        told += some
                    check(response.status, response.headers, bytes(told), who=str(url))
                    return Answer(response.status, bytes(told), response.headers.get("Date", ""))
            raise AssertionError("the last hop is answered or raises")
        except aiohttp.ClientSSLError as error:
            raise ParkedError(f"{url}: TLS failed: {_untrusted(error)}", "tls") from error
        except aiohttp.InvalidURL as error:
            raise ParkedError(f"{url} is no address", "address") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise LostError(f"{url}: nobody answers") from error
        except TimeoutError as error:
            raise LateError(f"{url}: no answer in time") from error
        except aiohttp.ClientConnectorError as error:
            raise LostError(f"{url}: can not be reached: {_unreached(error.os_error)}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(f"{url}: {type(error).__name__} {error}".rstrip()) from error


def _unreached(error: OSError) -> str:
    """As the system says it, where that is of the connection, and not which call it was."""
    said = error.strerror or str(error)
    return os.strerror(error.errno) if error.errno and CALL_FAILED in said else said


def _untrusted(error: "aiohttp.ClientSSLError") -> str:
    found = getattr(error, "os_error", None)
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {found.verify_message}; SSL_CERT_FILE names whom to trust"
    if isinstance(found, ssl.SSLError) and found.reason == "WRONG_VERSION_NUMBER":
        return "it speaks no TLS on this port; is it http:// ?"
    return str(found or error)


def _within_origin(response: "ClientResponse") -> "URL | None":
    """Where a redirect leads to, if the method and the keys may go there."""
    from yarl import URL

    if response.status not in REDIRECTS:
        return None
    try:
        elsewhere = response.url.join(URL(response.headers.get("Location", "")))
        return elsewhere if elsewhere.origin() == response.url.origin() else None
    except ValueError:
        return None


def _socket(
    asked: Callable[[str], None] | None, address: "tuple[int, int, int, str, tuple[object, ...]]"
) -> socket.socket:
    if asked is not None:
        asked(str(address[4][0]))
    made = socket.socket(*address[:3])
    for name, (level, value) in KEEPALIVE.items():
        if hasattr(socket, name):  # not every system has them all
            made.setsockopt(level, getattr(socket, name), value)
    return made


@asynccontextmanager
async def http(timeout_s: float, asked: Callable[[str], None] | None = None) -> AsyncIterator[Http]:
    """Connections of its own.

    timeout_s: for a whole request with its answer.
    asked: is told of each address before it is connected to, and may raise OSError.
    """
    import aiohttp

    from otel_bridge.resolve import Resolver

    timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, timeout_s))
    async with aiohttp.ClientSession(
        timeout=timeout,
        connector=aiohttp.TCPConnector(
            resolver=Resolver(), ttl_dns_cache=NAMES_KEPT_S, socket_factory=partial(_socket, asked)
        ),
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": f"otel-bridge/{__version__}"},
    ) as session:
        yield Http(session)


async def compress(body: bytes) -> bytes:
    """Gzip, quickly and without a time stamp: the same bytes in give the same bytes out."""
    if len(body) <= IN_THREAD_BYTES:
        return _gzip(body)
    return await asyncio.to_thread(_gzip, body)


def _gzip(body: bytes) -> bytes:
    from isal import igzip

    packed: bytes = igzip.compress(body, 1, mtime=0)
    return packed
