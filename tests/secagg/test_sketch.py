"""The sketch map: exact in every ring, unbiased, and sound where sign-only sketches are not.

Every statistical test has fixed seeds: it passes always or never. The probability quoted is that
of a false alarm had the seeds been drawn afresh.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from secagg.errors import ParameterError
from secagg.primitives import prg
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, centered, reduce, word
from secagg.sketch import Folding, SketchMap, check_shape, most_norm, slack, spike_bound

WIDTHS = (2, 8, 16, 17, 31, 32, 33, 48, 63, 64)


def seed_of(number: int) -> bytes:
    return number.to_bytes(32, "little")


def drawn(
    number: int = 0,
    *,
    length: int = 40,
    width: int = 32,
    rows: int = 6,
    tables: int = 3,
    buckets: int = 8,
) -> SketchMap:
    return SketchMap(
        seed_of(number), length=length, width=width, rows=rows, tables=tables, buckets=buckets
    )


def uniform(rng: np.random.Generator, count: int, length: int, width: int) -> Words:
    raw = np.frombuffer(rng.bytes(8 * count * length), "<u8").reshape(count, length)
    return reduce(raw.astype(word(width)), width)


# -- an evaluation from the specification, in Python's integers -----------------------------------


def stream(seed: bytes, purpose: bytes, number: int, size: int) -> bytes:
    return prg.stream(digest(Label.SKETCH_MAP, seed, purpose, bytes([number])), size)


def naive(sketch: SketchMap, seed: bytes, buckets: int, vector: list[int]) -> list[int]:
    """D·C·vector: 16 bits a coordinate and table, two bits an entry of D."""
    modulus = 1 << sketch.width
    flat = [0] * (sketch.tables * buckets)
    for table in range(sketch.tables):
        numbers = stream(seed, b"table", table, 2 * len(vector))
        for at, value in enumerate(vector):
            place = int.from_bytes(numbers[2 * at : 2 * at + 2], "little") % (2 * buckets)
            sign = 1 if place < buckets else -1
            flat[table * buckets + place % buckets] += sign * value
    count = sketch.rows * len(flat)
    bits = int.from_bytes(stream(seed, b"rows", 0, -(-2 * count // 8)), "little")
    entries = [(bits >> 2 * at & 1) - (bits >> (2 * at + 1) & 1) for at in range(count)]
    return [
        sum(entries[row * len(flat) + at] * value for at, value in enumerate(flat)) % modulus
        for row in range(sketch.rows)
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("tables", "buckets"), [(1, 1), (3, 8), (16, 2), (2, 1 << 6)])
def test_it_is_what_the_specification_says(width: int, tables: int, buckets: int) -> None:
    rng = np.random.default_rng(width)
    for number, length in enumerate((1, 2, 40)):
        sketch = drawn(number, length=length, width=width, tables=tables, buckets=buckets)
        vectors = uniform(rng, 3, length, width)
        vectors[0] = (1 << width) - 1
        found = sketch.of_words(vectors)
        assert found.dtype == word(width)
        due = [naive(sketch, seed_of(number), buckets, row) for row in vectors.tolist()]
        assert found.tolist() == due


def test_it_is_what_the_specification_says_beyond_one_chunk() -> None:
    """Bucket numbers are drawn in chunks of 2**14 coordinates, of one stream for each table."""
    length = (1 << 14) + 3
    sketch = drawn(5, length=length, width=33, rows=3, buckets=16)
    vector = uniform(np.random.default_rng(0), 1, length, 33)
    assert [start for start, _ in sketch.places()] == [0, 1 << 14]
    assert sketch.of_words(vector).tolist() == [naive(sketch, seed_of(5), 16, vector[0].tolist())]


@settings(deadline=None)
@given(st.sampled_from(WIDTHS), st.integers(0, 1 << 32), st.integers(0, (1 << 64) - 1))
def test_it_is_linear(width: int, seed: int, factor: int) -> None:
    """L(a x + y) = a L(x) + L(y), modulo 2**width, for any residues."""
    rng = np.random.default_rng(seed)
    sketch = drawn(seed, length=23, width=width, tables=2)
    one, other = uniform(rng, 2, 23, width)
    scale = one.dtype.type(factor & ((1 << 8 * one.itemsize) - 1))
    mixed = reduce(one * scale + other, width)
    rows = sketch.of_words(np.stack([mixed, one, other]))
    assert rows[0].tolist() == reduce(rows[1] * scale + rows[2], width).tolist()


def test_vectors_are_sketched_alike_in_any_company() -> None:
    """Batches of 64, none, and vectors that arrive in parts."""
    sketch = drawn(length=40, width=20)
    vectors = uniform(np.random.default_rng(1), 130, 40, 20)
    together = sketch.of_words(vectors)
    assert sketch.of_words(vectors[:0]).shape == (0, 6)
    for at in (0, 63, 64, 129):
        assert sketch.of_words(vectors[at : at + 1]).tolist() == [together[at].tolist()]
    folding = Folding(sketch, 1)
    ((_, places),) = sketch.places()
    for part in (slice(0, 7), slice(7, 40)):
        folding.add(0, vectors[0, part], places[:, part])
    assert folding.rows().tolist() == [together[0].tolist()]


def test_real_vectors_are_sketched_by_the_same_map() -> None:
    sketch = drawn(length=40, width=32, rows=70, buckets=32)
    rng = np.random.default_rng(2)
    values = rng.integers(-1000, 1000, (5, 40))
    exact = centered(sketch.of_words(values.astype(np.uint32)).reshape(-1), 32).reshape(5, 70)
    np.testing.assert_allclose(
        sketch.of_reals(values.astype(np.float64)) * sketch.scale, exact, rtol=0, atol=1e-6
    )


def test_the_transpose_is_that_of_the_map_and_estimates_what_was_sketched() -> None:
    sketch = drawn(length=40_000, rows=70, buckets=1024)  # more than one chunk
    rng = np.random.default_rng(5)
    vectors, rows = rng.normal(size=(3, 40_000)), rng.normal(size=(4, 70))
    back = sketch.transposed(rows)
    assert back.shape == (4, 40_000)
    np.testing.assert_allclose(sketch.of_reals(vectors) @ rows.T, vectors @ back.T, rtol=1e-9)
    assert sketch.transposed(rows[:0]).shape == (0, 40_000)
    spike = np.zeros((1, 40_000))
    spike[0, 17] = 1.0
    found = [
        drawn(number, length=40_000, rows=70, buckets=1024).transposed(one)[0, 17]
        for number in range(40)
        for one in [drawn(number, length=40_000, rows=70, buckets=1024).of_reals(spike)]
    ]
    assert abs(np.mean(found) - 1) < 6 * np.std(found) / math.sqrt(40)


def test_who_shares_a_direction_shares_the_noise_of_its_transpose() -> None:
    """The map is the same for all, so what it adds is as alike as the vectors are."""
    rng = np.random.default_rng(6)
    common, own = rng.normal(size=2000), rng.normal(size=(2, 2000))
    pair = np.stack([common + 0.5 * own[0], common + 0.5 * own[1]])
    for vectors, alike in ((pair, 0.8), (own, 0.0)):
        noise = []
        for number in range(6):
            sketch = drawn(number, length=2000, rows=70, buckets=1024)
            noise.append(sketch.transposed(sketch.of_reals(vectors)) - vectors)
        found = np.corrcoef(np.concatenate(noise, axis=1))[0, 1]
        assert found == pytest.approx(alike, abs=0.1)


def test_one_seed_draws_one_map_and_another_seed_another() -> None:
    vector = uniform(np.random.default_rng(3), 1, 40, 32)
    assert drawn(1).of_words(vector).tolist() == drawn(1).of_words(vector).tolist()
    seen = {drawn(number).of_words(vector).tobytes() for number in range(200)}
    assert len(seen) == 200


def test_entries_have_the_frequencies_that_the_lemmas_count_on() -> None:
    """Signs of C are fair, entries of D are 0 half of the time; false alarm below 2**-30."""
    sketch = drawn(rows=64, buckets=256, length=20_000)
    ternary = sketch._ternary
    for value, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
        error = abs(np.mean(ternary == value) - share)
        assert error < 6.3 * math.sqrt(share * (1 - share) / ternary.size)
    for _, places in sketch.places():
        for table in places:
            assert abs(np.mean(table >= 256) - 0.5) < 6.3 * 0.5 / math.sqrt(table.size)
            counts = np.bincount(table, minlength=512)
            assert (
                chi2.logsf(((counts - table.size / 512) ** 2).sum() / (table.size / 512), 511) > -21
            )


# -- estimates ------------------------------------------------------------------------------------


def estimates(trials: int, rows: int, buckets: int) -> tuple[NDArray[np.float64], float, float]:
    """Estimates of (|x|**2, <x, y>) by so many maps; and the true values."""
    rng = np.random.default_rng(4)
    pair = rng.normal(size=(2, 60))
    pair[1] += pair[0]
    found = []
    for number in range(trials):
        one, other = drawn(number, length=60, rows=rows, buckets=buckets).of_reals(pair)
        found.append((one @ one, one @ other))
    return np.array(found), float(pair[0] @ pair[0]), float(pair[0] @ pair[1])


def test_norms_and_inner_products_are_unbiased() -> None:
    """Within six standard errors of the mean: false alarm below 2**-27."""
    found, norm, product = estimates(800, rows=16, buckets=64)
    for column, true in zip(found.T, (norm, product), strict=True):
        assert abs(column.mean() - true) < 6 * column.std() / math.sqrt(column.size)


@pytest.mark.parametrize(("rows", "buckets"), [(16, 64), (64, 16)])
def test_norms_vary_as_much_as_is_documented(rows: int, buckets: int) -> None:
    """Var(|Sx|**2) = (2 / k + 2 / (R m)) |x|**4, at most; within five of its standard errors."""
    found, norm, _ = estimates(800, rows, buckets)
    relative = found[:, 0].var() / norm**2
    due = 2 / rows + 2 / (3 * buckets)
    assert 0.7 * due < relative < 1.3 * due


# -- bounds ---------------------------------------------------------------------------------------

ROWS = (1, 2, 16, 64, 128, 256, 1024, 1 << 14)


def exponent(rows: int, ratio: float) -> float:
    """Of 2 in Chernoff's bound for chi-square: P(mean of squares beyond `ratio`) <= 2**-this."""
    return rows / 2 * (ratio - 1 - math.log(ratio)) / math.log(2)


