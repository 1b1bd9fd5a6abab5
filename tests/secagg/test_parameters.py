"""`secagg.parameters` against exact integers, scipy, whole enumerations and published rows."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import random
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom  # type: ignore[import-untyped, unused-ignore]

from secagg import parameters
from secagg.errors import ParameterError
from secagg.parameters import (
    Adversary,
    Neighbourhood,
    complete,
    corrupt_bound,
    dropout_bound,
    neighbours,
    neighbours_malicious,
    quorum,
)

HONEST, MALICIOUS = Adversary.SEMI_HONEST, Adversary.SEMI_MALICIOUS
PUBLISHED = Path(__file__).resolve().parents[2].parent / "shared/data/neighbourhood_parameters.json"

# (n, corrupt, dropout, adversary, degree, largest threshold): facts from the tests of
# github google-parfait/federated-compute at de83f70, graph_parameter_finder_test.cc (Apache-2.0).
ROWS = [
    (10, 0.33, 0.33, HONEST, 8, 4),
    (10, 0.05, 0.33, HONEST, 4, 2),
    (100, 0.45, 0.45, HONEST, 92, 46),
    (1000, 0.33, 0.05, HONEST, 78, 60),
    (10_000, 0.05, 0.05, HONEST, 34, 20),
    (100_000, 0.45, 0.45, HONEST, 5508, 2788),
    (1_000_000, 0.45, 0.45, HONEST, 6240, 3156),
    (1_000_000, 0.33, 0.33, HONEST, 518, 270),
    (1_000_000, 0.0, 0.0, HONEST, 2, 2),
    (10, 0.0, 0.33, MALICIOUS, 8, 5),
    (100, 0.3, 0.3, MALICIOUS, 92, 62),
    (1000, 0.05, 0.33, MALICIOUS, 398, 223),
    (10_000, 0.3, 0.3, MALICIOUS, 4822, 3230),
    (100_000, 0.33, 0.05, MALICIOUS, 196, 160),
    (1_000_000, 0.3, 0.3, MALICIOUS, 11136, 7454),
    (1_000_000, 0.33, 0.0, MALICIOUS, 50, 49),
]
REFUSED_ROWS = [
    (0, 0.1, 0.1, HONEST, "1 <= clients"),
    (1000, 0.1, 1.0, HONEST, "0 <= dropout < 1"),
    (1000, 0.1, -1.0, HONEST, "0 <= dropout < 1"),
    (1000, 0.5, 0.5, HONEST, r"corrupt \+ dropout <= 0.9"),
    (1000, 0.5, 0.5, MALICIOUS, r"corrupt \+ 2\*dropout <= 0.9"),
    (1000, 0.33, 0.33, MALICIOUS, r"corrupt \+ 2\*dropout <= 0.9"),
]

# --- the oracle: the inequalities in integers ----------------------------------------------------


@lru_cache(maxsize=100_000)
def tail(n: int, marked: int, sample: int, least: int) -> Fraction:
    """P[X >= least], X ~ Hypergeometric(n, marked, sample), in integers.

    Exact; where the rest of the (by then falling) terms is below 2^-150 of the sum, it is left out.
    """
    first, last = max(least, 0, marked + sample - n), min(marked, sample)
    if first > last:
        return Fraction(0)
    term = math.comb(marked, first) * math.comb(n - marked, sample - first)
    total = 0
    for x in range(first, last + 1):
        total += term
        if term.bit_length() + 180 < total.bit_length():
            break
        term = term * (marked - x) * (sample - x) // ((x + 1) * (n - marked - sample + x + 1))
    return Fraction(total, math.comb(n, sample))


def below(probability: Fraction, bits: int, room: Fraction) -> bool:
    return probability * (1 << bits) * room < 1


def sparse_holds(
    n: int,
    corrupt: int,
    dropped: int,
    degree: int,
    threshold: int,
    adversary: Adversary,
    bits: tuple[int, int] = (40, 20),
    room: Fraction = Fraction(1),
) -> bool:
    """The three inequalities of `neighbours`, each tightened by the factor `room`."""
    security, correctness = bits
    reached = threshold if adversary is HONEST else max(0, 2 * threshold - degree)
    pairs = Fraction(n * (n - degree - 1), 2)
    return (
        below(n * tail(n, corrupt, degree, reached), security + 1, room)
        and below(pairs * tail(n, corrupt + dropped, degree, degree), security + 1, room)
        and below(n * tail(n, dropped, degree, degree - threshold + 1), correctness, room)
    )


def window_holds(
    n: int,
    corrupt: int,
    dropped: int,
    window: int,
    most: int,
    bits: tuple[int, int],
    room: Fraction = Fraction(1),
) -> bool:
    """The two inequalities of `neighbours_malicious`; bits = (security + grinding, correctness)."""
    return below(n * tail(n, corrupt, window, most + 1), bits[0], room) and below(
        n * tail(n, dropped, window, window - most), bits[1], room
    )


T = TypeVar("T")


def unless_refused(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except ParameterError:
        return None


# Parameters within 1e-6 of a bound may be refused; twice that, as room for rounding.
ROOM = 1 + Fraction(2, 10**6)
fractions = st.floats(0, 0.45) | st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.33])

# --- whole clients -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clients", "fraction", "count"),
    [(100, 0.29, 29), (10, 0.05, 0), (1000, 0.3, 300), (10**6, 0.33, 330_000), (3, 1 / 3, 1)],
)
def test_a_fraction_is_a_whole_number_of_clients(clients: int, fraction: float, count: int) -> None:
    assert corrupt_bound(clients, fraction) == dropout_bound(clients, fraction) == count


def test_dividing_and_multiplying_loses_no_client() -> None:
    for n in (*range(1, 200), 999_983, 10**6):
        for count in {0, 1, n // 3, n // 2, n - 1} - {n}:
            assert corrupt_bound(n, count / n) == count


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_rounding_errs_upwards_by_one_client_at_most(clients: int, fraction: float) -> None:
    exact = math.floor(Fraction(fraction) * clients)
    assert exact <= corrupt_bound(clients, fraction) <= min(exact + 1, clients)


# --- the tail ------------------------------------------------------------------------------------


def log_of(probability: Fraction) -> float:
    shift = probability.denominator.bit_length() - probability.numerator.bit_length() + 80
    scaled = (probability.numerator << shift) // probability.denominator
    return math.log(scaled) - shift * math.log(2)


@pytest.mark.parametrize("n", [4, 30, 1000, 10**5, 10**6])
def test_the_tail_agrees_with_integers_down_to_two_to_the_minus_130(n: int) -> None:
    draw = random.Random(n)
    smallest = 0.0
    for bits in (1, 10, 41, 104, 130):
        for _ in range(12):
            marked, sample = draw.randint(0, n), draw.randint(1, min(n - 1, 2000))
            middle = parameters._worst(n, marked, sample, bits)
            for least in range(middle - 1, middle + 3):
                exact = tail(n, marked, sample, least)
                got = parameters._log_tail(n, marked, sample, least)
                if exact == 0:
                    assert got == -math.inf
                    continue
                assert got == pytest.approx(log_of(exact), abs=1e-7, rel=0)
                smallest = min(smallest, got)
    if n >= 1000:
        assert smallest < -130 * math.log(2)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_tail_agrees_with_scipy_everywhere(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3000))
    marked, sample = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    least = data.draw(st.integers(-1, sample + 1))
    expected = float(hypergeom.sf(least - 1, n, marked, sample))
    got = math.exp(parameters._log_tail(n, marked, sample, least))
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_probability_on_the_bound_is_refused() -> None:
    # 17 * P[two of two are marked] = 17 * 2/(17 * 16) = 2^-3 exactly.
    assert 17 * tail(17, 2, 2, 2) == Fraction(1, 8)
    assert parameters._worst(17, 2, 2, bits=3) == 2
    assert parameters._worst(17, 2, 2, bits=2) == 1


# --- neighbours ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "corrupt", "dropout", "adversary", "degree", "most"), ROWS)
def test_published_rows(
    n: int, corrupt: float, dropout: float, adversary: Adversary, degree: int, most: int
) -> None:
    found = neighbours(n, corrupt=corrupt, dropout=dropout, adversary=adversary)
    assert (found.clients, found.degree) == (n, degree)
    assert found.threshold <= most
    assert (found.window, found.window_corrupt) == (0, 0)


@pytest.mark.parametrize(("n", "corrupt", "dropout", "adversary", "inequality"), REFUSED_ROWS)
def test_published_rows_without_a_solution(
    n: int, corrupt: float, dropout: float, adversary: Adversary, inequality: str
) -> None:
    with pytest.raises(ParameterError, match=inequality):
        neighbours(n, corrupt=corrupt, dropout=dropout, adversary=adversary)


def test_published_rows_of_the_shared_file() -> None:
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is absent; the rows in this file were checked")
    adversaries = {"CURIOUS_SERVER": HONEST, "SEMI_MALICIOUS_SERVER": MALICIOUS}
    rows = json.loads(PUBLISHED.read_text())
    assert len(rows) >= 20
    for row in rows:
        fractions_of_row = {"corrupt": row["adversarial_rate"], "dropout": row["dropout_rate"]}
        kind = adversaries[row["adversary"]]
        if not row["feasible"]:
            with pytest.raises(ParameterError, match=r"<"):
                neighbours(row["n"], adversary=kind, **fractions_of_row)
            continue
        found = neighbours(row["n"], adversary=kind, **fractions_of_row)
        assert found.degree == row["degree"], row
        assert found.threshold <= row["threshold_max"], row


@pytest.mark.parametrize("row", [row for row in ROWS if row[0] >= 10**5 and row[4] > 2])
def test_large_rows_satisfy_the_inequalities_in_integers(
    row: tuple[int, float, float, Adversary, int, int],
) -> None:
    n, corrupt, dropout, adversary, degree, _ = row
    counts = (corrupt_bound(n, corrupt), dropout_bound(n, dropout))
    found = neighbours(n, corrupt=corrupt, dropout=dropout, adversary=adversary)
    assert sparse_holds(n, *counts, degree, found.threshold, adversary)
    # One share or two neighbours less, and an inequality breaks. Two neighbours fewer hold at most
    # two corrupt fewer, so no threshold below t - 2 keeps secrets; what t + 1 allows, t does too.
    assert not sparse_holds(n, *counts, degree, found.threshold - 1, adversary)
    for threshold in range(found.threshold - 2, found.threshold + 1):
        assert not sparse_holds(n, *counts, degree - 2, threshold, adversary)


@pytest.mark.parametrize("adversary", Adversary)
@pytest.mark.parametrize("bits", [(1, 1), (6, 3), (12, 9)])
def test_the_degree_is_the_smallest_by_brute_force(
    adversary: Adversary, bits: tuple[int, int]
) -> None:
    solved = 0
    for n, corrupt, dropped in itertools.product(range(1, 42, 5), range(0, 13, 2), range(0, 13, 3)):
        if max(corrupt, dropped) >= n:
            continue
        expected = [
            (k, t)
            for k in range(2, n - 1, 2)
            for t in range(1, k + 1)
            if sparse_holds(n, corrupt, dropped, k, t, adversary, bits)
        ][:1]
        found = parameters._sparse(n, corrupt, dropped, adversary, *bits)
        assert (found is None) == (not expected), (n, corrupt, dropped)
        if found is None:
            continue
        solved += 1
        degree, threshold = expected[0]
        raised = 2 if sparse_holds(n, corrupt, dropped, degree, 2, adversary, bits) else 1
        assert (found.degree, found.threshold) == (degree, max(threshold, raised))
    assert solved > 20


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 3000), fractions, fractions, st.sampled_from(Adversary))
def test_the_degree_satisfies_the_inequalities_and_two_less_does_not(
    n: int, corrupt: float, dropout: float, adversary: Adversary
) -> None:
    found = unless_refused(
        lambda: neighbours(n, corrupt=corrupt, dropout=dropout, adversary=adversary)
    )
    if found is None:
        return
    counts = (corrupt_bound(n, corrupt), dropout_bound(n, dropout))
    k, t = found.degree, found.threshold
    assert sparse_holds(n, *counts, k, t, adversary)
    # As above; the last degree is 2, below it there is none.
    for fewer in range(max(1, t - 2), t + 1):
        assert k == 2 or not sparse_holds(n, *counts, k - 2, fewer, adversary, room=ROOM)


def test_threshold_two_unless_it_would_lose_rounds() -> None:
    # Three of ten drop out, so one of four neighbours is always left, but not always two.
    alone = neighbours(10, corrupt=0, dropout=0.33)
    assert (alone.degree, alone.threshold) == (4, 1)
    assert 10 * tail(10, 3, 4, 3) == Fraction(1, 3)
    assert neighbours(100, corrupt=0, dropout=0.33).threshold == 2


def test_fewer_failures_cost_neighbours() -> None:
    plain = neighbours(1000, corrupt=0.1, dropout=0.1)
    secret = neighbours(1000, corrupt=0.1, dropout=0.1, security_bits=80)
    stable = neighbours(1000, corrupt=0.1, dropout=0.1, correctness_bits=40)
    stronger = neighbours(1000, corrupt=0.1, dropout=0.1, adversary=MALICIOUS)
    assert plain.degree < min(secret.degree, stable.degree, stronger.degree)


def test_no_degree_names_the_inequality() -> None:
    with pytest.raises(ParameterError, match=r"no even degree k < n - 1 = 7 .*< 2\^-41.*< 2\^-20"):
        neighbours(8, corrupt=0.4, dropout=0.4)
    assert neighbours(8, corrupt=0.3, dropout=0.3).degree == 6


@pytest.mark.parametrize("clients", [1, 2, 3])
def test_three_clients_have_no_ring(clients: int) -> None:
    with pytest.raises(ParameterError, match="use the complete graph"):
        neighbours(clients, corrupt=0, dropout=0)
    assert neighbours(4, corrupt=0, dropout=0).degree == 2


def test_nine_tenths_of_trouble_are_accepted_however_they_are_rounded() -> None:
    assert 0.34 + 0.56 > 0.9
    assert neighbours(10_000, corrupt=0.34, dropout=0.56).degree < 9999
    with pytest.raises(ParameterError, match=r"corrupt \+ dropout <= 0.9"):
        neighbours(10_000, corrupt=0.341, dropout=0.56)


# --- the model: rings enumerated whole -----------------------------------------------------------


def around(position: int, reach: int, n: int) -> list[int]:
    return [(position + step) % n for step in range(-reach, reach + 1) if step]


def connected(members: set[int], reach: int, n: int) -> bool:
    """Whether `members` are connected in the ring that joins positions up to `reach` apart."""
    seen: set[int] = set()
    todo = sorted(members)[:1]
    while todo:
        at = todo.pop()
        if at not in seen:
            seen.add(at)
            todo += [other for other in around(at, reach, n) if other in members]
    return seen == members


@pytest.mark.parametrize(("n", "marked", "reach"), [(9, 3, 1), (10, 4, 2), (11, 5, 2), (11, 7, 3)])
def test_union_bounds_cover_every_ring(n: int, marked: int, reach: int) -> None:
    """All placements of `marked` clients: the bounds of the module are never below the truth."""
    degree, rings = 2 * reach, math.comb(n, marked)
    cut, crowded, window_crowded = 0, [0] * (degree + 2), [0] * (reach + 2)
    for chosen in itertools.combinations(range(n), marked):
        gone = set(chosen)
        cut += not connected(set(range(n)) - gone, reach, n)
        rest = (position for position in range(n) if position not in gone)
        worst = max(sum(p in gone for p in around(position, reach, n)) for position in rest)
        full = max(sum((s + i) % n in gone for i in range(reach)) for s in range(n))
        for least in range(worst + 1):
            crowded[least] += 1
        for least in range(full + 1):
            window_crowded[least] += 1
    pairs = Fraction(n * (n - degree - 1), 2)
    assert Fraction(cut, rings) <= pairs * tail(n, marked, degree, degree)
    for least in range(degree + 1):
        assert Fraction(crowded[least], rings) <= n * tail(n, marked, degree, least)
    for least in range(reach + 1):
        assert Fraction(window_crowded[least], rings) <= n * tail(n, marked, reach, least)


# --- neighbours_malicious ------------------------------------------------------------------------


def windows(n: int, w: int) -> list[set[int]]:
    return [{(start + step) % n for step in range(w)} for start in range(n)]


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 5), st.integers(0, 3), st.integers(0, 12), st.randoms(use_true_random=False))
def test_the_window_rule_connects_honest_survivors(
    w: int, c: int, more: int, draw: random.Random
) -> None:
    """Adversarial placements and survivor sets, as bad as the rule allows."""
    c, n = min(c, w - 1), 2 * w + 2 + more
    arcs, order = windows(n, w), draw.sample(range(n), n)
    corrupt: set[int] = set()
    for position in order:
        if all(len(arc & (corrupt | {position})) <= c for arc in arcs):
            corrupt.add(position)
    alive = set(range(n))
    for position in sorted(order, key=lambda p: (p in corrupt, draw.random())):
        if all(len(arc & (alive - {position})) > c for arc in arcs):
            alive.discard(position)
    threshold = max(2 * c + 1, 2)
    assert connected(alive - corrupt, w, n)
    for position in range(n):
        near = set(around(position, w, n))
        assert len(near & corrupt) < threshold <= len(near & alive)


def test_one_survivor_less_in_two_windows_cuts_the_ring() -> None:
    """The twin: "at least c" in place of "more than c" lets the server isolate an arc."""
    n, w, c = 16, 4, 1
    corrupt, dropped = {0, 8}, {1, 2, 3, 9, 10, 11}
    assert all(len(arc & corrupt) <= c for arc in windows(n, w))
    alive = set(range(n)) - dropped
    assert min(len(arc & alive) for arc in windows(n, w)) == c
    assert not connected(alive - corrupt, w, n)


# Found by `neighbours_malicious` and confirmed in integers below: (degree, threshold).
MALICIOUS_ROWS = [
    (1000, 0.05, 0.1, 64, 110, 67),
    (1000, 0.1, 0.1, 64, 146, 95),
    (1000, 0.1, 0.3, 64, 264, 123),
    (1000, 0.2, 0.3, 64, 420, 221),
    (1000, 0.2, 0.3, 0, 280, 133),
    (10_000, 0.05, 0.1, 64, 134, 81),
    (10_000, 0.2, 0.3, 64, 582, 305),
    (10_000, 0.1, 0.1, 0, 106, 59),
    (1_000_000, 0.2, 0.3, 64, 672, 347),
]


@pytest.mark.parametrize(
    ("n", "corrupt", "dropout", "grinding", "degree", "threshold"), MALICIOUS_ROWS
)
def test_windows_of_usual_rounds(
    n: int, corrupt: float, dropout: float, grinding: int, degree: int, threshold: int
) -> None:
    found = neighbours_malicious(n, corrupt=corrupt, dropout=dropout, grinding_bits=grinding)
    assert (found.degree, found.threshold) == (degree, threshold)
    assert (found.window, found.window_corrupt) == (degree // 2, (threshold - 1) // 2)
    counts, bits = (corrupt_bound(n, corrupt), dropout_bound(n, dropout)), (40 + grinding, 20)
    w, c = found.window, found.window_corrupt
    assert window_holds(n, *counts, w, c, bits)
    assert not window_holds(n, *counts, w, c - 1, bits)
    assert not any(window_holds(n, *counts, w - 1, less, bits) for less in range(w - 1))


@pytest.mark.parametrize("bits", [(1, 1), (6, 3), (14, 4)])
def test_the_window_is_the_smallest_by_brute_force(bits: tuple[int, int]) -> None:
    solved = 0
    for n, corrupt, dropped in itertools.product(range(1, 60, 7), range(0, 13, 2), range(0, 13, 3)):
        if max(corrupt, dropped) >= n:
            continue
        expected = [
            (w, c)
            for w in range(1, n)
            for c in range(w)
            if 2 * w < n - 1 and window_holds(n, corrupt, dropped, w, c, bits)
        ][:1]
        found = parameters._windowed(n, corrupt, dropped, *bits)
        assert ([(found.window, found.window_corrupt)] if found else []) == expected
        solved += found is not None
    assert solved > 20


def test_a_larger_window_may_fail_where_a_smaller_one_does_not() -> None:
    """Why the search may not bisect: 45 will do here and 46 will not."""
    n, corrupt, dropped, bits = 250, 33, 70, (20, 10)
    good = [
        w
        for w in range(1, 60)
        if any(window_holds(n, corrupt, dropped, w, c, bits) for c in range(w))
    ]
    assert good[:2] == [45, 47]
    found = parameters._windowed(n, corrupt, dropped, *bits)
    assert found is not None
    assert found.window == 45


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 3000), fractions, fractions, st.sampled_from([0, 20, 64]))
def test_the_window_satisfies_the_inequalities_and_one_less_does_not(
    n: int, corrupt: float, dropout: float, grinding: int
) -> None:
    found = unless_refused(
        lambda: neighbours_malicious(n, corrupt=corrupt, dropout=dropout, grinding_bits=grinding)
    )
    if found is None:
        return
    counts, bits = (corrupt_bound(n, corrupt), dropout_bound(n, dropout)), (40 + grinding, 20)
    w, c = found.window, found.window_corrupt
    assert found.threshold == max(2 * c + 1, 2)
    assert window_holds(n, *counts, w, c, bits)
    # A window that is one shorter needs c or c - 1.
    for most in (c - 1, c):
        assert w == 1 or not window_holds(n, *counts, w - 1, max(most, 0), bits, ROOM)


def test_grinding_costs_neighbours() -> None:
    degrees = [
        neighbours_malicious(10_000, corrupt=0.1, dropout=0.1, grinding_bits=bits).degree
        for bits in (0, 32, 64, 128)
    ]
    assert degrees == sorted(set(degrees))


def test_no_window_names_the_inequality() -> None:
    with pytest.raises(ParameterError, match=r"no window 2w < n - 1 = 99 .*< 2\^-104.*< 2\^-20"):
        neighbours_malicious(100, corrupt=0.3, dropout=0.3)
    with pytest.raises(ParameterError, match="use the complete graph, or lower fractions"):
        neighbours_malicious(3, corrupt=0, dropout=0)
    assert neighbours_malicious(4, corrupt=0, dropout=0).degree == 2
    assert neighbours_malicious(4, corrupt=0, dropout=0).threshold == 2


def test_searches_skip_what_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a million windows lack one survivor each, and 5000 degrees some: few are looked at."""
    looks, look = [0], parameters._worst

    def counted(n: int, marked: int, sample: int, bits: int) -> int:
        looks[0] += 1
        return look(n, marked, sample, bits)

    monkeypatch.setattr(parameters, "_worst", counted)
    assert parameters._windowed.__wrapped__(10**6, 0, 10**6 - 1, 104, 20) is None
    assert 0 < looks[0] < 500
    assert parameters._sparse.__wrapped__(10**6, 300_000, 300_000, MALICIOUS, 40, 20) is not None
    assert looks[0] < 2000


