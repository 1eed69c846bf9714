"""Compressed bodies, unpacked only as far as they may be: a bomb stops at the limit."""

import sys

from otel_bridge.errors import MalformedError, TooLargeError
from otel_bridge.receivers.otlp.admission import Unpack

HARMLESS_BYTES = 1 << 20  # above it, nothing honest is packed tighter than:
MAX_RATIO = 200
ZLIB_OR_GZIP = 47  # window bits by which zlib looks at the header itself
MAX_ZSTD_WINDOW_LOG = 23  # 8 MiB


def _allowed(packed: bytes, limit: int) -> int:
    return min(limit, max(HARMLESS_BYTES, len(packed) * MAX_RATIO))


def _bomb(allowed: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {allowed} bytes when decompressed")


def gunzip(packed: bytes, limit: int) -> bytes:
    """Unpack gzip (of several members too) or zlib.

    Raises:
        TooLargeError: more than `limit` bytes come out, or far more than honest data has.
        MalformedError: it is no gzip or zlib, or cut off.
    """
    from isal import isal_zlib
    from isal.igzip_lib import IsalError

    allowed = _allowed(packed, limit)
    parts: list[bytes] = []
    size = 0
    try:
        while packed:
            member = isal_zlib.decompressobj(ZLIB_OR_GZIP)
            part: bytes = member.decompress(packed, allowed - size + 1)
            size += len(part)
            if size > allowed:
                raise _bomb(allowed)
            if not member.eof:
                raise MalformedError("the compressed body is cut off")
            parts.append(part)
            packed = member.unused_data
    except IsalError as error:  # type: ignore[misc]  # its stub says it is a plain object
        raise MalformedError("the body is not compressed as Content-Encoding says, or is damaged") from error
    return b"".join(parts)


def unzstd(packed: bytes, limit: int) -> bytes:
    """Unpack zstd, of several frames too; raises as `gunzip`."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    allowed = _allowed(packed, limit)
    parts: list[bytes] = []
    size = 0
    try:
        while packed:
            frame = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW_LOG})
            part = frame.decompress(packed, allowed - size + 1)
            size += len(part)
            if size > allowed:
                raise _bomb(allowed)
            if not frame.eof:
                raise MalformedError("the compressed body is cut off")
            parts.append(part)
            packed = frame.unused_data
    except zstd.ZstdError as error:
        raise MalformedError("the body is not zstd as Content-Encoding says, or is damaged") from error
    return b"".join(parts)


ENCODINGS: dict[bytes, Unpack] = {b"gzip": gunzip, b"deflate": gunzip, b"zstd": unzstd}
"""Content-Encoding → how to unpack it."""
