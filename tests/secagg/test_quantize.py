"""`secagg.quantize` against exact rationals: bounds, exactness, bias, refusals."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from secagg import quantize
from secagg.errors import InputRefused, IntegrityError, ParameterError
from secagg.quantize import FixedPoint, HalfEven, NormClip, RangeClip, Stochastic
from secagg.structure import flatten

CLIPS: tuple[Any, ...] = (NormClip, RangeClip)
ROUNDINGS: tuple[Any, ...] = (Stochastic(), HalfEven())
UNIT = RangeClip(1.0)


def seeded(seed: int) -> Callable[[int], bytes]:
    """A reproducible `Rand`: successive pieces of SHAKE-256 of the seed."""
    calls = itertools.count()
    return lambda size: hashlib.shake_256(b"%d,%d" % (seed, next(calls))).digest(size)


def forbidden(size: int) -> bytes:
    raise AssertionError("nothing random was to be drawn")


def fixed(clip: Any = UNIT, **changes: Any) -> FixedPoint:
    fields: dict[str, Any] = {"fraction_bits": 16, "rounding": HalfEven(), "cohort": 10}
    return FixedPoint(clip=clip, **fields | changes)


def square_sum(integers: NDArray[np.int64]) -> int:
    return sum(int(q) ** 2 for q in integers)


def ring_sum(encoded: list[Any], width: int) -> Any:
    """The sum in Z_{2^width} in Python's integers, as residues of the encoders' dtype."""
    columns = zip(*(vector.tolist() for vector in encoded), strict=True)
    return np.array([sum(column) % (1 << width) for column in columns], encoded[0].dtype)


VECTORS = hnp.arrays(
    np.float64, st.integers(0, 40), elements=st.floats(allow_nan=False, allow_infinity=False)
)
MODERATE = hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(-4, 4))


@st.composite
def schemes(draw: st.DrawFn) -> FixedPoint:
    bound = draw(st.floats(0.5, 1000) | st.sampled_from([1.0, 0.75, 3e-5, 1e12]))
    least = math.ceil(math.log2(16 / bound))  # 40 coordinates need some units of norm
    return FixedPoint(
        clip=draw(st.sampled_from(CLIPS))(bound),
        fraction_bits=draw(st.integers(least, least + 24)),
        rounding=draw(st.sampled_from(ROUNDINGS)),
        cohort=draw(st.integers(1, 1000)),
        max_weight=draw(st.integers(1, 1000)),
    )


# --- what the integers are ----------------------------------------------------------------


@given(schemes(), VECTORS, st.data(), st.integers(0, 1 << 32))
def test_bounds_hold_for_every_vector(
    scheme: FixedPoint, vector: Any, data: st.DataObject, seed: int
) -> None:
    weight = data.draw(st.integers(0, scheme.max_weight))
    integers = scheme.quantize(vector, weight, seeded(seed))
    assert integers.dtype == np.int64
    assert integers.shape == (vector.size + 1,)
    assert integers[0] == weight
    limit = Fraction(scheme.clip.bound) * Fraction(2) ** scheme.fraction_bits * weight
    if isinstance(scheme.clip, NormClip):
        assert square_sum(integers[1:]) <= math.floor(limit) ** 2
    assert all(abs(int(q)) <= math.ceil(limit) for q in integers[1:])
    assert math.ceil(limit) <= scheme.bound + 1


@given(schemes(), MODERATE, st.data(), st.integers(0, 1 << 32))
def test_every_integer_is_a_neighbour_of_the_exact_product(
    scheme: FixedPoint, vector: Any, data: st.DataObject, seed: int
) -> None:
    """For vectors that no clip touches, in exact rationals."""
    if vector.size:
        vector *= scheme.effective_clip(vector.size) / 1000
    weight = data.draw(st.integers(0, scheme.max_weight))
    integers = scheme.quantize(vector, weight, seeded(seed))[1:]
    for x, q in zip(vector.tolist(), integers.tolist(), strict=True):
        exact = Fraction(x) * Fraction(2) ** scheme.fraction_bits * weight
        slack = abs(exact) / (1 << 52)
        if isinstance(scheme.rounding, HalfEven):
            assert abs(q - exact) <= Fraction(1, 2) + slack
        else:
            assert abs(q - exact) < 1 + slack


@pytest.mark.parametrize("clip", [NormClip(1000.0), RangeClip(1000.0)])
def test_half_even_is_python_round_on_exact_products(clip: Any) -> None:
    scheme = fixed(clip, fraction_bits=3, max_weight=5)
    # Multiples of 1/16 make every tie that weight 5 and f = 3 can make.
    vector = np.arange(-64, 65) / 16
    integers = scheme.quantize(vector, 5, forbidden)[1:]
    assert integers.tolist() == [round(Fraction(k, 16) * 8 * 5) for k in range(-64, 65)]


@pytest.mark.parametrize("clip", [NormClip(100.0), RangeClip(10.0)])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_integers_stay_as_they_are(clip: Any, rounding: Any) -> None:
    scheme = fixed(clip, fraction_bits=4, rounding=rounding, max_weight=3)
    vector = np.arange(-100, 101) / 16
    integers = scheme.quantize(vector, 3, seeded(1))[1:]
    assert integers.tolist() == [3 * k for k in range(-100, 101)]


def test_a_vector_exactly_at_the_norm_bound_is_kept() -> None:
    scheme = fixed(NormClip(5.0), rounding=Stochastic())
    assert scheme.quantize(np.array([3.0, -4.0]), 1, seeded(1)).tolist() == [1, 3 << 16, -4 << 16]


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_range_clip_clamps_each_coordinate(rounding: Any) -> None:
    scheme = fixed(RangeClip(2.0), rounding=rounding)
    vector = np.array([1e300, -1e300, 2.0, -2.0, 1.5, -0.0, 5e-324])
    expected = [2.0, -2.0, 2.0, -2.0, 1.5, 0.0, 0.0]
    integers = scheme.quantize(vector, 1, seeded(3))[1:]
    assert (integers / 2**16).tolist() == expected


@given(st.floats(1e-300, 1e300), st.integers(1, 50))
def test_norm_clip_keeps_the_direction(size: float, dimension: int) -> None:
    direction = np.sin(np.arange(1.0, dimension + 1))
    scheme = fixed(NormClip(1.0), fraction_bits=40)
    integers = scheme.quantize(direction * size, 1, forbidden)[1:] / 2.0**40
    length = min(1.0, size * float(np.linalg.norm(direction)))
    expected = direction / np.linalg.norm(direction) * length
    assert np.abs(integers - expected).max() < 2.0**-30


# --- the re-check of the norm -------------------------------------------------------------


def adversarial(dimension: int) -> list[NDArray[np.float64]]:
    """In units: ties, values just over them, one large among many small, what float64 ends at."""
    ones = np.ones(dimension)
    spike = np.where(np.arange(dimension) == 0, 1.0, 1e-3)
    return [
        0.5 * ones,
        np.nextafter(0.5, 1) * ones,
        1.5 * ones,
        2.5 * ones * (-1) ** np.arange(dimension),
        np.nextafter(1.5, 0) * ones,
        spike * 1e300,
        spike * 5e-324,
        np.finfo(np.float64).max * ones,
        -np.finfo(np.float64).tiny * ones,
        np.zeros(dimension),
        -np.zeros(dimension),
        np.linspace(-3, 3, dimension),
        np.exp(np.linspace(-700, 700, dimension)),
    ]


@pytest.mark.parametrize("dimension", [1, 2, 3, 100, 8191, 8192, 8193, 100_000])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_the_integer_norm_is_within_the_bound(dimension: int, rounding: Any) -> None:
    least = math.ceil(1.3 * math.sqrt(dimension)) + 12
    for units in (least, least + 0.999, 8 * least + 0.5):
        scheme = fixed(NormClip(float(units)), fraction_bits=0, rounding=rounding, max_weight=3)
        for weight, vector in itertools.product((1, 3), adversarial(dimension)):
            integers = scheme.quantize(vector, weight, seeded(7))[1:]
            squares = int(np.sum(integers.astype(object) ** 2)) if dimension < 1000 else None
            if squares is None:
                assert np.abs(integers).max() < 1 << 23
                squares = int(integers @ integers)
            assert squares <= math.floor(Fraction(units) * weight) ** 2
            norm = np.linalg.norm(vector / max(np.abs(vector).max(), 1e-300))
            if norm and np.abs(vector).max() > units:
                # Clipping keeps the length but for what the budget says.
                floor = weight * scheme.effective_clip(dimension) - math.sqrt(dimension)
                assert math.sqrt(squares) >= floor


def test_truncation_is_the_last_resort() -> None:
    """4,226 equal coordinates of 10,000 that half-even rounds up at both of its attempts."""
    scheme = fixed(NormClip(65.0), fraction_bits=0, cohort=1)
    vector = np.zeros(10_000)
    vector[:4226] = 1.0
    shrunk = 65 * scheme.effective_clip(10_000) / 65
    assert shrunk / math.sqrt(4226) > 0.5
    assert np.rint(shrunk / math.sqrt(4226)) * math.sqrt(4226) > 65
    assert not scheme.quantize(vector, 1, forbidden)[1:].any()
    vector[4225:] = 0.0  # the twin: 4,225 ones have norm 65 exactly
    assert scheme.quantize(vector, 1, forbidden)[1:].sum() == 4225


def test_truncation_leaves_room_for_what_float64_errs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scaled to norm L, (L, 1) is (L, 1) again in float64 although its square sum is L^2 + 1."""
    monkeypatch.setattr(quantize, "_shrunk", lambda limit, dimension: float(limit))
    length = 1 << 30
    scheme = fixed(NormClip(float(length)), fraction_bits=0)
    integers = scheme.quantize(np.array([length, 1.0]), 1, forbidden)[1:]
    assert square_sum(integers) <= length**2
    assert integers[0] >= length - 1


