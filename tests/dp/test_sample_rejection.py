"""The rejection sampler: the vectors of libprio-rs, and its law."""

from __future__ import annotations

import json
from fractions import Fraction
from math import exp
from pathlib import Path

import numpy as np
import pytest

from dp import DiscreteGaussian
from dp.sample_rejection import bernoulli_exp, discrete_gaussian, discrete_laplace
from dp.testing import SeededRand, chi_square, chi_square_bound

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "discrete-gaussian"
MASK = (1 << 64) - 1
RATE = 168


def permute(lanes: list[int]) -> list[int]:
    """Keccak-p[1600, 12] on lanes x + 5 y [FIPS 202, with the last 12 round constants]."""
    register, constants = 1, []
    for _ in range(24):
        constant = 0
        for j in range(7):
            constant ^= (register & 1) << ((1 << j) - 1)
            register = (register << 1) ^ (0x171 if register >> 7 else 0)
        constants.append(constant)
    for constant in constants[12:]:
        lanes = one_round(lanes, constant)
    return lanes


def one_round(a: list[int], constant: int) -> list[int]:
    parity = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
    mixed = [parity[x - 1] ^ rotate(parity[(x + 1) % 5], 1) for x in range(5)]
    a = [lane ^ mixed[at % 5] for at, lane in enumerate(a)]
    x, y, current = 1, 0, a[1]
    for t in range(24):
        x, y = y, (2 * x + 3 * y) % 5
        current, a[x + 5 * y] = a[x + 5 * y], rotate(current, (t + 1) * (t + 2) // 2 % 64)
    a = [
        a[x + 5 * y] ^ (~a[(x + 1) % 5 + 5 * y] & MASK & a[(x + 2) % 5 + 5 * y])
        for y in range(5)
        for x in range(5)
    ]
    a[0] ^= constant
    return a


def rotate(lane: int, by: int) -> int:
    return (lane << by | lane >> (64 - by)) & MASK


class TurboShake128:
    """A stream of TurboSHAKE128 [RFC 9861] over one short block, as a `Rand`."""

    def __init__(self, message: bytes, domain: int) -> None:
        block = bytearray((message + bytes([domain])).ljust(RATE, b"\0"))
        block[-1] ^= 0x80
        words = [int.from_bytes(block[at : at + 8], "little") for at in range(0, RATE, 8)]
        self._lanes = permute(words + [0] * 4)
        self._ready = b""

    def __call__(self, size: int) -> bytes:
        while len(self._ready) < size:
            self._ready += b"".join(lane.to_bytes(8, "little") for lane in self._lanes)[:RATE]
            self._lanes = permute(self._lanes)
        found, self._ready = self._ready[:size], self._ready[size:]
        return found


def xof(seed: bytes) -> TurboShake128:
    """XofTurboShake128 of the VDAF draft with an empty separation string and binder."""
    return TurboShake128(bytes(2) + bytes([len(seed)]) + seed, 1)


def test_the_stream_is_turboshake128() -> None:
    """[RFC 9861, section 5]: the empty message with domain 0x1f, 32 bytes."""
    assert TurboShake128(b"", 0x1F)(32).hex() == (
        "1e415f1c5983aff2169217277d17bb538cd945a397ddec541f1ce41af2c1b74c"
    )


@pytest.mark.parametrize("name", ["discrete_gauss_3.json", "discrete_gauss_9.json"])
def test_the_vectors_of_libprio(name: str) -> None:
    path = VECTORS / name
    if not path.is_file():
        pytest.skip(f"needs {name} beside the repository")
    vector = json.loads(path.read_text("utf-8"))
    rand = xof(bytes.fromhex(vector["seed"]))
    sigma = Fraction(vector["std_num"], vector["std_denom"])
    assert [discrete_gaussian(sigma, rand) for _ in vector["samples"]] == vector["samples"]


def test_published_samples_of_libprio() -> None:
    """Its unit test of sigma = 5 [libprio-rs, src/dp/distributions.rs]."""
    rand = xof(bytes(32))
    assert [discrete_gaussian(Fraction(5), rand) for _ in range(20)] == [
        *(10, 7, 2, 1, -1, -2, -1, 3, -3, -1),
        *(3, 6, 3, -7, -8, -1, 2, -4, -11, -4),
    ]


@pytest.mark.parametrize("exponent", [Fraction(0), Fraction(1, 3), Fraction(1), Fraction(5, 2)])
def test_bernoulli(exponent: Fraction) -> None:
    count = 4000
    rand = SeededRand(str(exponent))
    mean = sum(bernoulli_exp(exponent, rand) for _ in range(count)) / count
    assert mean == pytest.approx(exp(-exponent), abs=8 * 0.5 / count**0.5)
    assert exponent or mean == 1


def test_the_discrete_laplace_has_its_variance() -> None:
    count, scale = 4000, 4
    rand = SeededRand("laplace")
    mean = sum(discrete_laplace(scale, rand) ** 2 for _ in range(count)) / count
    q = exp(-1 / scale)
    assert mean == pytest.approx(2 * q / (1 - q) ** 2, rel=8 * (5 / count) ** 0.5)


@pytest.mark.parametrize("sigma", [Fraction(1, 2), Fraction(3)])
def test_rejection_and_table_have_one_law(sigma: Fraction) -> None:
    rand = SeededRand(str(sigma))
    sample = np.array([discrete_gaussian(sigma, rand) for _ in range(1500)])
    statistic, freedom = chi_square(DiscreteGaussian(sigma**2), sample)
    assert statistic < chi_square_bound(freedom, 2.0**-30)