@pytest.mark.parametrize("rows", ROWS)
def test_honest_clients_are_refused_with_probability_2_to_the_minus_32(rows: int) -> None:
    ratio = (1 + slack(rows)) ** 2
    assert exponent(rows, ratio) == pytest.approx(32, abs=1e-6)
    assert chi2.logsf(rows * ratio, rows) / math.log(2) <= -32


@pytest.mark.parametrize("rows", ROWS)
def test_larger_norms_pass_with_probability_2_to_the_minus_40(rows: int) -> None:
    ratio = ((1 + slack(rows)) / most_norm(rows)) ** 2
    assert ratio < 1
    assert exponent(rows, ratio) == pytest.approx(40, abs=1e-5)
    assert chi2.logcdf(rows * ratio, rows) / math.log(2) <= -40


def test_more_rows_are_stricter() -> None:
    for bound in (slack, most_norm, lambda rows: spike_bound(1000, rows, 3)):
        found = [bound(rows) for rows in ROWS]
        assert found == sorted(found, reverse=True)
        assert len(set(found)) == len(ROWS)
    assert spike_bound(2000, 64, 3) == pytest.approx(2 * spike_bound(1000, 64, 3), rel=1e-3)


# -- vectors that are made to pass ----------------------------------------------------------------

Sketch = Callable[[int, Words], Words]
BOUND, WIDTH, LENGTH = 1 << 16, 32, 2048
HALF = 1 << (WIDTH - 1)


