"""The byte CNN and its averaging: small, and only where torch is."""

from __future__ import annotations

import numpy as np
import pytest

from apiwatch.errors import ParameterError

pytest.importorskip("torch")

from apiwatch.neural import Learning, averaged, fitted, responses

pytestmark = pytest.mark.slow

PAIRS = [(f"name {i}", 0) for i in range(40)] + [(f"<script>{i}", 1) for i in range(40)]
SITES = {site: PAIRS[site::6] for site in range(1, 7)}


@pytest.mark.parametrize("contrast", [0.0, 0.5])
def test_averaging_learns_what_no_site_has_alone(contrast: float) -> None:
    how = Learning(rounds=6, rate=1e-2, contrast=contrast)
    network, sent = averaged(SITES, 2, how)
    found = responses(network, ["name 99", "<script>99", "name x", "<script>y"])
    assert found.argmax(axis=1).tolist() == [0, 1, 0, 1]
    assert np.allclose(np.exp(found).sum(axis=1), 1.0)
    assert sent > how.rounds * 10_000


def test_fitting_in_one_place() -> None:
    network = fitted(PAIRS, 2, Learning(rounds=3, rate=1e-2))
    assert responses(network, ["<script>", "name"]).argmax(axis=1).tolist() == [1, 0]


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"rate": 1.0}, {"contrast": 2.0}])
def test_learning_states_its_inequality(wrong: dict[str, float]) -> None:
    assert Learning().rounds == 10
    with pytest.raises(ParameterError, match="must hold"):
        Learning(**wrong)
