"""HTTP to a destination: bounded, without proxy, cookies or redirects, and every failure one of the four errors."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import AfterValidator

from otel_bridge import __version__
from otel_bridge.answers import check
from otel_bridge.errors import ParkedError, RetryableError

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

CONNECT_TIMEOUT_S = 10.0
MAX_ANSWER = 64 << 10
IN_THREAD_BYTES = 64 << 10  # compressing more than this would hold up the loop


def _address(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme not in ("http", "https") or not separator or not rest.strip("/") or set("@?# ") & set(rest):
        raise ValueError("write it as http://host:port or https://host, without keys in it")
    return url.rstrip("/")


Address: TypeAlias = Annotated[str, AfterValidator(_address)]
"""The address of a destination in a configuration, without a slash at its end."""


class LostError(RetryableError):
    """There was no answer: whether it was taken, nobody knows."""


@dataclass(slots=True, frozen=True)
class Answer:
    """A status of the 200s and the first bytes of what came with it."""

    status: int
    body: bytes


class Http:
    """Requests to destinations over one pool of connections."""

    def __init__(self, session: "aiohttp.ClientSession") -> None:
        self._session = session

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
            LostError: there was none.
        """
        import aiohttp

        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                told = bytearray()
                while len(told) < max_answer and (some := await response.content.read(max_answer - len(told))):
                    told += some
                check(response.status, response.headers, bytes(told), who=str(url))
                return Answer(response.status, bytes(told))
        except aiohttp.ClientSSLError as error:
            raise ParkedError(f"{url}: TLS failed: {error}", "tls") from error
        except aiohttp.InvalidURL as error:
            raise ParkedError(f"{url} is no address", "address") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LostError(f"{url}: {type(error).__name__} {error}".rstrip()) from error


@asynccontextmanager
async def http(timeout_s: float) -> AsyncIterator[Http]:
    """Connections of its own; `timeout_s` is for a whole request with its answer."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, timeout_s))
    async with aiohttp.ClientSession(
        timeout=timeout,
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
