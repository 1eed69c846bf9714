"""Compressed bodies, unpacked only as far as they may be: a bomb stops at the limit."""

import sys
from collections.abc import Callable
from typing import Protocol

from otel_bridge.errors import MalformedError, TooLargeError
from otel_bridge.receivers.otlp.admission import Unpack

HARMLESS_BYTES = 1 << 20  # above it, nothing honest is packed tighter than:
MAX_RATIO = 200
MAX_MEMBERS = 1000  # nothing honest has more; empty ones are twenty bytes, and each costs a start
SLICE = 64 << 10  # what a member leaves over is copied, and no more than this
ZLIB_OR_GZIP = 47  # window bits by which zlib looks at the header itself
MAX_ZSTD_WINDOW_LOG = 23  # 8 MiB


class _Unpacking(Protocol):
    """What zlib's and zstd's decompressors have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def gunzip(packed: bytes, limit: int) -> bytes:
    """Unpack gzip or zlib, of several members too.

    Raises:
        TooLargeError: more than `limit` bytes come out, or far more than honest data has.
        MalformedError: it is something else, or damaged, or cut off.
    """
    from isal import isal_zlib
    from isal.igzip_lib import IsalError

    try:
        return _unpacked(packed, limit, lambda: isal_zlib.decompressobj(ZLIB_OR_GZIP))
    except IsalError as error:  # type: ignore[misc]  # its stub says it is a plain object
        raise _other("gzip or deflate") from error


def unzstd(packed: bytes, limit: int) -> bytes:
    """Unpack zstd, of several frames too; raises as `gunzip`."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    options = {int(zstd.DecompressionParameter.window_log_max): MAX_ZSTD_WINDOW_LOG}
    try:
        return _unpacked(packed, limit, lambda: zstd.ZstdDecompressor(options=options))
    except zstd.ZstdError as error:
        raise _other("zstd") from error


def _unpacked(packed: bytes, limit: int, start: Callable[[], _Unpacking]) -> bytes:
    allowed = min(limit, max(HARMLESS_BYTES, len(packed) * MAX_RATIO))
    parts: list[bytes] = []
    size = at = members = 0
    member: _Unpacking | None = None
    while at < len(packed):
        if member is None:
            members += 1
            if members > MAX_MEMBERS:
                raise TooLargeError(f"the compressed body has more than {MAX_MEMBERS} parts")
            member = start()
        given = packed[at : at + SLICE]
        part = member.decompress(given, allowed - size + 1)
        size += len(part)
        if size > allowed:
            raise TooLargeError(f"the body is larger than {allowed} bytes when decompressed")
        parts.append(part)
        at += len(given)
        if member.eof:
            at -= len(member.unused_data)
            member = None
    if member is not None:
        raise MalformedError("the compressed body is cut off")
    return b"".join(parts)


def _other(encoding: str) -> MalformedError:
    return MalformedError(f"the body is not {encoding} as Content-Encoding says, or is damaged")


ENCODINGS: dict[bytes, Unpack] = {b"gzip": gunzip, b"deflate": gunzip, b"zstd": unzstd}
"""Content-Encoding → how to unpack it."""
