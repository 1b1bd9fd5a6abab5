"""What `choose` returns keeps every promise that was asked for, and is the best that does."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.choose import Choice, choose
from dp.errors import ParameterError
from dp.layers import ByLayers
from dp.mechanism import ByClients, ByServer, most_units
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam


def chosen(**changes: Any) -> Choice:
    fields: dict[str, Any] = {
        "size": 10**5,
        "clients": 100,
        "parts": 100,
        "clip": 1.0,
        "noise_multiplier": 1.0,
    }
    return choose(**fields | changes)


def test_a_hundred_clients_in_two_bytes_cost_less_than_half_a_per_cent() -> None:
    choice = chosen(width=16)
    assert choice.inflation < 0.005
    assert choice.mechanism.width == 16
    assert choice.mechanism.log2_wrap(16) <= -40
    assert choice.bytes_per_parameter == 2 * 131072 / 100_000
    vector = np.random.default_rng(1).normal(size=10**5)
    encoded = choice.mechanism.encode(vector, seed=bytes(32), rand=os.urandom)
    assert encoded.size == 131072


requests = st.fixed_dictionaries(
    {
        "size": st.integers(1, 10**6),
        "clients": st.integers(1, 10**4),
        "clip": st.floats(1e-6, 1e6),
        "noise_multiplier": st.floats(0.1, 20),
        "error": st.sampled_from([0.1, 1e-2, 1e-3]),
        "rotate": st.booleans(),
        "flag": st.booleans(),
        "central": st.booleans(),
        "share": st.floats(0.05, 1),
    }
)


def parts_of(request: dict[str, Any]) -> int | None:
    share, central = request.pop("share"), request.pop("central")
    return None if central else max(1, int(share * request["clients"]))


@settings(max_examples=20)
@given(requests)
def test_every_promise_is_kept(request: dict[str, Any]) -> None:
    parts = parts_of(request)
    choice = choose(parts=parts, **request)
    ours = choice.mechanism
    variance = ours.noise.noise.variance * (parts or 1)
    assert variance >= Fraction(request["noise_multiplier"]) ** 2 * ours.sensitivity.squared
    assert choice.noise_multiplier == pytest.approx(request["noise_multiplier"], rel=0.01)
    assert choice.inflation <= request["error"]
    assert choice.sigma == pytest.approx(math.sqrt(variance))
    assert ours.log2_wrap(ours.width) <= -40
    assert (ours.flag > 0) == request["flag"]
    assert ours.event.parts == (parts or 1)


@settings(max_examples=20)
@given(requests)
def test_one_bit_less_would_not_do(request: dict[str, Any]) -> None:
    parts = parts_of(request)
    choice = choose(parts=parts, **request)
    error = request.pop("error")
    if choice.mechanism.width > 2:
        try:
            narrower = choose(parts=parts, width=choice.mechanism.width - 1, **request)
        except ParameterError:
            return
        # more of a draw than 2**15 is only chosen where `error` asks for it
        capped = narrower.mechanism.noise.noise.sigma_squared > 2**29
        assert narrower.inflation > error or capped


@pytest.mark.parametrize("parts", [None, 60])
@pytest.mark.parametrize("width", [14, 16, 18])
def test_the_ring_is_used_as_well_as_it_can_be(parts: int | None, width: int) -> None:
    ours = chosen(parts=parts, width=width, flag=True).mechanism
    target = ours.units + 1
    more = ours.sensitivity.squared * Fraction(target, ours.units) ** 2
    sigma_squared = more / (parts or 1)
    noise = Skellam(sigma_squared)
    with pytest.raises(ParameterError, match=rf"{width + 1} bits are needed"):
        replace(
            ours,
            units=target,
            flag=ours.flag + 1,
            noise=ByServer(noise) if parts is None else ByClients(noise, parts),
        )


def test_all_clients_together_add_more_than_what_is_counted_on() -> None:
    choice = chosen(parts=50, width=20)
    noise = choice.mechanism.noise.noise
    assert noise.variance * 50 == pytest.approx(choice.sigma**2)
    assert choice.mechanism.units < chosen(parts=100, width=20).mechanism.units


def test_more_bits_cost_less() -> None:
    found = [chosen(width=width).inflation for width in (12, 14, 16, 18)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0] / 100


def test_wide_rings_do_not_make_huge_tables() -> None:
    for parts in (None, 2):
        choice = chosen(clients=2, parts=parts, width=60)
        assert 2**29 < choice.mechanism.noise.noise.sigma_squared <= 2**30
    forced = chosen(clients=1, parts=1, size=1 << 24, error=1e-4)
    assert 2**30 < forced.mechanism.noise.noise.sigma_squared <= 2**36
    assert forced.inflation <= 1e-4


def test_next_to_no_noise_leaves_all_the_units_that_float64_can_take() -> None:
    ours = chosen(noise_multiplier=1e-6, width=60).mechanism
    assert ours.units == most_units(ours.coordinates)


def test_the_discrete_gaussian_has_enough_variance_too() -> None:
    for parts in (None, 100):
        choice = chosen(noise=DiscreteGaussian, parts=parts)
        noise = choice.mechanism.noise.noise
        assert isinstance(noise, DiscreteGaussian)
        assert noise.variance * (parts or 1) >= choice.mechanism.sensitivity.squared


def test_noise_too_narrow_for_its_parameter_is_refused() -> None:
    """A tenth of a unit in each of 10**4 draws: far from Gaussian, far less variance."""
    narrow: dict[str, Any] = {"size": 1, "clients": 10**4, "parts": 10**4, "error": 0.5}
    assert chosen(**narrow).mechanism.noise.noise.sigma_squared < Fraction(1, 4)
    with pytest.raises(ParameterError, match="variance >= "):
        chosen(noise=DiscreteGaussian, **narrow)


def test_the_flag_is_as_precise_as_it_says_where_it_is_cheap() -> None:
    ours = chosen(flag=True, width=20)
    deviation = ours.sigma / (2 * ours.mechanism.flag * 100)
    assert deviation == pytest.approx(0.05, rel=0.02)
    few = chosen(flag=True, width=20, clients=3, parts=3).mechanism
    assert few.flag == few.units // 4


def test_a_ring_that_is_too_narrow_says_how_many_bits_and_why() -> None:
    with pytest.raises(ParameterError, match=r"width >= 12 must hold, got 8: .* 100 clients"):
        chosen(width=8)
    assert chosen(width=12).mechanism.width == 12


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"error": 1e-9, "size": 1}, "sigma <= 2"),
        ({"error": 1e-12}, "error >= "),
        ({"noise_multiplier": 1e5}, "sigma <= 2"),
        ({"error": 0.0}, "error"),
        ({"error": math.nan}, "error"),
        ({"noise_multiplier": 0.0}, "noise_multiplier"),
        ({"noise_multiplier": math.nan}, "noise_multiplier"),
        ({"noise_multiplier": math.inf}, "noise_multiplier"),
        ({"parts": 101}, "parts <= clients"),
        ({"parts": 0}, "parts >= 1"),
        ({"width": 65}, "width"),
        ({"width": 63, "parts": None}, "width"),
        ({"size": 0}, "size"),
        ({"clip": math.nan}, "clip"),
    ],
    ids=repr,
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        chosen(**wrong)


def test_the_explanation_has_the_figures() -> None:
    choice = chosen(width=16, clip=0.5)
    text = choice.explained()
    units = choice.mechanism.units
    for words in (
        "16 bits, 131072 coordinates for 100000 parameters, 2.62 bytes",
        f"clip 0.5 = {units} units",
        f"{choice.inflation:.3%} for rounding",
        "each client adds Skellam noise",
        "below 2**-40",
    ):
        assert words in text
    assert "the server adds" in chosen(parts=None).explained()


def test_equal_requests_have_equal_mechanisms() -> None:
    assert chosen() == chosen()
    assert repr(chosen().mechanism) == repr(chosen().mechanism)


def test_levels_cost_no_noise_and_no_width() -> None:
    """The same promise and the same ring: what is removed later is there before."""
    whole, layered = chosen(parts=50), chosen(parts=50, levels=(0, 9, 30))
    ours = layered.mechanism
    assert ours.noise == ByLayers(whole.mechanism.noise.noise, 50, (0, 9, 30))  # type: ignore[arg-type]
    assert replace(ours, noise=whole.mechanism.noise) == whole.mechanism
    assert layered.sigma == whole.sigma
    assert "each client, in 3 layers, adds Skellam noise" in layered.explained()
    assert "layers" not in whole.explained()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"parts": None, "levels": (0, 1)}, "levels is None where the server adds the noise"),
        ({"parts": 50, "levels": (0, 51)}, r"parts \+ levels\[-1\] <= clients = 100"),
        ({"parts": 50, "levels": (1, 2)}, "levels: 0, then ascending"),
        ({"parts": 50, "levels": (0, 1), "noise": DiscreteGaussian}, "a DivisibleNoise"),
    ],
)
def test_impossible_levels_are_refused(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        chosen(**request_)
