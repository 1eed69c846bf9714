"""Compressed bodies are unpacked only as far as they may be, whatever they are made of."""

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from otel_bridge.errors import MalformedError, TooLargeError
from otel_bridge.receivers.otlp import unpack
from otel_bridge.receivers.otlp.unpack import MAX_MEMBERS, gunzip, unzstd

Pack = Callable[[bytes], bytes]
WAYS = pytest.mark.parametrize(
    ("pack", "undo"), [(gzip.compress, gunzip), (zlib.compress, gunzip), (zstd.compress, unzstd)]
)
LIMIT = 4 << 20


@WAYS
@pytest.mark.parametrize("data", [b"", b"abc", os.urandom(1000) * 300])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("at_a_time", [7, 64 << 10])
def test_members_one_after_the_other(
    pack: Pack, undo: unpack.Unpack, data: bytes, members: int, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "SLICE", at_a_time)
    packed, plain = pack(data) * members, data * members

    assert undo(packed, LIMIT) == plain
    assert undo(packed, len(plain)) == plain, "the limit itself is allowed"
    with pytest.raises(MalformedError):
        undo(packed[:-1], LIMIT)
    if plain:
        with pytest.raises(TooLargeError):
            undo(packed, len(plain) - 1)


@WAYS
def test_a_bomb_stops_at_the_limit(pack: Pack, undo: unpack.Unpack) -> None:
    bomb = pack(bytes(16 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            undo(bomb, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * LIMIT


@WAYS
def test_a_bomb_in_many_parts_stops_too(pack: Pack, undo: unpack.Unpack) -> None:
    with pytest.raises(TooLargeError):
        undo(pack(bytes(1 << 20)) * 50, LIMIT)


@WAYS
def test_nothing_in_very_many_parts_is_refused(pack: Pack, undo: unpack.Unpack) -> None:
    """Each would cost a start of the decompressor, and there is room for millions."""
    with pytest.raises(TooLargeError):
        undo(pack(b"") * (MAX_MEMBERS + 1), LIMIT)


def test_a_bomb_in_a_bomb_is_unpacked_once() -> None:
    inner = gzip.compress(bytes(5 << 20))

    assert gunzip(gzip.compress(inner), LIMIT) == inner
