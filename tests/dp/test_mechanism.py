"""The mechanism: a norm that holds for every update, a mean that is right, a ring that holds."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dp.clip import Flat, PerLeaf
from dp.errors import InputRefused, IntegrityError, ParameterError
from dp.events import Release
from dp.mechanism import ByClients, ByServer, Mechanism
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.parties import ByAggregators
from dp.round import slack
from dp.sensitivity import Sensitivity
from dp.testing import SeededRand
from dp.wrap import energy

SEED = bytes(range(32))
CENTRAL = ByServer(Skellam(100))
HALVES = ByAggregators(Skellam(100))
LOCAL = ByClients(Skellam(100), 3)


def mechanism(**changes: Any) -> Mechanism:
    fields: dict[str, Any] = {
        "size": 5,
        "clients": 8,
        "clip": 2.0,
        "units": 1000,
        "width": 20,
        "noise": CENTRAL,
    }
    return Mechanism(**fields | changes)


def encode(ours: Mechanism, vector: np.ndarray, rand: object = 1) -> np.ndarray:
    return ours.encode(vector, seed=SEED, rand=SeededRand(rand))


def noise_free(ours: Mechanism, vector: np.ndarray, rand: object = 1) -> np.ndarray:
    """Of `ByClients`, less the noise that the same randomness gives: 32 bytes come before it."""
    source = SeededRand(rand)
    source(32)
    assert isinstance(ours.noise, ByClients)
    return encode(ours, vector, rand) - ours.noise.noise.sample(ours.length, source)


def squared(integers: np.ndarray) -> int:
    return sum(x * x for x in integers.tolist())


floats = st.floats(allow_nan=False, allow_infinity=False)
rotations = st.booleans()
betas = st.sampled_from([0.0, 0.1, math.exp(-0.5), 0.9])


@given(
    hnp.arrays(np.float64, 5, elements=floats | st.sampled_from([0.0, 2.0, 1.0, 5e-324, 1e300])),
    st.sampled_from([1, 2, 7, 1000, 1 << 30]),
    st.sampled_from([2.0**-500, 1e-9, 2.0, 2.0**500]),
    rotations,
    betas,
    st.integers(0, 2),
    st.integers(),
)
def test_the_norm_before_noise_is_the_sensitivity_for_every_update(
    vector: np.ndarray, units: int, clip: float, mixed: bool, beta: float, flag: int, seed: int
) -> None:
    ours = mechanism(
        units=units, clip=clip, rotate=mixed, beta=beta, flag=min(flag, units), width=60
    )
    encoded = encode(ours, vector, seed)
    assert encoded.dtype == np.int64
    assert encoded.shape == (ours.length,)
    assert squared(encoded) <= ours.sensitivity.squared


EXTREMES = {
    "at the bound": np.array([0.0, 2.0, 0, 0, 0]),
    "all equal": np.full(5, 1e3),
    "one huge": np.array([0, 0, 1.7e308, 0, 0]),
    "all huge": np.full(5, -1.7e308),
    "subnormal": np.full(5, 5e-324),
    "zero": np.zeros(5),
    "halves": np.full(5, 0.001),
}


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_with_noise_of_clients(name: str, mixed: bool) -> None:
    ours = mechanism(noise=LOCAL, rotate=mixed)
    for seed in range(20):
        assert squared(noise_free(ours, EXTREMES[name], seed)) <= ours.sensitivity.squared


def test_rounding_that_passes_the_limit_is_rejected() -> None:
    """Four halves round to a squared norm of 2 or less in 11 of 16 tries, to 4 at most."""
    ours = mechanism(size=4, units=1, clip=1.0, rotate=False, beta=0.9)
    assert ours.sensitivity.squared == 2
    found = {squared(encode(ours, np.full(4, 0.5), seed)) for seed in range(60)}
    assert found == {0, 1, 2}


@given(st.integers(1, 40), st.integers(1, 6), rotations, st.integers(0, 10**6))
def test_the_mean_is_that_of_the_clipped_updates(
    size: int, clients: int, mixed: bool, seed: int
) -> None:
    """Each coordinate before the rotation back is off by 17/16 of a unit at most."""
    ours = mechanism(size=size, rotate=mixed, flag=10)
    updates = np.random.default_rng(seed).normal(size=(clients, size))
    total = np.sum([encode(ours, each, (seed, i)) for i, each in enumerate(updates)], axis=0)
    decoded = ours.decode(total, clients, seed=SEED)
    exact = np.mean([Flat(2.0).apply(each) for each in updates], axis=0)
    error = 17 / 16 * math.sqrt(ours.coordinates) * 2.0 / 1000
    assert np.linalg.norm(decoded.mean - exact) <= error
    assert decoded.mean.shape == (size,)
    shares = np.mean([Flat(2.0).holds(each) for each in updates])
    assert decoded.within == pytest.approx(shares, rel=1e-12)


@pytest.mark.parametrize("who", ["clients", "server"])
def test_the_mean_with_noise_has_the_noise_of_the_event(who: str) -> None:
    """Mean square over 2**14 coordinates: 8 standard deviations, below 2**-40 of all seeds."""
    size, clients, variance = 1 << 14, 8, 40_000
    noise = ByClients(Skellam(variance), 8) if who == "clients" else ByServer(Skellam(variance))
    ours = mechanism(size=size, noise=noise, units=1000, clip=1.0, width=24)
    source = SeededRand(who)
    updates = np.zeros((clients, size))
    total = np.sum([ours.encode(each, seed=SEED, rand=source) for each in updates], axis=0)
    decoded = ours.decode(ours.aggregate(total, rand=source), clients, seed=SEED)
    found = np.mean((decoded.mean * clients * 1000) ** 2)
    expected = float(variance * ours.event.parts)
    assert ours.event.parts == (8 if who == "clients" else 1)
    assert abs(found / expected - 1) < 8 * math.sqrt(2 / size)


def test_only_the_server_of_by_server_adds_noise() -> None:
    total = np.arange(8)
    central, local = mechanism(), mechanism(noise=LOCAL)
    noise = Skellam(100).sample(8, SeededRand(3))
    assert (central.aggregate(total, rand=SeededRand(3)) == total + noise).all()
    untouched = SeededRand(3)
    assert (local.aggregate(total, rand=untouched) == total).all()
    assert untouched.drawn == 0
    drawn = SeededRand(4)
    local.encode(np.zeros(5), seed=SEED, rand=drawn)
    assert drawn.drawn == 64
    assert not encode(central, np.zeros(5)).any()
    assert encode(local, np.zeros(5)).any()


def test_the_noise_of_two_clients_differs_though_the_update_does_not() -> None:
    ours = mechanism(noise=LOCAL)
    assert (encode(ours, np.ones(5), 1) != encode(ours, np.ones(5), 2)).any()
    assert (encode(ours, np.ones(5), 1) == encode(ours, np.ones(5), 1)).all()


def test_flags_count_who_is_within() -> None:
    ours = mechanism(flag=100)
    updates = [np.eye(5)[0] * norm for norm in (0.0, 2.0, 2.000001, 1e300)]
    encoded = [encode(ours, each) for each in updates]
    assert [int(each[-1]) for each in encoded] == [100, 100, -100, -100]
    assert ours.decode(np.sum(encoded, axis=0), 4, seed=SEED).within == 0.5
    assert ours.decode(np.sum(encoded[:3], axis=0), 3, seed=SEED).within == pytest.approx(2 / 3)
    assert mechanism().decode(np.zeros(8, int), 1, seed=SEED).within is None


def test_leaves_before_the_flat_clip_at_their_joint_bound() -> None:
    leaves = PerLeaf(((0, 2, 1.0), (2, 5, 0.5)))
    ours = mechanism(clip=leaves.bound, units=1 << 30, width=40)
    vector = np.array([30.0, 40, 0, 5, 0])
    clipped = leaves.apply(vector)
    mean = ours.decode(encode(ours, clipped), 1, seed=SEED).mean
    np.testing.assert_allclose(mean, [0.6, 0.8, 0, 0.5, 0], atol=1e-7)


def test_the_seed_decides_the_rotation_and_must_be_the_same() -> None:
    ours = mechanism(noise=LOCAL)
    vector = np.array([0.5, -0.5, 1.0, 0.25, 0.75])
    total = ours.clients * noise_free(ours, vector)
    np.testing.assert_allclose(ours.decode(total, 8, seed=SEED).mean, vector, atol=0.01)
    assert np.abs(ours.decode(total, 8, seed=bytes(32)).mean - vector).max() > 0.1


REFUSED: list[Any] = [
    np.array([0.0, 0, 0, 0, math.nan]),
    np.array([0.0, 0, 0, -math.inf, 0]),
    np.zeros(4),
    np.zeros(6),
    np.zeros(0),
    np.zeros((5, 1)),
    np.array(0.0),
    np.zeros(5, np.float32),
    np.zeros(5, int),
    np.zeros(5, complex),
    [0.0] * 5,
    None,
]


@pytest.mark.parametrize("vector", REFUSED, ids=lambda value: repr(value)[:40])
def test_what_is_no_update_is_refused_before_anything_is_drawn(vector: Any) -> None:
    rand = SeededRand(1)
    with pytest.raises(InputRefused):
        mechanism().encode(vector, seed=SEED, rand=rand)
    assert rand.drawn == 0
    layout = np.zeros(10)[::2]
    layout.flags.writeable = False
    assert encode(mechanism(), layout).shape == (8,)


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("seed", [b"", bytes(31), "0" * 32, None])
def test_wrong_seeds_are_refused(seed: Any, mixed: bool) -> None:
    ours = mechanism(rotate=mixed)
    with pytest.raises(ParameterError, match="seed: 32 bytes"):
        ours.encode(np.zeros(5), seed=seed, rand=SeededRand(1))
    with pytest.raises(ParameterError, match="seed: 32 bytes"):
        ours.decode(np.zeros(ours.length, int), 1, seed=seed)


def test_totals_outside_the_ring_are_withheld() -> None:
    ours = mechanism(noise=ByClients(Skellam(2**20), 3), width=16, size=8192, units=900)
    edge = 1 << 15
    for inside in (edge - 1, -edge):
        total = np.zeros(8192, int)
        total[7] = inside
        assert (ours.aggregate(total, rand=SeededRand(1)) == total).all()
        assert ours.decode(total, 8, seed=SEED).mean.any()
    for outside in (edge, -edge - 1):
        total[7] = outside
        with pytest.raises(IntegrityError, match="ring"):
            ours.aggregate(total, rand=SeededRand(1))
        with pytest.raises(IntegrityError, match="ring"):
            ours.decode(total, 8, seed=SEED)


def test_the_servers_noise_may_leave_the_ring() -> None:
    ours = mechanism(noise=ByServer(Skellam(2**20)), units=100, width=11)
    noisy = ours.aggregate(np.zeros(8, int), rand=SeededRand(1))
    assert np.abs(noisy).max() > 1 << 10
    assert ours.decode(noisy, 8, seed=SEED).mean.any()


def test_aggregators_noise_is_in_the_total_twice_and_promised_once() -> None:
    ours = mechanism(noise=ByAggregators(Skellam(2**20)), units=100, width=32)
    quiet = np.zeros(8, np.int64)
    assert not ours.encode(np.zeros(5), seed=SEED, rand=SeededRand(1)).any()
    assert ours.aggregate(quiet, rand=SeededRand(1)).tolist() == quiet.tolist()
    assert (ours.event.noise, ours.event.parts) == (Skellam(2**20), 1)
    most = 2.0 * ours.sensitivity.l2 + math.sqrt(energy(8, 2.0 * 2**20, 40))
    likely, beyond = (np.array([int(most * by), *quiet[1:]]) for by in (0.99, 1.01))
    assert ours.decode(likely, 2, seed=SEED).mean.any()
    with pytest.raises(IntegrityError, match="2 clients and noise"):
        ours.decode(beyond, 2, seed=SEED)
    noise = math.sqrt(energy(8, 2.0 * 2**20, 40))
    assert ours.is_likely(np.array([int(0.99 * noise), *quiet[1:]]))
    assert not ours.is_likely(np.array([int(1.01 * noise), *quiet[1:]]))


@pytest.mark.parametrize("noise", [LOCAL, CENTRAL, HALVES])
def test_uniform_totals_are_withheld(noise: ByClients | ByServer | ByAggregators) -> None:
    """What a wrong mask leaves. The honest ones of the other tests pass."""
    ours = mechanism(size=1000, noise=noise, width=16)
    words = SeededRand("garbage")(2 * 1024)
    garbage = np.frombuffer(words, "<i2").astype(np.int64)
    with pytest.raises(IntegrityError, match="norm"):
        ours.decode(garbage, 8, seed=SEED)


def test_a_norm_beyond_the_clients_is_withheld_and_one_within_is_not() -> None:
    ours = mechanism(noise=CENTRAL, rotate=False, size=1)
    most = math.ceil(2 * ours.sensitivity.l2)
    assert ours.decode(np.array([most]), 2, seed=SEED).mean == most * 2.0 / 1000 / 2
    with pytest.raises(IntegrityError, match="2 clients"):
        ours.decode(np.array([most + 200]), 2, seed=SEED)
    assert ours.decode(np.array([most + 200]), 3, seed=SEED).mean > 0


@pytest.mark.parametrize("clients", [2, 9, 0, -1, True, 3.0, None])
def test_wrong_numbers_of_clients_are_refused(clients: Any) -> None:
    """Fewer than `parts` are fewer than the noise that the event speaks of."""
    ours = mechanism(noise=LOCAL)
    assert ours.decode(np.zeros(8, int), 3, seed=SEED).mean.shape == (5,)
    with pytest.raises(ParameterError, match="clients"):
        ours.decode(np.zeros(8, int), clients, seed=SEED)


@pytest.mark.parametrize(
    "total", [np.zeros(7, int), np.zeros(8), np.zeros(8, np.int32), np.zeros((8, 1), int), [0] * 8]
)
def test_what_is_no_total_is_refused(total: Any) -> None:
    with pytest.raises(ParameterError, match="total: an int64 array"):
        mechanism().decode(total, 1, seed=SEED)
    with pytest.raises(ParameterError, match="total: an int64 array"):
        mechanism().aggregate(total, rand=SeededRand(1))


def test_the_sensitivity_is_that_of_the_stages() -> None:
    ours = mechanism(size=100_000, units=3506, flag=300, clip=0.3, width=24)
    limit = 3506**2 + math.floor(slack(3506.0, ours.beta, 1 << 17))
    assert ours.sensitivity == Sensitivity(
        squared=Fraction(limit + 300**2), coordinates=(1 << 17) + 1, integral=True
    )
    plain = mechanism(size=100_000, units=3506, rotate=False, width=24)
    assert plain.sensitivity.coordinates == plain.length == 100_000


def test_the_event_is_of_one_clients_noise_and_the_parts_counted_on() -> None:
    assert mechanism(noise=LOCAL).event == Release(
        Skellam(100), 3, mechanism(noise=LOCAL).sensitivity
    )
    assert mechanism().event.parts == 1
    json.dumps(mechanism().event.document())


def test_the_representation_is_complete_and_can_be_read_back() -> None:
    scope = {
        "Mechanism": Mechanism,
        "ByClients": ByClients,
        "ByServer": ByServer,
        "ByAggregators": ByAggregators,
        "Skellam": Skellam,
        "DiscreteGaussian": DiscreteGaussian,
        "Fraction": Fraction,
    }
    central = mechanism(noise=ByServer(DiscreteGaussian(0.5)), flag=3)
    for ours in (mechanism(noise=LOCAL), central, mechanism(noise=HALVES)):
        assert eval(repr(ours), scope) == ours
        assert hash(eval(repr(ours), scope)) == hash(ours)
    numpy: Any = {"size": np.int64(5), "clip": 2, "units": np.int32(1000)}
    assert repr(mechanism(**numpy)) == repr(mechanism())


WRONG: list[dict[str, Any]] = [
    *({name: value} for name in ("size", "clients", "units") for value in (0, -1, 1.0, True, None)),
    *({"width": value} for value in (1, 63, 65, 20.0)),
    *({"clip": value} for value in (0, -1, math.nan, math.inf, True, "1", 2.0**501)),
    *({"beta": value} for value in (-0.1, 0.91, math.nan)),
    *({"wrap": value} for value in (0.0, 0.6, math.nan, 2.0**-101)),
    *({"flag": value} for value in (-1, 1001, 0.5)),
    *({"noise": value} for value in (None, Skellam(4))),
    {"rotate": 1},
    {"clients": (1 << 20) + 1},
    {"units": 1 << 39, "size": 1, "width": 62},
    {"units": 1 << 38, "size": 1 << 10, "width": 62},
]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        mechanism(**wrong)


def test_wrong_noise_is_refused() -> None:
    wrong: Any = None
    for build in (
        lambda: ByServer(wrong),
        lambda: ByClients(wrong, 1),
        lambda: ByAggregators(wrong),
    ):
        with pytest.raises(ParameterError, match="IntegerNoise, not NoneType"):
            build()
    with pytest.raises(ParameterError, match="parts <= clients = 8"):
        mechanism(noise=ByClients(Skellam(4), 9))
    for parts in (0, 1.0, True):
        with pytest.raises(ParameterError, match="parts >= 1"):
            ByClients(Skellam(4), parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("noise", [LOCAL, CENTRAL, HALVES])
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("flag", [0, 900])
def test_the_needed_width_is_the_least_and_the_error_names_it(
    noise: ByClients | ByServer | ByAggregators, mixed: bool, flag: int
) -> None:
    ours = mechanism(size=3000, noise=noise, rotate=mixed, flag=flag)
    needed = ours.needed_width
    assert replace(ours, width=needed).needed_width == needed
    assert ours.log2_wrap(needed) <= -40 < ours.log2_wrap(needed - 1)
    with pytest.raises(ParameterError, match=rf"P\(wrap\) <= .*: {needed} bits are needed"):
        replace(ours, width=needed - 1)


def test_the_flags_of_all_clients_fit() -> None:
    """They are not mixed: 8 * 1000 alone need 14 bits, where the spread signal needs 13."""
    assert mechanism(size=100_000).needed_width < 13
    assert mechanism(size=100_000, flag=1000).needed_width == 14
    assert mechanism(size=100_000, flag=1024, units=2000).needed_width == 15


def test_the_rounding_of_all_clients_fits() -> None:
    """At one unit each it is all there is: each moves a sum by less than 17/16."""
    assert mechanism(size=10**6, units=1, clients=1000).needed_width == 12
    assert mechanism(size=10**6, units=1, clients=900).needed_width == 11


def test_the_noise_of_all_clients_fits_and_not_only_what_is_counted_on() -> None:
    """Sigma is 1000 * sqrt(64), and about 9 of it are needed: 72,000 of 2**17."""
    some: dict[str, Any] = {"size": 100_000, "units": 1, "clients": 64}
    assert mechanism(noise=ByClients(Skellam(10**6), 1), **some).needed_width == 18
    assert mechanism(noise=ByServer(Skellam(10**6)), **some).needed_width < 10


def test_without_rotation_all_clients_at_the_bound_of_one_coordinate_fit() -> None:
    """And the deterministic bound is used with it, where it is the better one."""
    unmixed = mechanism(size=100_000, rotate=False)
    assert unmixed.needed_width == (8 * unmixed.sensitivity.largest).bit_length() + 1 == 14
    for mixed in (False, True):
        ours = mechanism(size=1, rotate=mixed, units=1000, beta=0.0)
        assert ours.sensitivity.largest == 1001
        assert ours.needed_width == (8 * 1001).bit_length() + 1
        worst = np.sum([encode(ours, np.full(1, -1e9), i) for i in range(8)])
        assert -(1 << (ours.needed_width - 1)) <= worst < -(1 << (ours.needed_width - 2))


def test_sums_of_adversarial_updates_wrap_no_more_often_than_promised() -> None:
    """wrap = 1/2, so that wraps could be counted: equal updates, and equal ones before rotation."""
    noise = ByClients(Skellam(500), 8)
    ours = mechanism(size=16, noise=noise, units=300, width=12, wrap=0.5)
    narrow = min(w for w in range(2, 13) if ours.log2_wrap(w) <= -1)
    ours, edge = replace(ours, width=narrow), 1 << (narrow - 1)
    for vector in (np.eye(16)[0], np.full(16, 1e9), np.tile([1e9, -1e9], 8)):
        wraps = sum(_wraps(ours, vector, seed, edge) for seed in range(200))
        # Hoeffding: 0.27 above the mean with probability exp(-2 * 200 * 0.27**2) < 2**-40
        assert wraps / 200 <= 0.5 + 0.27


def _wraps(ours: Mechanism, vector: np.ndarray, seed: int, edge: int) -> bool:
    rand = SeededRand(seed)
    rotation = rand(32)
    total = sum(ours.encode(vector, seed=rotation, rand=rand) for _ in range(8))
    return bool(np.any((total < -edge) | (total >= edge)))


@given(st.integers(1, 1 << 20), st.integers(1, 10**6), st.integers(1, 1 << 20), rotations)
def test_more_of_anything_never_needs_fewer_bits(
    clients: int, size: int, units: int, mixed: bool
) -> None:
    ours = mechanism(clients=clients, size=size, units=units, rotate=mixed, width=62)
    wider = mechanism(clients=clients, size=size, units=2 * units, rotate=mixed, width=62)
    assert 2 <= ours.needed_width <= wider.needed_width <= 62


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [True, False])
def test_the_mean_is_unbiased(mixed: bool) -> None:
    """Over 4,000 rounds, within the bound by so much that no try is rejected."""
    ours = mechanism(size=6, units=10, rotate=mixed)
    vector = np.array([0.31, -0.17, 0.0, 0.5, 0.05, -0.6])
    count, source = 4_000, SeededRand("mean")
    means = np.zeros(6)
    for _ in range(count):
        seed = source(32)
        means += ours.decode(ours.encode(vector, seed=seed, rand=source), 1, seed=seed).mean
    # each is within one unit a coordinate, sqrt(8) units over the rotation: Hoeffding at 2**-40
    unit = ours.clip / ours.units
    deviation = unit * math.sqrt(8) * math.sqrt(2 * math.log(12 * 2.0**40) / count)
    assert np.abs(means / count - vector).max() <= deviation