def passes(rows: Words, limit: int) -> bool:
    return bool(np.abs(centered(rows.reshape(-1), WIDTH)).max() <= limit)


def ours(number: int, vector: Words) -> Words:
    return drawn(number, length=LENGTH, rows=64, buckets=512).of_words(vector[None])


def of_signs(number: int, vector: Words) -> Words:
    """64 rows of signs."""
    signs = np.random.default_rng(number).integers(0, 2, (64, LENGTH)) * 2 - 1
    return (signs.astype(np.uint32) * vector).sum(axis=1, dtype=np.uint32)


def of_rotated_blocks(number: int, vector: Words) -> Words:
    """Blocks are rotated, given a sign, and added; then ternary rows as in ours."""
    rng = np.random.default_rng(number)
    bucket = np.zeros(512, np.uint32)
    for block in vector.reshape(-1, 512):
        sign = np.uint32(int(rng.integers(0, 2)) * 2 - 1 & 0xFFFFFFFF)
        bucket += sign * np.roll(block, int(rng.integers(512)))
    ternary = rng.integers(0, 2, (64, 512)) - rng.integers(0, 2, (64, 512))
    return (ternary.astype(np.uint32) * bucket).sum(axis=1, dtype=np.uint32)


def spikes(count: int) -> Words:
    vector = np.zeros(LENGTH, np.uint32)
    vector[:count] = HALF
    return vector


