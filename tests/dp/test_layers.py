"""Layers: together the share exactly, apart what is promised for every number of the missing."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import reduce
from hashlib import blake2b
from itertools import pairwise
from math import sqrt
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.errors import ParameterError
from dp.layers import EXCESS, ByLayers, spaced
from dp.mechanism import ByClients, ByServer, Mechanism
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.testing import SeededRand, both_sides, chi_square, chi_square_bound, convolve, same_law

SEED = bytes(range(32))
KEY = bytes(range(100, 132))
LAYERS = ByLayers(Skellam(30), 5, (0, 1, 3))


def chain(key: bytes, count: int) -> list[bytes]:
    """The keys of `count` layers above 0, by the formula of the specification."""
    found = []
    for _ in range(count):
        both = blake2b(b"", key=key, digest_size=64, person=b"dp noise layers.").digest()
        found.append(both[:32])
        key = both[32:]
    return found


def drawn(noise: ByLayers, length: int, base: bytes, key: bytes) -> list[np.ndarray]:
    """Every layer by itself."""
    keys = [base, *chain(key, len(noise.layers) - 1)]
    pairs = zip(noise.layers, keys, strict=True)
    return [law.sample(length, lambda _, key=key: key) for law, key in pairs]


cohorts = st.tuples(st.integers(1, 400), st.integers(0, 400))
"""h, and how many more honest clients there are if nobody is missing."""


# -- laws --------------------------------------------------------------------------------------


def test_the_layers_together_have_the_law_of_the_share_exactly() -> None:
    for noise in (LAYERS, ByLayers(Skellam(2), 1, (0, 1, 2, 5)), ByLayers(Skellam(9), 3, (0,))):
        laws = [both_sides(law.enclosure(128)) for law in noise.layers]
        total = reduce(lambda x, y: convolve(x, y, 128), laws)
        same_law(total, both_sides(noise.noise.enclosure(128)), slack=1 << 40)


def test_what_stays_has_the_law_that_is_said_to_remain() -> None:
    for missing in range(5):
        kept = LAYERS.layers[: LAYERS.kept(missing)]
        total = reduce(
            lambda x, y: convolve(x, y, 128), [both_sides(k.enclosure(128)) for k in kept]
        )
        same_law(total, both_sides(LAYERS.remaining(missing).enclosure(128)), slack=1 << 40)


@given(cohorts, st.fractions(1, 10**6, max_denominator=1 << 20), st.data())
def test_enough_stays_for_every_number_of_the_missing(
    cohort: tuple[int, int], variance: Fraction, data: st.DataObject
) -> None:
    parts, room = cohort
    inner = data.draw(st.sets(st.integers(1, max(1, room)), max_size=6))
    levels = tuple(sorted({0, room, *(level for level in inner if level < room)}))
    noise = ByLayers(Skellam(variance), parts, levels)
    promised = parts * variance
    assert sum(law.variance for law in noise.layers) == variance
    for missing in range(room + 2):
        law = noise.remaining(missing)
        assert law.variance == sum(k.variance for k in noise.layers[: noise.kept(missing)])
        honest = noise.most - missing
        if missing <= room:
            assert honest * law.variance >= promised
        if missing in levels:
            assert honest * law.variance == promised, "and not more than is needed"
        one_layer_less = sum(k.variance for k in noise.layers[: noise.kept(missing) - 1])
        assert honest * one_layer_less < promised, "all that can go goes"


@given(cohorts)
def test_spaced_levels_leave_little_and_are_as_few_as_that_allows(cohort: tuple[int, int]) -> None:
    parts, room = cohort
    most = parts + room
    levels = spaced(parts, most)
    assert levels[0] == 0
    assert levels[-1] == room
    for low, high in pairwise(levels):
        worst = most - (low + 1)
        assert low < high
        assert worst <= EXCESS * (most - high)
        assert high == room or worst > EXCESS * (most - high - 1), "no higher level would do"


def test_spaced_levels_of_usual_cohorts() -> None:
    assert spaced(5, 7) == (0, 1, 2)
    assert spaced(50, 80) == (0, 9, 17, 24, 30)
    assert spaced(500, 800) == (0, 89, 168, 239, 300)
    assert spaced(3, 3) == (0,)
    for parts, most in ((0, 3), (4, 3), (1.0, 3)):
        with pytest.raises(ParameterError, match="parts"):
            spaced(parts, most)  # type: ignore[arg-type]


# -- draws -------------------------------------------------------------------------------------


def test_a_sample_is_the_sum_of_its_layers_and_reads_32_bytes() -> None:
    source, copy = SeededRand(1), SeededRand(1)
    found = LAYERS.sample(1000, source, KEY)
    assert (found == sum(drawn(LAYERS, 1000, copy(32), KEY))).all()
    assert source.drawn == 32
    assert found.dtype == np.int64
    assert (found != LAYERS.sample(1000, SeededRand(1), SEED)).any()
    assert (found != LAYERS.sample(1000, SeededRand(2), KEY)).any()


@pytest.mark.parametrize("missing", range(6))
def test_what_is_disclosed_removes_the_excess_and_nothing_else(missing: int) -> None:
    layers = drawn(LAYERS, 1000, SEED, KEY)
    kept = LAYERS.kept(missing)
    assert kept == (1, 2, 3, 3, 3, 3)[missing]
    told = LAYERS.disclosed(KEY, missing)
    if kept == 3:
        assert told is None
        assert not LAYERS.excess([KEY], missing, 1000).any()
        return
    assert told is not None
    rest = LAYERS.sample(1000, lambda _: SEED, KEY) - LAYERS.excess([told], missing, 1000)
    assert (rest == sum(layers[:kept])).all()


def test_excess_of_many_adds_up() -> None:
    keys = [bytes([i]) * 32 for i in range(5)]
    each = sum(LAYERS.excess([key], 1, 100) for key in keys)
    assert (LAYERS.excess(iter(keys), 1, 100) == each).all()
    assert not LAYERS.excess([], 1, 100).any()


def test_the_chain_goes_one_way() -> None:
    """From a lower state follow the keys of all layers above, and from an upper one none below."""
    lower, upper = LAYERS.disclosed(KEY, 0), LAYERS.disclosed(KEY, 1)
    assert lower == KEY
    assert upper is not None
    assert (
        LAYERS.disclosed(KEY, 1)
        == blake2b(b"", key=KEY, digest_size=64, person=b"dp noise layers.").digest()[32:]
    )
    assert chain(KEY, 2)[1] == chain(upper, 1)[0]
    assert chain(KEY, 2)[0] not in chain(upper, 50)


def test_the_chain_is_that_of_every_version() -> None:
    assert [key.hex()[:16] for key in chain(bytes(32), 3)] == GOLDEN
    found = ByLayers(Skellam(100), 3, (0, 1, 2)).excess([bytes(32)], 0, 8)
    assert found.tolist() == GOLDEN_NOISE


GOLDEN = ["3cb6ba64448eaf03", "009efc1c3eab9a74", "b4259b5ebe189aaa"]
GOLDEN_NOISE = [-20, -4, -3, 2, -5, 2, 6, -6]


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "0" * 32, None])
def test_wrong_keys_are_refused(key: Any) -> None:
    for call in (
        lambda key: LAYERS.sample(10, SeededRand(1), key),
        lambda key: LAYERS.disclosed(key, 0),
        lambda key: LAYERS.excess([SEED, key], 0, 10),
    ):
        call(KEY)
        with pytest.raises(ParameterError, match="key: 32 bytes"):
            call(key)


@pytest.mark.parametrize("missing", [-1, 1.0, True, None])
def test_wrong_numbers_of_the_missing_are_refused(missing: Any) -> None:
    assert LAYERS.kept(1) == 2
    for call in (LAYERS.kept, LAYERS.remaining, lambda d: LAYERS.disclosed(KEY, d)):
        with pytest.raises(ParameterError, match="missing >= 0"):
            call(missing)


# -- parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "levels", [(), (1, 2), (0, 0), (0, 2, 1), (0, 1, 1), (0, -1), (0, 1.5), (0, True), [0, 1], 0]
)
def test_wrong_levels_are_refused(levels: Any) -> None:
    assert ByLayers(Skellam(4), 2, (0, 1)).levels == (0, 1)
    with pytest.raises(ParameterError, match="levels"):
        ByLayers(Skellam(4), 2, levels)


class Alone(Skellam):
    """Divisible, and with sums of a law that is not known exactly."""

    def summed(self, parts: int) -> tuple[Self, Fraction]:
        law, _ = super().summed(parts)
        return law, Fraction(1, 1 << 60)


def test_wrong_noise_is_refused() -> None:
    for wrong in (DiscreteGaussian(4), None, 4):
        with pytest.raises(ParameterError, match="Noise, not"):
            ByLayers(wrong, 2, (0, 1))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="sums are of its kind, not Alone"):
        ByLayers(Alone(4), 2, (0, 1))
    with pytest.raises(ParameterError, match="parts >= 1"):
        ByLayers(Skellam(4), 0, (0, 1))
    thin = Skellam(Fraction(1, 1 << 30))
    assert ByClients(thin, 2).noise == thin
    with pytest.raises(ParameterError, match="sigma_squared"):
        ByLayers(thin, 2, (0, 1, 2))


def test_layers_are_noise_of_clients_that_is_charged_as_such() -> None:
    whole = ByClients(LAYERS.noise, LAYERS.parts)
    assert isinstance(LAYERS, ByClients)
    assert whole != LAYERS
    assert whole.most == 5
    assert LAYERS.most == 8
    assert eval(repr(LAYERS), {"ByLayers": ByLayers, "Skellam": Skellam, "Fraction": Fraction}) == (
        LAYERS
    )
    assert mechanism().event == replace(mechanism(), noise=whole).event
    assert mechanism().needed_width == replace(mechanism(), noise=whole).needed_width


# -- in a mechanism ----------------------------------------------------------------------------


def mechanism(**changes: Any) -> Mechanism:
    fields: dict[str, Any] = {
        "size": 5, "clients": 9, "clip": 2.0, "units": 1000, "width": 20,
        "noise": LAYERS, "flag": 7,
    }  # fmt: skip
    return Mechanism(**fields | changes)


def test_a_mechanism_removes_exactly_the_upper_layers() -> None:
    ours, quiet = mechanism(), mechanism(noise=ByServer(Skellam(1)))
    vector = np.array([0.1, -2.0, 0.5, 3.0, 0.0])
    rounded = quiet.encode(vector, seed=SEED, rand=SeededRand(1))
    source = SeededRand(1)
    encoded = ours.encode(vector, seed=SEED, rand=source, layer_key=KEY)
    assert source.drawn == 64
    source = SeededRand(1)
    source(32)
    layers = drawn(LAYERS, ours.length, source(32), KEY)
    assert (encoded == rounded + sum(layers)).all()
    for clients, kept in ((9, 1), (8, 2), (7, 3), (6, 3)):
        assert ours.excess_layers(clients) == 3 - kept
        told = ours.disclosed(KEY, clients)
        gone = ours.excess([] if told is None else [told], clients)
        assert gone.dtype == np.int64
        assert (encoded - gone == rounded + sum(layers[:kept])).all()


def test_without_a_key_the_layers_are_there_and_nobody_can_remove_them() -> None:
    ours, source = mechanism(), SeededRand(1)
    encoded = ours.encode(np.zeros(5), seed=SEED, rand=source)
    assert source.drawn == 96
    assert encoded.any()


def test_only_layers_can_be_removed_and_only_of_possible_sums() -> None:
    ours = mechanism()
    assert ours.disclosed(KEY, 9) == KEY
    for clients in (4, 10, 9.0, True):
        for call in (ours.excess_layers, lambda k: ours.disclosed(KEY, k)):
            with pytest.raises(ParameterError, match="clients"):
                call(clients)  # type: ignore[arg-type]
    for noise in (ByClients(Skellam(30), 5), ByServer(Skellam(30))):
        other = mechanism(noise=noise)
        with pytest.raises(ParameterError, match="layer_key is None but for ByLayers"):
            other.encode(np.zeros(5), seed=SEED, rand=SeededRand(1), layer_key=KEY)
        with pytest.raises(ParameterError, match="noise: ByLayers"):
            other.excess([KEY], 9)
    with pytest.raises(ParameterError, match=r"parts \+ levels\[-1\] <= clients = 7"):
        mechanism(clients=7)
    assert mechanism(clients=8).noise.most == 8


# -- statistics --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0, 2, 3, 4])
def test_a_relieved_sum_has_the_law_of_what_remains(missing: int) -> None:
    """N - d honest clients, of the least sum that is promised for so many missing, and its law."""
    noise, length = ByLayers(Skellam(1000), 6, (0, 2, 4)), 1 << 20
    rand = SeededRand(("layers", missing))
    honest = noise.most - missing
    total = np.zeros(length, np.int64)
    told = []
    for _ in range(honest):
        key = rand(32)
        total += noise.sample(length, rand, key)
        told.append(noise.disclosed(key, missing))
    total -= noise.excess([key for key in told if key is not None], missing, length)
    law, distance = noise.remaining(missing).summed(honest)
    assert distance == 0
    assert law.variance >= 6 * 1000
    statistic, freedom = chi_square(law, total)
    assert freedom > 100
    assert statistic < chi_square_bound(freedom, 2.0**-40)
    assert abs(np.mean(total.astype(float) ** 2) / law.variance - 1) < 8 * sqrt(2 / length)


def test_thin_noise_of_many_clients_has_layers() -> None:
    """A share of a share may be too thin to be a law where the layer itself is not."""
    layers = ByLayers(Skellam(1), 50_000, spaced(50_000, 80_000))
    assert sum(layer.sigma_squared for layer in layers.layers) == 1
    with pytest.raises(ParameterError, match="sigma_squared"):
        ByLayers(Skellam(Fraction(1, 1 << 31)), 50_000, spaced(50_000, 80_000))
