"""The expansion of a key to words."""

from __future__ import annotations

import numpy as np
import pytest

from dp import RandomnessError
from dp.sample import KeyStream, draw
from dp.testing import SeededRand


def zeros(size: int) -> bytes:
    return bytes(size)


def test_the_stream_is_chacha20() -> None:
    """[RFC 8439, A.1, test vectors 1 and 2]: key, nonce and first counter are zero."""
    block = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    assert KeyStream(zeros).words(8).tobytes() == block
    following = KeyStream(zeros)
    following.words(8)
    assert following.words(2).tobytes().hex() == "9f07e7be5551387a98ba977c732d080d"


def test_bits_are_the_top_of_whole_bytes() -> None:
    stream = KeyStream(zeros)
    assert stream.bits(12) == (0xB876 >> 4)
    assert stream.bits(8) == 0xE0
    assert stream.bits(0) == 0


def test_words_go_on_where_they_stopped() -> None:
    parts, whole = KeyStream(SeededRand(1)), KeyStream(SeededRand(1))
    found = np.concatenate([parts.words(3), parts.words(0), parts.words(5)])
    assert (found == whole.words(8)).all()


def test_reads_of_the_right_length_only() -> None:
    assert draw(3, zeros) == bytes(3)
    for wrong in (b"ab", b"abcd", bytearray(3), "abc"):
        with pytest.raises(RandomnessError, match=r"rand\(3\) must return 3 bytes"):
            draw(3, lambda size, wrong=wrong: wrong)


def test_no_error_shows_what_was_read() -> None:
    with pytest.raises(RandomnessError) as caught:
        draw(5, lambda size: b"SECRET")
    assert "SECRET" not in str(caught.value)