# --- complete, quorum ----------------------------------------------------------------------------


def test_complete_takes_the_largest_threshold_there_is() -> None:
    for n in range(1, 25):
        for corrupt, dropped in itertools.product(range(n), range(n)):
            thresholds = [t for t in range(1, n) if corrupt < t <= n - 1 - dropped]
            found = unless_refused(lambda: complete(n, corrupt=corrupt / n, dropout=dropped / n))  # noqa: B023
            got = (found.degree, found.threshold) if found else None
            assert got == ((n - 1, thresholds[-1]) if thresholds else None)


def test_a_client_holds_no_share_of_its_own() -> None:
    assert complete(10, corrupt=0.3, dropout=0.3).threshold == 6


def test_complete_names_the_inequality() -> None:
    with pytest.raises(ParameterError, match="5 < t <= 10 - 1 - 4 = 5"):
        complete(10, corrupt=0.5, dropout=0.4)
    with pytest.raises(ParameterError, match="n >= 2"):
        complete(1, corrupt=0, dropout=0)


def test_quorum_is_the_smallest_whose_pairs_share_an_honest_client() -> None:
    for n in range(1, 25):
        for corrupt, dropped in itertools.product(range(n), range(n)):
            smallest = next(q for q in range(n + 2) if 2 * q - n > corrupt)
            expected = smallest if smallest <= n - dropped else None
            got = unless_refused(lambda: quorum(n, corrupt=corrupt / n, dropout=dropped / n))  # noqa: B023
            assert got == expected


