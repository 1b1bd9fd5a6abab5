"""What a verified round opens: the map, its bounds, and the plans that cannot work.

Seeds are fixed: a statistical test passes always or never.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secagg.errors import ParameterError
from secagg.primitives import prg
from secagg.primitives.ring import reduce, word
from secagg.schemes.secagg_plus.verified import OpenedMap, Reference, Screen, SecAggPlusVerified
from secagg.sketch import slack
from secagg.testing.secagg_plus.toy import ToyScreen

LENGTH = 100


def seed_of(number: int) -> bytes:
    return number.to_bytes(32, "little")


def reference(size: int) -> Reference:
    return Reference(np.random.default_rng(size).integers(-1, 2, size))


# -- the map --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [16, 17, 32, 33, 64])
@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("count", [0, 1])
def test_streams_and_vectors_are_opened_alike(
    width: int, head: int, noise: float, count: int
) -> None:
    """What a client says of a key is what the server finds in the mask that the key makes."""
    size = LENGTH - head - (5 if noise else 0)
    known = reference(size) if count else None
    screen = ToyScreen(bound=1, rows=5, buckets=8, max_weight=head, noise=noise, reference=known)
    opened_map = OpenedMap(screen, seed_of(1), length=LENGTH, width=width)
    keys = [seed_of(key) for key in range(70)]
    itemsize = word(width).itemsize
    vectors = [np.frombuffer(prg.stream(key, LENGTH * itemsize), word(width)) for key in keys]
    found = opened_map.of_streams(keys)
    assert found.shape == (70, screen.opened) == (70, head + count + 5)
    assert found.dtype == word(width)
    assert found.tolist() == opened_map.of_words(vectors).tolist()
    reduced = [reduce(vector.copy(), width) for vector in vectors]
    assert found.tolist() == opened_map.of_words(reduced).tolist()
    assert opened_map.of_streams([]).shape == (0, screen.opened)


def test_longer_streams_are_opened_alike() -> None:
    """Over more than one chunk of coordinates."""
    length = (1 << 14) + 40
    known = reference(length - 6)
    screen = ToyScreen(bound=1, rows=5, buckets=8, max_weight=9, noise=1.0, reference=known)
    opened_map = OpenedMap(screen, seed_of(2), length=length, width=24)
    vector = np.frombuffer(prg.stream(seed_of(3), 4 * length), "<u4")
    assert opened_map.of_streams([seed_of(3)]).tolist() == opened_map.of_words([vector]).tolist()


def test_what_is_opened_is_weight_products_and_noisy_rows() -> None:
    rng = np.random.default_rng(0)
    size = LENGTH - 1 - 8
    known = reference(size)
    screen = ToyScreen(bound=1, rows=8, buckets=8, max_weight=50, noise=1.0, reference=known)
    opened_map = OpenedMap(screen, seed_of(4), length=LENGTH, width=32)
    update, noise = rng.integers(-99, 100, size), rng.integers(-9, 10, 8)
    vector = np.concatenate([[7], update, noise]).astype(np.uint32)
    (found,) = screen.signed(opened_map.of_words([vector]), 32)
    assert found[0] == 7
    assert found[1] == update @ known.vector
    rows = opened_map.sketch.of_reals(update[None].astype(np.float64))[0] * opened_map.sketch.scale
    np.testing.assert_allclose(found[2:], rows + noise, atol=1e-6)


def test_what_is_opened_is_linear() -> None:
    screen = ToyScreen(bound=1, rows=5, buckets=8, max_weight=1, reference=reference(LENGTH - 1))
    opened_map = OpenedMap(screen, seed_of(5), length=LENGTH, width=20)
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 1 << 20, (2, LENGTH)).astype(np.uint32)
    rows = opened_map.of_words([reduce(one + other, 20), one, other])
    assert rows[0].tolist() == reduce(rows[1] + rows[2], 20).tolist()


# -- what is within the bounds --------------------------------------------------------------------

BOUND = 1 << 16
SIZE = 600


def shapes(rng: np.random.Generator, norm: float) -> list[NDArray[np.int64]]:
    """Vectors of this norm, rounded towards zero: spread, one spike, two, and a few."""
    spread = rng.normal(size=SIZE)
    found = [spread]
    for count in (1, 2, 9):
        vector = np.zeros(SIZE)
        vector[rng.choice(SIZE, count, replace=False)] = rng.choice([-1, 1], count)
        found.append(vector)
    return [np.trunc(v * norm / np.linalg.norm(v)).astype(np.int64) for v in found]


def verdicts(times: float, rounds: int, noise: float = 0.0, rows: int = 64) -> NDArray[np.bool_]:
    """Of vectors of `times` the bound: one verdict per shape and round."""
    screen = ToyScreen(bound=BOUND, rows=rows, buckets=512, noise=noise)
    tail = screen.tail
    found = []
    for number in range(rounds):
        rng = np.random.default_rng(number)
        opened_map = OpenedMap(screen, seed_of(number), length=SIZE + tail, width=32)
        honest = np.rint(rng.normal(scale=noise, size=tail)).astype(np.int64)
        vectors = [np.concatenate([v, honest]) for v in shapes(rng, times * BOUND)]
        opened = opened_map.of_words([vector.astype(np.uint32) for vector in vectors])
        found.append(screen.within(screen.signed(opened, 32)))
    return np.array(found)


@pytest.mark.parametrize("noise", [0.0, float(BOUND)])
def test_honest_vectors_at_the_bound_pass(noise: float) -> None:
    """Two thousand in all; one is refused with probability 2**-32."""
    assert verdicts(1.0, 250, noise).all()


def test_four_times_the_bound_never_passes() -> None:
    """Two thousand, each with probability 2**-44."""
    assert not verdicts(4.0, 500).any()


def test_more_rows_refuse_twice_the_bound_where_few_do_not() -> None:
    assert not verdicts(2.0, 20, rows=1024).any()
    assert verdicts(2.0, 100, rows=16).any()


def test_weights_are_checked_exactly() -> None:
    screen = ToyScreen(bound=5, rows=1, max_weight=10)
    weights = [0, 1, 10, 11, -1, 1 << 40, -(1 << 40)]
    opened = np.array([[weight, 0] for weight in weights])
    assert screen.within(opened).tolist() == [False, True, True, False, False, False, False]


def test_a_smaller_weight_has_that_share_of_the_bound() -> None:
    """To the very unit, with and without noise, of which everybody has the same."""
    for noise in (0.0, 300.0):
        screen = ToyScreen(bound=1000, rows=64, max_weight=10, noise=noise)
        for weight in (1, 5, 10):
            limit = (1 + slack(64)) * np.sqrt(1.5 * (100 * weight) ** 2 + noise**2)
            rows = np.array([[weight, *[int(limit) + more] * 64] for more in (0, 1)])
            assert screen.within(rows).tolist() == [True, False]


def test_no_row_may_be_large_even_if_the_norm_is_small() -> None:
    """With noise in the account of norms a single large row could hide in many small ones."""
    screen = Screen(bound=1000, rows=1024)
    opened = np.zeros((3, 1024), np.int64)
    opened[:, 0] = [screen.row_bound, screen.row_bound + 1, -screen.row_bound - 1]
    small = (opened**2).sum(axis=1) / 1024 < 1.5 * 1000**2
    assert small.all()
    assert screen.within(opened).tolist() == [True, False, False]


def test_the_norm_is_bounded_by_the_slack() -> None:
    """At and just beyond the radius, whatever the rows."""
    screen = Screen(bound=1000, rows=64, noise=300.0)
    limit = (1 + slack(64)) * np.sqrt(1.5 * 1000**2 + 300**2)
    rows = np.zeros((2, 64), np.int64)
    rows[0], rows[1] = int(limit), int(limit) + 1
    assert screen.within(rows).tolist() == [True, False]


# -- plans that cannot work -----------------------------------------------------------------------


def scheme(screen: Screen, **changes: Any) -> SecAggPlusVerified:
    return SecAggPlusVerified(
        **{"clients": 5, "length": SIZE, "width": 32, **changes}, screen=screen
    )


def tall(width: int) -> int:
    """The greatest bound whose rows fit the ring."""
    least, most = 1, 1 << width
    while most - least > 1:
        middle = (least + most) // 2
        fits = Screen(bound=middle, rows=64).row_bound < 1 << (width - 3)
        least, most = (middle, most) if fits else (least, middle)
    return least


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bound": 0}, "bound"),
        ({"bound": 1.0}, "bound"),
        ({"bound": True}, "bound"),
        ({"bound": 1 << 63}, "bound"),
        ({"rows": 0}, "rows"),
        ({"tables": 99}, "tables"),
        ({"buckets": 5}, "buckets"),
        ({"max_weight": -1}, "max_weight"),
        ({"max_weight": 1.5}, "max_weight"),
        ({"noise": -1.0}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"noise": float("inf")}, "noise"),
        ({"noise": "1"}, "noise"),
        ({"reference": [1]}, "reference"),
        ({"reference": np.ones(3)}, "reference"),
        ({"rows": 63}, "rows >= 64"),
        ({"tables": 2}, "tables .* >= 39"),
        ({"buckets": 1 << 12}, "tables .* >= 39"),
    ],
)
def test_screens_that_make_no_sense_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        Screen(**{"bound": 1000, **change})
    assert Screen(bound=1000).rows == 64


def test_a_scheme_without_a_screen_is_refused() -> None:
    with pytest.raises(ParameterError, match="screen is a Screen"):
        scheme(None)  # type: ignore[arg-type]


def test_updates_must_leave_room_for_weight_and_noise() -> None:
    screen = ToyScreen(bound=9, rows=64, max_weight=1, noise=1.0)
    assert scheme(screen, length=66).opened == 65
    with pytest.raises(ParameterError, match="length > head"):
        scheme(screen, length=65)


def test_updates_must_be_longer_than_what_is_opened_of_them() -> None:
    """Eight times; the weight is not of the update."""
    for screen, least in (
        (Screen(bound=9), 8 * 64),
        (Screen(bound=9, max_weight=5), 1 + 8 * 64),
        (Screen(bound=9, noise=1.0), 8 * 64 + 64),
        (Screen(bound=9, reference=reference(8 * 65)), 8 * 65),
    ):
        assert scheme(screen, length=least).length == least
        with pytest.raises(ParameterError, match="numbers opened"):
            scheme(screen, length=least - 1)


def test_rows_must_fit_the_ring() -> None:
    """What an honest row can be stays below an eighth of the ring: the lemmas need a quarter."""
    bound = tall(20)
    with pytest.raises(ParameterError, match="row_bound"):
        scheme(Screen(bound=bound + 1), width=20)
    assert Screen(bound=bound).row_bound < 1 << 17


def test_the_sum_must_fit_the_ring() -> None:
    screen = Screen(bound=tall(20) // 2)
    clients = (1 << 19) // screen.most_norm
    assert scheme(screen, width=20, clients=clients).clients == clients
    with pytest.raises(ParameterError, match="most_norm"):
        scheme(screen, width=20, clients=clients + 5)
    with pytest.raises(ParameterError, match="most_norm"):
        scheme(Screen(bound=9, max_weight=1 << 18), width=20)
    assert scheme(Screen(bound=9, max_weight=1 << 16), width=20).opened == 65


def shared(bound: int, **changes: Any) -> SecAggPlusVerified:
    """Many colluders, and rows that are tall beside the bound."""
    screen = Screen(bound=bound, rows=256, tables=16, buckets=8, group=changes.pop("group", 0))
    plan = {"clients": 60, "corrupt": 0.45, "dropout": 0.1, "length": 2100, **changes}
    return scheme(screen, **plan)


def most_shared(**changes: Any) -> int:
    """The greatest bound of such a plan."""
    least, most = 1, 1 << 32
    while most - least > 1:
        middle = (least + most) // 2
        try:
            shared(middle, **changes)
        except ParameterError:
            most = middle
        else:
            least = middle
    return least


def test_colluders_cannot_share_out_what_wraps() -> None:
    """Every other coordinate is half the ring. Between them they can say that its rows are in
    equal parts theirs: no part may be within the bounds. Under four times the bound all would be.
    """
    plan = shared(most_shared())
    assert plan.corrupt_count == 27
    vector = np.zeros(plan.length, np.uint32)
    vector[::2] = 1 << 31
    for number in range(8):
        opened = OpenedMap(plan.screen, seed_of(number), length=plan.length, width=32)
        parts = plan.screen.signed(opened.of_words([vector]), 32) // plan.corrupt_count
        assert not plan.screen.within(parts).any()
        wider = Screen(bound=4 * plan.screen.bound, rows=256, tables=16, buckets=8)
        assert wider.within(parts).all()


def test_what_colluders_share_must_fit_the_ring() -> None:
    """Alone, each would be held by its own rows; where groups are opened, whoever colludes has the
    bounds of all groups.
    """
    bound = most_shared()
    with pytest.raises(ParameterError, match=r"together \* root < 2\*\*\(width - 3\)"):
        shared(bound + 1)
    assert shared(bound + 1, corrupt=0.4).corrupt_count == 24
    few: dict[str, Any] = {"clients": 200, "corrupt": 0.02, "group": 8}
    bound = most_shared(**few)
    with pytest.raises(ParameterError, match=r"together \* root"):
        shared(bound + 1, **few)
    assert 2 * 200 * shared(bound, **few).screen.root < 1 << 29
    assert shared(bound + 1, **{**few, "group": 0}).corrupt_count == 4


def test_references_must_fit_the_vector_and_the_ring() -> None:
    known = reference(SIZE)
    assert scheme(Screen(bound=9, reference=known)).opened == 65
    with pytest.raises(ParameterError, match="of a reference"):
        scheme(Screen(bound=9, reference=known), length=SIZE + 1)
    most = int((1 << 31) / (Screen(bound=1 << 40).most_norm / (1 << 40)) / known.norm)
    assert scheme(Screen(bound=most - 1000, reference=known)).opened == 65
    with pytest.raises(ParameterError, match=r"\|reference\|"):
        scheme(Screen(bound=most + 1000, reference=known))


@pytest.mark.parametrize(
    "vector",
    [
        np.ones(3),
        np.ones((3, 3), np.int64),
        np.ones(3, np.int32),
        [1, 2, 3],
        np.zeros(0, np.int64),
        np.zeros(9, np.int64),
        np.eye(1, 500, dtype=np.int64)[0],
        np.eye(1, 3, dtype=np.int64)[0],
        np.full(200, 2),
        np.array([*[1] * 200, -2]),
        np.array([*[1] * 200, np.iinfo(np.int64).min]),
    ],
)
def test_references_that_read_coordinates_are_refused(vector: Any) -> None:
    with pytest.raises(ParameterError, match="reference"):
        Reference(vector)


def test_references_are_known_by_their_content() -> None:
    vectors = np.ones((3, SIZE), np.int64)
    vectors[2, 0] = -1
    one, same, other = (Reference(vector) for vector in vectors)
    assert one == same != other
    assert hash(one) == hash(same)
    assert repr(one) == f"Reference({one.digest.hex()})"
    assert one.norm == pytest.approx(np.linalg.norm(one.vector))
    with pytest.raises(ValueError, match="read-only"):
        one.vector[0] = 0
    vectors[0, 0] = 0
    assert one.vector[0] == 1
    plans = [scheme(Screen(bound=9, reference=each)).encoded() for each in (one, same, other)]
    assert plans[0] == plans[1] != plans[2]


def test_a_reference_has_64_entries_or_half() -> None:
    vector = np.zeros(500, np.int64)
    vector[:64] = -1
    assert Reference(vector).norm == 8
    vector[63] = 0
    with pytest.raises(ParameterError, match="single coordinates"):
        Reference(vector)
    assert Reference(np.array([0, 1, -1, 0])).vector.size == 4
    with pytest.raises(ParameterError, match="single coordinates"):
        Reference(np.array([0, 1, 0, 0]))