def two_blocks() -> Words:
    vector = np.zeros(LENGTH, np.uint32)
    vector[: 2 * 512] = HALF
    return vector


@pytest.mark.parametrize("count", [2, 64, LENGTH])
def test_torsion_passes_rows_of_signs_and_not_ours(count: int) -> None:
    """Coordinates of 2**(w-1): their sum and their difference are zero."""
    assert all(passes(of_signs(number, spikes(count)), 0) for number in range(200))
    assert not any(passes(ours(number, spikes(count)), 4 * BOUND) for number in range(200))


def test_two_constant_blocks_pass_rotated_blocks_and_not_ours() -> None:
    assert all(passes(of_rotated_blocks(number, two_blocks()), 0) for number in range(200))
    assert not any(passes(ours(number, two_blocks()), 4 * BOUND) for number in range(200))


def test_the_broken_sketches_are_sketches() -> None:
    """The positive twin: they do refuse one spike, as ours does."""
    for sketch in (ours, of_signs, of_rotated_blocks):
        assert not any(passes(sketch(number, spikes(1)), BOUND) for number in range(50))


@pytest.mark.parametrize(
    ("count", "rows", "tables", "buckets"),
    [(1, 4, 1, 64), (2, 4, 1, 64), (2, 24, 1, 4), (2, 24, 2, 4), (3, 5, 2, 8), (64, 4, 1, 4)],
)
def test_spikes_pass_as_seldom_as_the_lemmas_say(
    count: int, rows: int, tables: int, buckets: int
) -> None:
    """2**-k + m**-R at most. False alarm below 2**-20."""
    trials, chance = 2000, 2.0**-rows + float(buckets) ** -tables
    passed = 0
    for number in range(trials):
        sketch = drawn(number, length=LENGTH, rows=rows, tables=tables, buckets=buckets)
        passed += passes(sketch.of_words(spikes(count)[None]), BOUND)
    assert passed <= trials * chance + 5 * math.sqrt(trials * chance)


@pytest.mark.parametrize(("count", "rows", "buckets"), [(1, 4, 64), (2, 24, 4)])
def test_the_lemmas_cannot_be_improved_much(count: int, rows: int, buckets: int) -> None:
    """One spike is passed over by 4 rows; two are, where they share the one bucket. False alarm
    below 2**-20.
    """
    trials, chance = 2000, max(2.0**-rows, 1 / buckets if count == 2 else 0)
    passed = sum(
        passes(
            drawn(n, length=LENGTH, rows=rows, tables=1, buckets=buckets).of_words(
                spikes(count)[None]
            ),
            BOUND,
        )
        for n in range(trials)
    )
    assert passed >= trials * chance - 5 * math.sqrt(trials * chance)


# -- parameters -----------------------------------------------------------------------------------

GOOD = {"rows": 64, "tables": 3, "buckets": 1 << 13}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 0}, "rows"),
        ({"rows": (1 << 14) + 1}, "rows"),
        ({"rows": 64.0}, "rows"),
        ({"rows": True}, "rows"),
        ({"tables": 0}, "tables"),
        ({"tables": 17}, "tables"),
        ({"tables": None}, "tables"),
        ({"buckets": 0}, "buckets"),
        ({"buckets": 3}, "buckets"),
        ({"buckets": 1 << 16}, "buckets"),
        ({"buckets": "8"}, "buckets"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        check_shape(**{**GOOD, **change})  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=says):
        SketchMap(bytes(32), length=3, width=32, **{**GOOD, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [{"rows": 1}, {"rows": 1 << 14}, {"tables": 16}, {"buckets": 1}, {"buckets": 1 << 15}]
)
def test_shapes_that_just_fit_are_taken(change: dict[str, int]) -> None:
    check_shape(**{**GOOD, **change})


@pytest.mark.parametrize("width", [1, 65, 32.0])
def test_rings_that_do_not_exist_are_refused(width: int) -> None:
    with pytest.raises(ParameterError, match="width"):
        SketchMap(bytes(32), length=3, width=width, rows=4)