def test_quorum_names_the_inequality() -> None:
    with pytest.raises(ParameterError, match=r"floor\(\(10 \+ 3\)/2\) \+ 1 = 7 > 10 - 4 = 6"):
        quorum(10, corrupt=0.3, dropout=0.4)
    assert quorum(10, corrupt=0.3, dropout=0.3) == 7


# --- arguments -----------------------------------------------------------------------------------

EVERY: list[Callable[..., Any]] = [neighbours, neighbours_malicious, complete, quorum]


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize(
    ("change", "inequality"),
    [
        ({"clients": 0}, "1 <= clients <= 1000000"),
        ({"clients": -5}, "1 <= clients <= 1000000"),
        ({"clients": 10**6 + 1}, "1 <= clients <= 1000000"),
        ({"clients": True}, "for an integer, got True"),
        ({"clients": 100.0}, "for an integer, got 100.0"),
        ({"clients": "100"}, "for an integer, got '100'"),
        ({"corrupt": 1.0}, "0 <= corrupt < 1"),
        ({"corrupt": -1e-9}, "0 <= corrupt < 1"),
        ({"corrupt": math.nan}, "0 <= corrupt < 1"),
        ({"corrupt": False}, "0 <= corrupt < 1"),
        ({"dropout": math.inf}, "0 <= dropout < 1"),
        ({"dropout": math.nan}, "0 <= dropout < 1"),
        ({"dropout": "0.1"}, "0 <= dropout < 1"),
    ],
)
def test_arguments_out_of_range(
    function: Callable[..., Any], change: dict[str, Any], inequality: str
) -> None:
    good = {"clients": 100, "corrupt": 0.0, "dropout": 0.1}
    assert function(**good) is not None  # also fills the cache, which must not answer below
    with pytest.raises(ParameterError, match=inequality):
        function(**(good | change))


