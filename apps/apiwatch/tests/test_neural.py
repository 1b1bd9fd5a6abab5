"""The byte CNN and its averaging: small, and only where torch is."""

from __future__ import annotations

import numpy as np
import pytest

from apiwatch.errors import ParameterError

pytest.importorskip("torch")

from apiwatch.neural import ByteNetwork, Learning, arrays_of, fitted, responses, trained

pytestmark = pytest.mark.slow

PAIRS = [(f"name {i}", 0) for i in range(40)] + [(f"<script>{i}", 1) for i in range(40)]
SITES = {site: PAIRS[site::4] for site in range(4)}


@pytest.mark.filterwarnings("ignore")  # Ray's and Flower's own
def test_averaging_in_flower_is_the_mean_of_what_sites_trained() -> None:
    pytest.importorskip("ray")
    averaged = pytest.importorskip("apiwatch.neural_flower", exc_type=ImportError).averaged
    how = Learning(rounds=1, rate=1e-2, contrast=0.5)
    network, sent = averaged(SITES, 2, how)
    start = arrays_of(ByteNetwork.fresh(2))
    updates = [trained(start, SITES[site], 2, how, (1, site)) for site in range(4)]
    found = arrays_of(network)
    for name, array in found.items():
        mean = np.mean([update[name] for update in updates], axis=0)
        assert np.allclose(array, mean, atol=1e-5)
    assert any(np.abs(found[name] - start[name]).max() > 1e-3 for name in start)
    assert sent > 4 * sum(array.size for array in start.values())


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