@given(
    hnp.arrays(np.int64, st.integers(0, 3000), elements=st.integers(-(1 << 52), 1 << 52)),
    st.integers(0, 52),
)
@example(np.full(8192, 1 << 20), 0)
@example(np.full(8192, (1 << 20) - 1), 0)
@example(np.full(8192, 1 << 52), 0)
@example(np.full(8192, -(1 << 52)), 0)
@example(np.full(8192, 1 - (1 << 52)), 0)
@settings(max_examples=100)
def test_square_sums_are_exact(values: Any, shift: int) -> None:
    values = values >> shift
    assert quantize._square_sum(values.astype(np.float64)) == square_sum(values)


@pytest.mark.parametrize(("limit", "dimension"), [(64, 10), (1000, 10_000), (1 << 20, 1_000_000)])
def test_the_shrunk_norm_solves_its_inequality(limit: int, dimension: int) -> None:
    norm, root = quantize._shrunk(limit, dimension), math.sqrt(dimension)
    tail = math.sqrt(math.log(2.0**40) / 2)
    likely = norm**2 + dimension / 4 + tail * (2 * norm + root)
    assert likely == pytest.approx(limit**2, rel=1e-9) or norm == limit - root
    assert norm >= limit - root


# --- rounding -----------------------------------------------------------------------------


