"""A cosine is proven and nothing is opened: just enough passes, one unit less does not."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import InputRefused, ParameterError, ReportRefused
from secagg.primitives.field import Elements
from secagg.primitives.field64 import MODULUS, field64
from secagg.reference import Reference
from secagg.testing import SeededRand
from secagg.vdaf.angle import AngleBound
from secagg.vdaf.circuit import to_bits
from secagg.vdaf.claim import claim, squared_norm
from secagg.vdaf.norm import best_chunks
from secagg.vdaf.pine import Pine
from secagg.vdaf.suite import Production

FIELD = field64()
D, BOUND = 12, 1 << 12
ENTRIES = [1, -1, 1, 1, 0, 1, -1, 0, 0, 1, 1, 1]  # |r|**2 = 9


@cache
def function(head: int = 0, square: Fraction = Fraction(1, 4)) -> Pine:
    limits = AngleBound(
        field=FIELD, dimension=D + head, bound=BOUND, reference=Reference(np.array(ENTRIES)),
        numerator=square.numerator, denominator=square.denominator, head=head,
    )  # fmt: skip
    chunk, norm_chunk = best_chunks(limits)
    suite = Production(context=bytes(32))
    return Pine(limits=limits, suite=suite, chunk=chunk, norm_chunk=norm_chunk)


def passes(made: Pine, claimed: Elements, name: object = 0) -> bool:
    rand = SeededRand(("angle", name))
    public, shares = made.shard_claim(claimed, bytes(16), rand(made.rand_size))
    kept = [made.verify_init(bytes(32), at, bytes(16), public, s) for at, s in enumerate(shares)]
    try:
        message = made.verifier_shares_to_message([shown for _, shown in kept])
        outputs = [made.verify_next(state, message) for state, _ in kept]
    except ReportRefused:
        return False
    vector = FIELD.centered(claimed[: made.limits.dimension])
    assert made.unshard(outputs).tolist() == vector.tolist()
    return True


def lied(made: Pine, vector: Sequence[int], product: int, excess: int) -> Elements:
    """A claim with the true norm and these values of a and e, as far as they have bits."""
    limits: Any = made.limits
    norm = squared_norm(np.array(vector))
    sizes = (limits.norm_bits, limits.norm_bits, limits.product_bits, limits.excess_bits)
    values = (norm, limits.bound**2 - norm, product, excess)
    bits = [to_bits(FIELD, value, size) for value, size in zip(values, sizes, strict=True)]
    return np.concatenate([FIELD.embed(np.array(vector)), *bits])


def excess_of(made: Pine, vector: Sequence[int]) -> tuple[int, int]:
    """A and e, as integers."""
    limits: Any = made.limits
    update = vector[limits.head :]
    product = sum(x * r for x, r in zip(update, ENTRIES, strict=True))
    square = sum(x * x for x in update)
    return product, limits.denominator * product**2 - limits.numerator * 9 * square


@settings(max_examples=10)
@given(
    vector=st.lists(st.integers(-1000, 1000), min_size=D, max_size=D),
    head=st.integers(0, 1),
    square=st.sampled_from([Fraction(1, 4), Fraction(1, 100), Fraction(1)]),
)
def test_a_claim_is_made_if_and_only_if_it_is_true_and_then_passes(
    vector: list[int], head: int, square: Fraction
) -> None:
    made, whole = function(head, square), [*[777] * head, *vector]
    product, excess = excess_of(made, whole)
    if product >= 0 and excess >= 0:
        assert passes(made, claim(made.limits, np.array(whole)))
    else:
        with pytest.raises(InputRefused, match="with the reference must hold"):
            claim(made.limits, np.array(whole))


BORDER = [4, -4, 4, 4, 7, 4, -4, 7, 7, 4, 4, 4]
"""A = 36, |x|**2 = 9 * 16 + 3 * 49: of cosine**2 = 1296 / (9 * 291)."""


@pytest.mark.parametrize("head", [0, 1])
def test_the_very_threshold_passes_and_one_unit_below_does_not(head: int) -> None:
    made = function(head, Fraction(1, 4))
    vector = [*[5] * head, 2, 0, 0, 0, *[0] * 8]  # cosine**2 = 4 / (9 * 4)
    at = function(head, Fraction(1, 9))
    assert excess_of(at, vector) == (2, 0)
    assert passes(at, claim(at.limits, np.array(vector)))
    below = [*vector[:-8], 1, *vector[-7:]]
    product, excess = excess_of(at, below)
    assert (product, excess) == (2, -9)
    with pytest.raises(InputRefused, match="with the reference must hold"):
        claim(at.limits, np.array(below))
    for lie in (0, 1, -excess, (1 << 30) - 1, excess % MODULUS):
        assert not passes(at, lied(at, below, product, lie), lie)
    assert passes(made, claim(made.limits, np.array([*[5] * head, *BORDER])))


@pytest.mark.parametrize("head", [0, 1])
def test_an_update_of_zeros_has_every_angle(head: int) -> None:
    made = function(head, Fraction(1))
    assert passes(made, claim(made.limits, np.array([*[-5] * head, *[0] * D])))
    with pytest.raises(InputRefused, match="with the reference must hold"):
        claim(made.limits, np.array([*[-5] * head, 1, *[0] * (D - 1)]))


def test_a_vector_that_points_away_does_not_pass_whatever_it_claims() -> None:
    made = function()
    away = [-x for x in BORDER]
    product, excess = excess_of(made, away)
    assert (product, excess > 0) == (-36, True)
    for lie in (36, 0, -36 % MODULUS):
        assert not passes(made, lied(made, away, lie, excess), lie)
    assert passes(made, lied(made, BORDER, 36, excess))


def test_other_values_than_the_true_ones_do_not_pass() -> None:
    made = function()
    product, excess = excess_of(made, BORDER)
    assert passes(made, lied(made, BORDER, product, excess))
    for change in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        assert not passes(made, lied(made, BORDER, product + change[0], excess + change[1]), change)


def test_bits_that_are_none_do_not_pass() -> None:
    """E = -9 as one "bit" of a field element: what a range check is for."""
    at = function(0, Fraction(1, 9))
    below = [2, 0, 0, 0, 1, *[0] * 7]
    product, excess = excess_of(at, below)
    claimed = lied(at, below, product, 0)
    place = at.limits.claimed - at.limits.excess_bits  # type: ignore[attr-defined]
    claimed[place] = excess % MODULUS
    assert not passes(at, claimed)


def test_a_wide_vector_whose_norm_wraps_does_not_pass() -> None:
    """Over the field its square is small; the norm's own checks see it."""
    made = function()
    root = next(x for x in range(1 << 32, 1 << 33) if x * x % MODULUS < 1 << 32)
    small = root * root % MODULUS
    sizes = (made.limits.norm_bits,) * 2
    if small <= BOUND**2:
        values = (small, BOUND**2 - small)
        bits = [to_bits(FIELD, value, size) for value, size in zip(values, sizes, strict=True)]
    else:
        bits = [to_bits(FIELD, 0, sizes[0]), to_bits(FIELD, BOUND**2, sizes[1])]
    tail = FIELD.zeros(made.limits.further)
    with pytest.raises(InputRefused, match="too few wrap-around checks"):
        passes(made, np.concatenate([FIELD.array([root] + [0] * (D - 1)), *bits, tail]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"numerator": 0}, "1 <= numerator <= denominator"),
        ({"numerator": 5}, "1 <= numerator <= denominator"),
        ({"denominator": 1 << 16}, r"denominator < 2\*\*16"),
        ({"head": 1}, "dimension = head"),
        ({"head": 2, "dimension": D + 2}, "dimension = head"),
        ({"bound": 1 << 24, "denominator": 60_000}, r"3 denominator \|r\|\*\*2 bound\*\*2"),
    ],
)
def test_what_could_wrap_is_refused_with_its_inequality(
    changes: dict[str, Any], reason: str
) -> None:
    fields = {
        "field": FIELD, "dimension": D, "bound": BOUND, "numerator": 1, "denominator": 4,
        "reference": Reference(np.array(ENTRIES)),
    }  # fmt: skip
    assert AngleBound(**fields).further > 0
    with pytest.raises(ParameterError, match=reason):
        AngleBound(**{**fields, **changes})
