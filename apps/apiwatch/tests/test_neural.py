"""The byte CNN and its averaging: small, and only where torch is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apiwatch.errors import ParameterError

pytest.importorskip("torch")

from apiwatch.neural import (
    ByteNetwork,
    Learning,
    arrays_of,
    averages,
    fitted,
    responses,
    trained,
)

pytestmark = pytest.mark.slow

PAIRS = [(f"name {i}", 0) for i in range(40)] + [(f"<script>{i}", 1) for i in range(40)]
SITES = {7: PAIRS[::8], 3: PAIRS[30:50], 5: PAIRS[1::3], 9: PAIRS[70:]}  # no two of one size


@pytest.mark.filterwarnings("ignore")  # Ray's and Flower's own
def test_averaging_in_flower_is_the_mean_of_what_sites_trained() -> None:
    """By their examples, of which no two sites have as many."""
    pytest.importorskip("ray")
    averaged = pytest.importorskip("apiwatch.neural_flower", exc_type=ImportError).averaged
    how = Learning(rounds=1, rate=3e-2, contrast=0.5)
    network, sent = averaged(SITES, 2, how)
    start, found = arrays_of(ByteNetwork.fresh(2)), arrays_of(network)
    expected = arrays_of([*averages(SITES, 2, how)][-1])
    for name, array in found.items():
        assert np.allclose(array, expected[name], atol=2e-5)
    assert any(np.abs(found[name] - start[name]).max() > 1e-2 for name in start)
    assert sent > 4 * sum(array.size for array in start.values())


@pytest.mark.filterwarnings("ignore")  # Ray's and Flower's own
def test_averaging_in_flower_goes_on_where_it_ended() -> None:
    pytest.importorskip("ray")
    bench = pytest.importorskip("apiwatch.bench_neural", exc_type=ImportError)
    averaged = pytest.importorskip("apiwatch.neural_flower", exc_type=ImportError).averaged
    first, second = map(arrays_of, averages(SITES, 2, Learning(rounds=2, rate=3e-2)))
    start, sent = bench._unpacked(bench._packed(first, 7))
    assert sent == 7
    assert all(np.array_equal(start[name], first[name]) for name in first)
    found, _ = averaged(SITES, 2, Learning(rounds=1, rate=3e-2), start, 1)
    for name, array in arrays_of(found).items():
        assert np.allclose(array, second[name], atol=2e-5)
    assert any(np.abs(second[name] - first[name]).max() > 1e-2 for name in first)


def test_averaging_begins_where_it_is_told() -> None:
    how, fresh = Learning(rounds=1, rate=1e-2), arrays_of(ByteNetwork.fresh(2))
    other = {name: each + np.float32(0.1) for name, each in fresh.items()}
    usual, same, moved = (
        arrays_of(next(averages(SITES, 2, how, start))) for start in (None, fresh, other)
    )
    for name in usual:
        assert np.array_equal(same[name], usual[name])
    assert any(np.abs(moved[name] - usual[name]).max() > 1e-2 for name in usual)


def test_a_mean_is_by_examples() -> None:
    how = Learning(rounds=1, rate=1e-2)
    (network,) = averages(SITES, 2, how)
    start, sizes = arrays_of(ByteNetwork.fresh(2)), [len(SITES[site]) for site in sorted(SITES)]
    after = [trained(start, SITES[site], 2, how, (1, i)) for i, site in enumerate(sorted(SITES))]
    for name, array in arrays_of(network).items():
        values = [one[name] for one in after]
        assert np.allclose(array, np.average(values, axis=0, weights=sizes), atol=1e-7)
        if name == "bytes.weight":
            assert np.abs(array - np.mean(values, axis=0)).max() > 1e-4


@pytest.mark.parametrize(
    ("wrong", "inequality"),
    [([], "examples of site 9 >= 1"), ([("a", 2)], "0 <= class < 2"), ([("a", -1)], "0 <= class")],
)
def test_examples_are_checked(wrong: list[tuple[str, int]], inequality: str) -> None:
    averaged = pytest.importorskip("apiwatch.neural_flower", exc_type=ImportError).averaged
    how = Learning(rounds=1)
    assert len([*averages(SITES, 2, how)]) == 1
    for learn in (averaged, lambda *given: [*averages(*given)]):
        with pytest.raises(ParameterError, match=inequality):
            learn(SITES | {9: wrong}, 2, how)
    with pytest.raises(ParameterError, match=inequality.replace("9", "0")):
        fitted(wrong, 2, how)


def test_nothing_to_answer_is_no_answer_and_one_class_can_be_learnt() -> None:
    network = fitted([("a", 1), ("b", 1), ("", 1)], 2, Learning(rounds=3, rate=3e-2, contrast=0.5))
    assert responses(network, []).shape == (0, 2)
    assert responses(network, ["c", ""]).argmax(axis=1).tolist() == [1, 1]


def test_averaging_needs_sites_enough_to_hide_in() -> None:
    averaged = pytest.importorskip("apiwatch.neural_flower", exc_type=ImportError).averaged
    with pytest.raises(ParameterError, match="sites >= 4"):
        averaged({1: PAIRS, 2: PAIRS}, 2, Learning())


def test_a_pass_follows_from_its_turn_alone() -> None:
    start = arrays_of(ByteNetwork.fresh(2))
    one, same, other = (
        trained(start, PAIRS, 2, Learning(rate=1e-2), turn) for turn in ((1, 2), (1, 2), (2, 2))
    )
    assert all(np.array_equal(one[name], same[name]) for name in start)
    assert any(not np.array_equal(one[name], other[name]) for name in start)


def test_fitting_in_one_place() -> None:
    network = fitted(PAIRS, 2, Learning(rounds=3, rate=1e-2))
    assert responses(network, ["<script>", "name"]).argmax(axis=1).tolist() == [1, 0]


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"rate": 1.0}, {"contrast": 2.0}])
def test_learning_states_its_inequality(wrong: dict[str, float]) -> None:
    assert Learning().rounds == 10
    with pytest.raises(ParameterError, match="must hold"):
        Learning(**wrong)


def test_the_halves_of_the_benchmark_have_no_value_in_common(data: Path) -> None:
    split = pytest.importorskip("apiwatch.bench_neural", exc_type=ImportError)._Split
    halves = [split.of(data, half) for half in ("development", "final")]
    one, other = ({value.text for value in half.tested} for half in halves)
    taught = {text for pairs in halves[0].sites.values() for text, _ in pairs}
    assert halves[0].sites == halves[1].sites
    assert min(len(one), len(other), len(taught)) > 1000
    assert not one & other
    assert not taught & (one | other)


def test_macro_f1_is_over_all_classes() -> None:
    judged = pytest.importorskip("apiwatch.bench_neural", exc_type=ImportError)._judged
    truth = np.repeat([0, 1, 2], 200)
    perfect = judged(np.eye(3)[truth], truth, 0)
    assert (perfect["AUROC"], perfect["at 1 %"], perfect["macro F1"]) == (1.0, 1.0, 1.0)
    blind = judged(np.eye(3)[np.minimum(truth, 1)], truth, 0)
    assert blind["macro F1"] == pytest.approx((1 + 2 / 3 + 0) / 3, abs=1e-3)
