"""What is no number, shape or law is refused by name, with the inequality that it breaks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dp.account_reduction import ReductionAccountant, gaussian_multiplier
from dp.choose import choose
from dp.clip import AdaptiveBound, Flat, PerLeaf
from dp.dominance import gaussian_parameter
from dp.errors import ParameterError
from dp.events import Composed, Gaussian, Release, Sampled
from dp.mechanism import Mechanism
from dp.noise import exact, real, shown, whole
from dp.noise_skellam import Skellam
from dp.round import inflated_norm, slack, tries
from dp.sensitivity import Sensitivity

NO_NUMBERS: tuple[Any, ...] = ("1", None, [1.0], True, math.nan, np.array(0.5), np.True_, 1j)
HUGE = 10**400  # beyond float64
UNPRINTABLE = 10**5000  # Python refuses to write it
SKELLAM = Skellam(1)
REALS = Sensitivity.clipped(1.0, 10)


def integral(squared: int) -> Sensitivity:
    return Sensitivity(squared=Fraction(squared), coordinates=1, integral=True)


def chosen(**given: Any) -> Mechanism:
    request = {"size": 10, "clients": 5, "parts": 3, "clip": 1.0, "noise_multiplier": 1.0}
    return choose(**request | given).mechanism


REAL_ARGUMENTS: dict[str, tuple[Callable[[Any], object], str]] = {
    "Flat": (Flat, r"2\*\*-500 <= bound <= 2\*\*500"),
    "AdaptiveBound.quantile": (
        lambda value: AdaptiveBound(bound=1.0, quantile=value),
        "0 < quantile < 1",
    ),
    "AdaptiveBound.rate": (lambda value: AdaptiveBound(bound=1.0, rate=value), "0 < rate <= 1"),
    "AdaptiveBound.updated": (AdaptiveBound(bound=1.0).updated, "within: finite"),
    "choose.error": (lambda value: chosen(error=value), "0 < error < 1"),
    "choose.noise_multiplier": (lambda value: chosen(noise_multiplier=value), "noise_multiplier"),
    "Gaussian": (Gaussian, r"2\*\*-500 <= noise_multiplier <= 2\*\*500"),
    "Sampled": (lambda value: Sampled(value, Gaussian(1.0)), "0 < probability <= 1"),
    "slack.norm": (lambda value: slack(value, 0.5, 10), r"0 <= norm <= 2\*\*900"),
    "slack.beta": (lambda value: slack(1.0, value, 10), "0 <= beta <= 0.9"),
    "inflated_norm.norm": (lambda value: inflated_norm(value, 1.0, 0.5, 10), "0 <= norm < inf"),
    "inflated_norm.granularity": (
        lambda value: inflated_norm(1.0, value, 0.5, 10),
        "0 < granularity < inf",
    ),
    "inflated_norm.beta": (lambda value: inflated_norm(1.0, 1.0, value, 10), "0 <= beta <= 0.9"),
    "tries": (tries, "0 <= beta <= 0.9"),
    "Sensitivity.rounded": (REALS.rounded, "0 <= beta <= 0.9"),
}


@pytest.mark.parametrize("name", REAL_ARGUMENTS)
def test_every_kind_of_real_number_is_taken(name: str) -> None:
    take, _ = REAL_ARGUMENTS[name]
    assert take(Fraction(1, 2)) == take(np.float64(0.5)) == take(0.5)


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, math.inf, HUGE, -HUGE, UNPRINTABLE], ids=shown)
@pytest.mark.parametrize("name", REAL_ARGUMENTS)
def test_what_is_no_real_number_in_range_is_refused(name: str, wrong: Any) -> None:
    take, inequality = REAL_ARGUMENTS[name]
    with pytest.raises(ParameterError, match=inequality) as caught:
        take(wrong)
    assert len(str(caught.value)) < 200


WHOLE_ARGUMENTS: dict[str, tuple[Callable[[Any], object], int, str]] = {
    "choose.parts": (lambda value: chosen(parts=value), 3, "parts >= 1"),
    "choose.width": (lambda value: chosen(width=value), 16, "width >= 2"),
    "slack.size": (lambda value: slack(1.0, 0.5, value), 10, "size >= 1"),
    "inflated_norm.size": (lambda value: inflated_norm(1.0, 1.0, 0.5, value), 10, "size >= 1"),
    "enclosure": (SKELLAM.enclosure, 3, r"1 <= bits <= 2\*\*16"),
    "tail": (SKELLAM.tail, 3, "bound >= 0"),
    "sample": (lambda value: SKELLAM.sample(value, lambda _: bytes(32)).tolist(), 3, "size >= 0"),
}


@pytest.mark.parametrize("name", WHOLE_ARGUMENTS)
def test_what_is_no_integer_in_range_is_refused(name: str) -> None:
    take, right, inequality = WHOLE_ARGUMENTS[name]
    assert take(np.int64(right)) == take(right)
    # None is an answer of its own to `parts` and `width`
    others = [wrong for wrong in NO_NUMBERS if wrong is not None or "choose" not in name]
    for wrong in (*others, float(right), 0.5, Fraction(right), -1, -UNPRINTABLE):
        with pytest.raises(ParameterError, match=inequality):
            take(wrong)


@pytest.mark.parametrize("leaf", [1, None, "abc", (1, 2), (0, 1, 1.0, 2), [0, 1, 1.0]], ids=repr)
def test_leaves_of_another_form_are_refused(leaf: Any) -> None:
    assert PerLeaf(((0, 1, 1.0),)).bound > 0
    with pytest.raises(ParameterError, match=r"leaves: each \(start, stop, bound\)|start < stop"):
        PerLeaf((leaf,))


@pytest.mark.parametrize("wrong", [math.nan, None, 1, 0, "x", np.True_], ids=repr)
def test_a_flag_is_asked_for_by_a_bool(wrong: Any) -> None:
    assert chosen(flag=True).flag > chosen(flag=False).flag == 0
    with pytest.raises(ParameterError, match="flag: bool"):
        chosen(flag=wrong)


@pytest.mark.parametrize("wrong", [1.0, None, "x", int, Skellam(1)], ids=repr)
def test_what_makes_no_noise_is_refused(wrong: Any) -> None:
    assert chosen(noise=Skellam) == chosen()
    with pytest.raises(ParameterError, match="noise: an IntegerNoise"):
        chosen(noise=wrong)


@pytest.mark.parametrize(
    "shape", [1 << 60, 1 << 63, 10**30, UNPRINTABLE, (1 << 40, 1 << 40), (1 << 63, 0), (1,) * 33],
    ids=shown,
)  # fmt: skip
def test_shapes_that_no_array_has_are_refused(shape: Any) -> None:
    for right in (0, (), (3, 0), (1,) * 32):
        assert SKELLAM.sample(right, os.urandom).size <= 1
    with pytest.raises(ParameterError, match=r"at most 32 sizes and 2\*\*59 integers"):
        SKELLAM.sample(shape, os.urandom)


def test_more_coordinates_than_any_machine_has_are_refused() -> None:
    """All roots of what is allowed are finite floats."""
    most = Sensitivity(squared=Fraction(2) ** 1800, coordinates=1 << 64, integral=True)
    assert max(most.l1, most.l2, slack(2.0**900, 0.0, 1 << 64)) < math.inf
    with pytest.raises(ParameterError, match=r"coordinates <= 2\*\*64"):
        Sensitivity(squared=Fraction(1), coordinates=(1 << 64) + 1, integral=True)
    with pytest.raises(ParameterError, match=r"size <= 2\*\*64"):
        slack(1.0, 0.5, HUGE)


@pytest.mark.parametrize("squared", [1 << 1030, 1 << 1800])
def test_a_release_far_beyond_float64_has_a_multiplier(squared: int) -> None:
    huge = Release(SKELLAM, 1, integral(squared))
    one = gaussian_multiplier(Release(SKELLAM, 1, integral(1)))
    assert gaussian_multiplier(huge) == pytest.approx(one / math.sqrt(squared >> 900) / 2.0**450)
    assert ReductionAccountant().epsilon(Composed.of(Sampled(0.1, huge)), 1e-5) == math.inf


@pytest.mark.parametrize("squared", [1, 3, 10**6, 10**40, 1 << 999, 1 << 1800], ids=shown)
def test_a_multiplier_is_rounded_down_by_a_hair(squared: int) -> None:
    """Noise of less is no lower a price."""
    found = Fraction(gaussian_multiplier(Release(SKELLAM, 1, integral(squared))))
    exactly_one = found**2 * gaussian_parameter(SKELLAM).mu ** 2 * squared
    assert 1 - Fraction(1, 1 << 38) <= exactly_one <= 1


def test_numbers_of_thousands_of_digits_are_refused_by_name() -> None:
    assert exact("x", 7) == whole("x", 7, 1) == real("x", 7, math.isfinite) == 7
    for refuse in (
        lambda: exact("x", UNPRINTABLE),
        lambda: exact("x", Fraction(UNPRINTABLE, 3)),
        lambda: whole("x", -UNPRINTABLE, 1),
        lambda: real("x", UNPRINTABLE, math.isfinite),
    ):
        with pytest.raises(ParameterError, match="of thousands of digits"):
            refuse()