def test_stochastic_rounds_up_where_a_word_is_below_the_fraction() -> None:
    """A known answer: the ChaCha20 words of the key, chunk after chunk, against the fractions."""
    count = 3 * 8192 + 5
    vector = np.linspace(-900, 900, count)
    scheme = fixed(RangeClip(1000.0), fraction_bits=0, rounding=Stochastic())
    integers = scheme.quantize(vector, 1, seeded(5))[1:]
    stream = Cipher(ChaCha20(seeded(5)(32), bytes(16)), None).encryptor().update(bytes(4 * count))
    words = np.frombuffer(stream, "<u4")
    fraction = vector - np.floor(vector)
    assert np.array_equal(integers, np.floor(vector) + (words < fraction * 2.0**32))


@pytest.mark.parametrize("value", [0.5, 0.25, 0.9, 1e-3, -0.3, -7.01, 1 - 2.0**-20, 123.456])
def test_stochastic_is_unbiased(value: float) -> None:
    """The mean of 2^20 roundings of one value: off by more than 6 sigma with p < 2e-9."""
    count = 1 << 20
    scheme = fixed(RangeClip(1000.0), fraction_bits=0, rounding=Stochastic())
    integers = scheme.quantize(np.full(count, value), 1, seeded(11))[1:]
    fraction = value - math.floor(value)
    sigma = math.sqrt(fraction * (1 - fraction) / count)
    assert set(Counter(integers.tolist())) <= {math.floor(value), math.floor(value) + 1}
    assert abs(integers.mean() - value) < 6 * sigma + 2.0**-32


@pytest.mark.parametrize("value", [-(2.0**-60), -5e-324, 2.0**-60, 5e-324, 0.0, -0.0])
def test_stochastic_takes_the_smallest_values_to_zero(value: float) -> None:
    scheme = fixed(RangeClip(1.0), fraction_bits=0, rounding=Stochastic())
    assert not scheme.quantize(np.full(20_000, value), 1, seeded(2))[1:].any()


