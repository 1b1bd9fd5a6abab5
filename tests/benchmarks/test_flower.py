"""The part of the benchmarks on Flower: what it calls right is right, and it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from benchmarks.flower import Case, Flower, Pair, cases, compare, warm_up
from benchmarks.flower_task import RIGHT, Task
from benchmarks.host import describe
from benchmarks.report import FLOWER_PAGE, PAGE, Report

ROOT = Path(__file__).resolve().parents[2]
CLIPPED = "one client changes a value by 100, clip 8"
COARSE = "1 example each, max_weight 100,000"


def mean_of(task: Task, clients: list[int]) -> dict[str, Any]:
    total = sum(task.weight(client) for client in clients)
    return {
        name: sum(task.weight(c) * task.trained[c][name].astype(np.float64) for c in clients)
        / total
        for name in task.model
    }


def nothing() -> None: ...


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One lossless round of five on both sides, after a warm-up."""
    warm_up()
    return compare(Case(name="five", task=Task(clients=5, dimension=50)), 60.0, nothing)


def test_a_deviation_is_that_from_the_mean_of_the_contributors() -> None:
    task = Task(clients=4, dimension=6, scalar=True)
    exact = mean_of(task, [1, 3])
    assert task.deviation(exact, [1, 3]) < 1e-12
    assert task.deviation(exact, [1, 2, 3]) > 1e-4
    moved = {**exact, "scale": np.asarray(exact["scale"] + 0.25)}
    assert task.deviation(moved, [1, 3]) == pytest.approx(0.25)


def test_a_number_that_is_none_is_no_deviation_within_bounds() -> None:
    task = Task(clients=4, dimension=6)
    broken = {"weights": np.full(6, np.nan)}
    assert not task.deviation(broken, [1, 2, 3, 4]) <= RIGHT


def test_both_sides_are_counted(pair: Pair) -> None:
    stages = ["setup", "share_keys", "collect_masked_vectors", "unmask"]
    assert list(pair.theirs.exchanges) == stages
    assert list(pair.ours.exchanges) == ["train", "unmask"]
    for outcome in (pair.theirs, pair.ours):
        assert outcome.verdict == "right"
        assert outcome.contributors == 5
        assert outcome.deviation is not None
        assert outcome.deviation < 1e-5
        assert outcome.server_cpu > 0
        assert outcome.client_cpu > 0
        assert outcome.upload > 4 * 50
        assert outcome.download > 4 * 50


def test_the_lost_are_not_contributors(pair: Pair) -> None:
    lost_at = ("collect_masked_vectors", "train")
    task = Task(clients=10, dimension=20)
    found = compare(Case(name="", task=task, lost_at=lost_at), 60.0, nothing)
    for outcome in (found.theirs, found.ours):
        assert outcome.verdict == "right"
        assert outcome.contributors == 8


@pytest.mark.parametrize(("limit", "verdict"), [(0.0, "time"), (60.0, "right")])
def test_a_side_that_takes_too_long_has_no_result(limit: float, verdict: str) -> None:
    found = compare(Case(name="", task=Task(clients=4, dimension=5)), limit, nothing)
    for outcome in (found.theirs, found.ours):
        assert outcome.verdict == verdict
        assert (outcome.remarks[:1] == ("not finished in 0 CPU s",)) == (verdict == "time")


def test_only_the_page_of_what_was_measured_is_written(pair: Pair, tmp_path: Path) -> None:
    pages = [tmp_path / PAGE.name, tmp_path / "how-to" / FLOWER_PAGE.name]
    pages[1].parent.mkdir()
    marked = "a\n<!-- benchmarks: begin -->\nold\n<!-- benchmarks: end -->\nz\n"
    for page in pages:
        page.write_text(marked)
    found = Flower(
        limit=60.0, pairs=[replace(pair, case=replace(pair.case, costly=True))], points=[]
    )
    report = Report(
        command="python -m benchmarks --only flower",
        date="2000-01-01",
        host=describe(),
        load_after=0.0,
        speeds=None,
        peers=[],
        scale=[],
        flower=found,
    )
    report.write(tmp_path)
    assert pages[0].read_text() == marked
    text = pages[1].read_text()
    assert text.startswith("a\n")
    assert text.endswith("z\n")
    assert "old" not in text
    assert "Written by `python -m benchmarks --only flower`" in text
    assert "| five: secagg | 2 |" in text


def test_every_case_has_a_name_of_its_own() -> None:
    for quick in (True, False):
        names = [case.name for case in cases(quick)]
        assert len(set(names)) == len(names)


@pytest.mark.slow
def test_the_quick_run_finds_who_is_right(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "flower"]
    subprocess.run(
        [*command, "--json", str(found)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    report = json.loads(found.read_text())
    pairs = {pair["case"]["name"]: pair for pair in report["flower"]["pairs"]}
    ours = {name: pair["ours"]["verdict"] for name, pair in pairs.items()}
    theirs = {name: pair["theirs"]["verdict"] for name, pair in pairs.items()}
    assert {name for name in ours if ours[name] == "off"} == {CLIPPED, COARSE}
    assert {name for name in ours if ours[name] == "nothing"} == {
        "1.1 million examples, max_weight 1,000"
    }
    assert pairs[COARSE]["ours"]["deviation"] < 0.1 * pairs[COARSE]["theirs"]["deviation"]
    assert theirs["nobody is lost"] == ours["nobody is lost"] == "right"
    assert {theirs[f"2 of 10 are lost at the {at}"] for at in ("first message", "second")} == {
        "nothing"
    }
    assert all(theirs[name] in {"off", "nothing"} for name in ours if ours[name] != "right")
    assert all(point["ours"]["verdict"] == "right" for point in report["flower"]["points"])