@pytest.mark.parametrize("name", ["security_bits", "correctness_bits", "grinding_bits"])
@pytest.mark.parametrize("bits", [-1, 257, True, 40.0, None])
def test_bits_out_of_range(name: str, bits: Any) -> None:
    good: dict[str, Any] = {"corrupt": 0.0, "dropout": 0.1}
    for function in (neighbours, neighbours_malicious):
        if name in inspect.signature(function).parameters:
            assert function(1000, **(good | {name: 2}))
            with pytest.raises(ParameterError, match=f"<= {name} <= 256"):
                function(1000, **(good | {name: bits}))


def test_no_bits_are_no_security_but_no_grinding_is_fine() -> None:
    for name in ("security_bits", "correctness_bits"):
        settings_of_call: dict[str, Any] = {name: 0}
        with pytest.raises(ParameterError, match=f"1 <= {name}"):
            neighbours_malicious(1000, corrupt=0.1, dropout=0.1, **settings_of_call)
    assert neighbours_malicious(1000, corrupt=0.1, dropout=0.1, grinding_bits=0)


@pytest.mark.parametrize("adversary", ["SEMI_MALICIOUS", 2, None])
def test_an_adversary_is_no_string(adversary: Any) -> None:
    with pytest.raises(ParameterError, match="member of Adversary"):
        neighbours(1000, corrupt=0.1, dropout=0.1, adversary=adversary)


