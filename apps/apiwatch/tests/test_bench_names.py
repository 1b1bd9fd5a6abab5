"""The benchmarks of names: how they count, and on the real data where it is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from apiwatch.bench import BENCHES
from apiwatch.bench_names import taught_and_tested
from apiwatch.bench_unknown import _clustered, _held_out
from apiwatch.classes import BENIGN
from apiwatch.datasets import Value, half_of


def test_the_cluster_of_a_class_is_the_one_with_most_of_it() -> None:
    found = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, -1, -1])
    new = np.array([0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0], bool)
    counted = _clustered(found, new)
    assert counted["purity of its cluster"] == round(2 / 3, 3)
    assert (counted["size"], counted["rank among"]) == (3, (2, 3))
    assert counted["of it in pure clusters"] == round(2 / 6, 3)
    assert _clustered(np.full(3, -1), np.ones(3, bool)) == {"purity of its cluster": None}


def test_halves_are_of_what_near_duplicates_share() -> None:
    halves = {half_of(Value(f"{word}{n}", "x", "y")) for word in ("a", "ab", "abc") for n in (1, 2)}
    assert halves == {"development", "final"}
    for word in ("a", "ab", "abc"):
        assert half_of(Value(f"{word}1", "x", "y")) == half_of(Value(f"{word}2", "z", "y"))


def test_without_the_extra_the_network_is_skipped_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("apiwatch.bench_neural")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "apiwatch.neural", raising=False)
    for name in ("neural", "flower", "rates", "rates_contrast"):
        (row,) = BENCHES[name](tmp_path, "final")
        assert "apiwatch[neural]" in row["skipped"]
    assert "torch" in row["skipped"]


@pytest.mark.slow
def test_twenty_examples_of_a_class_nobody_knew_are_enough(data: Path) -> None:
    taught, tested = taught_and_tested(data)
    development = [v for v in tested if v.label != BENIGN and half_of(v) == "development"]
    found = _held_out("xss", taught, development)
    assert found["by response"] > 0.95
    assert found["purity of its cluster"] >= 0.95
    assert found["recall from 20"] >= 0.8
    assert found["of the others so named"] < 0.02