def test_stochastic_is_unbiased_below_the_effective_clip() -> None:
    """The re-check leaves such vectors alone, so E[q] = y, coordinate by coordinate."""
    dimension, rounds = 200, 4000
    scheme = fixed(NormClip(1.0), fraction_bits=7, rounding=Stochastic())
    vector = np.sin(np.arange(1.0, dimension + 1))
    vector *= scheme.effective_clip(dimension) / np.linalg.norm(vector)
    rand = seeded(13)
    mean = sum(scheme.quantize(vector, 1, rand)[1:] for _ in range(rounds)) / rounds
    assert np.abs(mean - vector * 128).max() < 6 * 0.5 / math.sqrt(rounds)


@pytest.mark.parametrize("length", [0.97, 1.0, 1.5, 1e9])
def test_shrinking_biases_by_no_more_than_documented(length: float) -> None:
    """Along a vector in reach of the bound, E[q] is between effective_clip and the bound."""
    dimension, rounds = 200, 2000
    scheme = fixed(NormClip(1.0), fraction_bits=7, rounding=Stochastic())
    direction = np.sin(np.arange(1.0, dimension + 1))
    direction /= np.linalg.norm(direction)
    rand = seeded(17)
    integers = (scheme.quantize(direction * length, 1, rand)[1:] for _ in range(rounds))
    along = sum(q @ direction for q in integers) / rounds / 128
    noise = 6 * 0.5 / 128 / math.sqrt(rounds)
    clipped = min(length, 1.0)
    assert scheme.effective_clip(dimension) < 0.97  # the effect is there to be seen
    assert clipped * scheme.effective_clip(dimension) - noise <= along <= clipped + noise


def test_the_shrunk_attempt_does_not_fail() -> None:
    """2^-40 by Hoeffding: truncation, whose integers are all smaller, never shows in 2,000."""
    scheme = fixed(NormClip(1.0), fraction_bits=7, rounding=Stochastic())
    vector, rand = np.full(500, 1.0), seeded(19)
    for _ in range(2000):
        # Every y is about 5.3, which truncation takes to 5 and rounding to 5 or 6.
        assert scheme.quantize(vector, 1, rand)[1:].max() == 6


