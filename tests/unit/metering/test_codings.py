from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
import zstandard

from services.metering.domain.bodies import inflate
from services.metering.domain.bounds import BOUNDS
from services.metering.domain.codings import plain_pieces
from services.metering.errors import BadBody, BodyTooLarge, UnsupportedMedia

MIB = 1024 * 1024
BY_SIZE = replace(BOUNDS, plain_bytes=8 * MIB, ratio=1_000_000)
LARGEST_PIECE = 4 * MIB
ENCODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}
EACH_ENCODING = pytest.mark.parametrize("encoding", ENCODERS)


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_plain_body_stays_as_it_is(encoding: str) -> None:
    assert inflate(b"plain", encoding) == b"plain"


@EACH_ENCODING
@pytest.mark.parametrize("size", [0, 1, 100_000, 3 * MIB])
def test_a_body_comes_out_as_it_went_in(encoding: str, size: int) -> None:
    plain = Random(1).randbytes(size)  # noqa: S311 - content that does not shrink
    assert inflate(ENCODERS[encoding](plain), encoding) == plain


def test_a_zstd_body_that_was_written_piece_by_piece_is_read() -> None:
    writer = zstandard.ZstdCompressor(level=19).compressobj()
    assert inflate(writer.compress(b"a" * 1000) + writer.flush(), "zstd") == b"a" * 1000


@EACH_ENCODING
def test_a_bomb_is_refused_by_its_ratio(encoding: str) -> None:
    bomb = ENCODERS[encoding](bytes(BOUNDS.plain_bytes))
    with pytest.raises(BodyTooLarge, match=f"hold at most {max(MIB, BOUNDS.ratio * len(bomb))}"):
        inflate(bomb, encoding)


@EACH_ENCODING
def test_a_body_is_refused_past_the_size_that_any_may_have(encoding: str) -> None:
    noise = Random(2).randbytes(MIB)  # noqa: S311 - content that does not shrink
    with pytest.raises(BodyTooLarge, match=f"hold at most {MIB // 2}"):
        list(plain_pieces(ENCODERS[encoding](noise), encoding, replace(BOUNDS, plain_bytes=MIB // 2)))


@EACH_ENCODING
def test_a_bomb_is_taken_apart_no_further_than_to_the_bound(encoding: str) -> None:
    bomb = ENCODERS[encoding](bytes(64 * MIB))
    made: list[int] = []
    with pytest.raises(BodyTooLarge):
        made.extend(len(piece) for piece in plain_pieces(bomb, encoding, BY_SIZE))
    assert sum(made) <= BY_SIZE.plain_bytes
    assert max(made) <= LARGEST_PIECE


@EACH_ENCODING
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"plain",
        lambda whole: whole[:-1],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole + b"more",
        lambda whole: whole + whole,
    ],
    ids=["empty", "plain", "cut by one", "cut in half", "more behind", "twice"],
)
def test_what_is_not_one_whole_is_refused(encoding: str, damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadBody):
        inflate(damage(ENCODERS[encoding](b"plain text" * 100)), encoding)


def test_a_zstd_frame_that_asks_for_a_wider_window_is_refused() -> None:
    wide = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    writer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    with pytest.raises(BadBody, match="window"):
        inflate(writer.compress(b"plain") + writer.flush(), "zstd")


@pytest.mark.parametrize("encoding", ["br", "deflate", "x-unknown", "gzip, gzip", "gzip,zstd", "identity, gzip"])
def test_another_encoding_or_two_are_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedMedia, match="gzip, zstd or identity"):
        inflate(b"", encoding)
