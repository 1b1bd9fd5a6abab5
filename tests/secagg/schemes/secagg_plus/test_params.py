"""`secagg_plus.params`: every inequality that a round needs, with its numbers in the message."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from secagg import parameters
from secagg.errors import ParameterError
from secagg.primitives.ring import packed_size
from secagg.primitives.shamir import MAX_POINT
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest
from secagg.schemes.secagg_plus.messages import Consent, Consents
from secagg.schemes.secagg_plus.params import COMPLETE_UP_TO

BOTH = [SecAggPlus, SecAggPlusSemiHonest]
Either = type[SecAggPlus] | type[SecAggPlusSemiHonest]
both = pytest.mark.parametrize("kind", BOTH)


def make(kind: Either = SecAggPlus, **changes: Any) -> SecAggPlus | SecAggPlusSemiHonest:
    return kind(**{"clients": 10, "length": 100, "width": 20, **changes})


# -- what is derived ---------------------------------------------------------------------------


@both
@given(st.integers(2, 150), st.integers(0, 49), st.integers(0, 69))
@settings(deadline=None, max_examples=80)
def test_every_accepted_complete_plan_satisfies_its_inequalities(
    kind: Either, clients: int, corrupt: int, dropout: int
) -> None:
    try:
        plan = make(kind, clients=clients, corrupt=corrupt / 100, dropout=dropout / 100)
    except ParameterError:
        reject()
    bad = math.floor(Fraction(corrupt, 100) * clients)
    gone = math.floor(Fraction(dropout, 100) * clients)
    assert plan.survivors == clients - gone
    assert plan.survivors - bad >= 2
    assert bad < plan.shares_needed <= plan.survivors - 1, "secret from them, open to the rest"
    if kind is SecAggPlus:
        assert 2 * plan.quorum - clients > bad, "two quorums share an honest client"
        assert plan.quorum <= plan.survivors
    else:
        assert plan.quorum == 0


@both
@pytest.mark.parametrize("clients", [3, 10, COMPLETE_UP_TO])
def test_everybody_neighbours_everybody_up_to_two_hundred(kind: Either, clients: int) -> None:
    plan = make(kind, clients=clients)
    assert plan.is_complete
    assert plan.neighbourhood.degree == clients - 1
    assert plan.window_floor == -1


@both
@pytest.mark.parametrize("clients", [COMPLETE_UP_TO + 1, 500, 2000])
def test_the_graph_is_sparse_above(kind: Either, clients: int) -> None:
    plan = make(kind, clients=clients, corrupt=0.1, dropout=0.1)
    assert not plan.is_complete
    chosen = plan.neighbourhood
    assert chosen.degree < clients - 1
    assert chosen.degree % 2 == 0
    found = (
        parameters.neighbours_malicious(clients, corrupt=0.1, dropout=0.1)
        if kind is SecAggPlus
        else parameters.neighbours(clients, corrupt=0.1, dropout=0.1)
    )
    assert chosen == found
    assert plan.window_floor == (found.window_corrupt if kind is SecAggPlus else -1)


@both
def test_graphs_are_of_the_degree_that_was_computed(kind: Either) -> None:
    for clients in (5, 300):
        plan = make(kind, clients=clients, corrupt=0.1, dropout=0.1)
        graph = plan.graph(tuple(range(1, clients + 1)), bytes(32))
        assert {len(graph.neighbours(c)) for c in (1, clients)} == {plan.neighbourhood.degree}


@both
@pytest.mark.parametrize("width", range(2, 65))
def test_check_words_have_at_least_64_bits_and_travel_with_the_vector(
    kind: Either, width: int
) -> None:
    plan = make(kind, width=width)
    assert 64 <= plan.check_count * width < 64 + width
    assert plan.limits.vector == packed_size(100 + plan.check_count, width)
    assert plan.limits.parties == 10


def test_only_the_malicious_scheme_has_a_consent_round() -> None:
    strict, trusting = make(), make(SecAggPlusSemiHonest)
    assert Consent in strict.server_messages
    assert Consents in strict.client_messages
    assert Consent not in trusting.server_messages
    assert Consents not in trusting.client_messages


# -- what is refused ---------------------------------------------------------------------------


@both
def test_two_clients_are_refused_and_three_are_enough(kind: Either) -> None:
    for fractions in ({}, {"corrupt": 0.0, "dropout": 0.0}):
        with pytest.raises(ParameterError, match="2 <= threshold <= 1 must hold for 2 clients"):
            make(kind, clients=2, **fractions)
    plan = make(kind, clients=3)
    assert (plan.survivors, plan.shares_needed) == (3, 2)


REFUSED = [
    (
        {"clients": 10, "corrupt": 0.6, "dropout": 0.3},
        r"survivors - corrupt >= 2 must hold, got 1",
    ),
    (
        {"clients": 10, "corrupt": 0.0, "dropout": 0.9},
        r"survivors - corrupt >= 2 must hold, got 1",
    ),
    ({"clients": 10, "corrupt": 1.0}, r"0 <= corrupt < 1 must hold, got 1.0"),
    ({"clients": 10, "corrupt": -0.1}, r"0 <= corrupt < 1 must hold, got -0.1"),
    ({"clients": 10, "corrupt": float("nan")}, r"0 <= corrupt < 1 must hold, got nan"),
]


@both
@pytest.mark.parametrize(("changes", "inequality"), REFUSED, ids=lambda value: str(value)[:40])
def test_hopeless_fractions_are_refused_with_the_inequality(
    kind: Either, changes: dict[str, Any], inequality: str
) -> None:
    with pytest.raises(ParameterError, match=inequality):
        make(kind, **changes)


@both
@pytest.mark.parametrize("name", ["corrupt", "dropout"])
@pytest.mark.parametrize("fraction", ["0.1", None, True, b"0", [0.1]], ids=repr)
def test_a_fraction_is_a_number(kind: Either, name: str, fraction: Any) -> None:
    make(kind, **{name: 0.1})
    with pytest.raises(ParameterError, match=f"0 <= {name} < 1 must hold"):
        make(kind, **{name: fraction})


def test_no_quorum_of_survivors_is_refused_only_where_one_is_asked_for() -> None:
    make(SecAggPlusSemiHonest, clients=10, corrupt=0.3, dropout=0.4)
    with pytest.raises(ParameterError, match=r"floor\(\(10 \+ 3\)/2\) \+ 1 = 7 > 10 - 4 = 6"):
        make(SecAggPlus, clients=10, corrupt=0.3, dropout=0.4)


@both
@given(st.integers(3, 60), st.integers(0, 40), st.integers(0, 40), st.integers(-1, 70))
@settings(deadline=None, max_examples=80)
def test_another_threshold_is_taken_exactly_in_the_open_interval(
    kind: Either, clients: int, corrupt: int, dropout: int, threshold: int
) -> None:
    fractions = {"corrupt": corrupt / 100, "dropout": dropout / 100}
    try:
        plan = make(kind, clients=clients, **fractions)
    except ParameterError:
        reject()
    floor = max(math.floor(Fraction(corrupt, 100) * clients) + 1, 2)
    if floor <= threshold <= plan.survivors - 1:
        assert make(kind, clients=clients, threshold=threshold, **fractions).shares_needed == (
            threshold
        )
        return
    numbers = f"{floor} <= threshold <= {plan.survivors - 1} must hold for {clients} clients"
    with pytest.raises(ParameterError, match=f"{numbers}.*got {threshold}"):
        make(kind, clients=clients, threshold=threshold, **fractions)


def test_a_sparse_threshold_keeps_the_computed_floor() -> None:
    plan = make(clients=300, corrupt=0.1, dropout=0.1)
    floor = plan.shares_needed
    most = 2 * (plan.window_floor + 1)
    for threshold in (floor, most):
        assert make(clients=300, corrupt=0.1, dropout=0.1, threshold=threshold)
    for threshold in (floor - 1, most + 1):
        with pytest.raises(ParameterError, match=f"{floor} <= threshold <= {most} must hold"):
            make(clients=300, corrupt=0.1, dropout=0.1, threshold=threshold)


@pytest.mark.parametrize("threshold", [5.0, "5", True, np.int64(5), 4.5], ids=repr)
def test_a_threshold_is_an_int(threshold: Any) -> None:
    """5.0 passes every comparison and would fail in the middle of a round, at a client."""
    make(threshold=5)
    with pytest.raises(ParameterError, match="threshold"):
        make(threshold=threshold)


@both
def test_no_plan_needs_more_holders_than_there_are_points(kind: Either) -> None:
    """Shares live at 1 … 65535: a larger complete graph could not even deal its secrets."""
    for corrupt, dropout in ((0.45, 0.5), (0.02, 0.48)):
        try:
            plan = make(kind, clients=70_000, corrupt=corrupt, dropout=dropout)
        except ParameterError:
            continue
        assert plan.neighbourhood.degree <= MAX_POINT


@pytest.mark.parametrize(("clients", "dropout"), [(300, 0.01), (1000, 0.0), (250, 0.3)])
def test_a_plan_without_corrupt_clients_exists(clients: int, dropout: float) -> None:
    """Where the sparse graph is so thin that a threshold of 2 fails, another graph must do."""
    plan = make(SecAggPlusSemiHonest, clients=clients, corrupt=0.0, dropout=dropout)
    assert plan.shares_needed >= 2