def test_randomness_is_an_argument() -> None:
    scheme = fixed(rounding=Stochastic())
    vector = np.sin(np.arange(100.0))
    one, same, other = (scheme.encode(vector, 1, seeded(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    drawn: list[int] = []
    scheme.encode(vector, 1, lambda size: drawn.append(size) or bytes(size))  # type: ignore[func-returns-value]
    assert drawn == [32]
    fixed(rounding=HalfEven()).encode(vector, 1, forbidden)


def test_the_vector_is_not_changed() -> None:
    for clip, rounding in itertools.product((NormClip(0.5), RangeClip(0.5)), ROUNDINGS):
        vector = np.linspace(-3, 3, 1000)
        vector.flags.writeable = False
        fixed(clip, rounding=rounding).encode(vector, 1, seeded(1))


def test_strided_vectors_are_encoded_like_their_copies() -> None:
    vector = np.linspace(-3, 3, 40_000)[::-2]
    scheme = fixed(NormClip(1.0))
    copy = np.ascontiguousarray(vector)
    assert np.array_equal(scheme.encode(vector, 1, forbidden), scheme.encode(copy, 1, forbidden))


# --- sums ---------------------------------------------------------------------------------


@given(schemes(), st.data(), st.integers(0, 1 << 32))
def test_decode_equals_python_integers(scheme: FixedPoint, data: st.DataObject, seed: int) -> None:
    clients = data.draw(st.integers(1, min(scheme.cohort, 6)))
    vectors = data.draw(hnp.arrays(np.float64, (clients, 5), elements=st.floats(-1e6, 1e6)))
    weights = data.draw(
        st.lists(st.integers(0, scheme.max_weight), min_size=clients, max_size=clients)
    )
    rand = seeded(seed)
    integers = [scheme.quantize(x, w, rand) for x, w in zip(vectors, weights, strict=True)]
    encoded = [scheme.to_ring(q) for q in integers]
    assert all(int(r.max()) < 1 << scheme.width and r.dtype == scheme.dtype for r in encoded)
    total = ring_sum(encoded, scheme.width)
    expected = [sum(column) for column in zip(*(q.tolist() for q in integers), strict=True)]
    assert scheme.decode_sum(total, clients).tolist() == expected
    if expected[0] == 0:
        with pytest.raises(IntegrityError, match="the total weight is zero: nobody contributed"):
            scheme.decode(total, clients)
        return
    mean, weight = scheme.decode(total, clients)
    assert weight == expected[0]
    scale = Fraction(2) ** scheme.fraction_bits * weight
    for got, exact in zip(mean.tolist(), expected[1:], strict=True):
        assert got == pytest.approx(float(exact / scale), rel=2.0**-50)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("bits", "cohort", "weight"),
    [(0, 1, 1), (3, 1100, 1000), (16, 1024, 1), (20, 10, 110_000), (51, 4095, 1)],
)
def test_a_full_cohort_at_its_bound_does_not_wrap(
    clip: Any, sign: int, bits: int, cohort: int, weight: int
) -> None:
    """Flower is silently wrong above 1,024 clients or 1.02 million examples."""
    scale = 16.0 if bits < 16 else 1.0
    scheme = FixedPoint(
        clip=clip(scale),
        fraction_bits=bits,
        rounding=HalfEven(),
        cohort=cohort,
        max_weight=weight,
    )
    integers = scheme.quantize(np.array([sign * scale]), weight, forbidden)
    assert integers[1] == sign * scheme.bound
    residues = scheme.to_ring(integers)
    total = np.array([int(r) * cohort % (1 << scheme.width) for r in residues], scheme.dtype)
    assert scheme.decode_sum(total, cohort)[1] == sign * cohort * scheme.bound
    mean, total_weight = scheme.decode(total, cohort)
    assert total_weight == cohort * weight
    assert mean[0] == pytest.approx(sign * scale, rel=1e-15)


@given(schemes(), st.integers(1, 1 << 40))
def test_the_width_is_the_smallest_that_never_wraps(scheme: FixedPoint, cohort: int) -> None:
    fields = {name: getattr(scheme, name) for name in scheme.__dataclass_fields__}
    fields |= {"cohort": cohort, "width": 0}
    assert scheme.bound >= scheme.max_weight  # so that weights fit where coordinates do
    largest = cohort * scheme.bound
    width = largest.bit_length() + 1
    if width > 64:
        with pytest.raises(ParameterError, match=rf"\(width 64, {width} needed\) must hold"):
            FixedPoint(**fields)
        return
    assert FixedPoint(**fields).width == width
    assert largest <= (1 << (width - 1)) - 1
    assert FixedPoint(**fields | {"width": 64}).width == 64
    assert FixedPoint(**fields | {"width": width}) == FixedPoint(**fields)
    with pytest.raises(ParameterError, match=rf"\(width {width - 1}, {width} needed\) must hold"):
        FixedPoint(**fields | {"width": width - 1})


@pytest.mark.parametrize(
    ("width", "dtype"),
    [
        (15, np.uint16),
        (16, np.uint16),
        (17, np.uint32),
        (32, np.uint32),
        (33, np.uint64),
        (64, np.uint64),
    ],
)
def test_residues_have_the_smallest_dtype_and_every_width_decodes(width: int, dtype: Any) -> None:
    scheme = fixed(fraction_bits=4, cohort=3, width=width)
    assert scheme.dtype == dtype
    encoded = [scheme.encode(np.array([x, -x, 0.0]), 1, forbidden) for x in (1.0, 0.5, -0.25)]
    assert encoded[0].dtype == dtype
    assert encoded[0].tolist() == [1, 16, (1 << width) - 16, 0]
    mean, weight = scheme.decode(ring_sum(encoded, width), 3)
    assert (mean * 3).tolist() == [1.25, -1.25, 0]
    assert weight == 3


@given(schemes(), st.lists(st.floats(-1, 1), min_size=1, max_size=6), st.integers(0, 1 << 32))
def test_the_mean_is_within_the_error_budget(
    scheme: FixedPoint, values: list[float], seed: int
) -> None:
    """Clients whose updates no clip touches, all at weight 1: the worst case of the budget."""
    values = values[: scheme.cohort]
    small = np.array(values) * scheme.effective_clip(1) * 0.5
    rand = seeded(seed)
    encoded = [scheme.encode(np.array([x]), 1, rand) for x in small]
    mean, weight = scheme.decode(ring_sum(encoded, scheme.width), len(values))
    assert scheme.error(len(values), weight) <= scheme.resolution
    assert (
        abs(mean[0] - small.mean()) <= scheme.error(len(values), weight) + 1e-12 * scheme.clip.bound
    )


def test_the_weighted_mean_of_models_comes_back_as_a_model() -> None:
    models = [{"w": np.full((2, 2), x, np.float32), "n": np.array(k)} for x, k in ((1, 4), (3, 8))]
    weights = [1, 3]
    scheme = fixed(RangeClip(10.0), rounding=Stochastic(), max_weight=3)
    encoded = []
    for model, weight in zip(models, weights, strict=True):
        vector, structure = flatten(model)
        encoded.append(scheme.encode(vector, weight, seeded(weight)))
    mean, _ = scheme.decode(ring_sum(encoded, scheme.width), 2)
    restored = structure.restore(mean)
    assert restored["w"].tolist() == [[2.5, 2.5], [2.5, 2.5]]
    assert restored["n"] == 7
    assert restored["n"].shape == ()


def test_weight_zero_contributes_nothing() -> None:
    for clip, rounding in itertools.product((NormClip(1.0), RangeClip(1.0)), ROUNDINGS):
        scheme = fixed(clip, rounding=rounding)
        assert not scheme.encode(np.linspace(-9, 9, 100), 0, seeded(1)).any()


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("clip", CLIPS)
def test_no_coordinates_leave_the_weight(clip: Any, rounding: Any) -> None:
    scheme = fixed(clip(1.0), rounding=rounding)
    residues = scheme.encode(np.zeros(0), 1, seeded(1))
    assert residues.tolist() == [1]
    mean, weight = scheme.decode(residues, 1)
    assert (mean.shape, weight) == ((0,), 1)


@pytest.mark.parametrize("clip", CLIPS)
def test_to_ring_refuses_what_is_beyond_the_bound(clip: Any) -> None:
    scheme = fixed(clip(1.0))
    at = np.array([1, scheme.bound, -scheme.bound])
    assert scheme.decode_sum(scheme.to_ring(at), 1).tolist() == at.tolist()
    for beyond in ([0, 1, 0], [0, 0, -1]):
        with pytest.raises(InputRefused, match="beyond the bound"):
            scheme.to_ring(at + np.array(beyond))


# --- derived quantities -------------------------------------------------------------------


def test_derived_quantities() -> None:
    scheme = fixed(NormClip(1.5), fraction_bits=10, cohort=100, max_weight=7)
    assert scheme.bound == 1536 * 7
    assert scheme.resolution == 2.0**-10
    assert scheme.width == (100 * 1536 * 7).bit_length() + 1
    assert scheme.error(10, 40) == 0.5 * 2.0**-10 * 10 / 40
    assert fixed(NormClip(0.3)).bound == math.floor(Fraction(0.3) * 2**16)
    assert fixed(RangeClip(0.3)).bound == math.ceil(Fraction(0.3) * 2**16)
    assert fixed(fraction_bits=-3, clip=RangeClip(80.0)).bound == 10
    assert fixed(fraction_bits=-3, clip=RangeClip(80.0)).resolution == 8


def test_schemes_are_frozen_public_values() -> None:
    assert fixed() == fixed()
    assert hash(fixed()) == hash(fixed())
    assert fixed() != fixed(cohort=11)
    assert len({NormClip(1.0), RangeClip(1.0)}) == 2
    assert NormClip(1) == NormClip(1.0)
    assert "NormClip(bound=1.0)" in repr(fixed(NormClip(1)))
    with pytest.raises(AttributeError):
        fixed().cohort = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        FixedPoint(NormClip(1.0), 16, HalfEven(), 10)  # type: ignore[call-arg]


# --- refusals, each with its twin ---------------------------------------------------------


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    "bound", [0.0, -1.0, math.nan, math.inf, -math.inf, True, "1", None, 10**400, np.float32(1)]
)
def test_clip_bounds_are_positive_and_finite(clip: Any, bound: Any) -> None:
    assert clip(5e-324).bound == 5e-324
    assert clip(np.float64(2.0)).bound == 2.0
    with pytest.raises(ParameterError, match="0 < clip bound < inf"):
        clip(bound)


BAD_FIELDS = [
    ({"fraction_bits": 16.0}, "-128 <= fraction_bits <= 128"),
    ({"fraction_bits": True}, "-128 <= fraction_bits <= 128"),
    ({"fraction_bits": 129}, "-128 <= fraction_bits <= 128"),
    ({"cohort": 0}, "1 <= cohort"),
    ({"cohort": True}, "1 <= cohort"),
    ({"cohort": 2.0}, "1 <= cohort"),
    ({"max_weight": 0}, "1 <= max_weight"),
    ({"max_weight": 1.5}, "1 <= max_weight"),
    ({"max_weight": (1 << 52) + 1}, "1 <= max_weight"),
    ({"width": -1}, "0 <= width <= 64"),
    ({"width": 65}, "0 <= width <= 64"),
    ({"width": True}, "0 <= width <= 64"),
    ({"rounding": Stochastic}, "rounding: Stochastic | HalfEven"),
    ({"rounding": "stochastic"}, "rounding: Stochastic | HalfEven"),
    ({"clip": 1.0}, "clip: NormClip | RangeClip"),
    ({"fraction_bits": -1}, r"2\*\*fraction_bits \* clip = 2\*\*-1 \* 1.0 >= 1 must hold"),
    ({"fraction_bits": 53}, r"= 2\*\*53 \* 1.0 \* 1 <= 2\*\*52 must hold"),
    ({"fraction_bits": 50, "max_weight": 5}, r"= 2\*\*50 \* 1.0 \* 5 <= 2\*\*52 must hold"),
    (
        {"cohort": 1 << 20, "fraction_bits": 43},
        r"= 1048576 \* 8796093022208 <= 2\*\*\(width-1\) - 1 = 9223372036854775807"
        r" \(width 64, 65 needed\) must hold",
    ),
    (
        {"width": 16, "fraction_bits": 12, "cohort": 8},
        r"= 8 \* 4096 <= 2\*\*\(width-1\) - 1 = 32767 \(width 16, 17 needed\)",
    ),
]


@pytest.mark.parametrize(("fields", "reason"), BAD_FIELDS, ids=str)
def test_bad_parameters_are_refused_with_their_inequality(fields: Any, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        fixed(**fields)


GOOD_FIELDS: list[dict[str, Any]] = [
    {"fraction_bits": 0},
    {"fraction_bits": 52, "cohort": 1},
    {"fraction_bits": 50, "max_weight": 4},
    {"cohort": (1 << 20) - 1, "fraction_bits": 43},
    {"width": 16, "fraction_bits": 12, "cohort": 7},
    {"width": 64},
    {"clip": RangeClip(1e-38), "fraction_bits": 128},
    {"clip": NormClip(1e38), "fraction_bits": -100},
]


@pytest.mark.parametrize("fields", GOOD_FIELDS, ids=str)
def test_good_parameters_round_trip_their_bound(fields: Any) -> None:
    scheme = fixed(**fields)
    residues = scheme.encode(np.array([scheme.clip.bound]), 1, forbidden)
    mean, _ = scheme.decode(residues, 1)
    assert mean[0] <= scheme.clip.bound + scheme.resolution
    assert mean[0] >= scheme.effective_clip(1) - scheme.resolution


def test_a_norm_that_rounding_would_eat_is_refused() -> None:
    scheme = fixed(NormClip(1.0), fraction_bits=10)
    assert scheme.effective_clip(10_000) > 0.9
    with pytest.raises(ParameterError, match=r"2\*\*fraction_bits \* clip = 1024 > ~sqrt\(d\)"):
        scheme.quantize(np.zeros(10_000_000), 0, forbidden)
    assert fixed(NormClip(1.0), fraction_bits=14).effective_clip(10_000_000) > 0.9
    assert fixed(RangeClip(1.0), fraction_bits=0).effective_clip(10_000_000) == 1.0


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_by_position(clip: Any, value: float) -> None:
    vector = np.linspace(-1, 1, 20_000)
    fixed(clip(1.0)).encode(vector, 1, forbidden)
    vector[[12_345, 15_000]] = value
    with pytest.raises(InputRefused, match=r"^not finite at position 12345$"):
        fixed(clip(1.0)).encode(vector, 1, forbidden)


@pytest.mark.parametrize(
    "vector",
    [
        [0.0],
        0.0,
        None,
        np.float64(0),
        np.zeros(()),
        np.zeros((3, 1)),
        np.zeros(3, np.float32),
        np.zeros(3, ">f8"),
        np.zeros(3, np.int64),
        np.zeros(3, object),
        np.ma.masked_array(np.zeros(3), [True, False, False]),
    ],
    ids=repr,
)
def test_vectors_are_float64_and_flat(vector: Any) -> None:
    assert fixed().encode(np.zeros(3), 1, forbidden).tolist() == [1, 0, 0, 0]
    with pytest.raises(InputRefused, match=r"not a float64 array of shape \(d,\)"):
        fixed().encode(vector, 1, forbidden)


@pytest.mark.parametrize("weight", [-1, 78, True, False, 1.0, np.float64(1), None, "1"])
def test_weights_are_ints_in_range_and_stay_secret(weight: Any) -> None:
    scheme = fixed(max_weight=9)
    assert scheme.encode(np.zeros(1), 9, forbidden)[0] == 9
    with pytest.raises(InputRefused, match=r"^the weight is not an int in \[0, 9\]$") as caught:
        scheme.encode(np.zeros(1), weight, forbidden)
    assert "78" not in str(caught.value)


@pytest.mark.parametrize(
    "integers",
    [np.zeros(2, np.int32), np.zeros(2), np.zeros((1, 2), np.int64), np.zeros(0, np.int64), [1, 2]],
    ids=repr,
)
def test_to_ring_takes_int64(integers: Any) -> None:
    assert fixed().to_ring(np.zeros(2, np.int64)).tolist() == [0, 0]
    with pytest.raises(InputRefused, match="not an int64 array"):
        fixed().to_ring(integers)


def test_to_ring_refuses_weights_out_of_range() -> None:
    for weight in (-1, 2):
        with pytest.raises(InputRefused, match="the weight is not an int"):
            fixed().to_ring(np.array([weight, 0]))


def test_totals_that_honest_clients_cannot_reach_are_withheld() -> None:
    scheme = fixed(RangeClip(1.0), fraction_bits=4, cohort=5, max_weight=3)  # bound 48, width 9
    assert (scheme.bound, scheme.width) == (48, 9)

    def total(*values: int) -> Any:
        return np.array([value % (1 << scheme.width) for value in values], scheme.dtype)

    assert scheme.decode_sum(total(6, 96, -96), 2).tolist() == [6, 96, -96]
    assert scheme.decode_sum(total(0, 96, -96), 2).tolist() == [0, 96, -96]
    for values in ((6, 97, 0), (6, 0, -97), (6, -256, 0)):
        with pytest.raises(IntegrityError, match="a coordinate is beyond what 2 clients"):
            scheme.decode(total(*values), 2)
    for weight in (7, -1, 255):
        with pytest.raises(IntegrityError, match=r"total weight is not in \[0, 2 \* 3\]"):
            scheme.decode(total(weight, 0), 2)
    with pytest.raises(IntegrityError, match="the total weight is zero: nobody contributed"):
        scheme.decode(total(0, 5), 2)
    with pytest.raises(IntegrityError, match=r"not below 2\*\*9"):
        scheme.decode(np.array([1, 512], scheme.dtype), 2)
    assert scheme.decode(total(1, 5), 2) == (np.array([5 / 16]), 1)


@pytest.mark.parametrize("clients", [0, -1, 11, True, 1.0, np.int64(3)])
def test_clients_are_an_int_within_the_cohort(clients: Any) -> None:
    residues = fixed().encode(np.zeros(1), 1, forbidden)
    assert fixed().decode(residues, 10)[1] == 1
    with pytest.raises(ParameterError, match="1 <= clients <= 10"):
        fixed().decode(residues, clients)


@pytest.mark.parametrize(
    "total",
    [
        np.ones(2, np.uint64),
        np.ones(2, np.int32),
        np.ones((2, 1), np.uint32),
        np.ones(0, "u4"),
        [1],
    ],
    ids=repr,
)
def test_totals_have_the_schemes_dtype(total: Any) -> None:
    assert fixed().dtype == np.uint32
    assert fixed().decode(np.ones(2, np.uint32), 1)[1] == 1
    with pytest.raises(ParameterError, match="the total is not an array of dtype uint32"):
        fixed().decode(total, 1)


def test_nothing_warns_even_under_strict_numpy_errors() -> None:
    vectors = np.array([[1e300, -5e-324, 0.0, 1.0, -1e-300], [1.0, 5e-324, 0.0, 1e-300, -0.0]])
    with np.errstate(all="raise"):
        for clip, rounding, vector in itertools.product(CLIPS, ROUNDINGS, vectors):
            scheme = fixed(clip(1.0), rounding=rounding)
            scheme.decode(scheme.encode(vector, 1, seeded(1)), 1)
