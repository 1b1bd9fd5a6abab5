"""The tables on privacy: what must hold of every figure, whatever it is."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

for module in ("torch", "sklearn", "dp_accounting"):
    pytest.importorskip(module)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("privacy") / "found.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "privacy", "--json", path]
    subprocess.run([*map(str, command)], cwd=ROOT, check=True, capture_output=True)
    return json.loads(path.read_text())["privacy"]


def test_ours_lies_between_the_central_price_and_the_published_ones(found: Any) -> None:
    for row in found["priced"]:
        assert found["central"][str(row["z"])] < row["reduction"] < row["once"]
        assert row["reduction"] < row["skellam"]
        assert row["ddg"] is None or row["reduction"] < row["ddg"] < 1.01 * row["skellam"]
    for row in found["sampled"]:
        assert row["central"] < row["reduction"] < row["published"]


def test_wider_rings_cost_less(found: Any) -> None:
    for before, after in pairwise(found["priced"]):
        if before["z"] == after["z"]:
            assert after["units"] > before["units"]
            assert after["reduction"] < before["reduction"]
            assert after["inflation"] < before["inflation"]


def test_ours_delivers_what_was_promised_whoever_is_gone(found: Any) -> None:
    promised = found["central"]["1.0"] * (1 + 1e-6)  # integers cost a hair more than real numbers
    for row in found["delivered"]:
        gone = row["dropped"] + row["colluding"] > 0
        assert row["ours"] <= promised
        assert (row["naive"] > promised) == gone
    assert max(row["naive"] for row in found["delivered"]) > 1.7 * promised


def test_the_demo_learns_under_noise(found: Any) -> None:
    assert {row["by"] for row in found["trained"]} == {"clients", ""}
    for row in found["trained"]:
        assert all(accuracy > 0.2 for accuracy in row["accuracies"])


def test_every_sampler_was_timed(found: Any) -> None:
    assert len({row["sigma"] for row in found["speeds"]}) == 3
    assert all(row["rate"] > 0 for row in found["speeds"])
