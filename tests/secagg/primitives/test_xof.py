"""Streams: the published vectors, reading in pieces, and the counter's wrap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.primitives.field import FIELD128, BigField
from secagg.primitives.field64 import MODULUS, field64
from secagg.primitives.xof import BlockCounter, HmacAes, draw_elements

VECTORS = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "vdaf-20"


def hmac_aes() -> Any:
    return HmacAes


def turboshake() -> Any:
    module = pytest.importorskip("secagg.primitives.xof_turboshake", reason="needs the extra vdaf")
    return module.TurboShake


streams = pytest.mark.parametrize("find", [hmac_aes, turboshake])


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the published vectors are not beside the clone")
@pytest.mark.parametrize(
    ("find", "name"), [(hmac_aes, "XofHmacSha256Aes128"), (turboshake, "XofTurboShake128")]
)
def test_the_published_vector(find: Any, name: str) -> None:
    make = find()
    vector = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    inputs = [bytes.fromhex(vector[key]) for key in ("seed", "dst", "binder")]
    assert make(*inputs).read(32).hex() == vector["derived_seed"]
    elements = draw_elements(make(*inputs), FIELD128, vector["length"])
    assert FIELD128.encode(elements).hex() == vector["expanded_vec_field128"]


@streams
def test_reading_in_pieces_is_reading_at_once(find: Any) -> None:
    make = find()
    whole = make(bytes(32), b"tag", b"one", b"two").read(100)
    pieces = make(bytes(32), b"tag", b"onetwo")
    assert b"".join(pieces.read(size) for size in (1, 15, 16, 17, 51)) == whole
    assert make(bytes(32), b"other", b"onetwo").read(100) != whole
    assert make(bytes([1] * 32), b"tag", b"onetwo").read(100) != whole


def test_the_counter_wraps_within_its_eight_bytes() -> None:
    key, nonce = bytes(range(16)), bytes(range(8))
    stream = BlockCounter(key, nonce + (2**64 - 2).to_bytes(8, "big"))
    counters = [(2**64 - 2 + at) % 2**64 for at in range(4)]
    blocks = b"".join(nonce + counter.to_bytes(8, "big") for counter in counters)
    expected = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)
    assert stream.read(20) + stream.read(44) == expected


class Listed:
    """A stream of given words."""

    def __init__(self, words: list[int]) -> None:
        self._bytes = np.array(words, "<u8").tobytes()

    def read(self, size: int) -> bytes:
        head, self._bytes = self._bytes[:size], self._bytes[size:]
        return head


def test_words_beyond_the_modulus_are_passed_over() -> None:
    words = [1, MODULUS, MODULUS + 5, 2, 2**64 - 1, 3, 4]
    slow = BigField(modulus=MODULUS, size=8, generator=1, order=1)
    for field in (field64(), slow):
        assert draw_elements(Listed(words), field, 3).tolist() == [1, 2, 3]