def test_numpy_floats_are_floats() -> None:
    assert neighbours(1000, corrupt=np.float64(0.1), dropout=0.1) == neighbours(
        1000, corrupt=0.1, dropout=0.1
    )


@pytest.mark.parametrize(
    ("change", "inequality"),
    [
        ({"threshold": 0}, "1 <= t <= degree"),
        ({"threshold": 9}, "1 <= t <= degree"),
        ({"degree": 10}, "degree <= n - 1"),
        ({"degree": 7}, "even or n - 1 = 9"),
        ({"window": 3}, "2w = degree"),
        ({"window": -4}, "2w = degree"),
        ({"window": 4, "window_corrupt": 3}, "2c < t"),
        ({"window": 4, "window_corrupt": 1}, r"t <= 2\(c \+ 1\)"),
        ({"window": 4, "window_corrupt": -1}, "2c < t"),
        ({"window_corrupt": 2}, "2w = degree"),
    ],
)
def test_a_neighbourhood_that_no_round_can_use(change: dict[str, int], inequality: str) -> None:
    good = {"clients": 10, "degree": 8, "threshold": 5}
    assert Neighbourhood(**good, window=4, window_corrupt=2)
    assert Neighbourhood(clients=10, degree=9, threshold=5)
    with pytest.raises(ParameterError, match=inequality):
        Neighbourhood(**(good | change))
