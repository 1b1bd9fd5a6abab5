"""The benchmarks of names: how they count, and on the real data where it is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from apiwatch.bench import BENCHES
from apiwatch.bench_level import bench_level
from apiwatch.bench_names import taught_and_tested
from apiwatch.bench_unknown import _clustered, _held_out, _Known, _proposed
from apiwatch.classes import BENIGN, ClassSums
from apiwatch.datasets import Value, _folded, half_of, later_values, values
from apiwatch.naming import UNKNOWN_SHARE
from apiwatch.near import apart


def test_the_cluster_of_a_class_is_the_one_with_most_of_it() -> None:
    found = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, -1, -1])
    new = np.array([0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0], bool)
    counted = _clustered(found, new)
    assert counted["purity of its cluster"] == round(2 / 3, 3)
    assert (counted["size"], counted["rank among"]) == (3, (2, 3))
    assert counted["of it in pure clusters"] == round(2 / 6, 3)
    assert counted["of it in clusters"] == round(5 / 6, 3)
    for nowhere in (np.full(3, -1), np.array([-1, 0, 0])):
        assert _clustered(nowhere, np.array([1, 0, 0], bool)) == {"purity of its cluster": None}


def test_proposals_come_from_what_is_in_doubt_and_count_what_somebody_looks_at() -> None:
    usual = [Value(f"anna {i} lives at mill road {i * 7}", BENIGN, "made") for i in range(60)]
    taught = [Value(f"{i}' or {i}={i} union select {i}", "sqli", "made") for i in range(40)]
    known = _Known.learn([*usual, *taught])
    assert (known.before + ClassSums.empty([])).counts.tolist() == [48, 32]
    assert known.sums.counts.tolist() == [60, 40]
    own = [f"<script>alert({i})</script>" for i in range(25)]
    few, shown = _proposed(known, own)
    assert len(set(few)) == 20 <= shown
    assert set(few) <= set(own)
    short, everything = _proposed(known, own[:3])
    assert sorted(short) == sorted(own[:3])
    assert everything >= 3


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
        (part,) = BENCHES[name](tmp_path, "final")
        ((row,), _) = part.run("")
        assert "apiwatch[neural]" in row["skipped"]
    assert "torch" in row["skipped"]


@pytest.mark.slow
def test_twenty_examples_of_a_class_nobody_knew_are_enough(data: Path) -> None:
    taught, tested = taught_and_tested(data)
    development = [value for value in tested if half_of(value) == "development"]
    found = _held_out("xss", taught, development)
    assert found["by response"] > 0.93
    assert found["purity of its cluster"] >= 0.95
    assert found["recall from 20 proposed"] >= 0.8
    assert found["proposals"] < 40
    assert found["other attacks so named"] < 0.025
    assert found["benign so named"] < 0.06


@pytest.mark.slow
def test_no_value_of_one_part_is_nearly_one_of_another(data: Path) -> None:
    found = values(data)
    attacks = [value for value in found if value.label != BENIGN]
    assert len(apart([_folded(value.text) for value in attacks])) == len(attacks)
    labels: dict[str, set[str]] = {}
    for value in found:
        labels.setdefault(_folded(value.text), set()).add(value.label)
    assert all(len(several) == 1 for several in labels.values())
    later, counts = later_values(data)
    families = {"generic", "protocol-attack", "rfi", "session-fixation"}
    assert {value.label for value in later} == families
    assert not families & {value.label for value in found}
    assert counts["not nearly another"] == len(later)
    both = [_folded(value.text) for value in (*attacks, *later)]
    assert apart(both) == list(range(len(both)))


@pytest.mark.slow
def test_the_share_of_known_attacks_below_the_level_is_the_best(data: Path) -> None:
    *rows, found = bench_level(data, "final")
    assert len(rows) == 30
    assert found["best"] == pytest.approx(UNKNOWN_SHARE)
    assert all(abs(share - UNKNOWN_SHARE) < 0.03 for share in found.values())
