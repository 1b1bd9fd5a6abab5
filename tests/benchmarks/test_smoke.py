"""The benchmarks run, at a size where their figures mean nothing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pine, pine_screen
from benchmarks.workload import Workload

ROOT = Path(__file__).resolve().parents[2]


def run(half: str, found: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", half, "--json", str(found)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return json.loads(found.read_text())


@pytest.mark.slow
def test_scale_measures_both_sides_and_gets_the_mean_right(tmp_path: Path) -> None:
    report = run("scale", tmp_path / "found.json")
    assert report["peers"] == []
    (item,) = report["scale"]
    workload = Workload(**item["workload"])
    most = workload.encoding.error(len(workload.survivors), 500 * len(workload.survivors))
    assert 0 < item["cost"]["error"] <= most
    assert item["cost"]["server_cpu"] == pytest.approx(sum(item["server_phases"].values()))
    assert 0 < item["cost"]["client_cpu_mean"] <= item["cost"]["client_cpu_max"]
    assert item["cost"]["upload"] > 4 * workload.dimension
    assert item["memory"] > 4 * workload.dimension
    assert all(speed > 0 for speed in report["speeds"].values())


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("flwr") is None, reason="needs the extra [flower]")
def test_peers_compute_the_same_mean(tmp_path: Path) -> None:
    report = run("peers", tmp_path / "found.json")
    assert [item["workload"]["lost_share"] for item in report["peers"]] == [0.0, 0.1, 0.3]
    for item in report["peers"]:
        assert item["ours"]["error"] < 1e-5
        assert item["flower"]["error"] < 1e-5
        assert item["ours"]["upload"] < item["flower"]["upload"]


@pytest.mark.parametrize("entries", [0, 1])
def test_a_report_for_two_aggregators_has_its_costs(entries: int) -> None:
    cost = pine.best(size=300, bits=16, repeats=1, entries=entries)
    assert min(cost.client, cost.leader, cost.helper) > 0
    assert cost.upload > 8 * 300
    assert 0 < cost.between < cost.upload


def test_screens_of_two_aggregators_has_its_costs() -> None:
    screens = pine_screen.screens(600)
    for name in ("cosine", "sketch 64"):
        leader, helper, held = pine_screen.measure(600, 4, screens[name])
        assert min(leader, helper, held) > 0


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the extra [torch]")
def test_unlearning_has_its_costs() -> None:
    from benchmarks import unlearning  # noqa: PLC0415  # imports torch

    cost = unlearning.measured(30, 64, 6)
    assert min(cost.look, cost.mended) > 0
    assert cost.size == 31 * 64 + 65 * 10
    assert cost.memory > 8 * 6 * cost.size


def test_attacks_over_many_rounds_print_their_table() -> None:
    command = [sys.executable, "-m", "benchmarks.attacks", "--only", "rounds"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "noise of a sum" in done.stdout
    assert "0.84" in done.stdout  # what docs/explanation/leakage.md says of 240 rounds
