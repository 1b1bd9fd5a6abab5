"""The map of a screened round: exact modulo primes, the same for residues and reals, and sound."""

from __future__ import annotations

from itertools import product as pairs
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import ParameterError
from secagg.primitives.ring import reduce
from secagg.schemes.ckks.layout import Layout, layout
from secagg.schemes.ckks.ring import MOST_BITS
from secagg.schemes.ckks.screened import SlotMap, SlotScreen
from secagg.schemes.ckks.screened.modular import product, shifted
from secagg.testing.rand import SeededRand

PRIMES = ((1 << 59) + 21, (1 << 60) - 93, 97)  # any modulus below 2^60 will do
WIDTH = 32


def screened(length: int, rows: int = 64, bound: int = 1 << 20) -> tuple[SlotScreen, Layout]:
    screen = SlotScreen(bound=bound, rows=rows)
    return screen, layout(20, length, WIDTH, screen.plain_bits)


def seen(slot_map: SlotMap, shape: Layout, slots: np.ndarray) -> np.ndarray:
    """What is opened of plaintexts, as signed integers without what stands for zero."""
    plain = np.uint64(shape.ring.plain)
    found = slot_map.opened(slot_map.combined(slots, plain))
    return np.where(found > plain // np.uint64(2), found - plain, found).view(np.int64)


def centered_slots(shape: Layout, vector: np.ndarray) -> np.ndarray:
    """Slots of integers, without the offset that clients add."""
    step, plain = shape.room - shape.zeros, shape.ring.plain
    blocks = np.zeros((shape.blocks, shape.room), np.int64)
    padded = np.zeros(shape.blocks * step, np.int64)
    padded[: vector.size] = vector
    blocks[:, :step] = padded.reshape(-1, step)
    return np.mod(blocks, plain).astype(np.uint64)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 200), st.integers(1, 5), st.sampled_from(PRIMES), st.integers(0, 99))
def test_products_are_exact(inner: int, width: int, prime: int, seed: int) -> None:
    rand = SeededRand(repr((inner, width, prime, seed)))
    signs = np.frombuffer(rand(3 * inner), np.uint8).astype(np.int8) % 3 - 1
    signs = signs.reshape(3, inner).astype(np.int8)
    values = np.frombuffer(rand(8 * inner * width), "<u8").reshape(inner, width) % prime
    values[0] = prime - 1
    found = product(signs, values, np.uint64(prime))
    for row, column in pairs(range(3), range(width)):
        due = sum(int(s) * int(v) for s, v in zip(signs[row], values[:, column], strict=True))
        assert int(found[row, column]) == due % prime


def test_each_column_has_its_own_modulus() -> None:
    primes = np.array(PRIMES, np.uint64)
    values = np.tile(primes - np.uint64(1), (7, 1))
    found = product(np.ones((1, 7), np.int8), values, primes)
    assert found[0].tolist() == [prime - 7 for prime in PRIMES[:2]] + [97 - 7]


@given(st.integers(0, 30), st.lists(st.integers(0, 2**60), min_size=3, max_size=3))
def test_powers_of_two_times_residues_are_exact(bits: int, numbers: list[int]) -> None:
    values = [number % prime for number, prime in zip(numbers, PRIMES, strict=True)]
    found = shifted(np.array(values, np.uint64), bits, np.array(PRIMES, np.uint64))
    due = [(value << bits) % prime for value, prime in zip(values, PRIMES, strict=True)]
    assert found.tolist() == due


@pytest.mark.parametrize("length", [100, 9000])
def test_residues_and_reals_are_sketched_alike(length: int) -> None:
    screen, shape = screened(length, rows=128)
    slot_map = SlotMap(screen, bytes(32), shape)
    rng = np.random.default_rng(0)
    vector = rng.integers(-(1 << 19), 1 << 19, length)
    vector[0] = 1  # the weight
    found = seen(slot_map, shape, centered_slots(shape, vector))
    assert found[0] == 1
    rows = found[1:] - slot_map.first()
    reals = slot_map.of_reals(vector[None, 1:].astype(np.float64))[0]
    assert np.allclose(rows / slot_map.scale, reals, rtol=1e-12)


def test_the_offset_of_clients_is_what_the_authority_takes_off() -> None:
    """A vector of zeros in a client's own encoding leaves the sums of coefficients."""
    screen, shape = screened(9000)
    slot_map = SlotMap(screen, bytes(32), shape)
    slots = shape.slots(shape.padded_vector(reduce(np.zeros(9000, np.uint32), WIDTH)))
    combined = slot_map.combined(slots, np.uint64(shape.ring.plain))
    due = [int(total) * (1 << WIDTH - 1) % shape.ring.plain for total in slot_map.totals]
    assert [set(row) for row in combined.tolist()] == [{each} for each in due]


@pytest.mark.parametrize("length", [2000, 20_000])
def test_norms_and_inner_products_are_estimated(length: int) -> None:
    screen, shape = screened(length, rows=256)
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, length - 1))
    other = 0.6 * one + 0.8 * other
    squares, products = [], []
    for at in range(30):
        sketches = SlotMap(screen, bytes([at]) * 32, shape).of_reals(np.stack([one, other]))
        squares.append(sketches[0] @ sketches[0])
        products.append(sketches[0] @ sketches[1])
    for found, due in ((squares, one @ one), (products, one @ other)):
        assert abs(np.mean(found) / due - 1) < 0.1
        assert np.std(found) / due < 0.25


