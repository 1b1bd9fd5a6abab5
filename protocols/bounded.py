"""Plans whose scheme proves a bound: which one, and how the weight travels.

A plan with a `NormClip` has the norm proven:

    (w, q), |q| <= L  --scaled-->  (s w, q), norm <= B  --sum, unscaled-->  (sum of w, sum of q)

L is 2^f * clip * max_weight, the norm of a client's integers at its largest weight. The scheme
proves the norm of the whole vector. A weight that travelled as it is would be bounded by L too:
one client could enter that of a thousand, or a negative one that cancels the others'. So it
travels s = floor(L / max_weight) times as large, and B is what L and s * max_weight are together:
at most sqrt(2) L, rounded up.

What a lie gains: let W be the weight of the others in a sum, c the clip, M max_weight, and rho =
L / (s M), from 1 to 1 + 1 / s. Whoever is within B moves their mean by at most

    c M sqrt(2 + rho**2 + rho**-2) / (W - sqrt(1 + rho**2) M)

by the triangle inequality, and up to the rounding of B: for a large s, 2 c M / (W - sqrt(2) M). An
honest client moves it by up to 2 c M / (W + M).

A plan with a `RangeClip` of 2**b - 1 has it proven that each entry of an update is one of the whole
numbers {0 … 2**b - 1}: 0 or 1, or a counter with a cap. Everybody counts as one there, and what a
client claims to weigh is not looked at: it moves a mean over n clients by (2**b - 1) / n at most in
each coordinate.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.private import AggregatorNoise, LeafClip, Private
from secagg.errors import ParameterError
from secagg.primitives.field64 import MODULUS
from secagg.primitives.ring import Words, centered
from secagg.quantize import FixedPoint, NormClip, RangeClip
from secagg.schemes.pine import Entries, TwoAggregators
from secagg.vdaf.norm import most_bound

__all__ = [
    "LARGEST",
    "check",
    "check_choice",
    "decoded",
    "entry_bits",
    "headroom",
    "norm_bound",
    "parameters",
    "scale",
    "scaled",
]

LARGEST = math.isqrt(most_bound(MODULUS) ** 2 // 2)
"""The largest L whose B has sound wrap-around checks."""


def norm_bound(quantize: FixedPoint) -> int:
    """B: the least bound of the norm that every client with an honest update is within."""
    weight = scale(quantize) * quantize.max_weight
    return 1 + math.isqrt(quantize.bound**2 + weight**2 - 1)


def parameters(quantize: FixedPoint | Private, length: int) -> dict[str, Any]:
    """The bounds and the noise of the scheme for this encoding and so many residues.

    With noise B is the least bound of all that the mechanism makes of updates: no weight travels.
    """
    if not isinstance(quantize, FixedPoint):
        most = math.floor(quantize.mechanism.sensitivity.squared)
        noise = quantize.mechanism.noise.noise
        return {"bound": 1 + math.isqrt(most - 1), "noise": noise, "entries": None}
    if bits := entry_bits(quantize):
        return {"bound": 0, "noise": None, "entries": Entries(count=length, bits=bits)}
    return {"bound": norm_bound(quantize), "noise": None, "entries": None}


def entry_bits(quantize: FixedPoint) -> int:
    """The bits of whole entries; 0 for a norm. Raises `ParameterError` for a range of fractions."""
    if not isinstance(quantize.clip, RangeClip):
        return 0
    most = quantize.clip.bound
    if most not in {(1 << bits) - 1 for bits in range(1, 32)}:
        raise ParameterError(
            "two aggregators prove a norm bound: clip must be a NormClip; or the range of entries: "
            f"clip bound = 2**bits - 1, 1 <= bits <= 31, must hold, got {most}"
        )
    if (quantize.fraction_bits, quantize.max_weight) != (0, 1):
        raise ParameterError(
            "fraction_bits = 0 and max_weight = 1 must hold where entries are whole numbers, got "
            f"{quantize.fraction_bits} and {quantize.max_weight}"
        )
    return int(most).bit_length()


def headroom(clients: int) -> int:
    """How many updates of norm L the ring must hold for so many of norm B, rounded up."""
    return 2 + math.isqrt(2 * clients**2)


def check_choice(clip: object, privacy: object) -> None:
    """Raise `ParameterError` unless there is a norm to prove, or the range of entries."""
    if privacy is not None and not isinstance(privacy, AggregatorNoise):
        raise ParameterError(
            "two aggregators prove a norm bound, and noise of clients has none: AggregatorNoise"
        )
    if not isinstance(clip, NormClip | RangeClip if privacy is None else NormClip | LeafClip):
        raise ParameterError("two aggregators prove a norm bound: clip must be a NormClip")


def check(quantize: FixedPoint | Private, scheme: TwoAggregators) -> None:
    """Raise `ParameterError`, with the inequality, unless the proof and the noise are those of this
    encoding.
    """
    if isinstance(quantize, FixedPoint):
        check_choice(quantize.clip, None)
    due = parameters(quantize, scheme.length)
    if scheme.entries != due["entries"]:
        raise ParameterError(
            f"scheme.entries == {due['entries']} must hold, got {scheme.entries}: clip says which"
        )
    if scheme.bound != due["bound"]:
        raise ParameterError(
            "scheme.bound == the norm of weight and update together must hold, got "
            f"{scheme.bound} and {due['bound']}"
        )
    if scheme.noise != due["noise"]:
        raise ParameterError("scheme.noise == that of the plan's encoding must hold")


def scaled(residues: Words, quantize: FixedPoint) -> Words:
    """What a client submits for what `quantize` made, (d+1,)."""
    if entry_bits(quantize):
        return residues
    vector = residues.copy()
    vector[0] *= vector.dtype.type(scale(quantize))
    return vector


def decoded(total: Words, quantize: FixedPoint, clients: int) -> tuple[NDArray[np.float64], int]:
    """The mean, (d,), and the weight of so many clients, of the sum of what they submitted, (d+1,).
    Raises as `FixedPoint.decode`.

    Honest weights leave no remainder, and sum to clients * max_weight at most. What liars put on
    top is cut off, and what they leave of less than 1 is not in the weight that is returned, so
    that neither is a reason to withhold the sum. The mean is divided by it all the same: where
    -1.01 counted as -2, a lie would gain more than the bound above. Where entries are proven,
    everybody weighs one.
    """
    if entry_bits(quantize):
        counted = total.copy()
        counted[0] = clients
        return quantize.decode(counted, clients)
    unit = scale(quantize)
    sent = min(int(centered(total[:1], quantize.width)[0]), clients * quantize.max_weight * unit)
    vector = total.copy()
    vector[0] = sent // unit % (1 << quantize.width)
    mean, weight = quantize.decode(vector, clients)
    return mean * (weight * unit / sent), weight


def scale(quantize: FixedPoint) -> int:
    """s, at least 1: a unit is not larger than the clip."""
    return quantize.bound // quantize.max_weight
