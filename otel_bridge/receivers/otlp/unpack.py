"""Compressed bodies, unpacked only as far as they may be: a bomb stops at the limit."""

from typing import TYPE_CHECKING

from otel_bridge.errors import MalformedError, TooLargeError
from otel_bridge.receivers.otlp.admission import Unpack

if TYPE_CHECKING:
    import zstandard

HARMLESS_BYTES = 1 << 20  # above it, nothing honest is packed tighter than:
MAX_RATIO = 200
ZLIB_OR_GZIP = 47  # window bits by which zlib looks at the header itself
MAX_ZSTD_WINDOW = 8 << 20


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
    """Unpack one frame of zstd; raises as `gunzip`."""
    import zstandard

    allowed = _allowed(packed, limit)
    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
    try:
        declared = zstandard.get_frame_parameters(packed).content_size
        if declared != zstandard.CONTENTSIZE_UNKNOWN and declared > allowed:
            raise _bomb(allowed)
        # The limit only counts where the frame does not declare its size. One more, to tell too large from damaged.
        plain = unpacker.decompress(packed, max_output_size=allowed + 1, allow_extra_data=False)
    except zstandard.ZstdError as error:
        if _comes_to_more(unpacker, packed, allowed):
            raise _bomb(allowed) from error
        raise MalformedError("the body is not zstd as Content-Encoding says, or is damaged") from error
    if len(plain) > allowed:
        raise _bomb(allowed)
    return plain


def _comes_to_more(unpacker: "zstandard.ZstdDecompressor", packed: bytes, allowed: int) -> bool:
    import zstandard

    try:
        with unpacker.stream_reader(packed) as reader:
            return len(reader.read(allowed + 1)) > allowed
    except zstandard.ZstdError:
        return False


ENCODINGS: dict[bytes, Unpack] = {b"gzip": gunzip, b"deflate": gunzip, b"zstd": unzstd}
"""Content-Encoding → how to unpack it."""
