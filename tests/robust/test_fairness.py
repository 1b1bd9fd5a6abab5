"""Counts, intervals and tests of the report against known values and an independent library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robust.errors import ObservationError, ParameterError
from robust.fairness import (
    FairnessReport,
    Part,
    RoundWeights,
    Verdict,
    fairness_report,
    fisher_exact,
    render,
    wilson,
)


def repeated(weights: dict[int, float], rounds: int = 3) -> list[RoundWeights]:
    return [RoundWeights(number=number, weights=weights) for number in range(rounds)]


def part(report: FairnessReport, name: str) -> Part:
    return next(one for one in (*report.subgroups, *report.sizes) if one.name == name)


@given(trials=st.integers(1, 400), data=st.data(), level=st.floats(0.001, 0.5))
def test_wilson_is_that_of_scipy(trials: int, data: st.DataObject, level: float) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = wilson(successes, trials, level)
    expected = stats.binomtest(successes, trials).proportion_ci(1 - level, "wilson")
    assert low == pytest.approx(expected.low, abs=1e-9)
    assert high == pytest.approx(expected.high, abs=1e-9)


@given(clients=st.integers(1, 60), data=st.data())
def test_fisher_is_that_of_scipy(clients: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, clients))
    excluded = data.draw(st.integers(0, clients))
    inside = data.draw(st.integers(max(0, size + excluded - clients), min(size, excluded)))
    table = [[inside, size - inside], [excluded - inside, clients - size - excluded + inside]]
    expected = stats.fisher_exact(table)[1]
    assert fisher_exact(inside, size, excluded, clients) == pytest.approx(expected, rel=1e-7)


def test_fishers_tea() -> None:
    """Eight cups, four of each, three guessed: 34/70."""
    assert fisher_exact(3, 4, 4, 8) == pytest.approx(34 / 70)


def test_a_subgroup_that_is_hit_stands_out() -> None:
    weights = {client: 0.0 if client < 8 else 1.0 for client in range(40)}
    groups = {client: "rural" if client < 10 else "urban" for client in range(40)}
    report = fairness_report(repeated(weights), subgroups=groups, attackers=[])
    rural = part(report, "rural")
    assert (rural.clients, rural.excluded, rural.verdict) == (10, 8, Verdict.UNEVEN)
    assert rural.p_value == pytest.approx(2 * fisher_exact(8, 10, 8, 40))
    assert (rural.low, rural.high) == wilson(8, 10)
    assert rural.weight_lost == pytest.approx(0.8)
    assert report.all.excluded == 8


def test_an_even_subgroup_does_not() -> None:
    weights = {client: float(client % 4 != 0) for client in range(80)}
    groups = {client: "left" if client < 40 else "right" for client in range(80)}
    report = fairness_report(repeated(weights), subgroups=groups)
    assert {one.verdict for one in report.subgroups} == {Verdict.NO_SIGN}
    assert part(report, "left").p_value == 1.0


def test_few_clients_are_too_few_to_tell() -> None:
    """One of two clients of a subgroup: no table with these margins is rare."""
    weights = {1: 0.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}
    report = fairness_report(repeated(weights), subgroups={1: "a", 2: "a", 3: "b", 4: "b", 5: "b"})
    assert {one.verdict for one in report.subgroups} == {Verdict.TOO_FEW}
    assert "too few to tell" in render(report)
    nobody = fairness_report(repeated(dict.fromkeys(range(50), 1.0)), subgroups={0: "a"})
    assert {one.verdict for one in nobody.subgroups} == {Verdict.TOO_FEW}


def test_even_parts_are_seldom_called_uneven() -> None:
    """The correction holds: at most `level` of the reports accuse any of six even subgroups."""
    rng = np.random.default_rng(11)
    groups = {client: f"group {client % 6}" for client in range(60)}
    accused = 0
    for _ in range(400):
        weights = dict(enumerate((rng.random(60) > 0.2).astype(float).tolist()))
        report = fairness_report(repeated(weights, 1), subgroups=groups, level=0.1)
        accused += any(one.verdict is Verdict.UNEVEN for one in report.subgroups)
    assert accused <= 0.1 * 400


def test_the_unit_is_the_client_and_not_the_round() -> None:
    """A hundred rounds of one verdict say no more than one round of it."""
    weights = {client: float(client >= 3) for client in range(20)}
    groups = {client: "a" if client < 5 else "b" for client in range(20)}
    once = fairness_report(repeated(weights, 1), subgroups=groups)
    often = fairness_report(repeated(weights, 100), subgroups=groups)
    assert once.subgroups == often.subgroups


def test_excluded_means_often_enough_and_absence_is_no_verdict() -> None:
    rounds = [
        RoundWeights(number=0, weights={1: 0.0, 2: 0.5}),
        RoundWeights(number=1, weights={1: 1.0, 2: 0.5, 3: 0.0}),
        RoundWeights(number=2, weights={1: 1.0, 2: 0.5}),
    ]
    assert fairness_report(rounds).all.excluded == 1  # client 3, in its only round
    third = fairness_report(rounds, often=1 / 3)
    assert third.all.excluded == 2
    assert third.all.weight_lost == pytest.approx((1 / 3 + 0.5 + 1) / 3)


def test_known_attackers_are_set_aside() -> None:
    weights = {1: 0.0, 2: 0.0, 3: 1.0, 4: 1.0}
    known = fairness_report(repeated(weights), attackers={1, 2})
    assert (known.all.clients, known.all.excluded, known.attackers) == (2, 0, 2)
    assert "false exclusions: 0 of 2" in render(known)
    unknown = render(fairness_report(repeated(weights)))
    assert "exclusions: 2 of 4" in unknown
    assert "may be deserved" in unknown
    with pytest.raises(ObservationError, match="no attacker"):
        fairness_report(repeated(weights), attackers={1, 2, 3, 4})


def test_quarters_of_sizes_keep_equal_sizes_together() -> None:
    weights = dict.fromkeys(range(8), 1.0)
    even = fairness_report(repeated(weights), sizes={client: 10 * client for client in range(8)})
    assert [one.clients for one in even.sizes] == [2, 2, 2, 2]
    assert even.sizes[0].name == "smallest quarter"
    tied = fairness_report(repeated(weights), sizes=dict.fromkeys(range(7), 5) | {7: 9})
    assert [(one.name, one.clients) for one in tied.sizes] == [
        ("smallest quarter", 7),
        ("largest quarter", 1),
    ]


def test_small_clients_that_are_hit_stand_out() -> None:
    weights = {client: float(client >= 9) for client in range(40)}
    report = fairness_report(repeated(weights), sizes={client: client for client in range(40)})
    assert part(report, "smallest quarter").verdict is Verdict.UNEVEN


def test_the_text_has_every_part() -> None:
    weights = {client: float(client >= 9) for client in range(40)}
    text = render(
        fairness_report(
            repeated(weights),
            subgroups={client: f"clinic {client % 2}" for client in range(30)},
            sizes={client: client for client in range(40)},
        )
    )
    for word in ("clinic 0", "clinic 1", "undeclared", "smallest quarter", "95%", "22.5%"):
        assert word in text
    assert max(map(len, text.splitlines())) < 130
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("weights", [{}, {1: -0.1}, {1: 1.1}, {1: float("nan")}])
def test_malformed_rounds_are_refused(weights: dict[int, float]) -> None:
    RoundWeights(number=0, weights={1: 1.0})
    with pytest.raises(ObservationError):
        RoundWeights(number=0, weights=weights)


def test_malformed_reports_are_refused() -> None:
    rounds = repeated({1: 1.0})
    assert fairness_report(rounds).rounds == 3
    for wrong in ([], [rounds[0], rounds[0]]):
        with pytest.raises(ObservationError, match="each once"):
            fairness_report(wrong)
    with pytest.raises(ObservationError, match="size"):
        fairness_report(rounds, sizes={1: -1})
    for values in ({"often": 0.0}, {"often": 1.1}, {"level": 0.0}, {"level": 1.0}):
        with pytest.raises(ParameterError, match="must hold"):
            fairness_report(rounds, **values)
    with pytest.raises(ParameterError, match="successes"):
        wilson(2, 1)
    with pytest.raises(ParameterError, match="inside"):
        fisher_exact(3, 2, 4, 8)