def test_two_coordinates_of_half_a_unit_are_seen() -> None:
    """(t + 1) / 2 is half modulo t: two of them sum, with signs alone, to 0 or 1 or -1."""
    screen, shape = screened(20_000)
    half, step = (shape.ring.plain + 1) // 2, shape.room - shape.zeros
    for places in ((0, step), (7, 8), (5, 3 * step + 9)):
        slots = np.zeros((shape.blocks, shape.room), np.uint64)
        for place in places:
            slots[place // step, place % step] = half
        missed = 0
        for at in range(6):
            slot_map = SlotMap(screen, bytes([at]) * 32, shape)
            rows = seen(slot_map, shape, slots)[None, 1:]
            missed += bool(screen.within(np.ones(1, np.int64), rows, slot_map.scale)[0])
        assert missed == 0


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (8.0, False)])
@pytest.mark.parametrize("shape_of", ["spread", "spike", "slot", "block", "rank one"])
def test_norms_within_the_bound_pass_and_large_ones_do_not(
    shape_of: str, factor: float, passes: bool
) -> None:
    screen, shape = screened(40_000)
    step = shape.room - shape.zeros
    vector = np.zeros(40_000)
    if shape_of == "spread":
        vector[:] = np.random.default_rng(2).normal(size=vector.size)
    elif shape_of == "spike":
        vector[4321] = 1
    elif shape_of == "slot":
        vector[17::step] = 1
    elif shape_of == "block":
        vector[:step] = np.random.default_rng(3).normal(size=step)
    else:
        vector[:] = 1
    vector[0] = 0
    vector *= factor * screen.bound / np.linalg.norm(vector)
    vector[0] = 1
    verdicts = []
    for at in range(4):
        slot_map = SlotMap(screen, bytes([at, 1]) * 16, shape)
        found = seen(slot_map, shape, centered_slots(shape, vector.astype(np.int64)))
        rows = found[None, 1:] - slot_map.first()
        verdicts.append(bool(screen.within(found[:1], rows, slot_map.scale)[0]))
    assert verdicts == [passes] * 4


@pytest.mark.parametrize(("weight", "passes"), [(1, True), (9, True), (0, False), (10, False)])
def test_weights_are_checked_exactly(weight: int, passes: bool) -> None:
    screen = SlotScreen(bound=100, max_weight=9)
    rows = np.zeros((1, 64), np.int64)
    assert screen.within(np.array([weight]), rows, 4.0).tolist() == [passes]


def test_a_smaller_weight_has_a_smaller_share_of_the_bound() -> None:
    screen = SlotScreen(bound=100, max_weight=10)
    rows = np.full((2, 64), 20, np.int64)
    assert screen.within(np.array([10, 1]), rows, 4.0).tolist() == [True, False]


@pytest.mark.parametrize("rows", [64, 256])
@pytest.mark.parametrize("clients", [3, 20, 1000])
def test_layouts_hold_the_combinations_of_all_blocks(rows: int, clients: int) -> None:
    screen = SlotScreen(bound=1 << 18, rows=rows)
    for length in (5, 10**6):
        shape = layout(clients, length, WIDTH, screen.plain_bits)
        keys = shape.ring.keys
        assert shape.lanes == shape.limbs == 1
        assert shape.ring.plain >= max(clients << WIDTH, 8 * screen.row_bound)
        assert 4 * clients <= 1 << shape.spare_bits < 8 * clients
        most = (shape.blocks + 1) * keys.noise << shape.spare_bits
        assert 4 * shape.ring.plain * most <= keys.modulus
        assert sum(prime.bit_length() for prime in keys.primes) <= MOST_BITS[keys.degree]


def test_what_no_slot_holds_is_refused() -> None:
    assert layout(20, 9, 40, 50).ring.plain >> 50
    with pytest.raises(ParameterError, match="<= 59, and so many bits for combinations"):
        layout(20, 9, 40, 60)
    with pytest.raises(ParameterError, match="<= 59, and so many bits for combinations"):
        layout(20, 9, 56, 50)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bound": 0}, "1 <= bound"),
        ({"bound": 1.0}, "1 <= bound"),
        ({"rows": 65}, "rows % 64 == 0"),
        ({"rows": 0}, "1 <= rows"),
        ({"rows": True}, "1 <= rows"),
        ({"max_weight": 0}, "1 <= max_weight"),
    ],
    ids=repr,
)
def test_screens_state_their_inequality(changes: dict[str, Any], says: str) -> None:
    fields: dict[str, Any] = {"bound": 100, "rows": 128, "max_weight": 3}
    assert SlotScreen(**fields).opened == 129
    with pytest.raises(ParameterError, match=says):
        SlotScreen(**{**fields, **changes})


@pytest.mark.parametrize(
    ("length", "width", "says"),
    [(512, 32, "8 \\* rows <= d"), (600, 20, "clients \\* 5 \\* bound")],
)
def test_vectors_that_do_not_fit_a_screen_are_refused(length: int, width: int, says: str) -> None:
    screen = SlotScreen(bound=1 << 16)
    screen.check(20, 600, 32)
    with pytest.raises(ParameterError, match=says):
        screen.check(20, length, width)
