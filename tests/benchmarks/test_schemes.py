"""The comparison of schemes: its tables, and that it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import pine
from benchmarks.schemes import Comparison, Cost, Declared, Proofs, Size
from benchmarks.schemes_table import scheme_tables

ROOT = Path(__file__).resolve().parents[2]
MASKS = Cost(
    name="SecAggPlus",
    messages=5,
    client=0.1,
    server=0.02,
    third=0.0,
    up=4e6,
    down=1e3,
    between=0.0,
    deviation=1e-9,
    lost=0.03,
)
SHARED = replace(MASKS, name="TwoAggregators", messages=1, third=0.2, between=2e6)
DECLARED = Declared(
    name="SecAggPlus", third="", survivors=4, honest=3, opened=0, colluders=2, losses=5, exact=5
)
COMPILED = pine.Cost(client=0.3, leader=0.15, helper=0.1, upload=8_055_453, between=22_194)
FOUND = Comparison(
    sizes=[Size(size=1_000_000, clients=5, costs=[MASKS, SHARED])],
    declared=[
        DECLARED,
        replace(DECLARED, name="TwoAggregators", third="helper", losses=1, exact=1),
    ],
    proofs=[
        Proofs(
            size=1_000_000,
            compiled=COMPILED,
            plain=replace(COMPILED, client=1.3, leader=0.7, helper=0.6),
        )
    ],
    cold=4.0,
    cached=0.8,
)


def markdown(found: Comparison) -> str:
    return "\n".join(table.markdown() for table in scheme_tables(found))


def test_the_tables_have_a_column_for_each_scheme() -> None:
    text = markdown(FOUND)
    assert "| third party, CPU a client | - | 200 ms, helper |" in text
    assert "| bytes up a parameter | 4.00 | 4.00 |" in text
    assert "| read an update, together with the server | 2 clients | the helper |" in text
    assert "| a client falls silent at any of its messages | exact sum, 5 of 5 |" in text


def test_a_target_that_is_missed_says_so() -> None:
    assert "missed" not in markdown(FOUND)
    proofs = FOUND.proofs[0]
    slow = replace(COMPILED, client=0.36, helper=0.21, upload=8_100_201)
    late = replace(FOUND, proofs=[replace(proofs, compiled=slow)], cold=10.5, cached=2.5)
    text = markdown(late)
    assert "| 1,000,000 parameters: client | 360 ms (missed) | 350 ms |" in text
    assert "| 1,000,000 parameters: leader | 150 ms | 200 ms |" in text
    assert "| 1,000,000 parameters: upload | 8,100,201 B (missed) | 8,100,200 B |" in text
    assert text.count("(missed)") == 5
    slower = replace(FOUND, proofs=[replace(proofs, plain=replace(COMPILED, client=3.1))])
    assert "client, numpy over compiled | 10.3x (missed) | 10x |" in markdown(slower)


@pytest.mark.slow
def test_it_runs_all_schemes_and_the_peer(tmp_path: Path) -> None:
    pytest.importorskip("tenseal")
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "schemes"]
    subprocess.run([*command, "--json", str(found)], cwd=ROOT, check=True, capture_output=True)
    schemes = json.loads(found.read_text())["schemes"]
    (size,) = schemes["sizes"]
    masks, shared, encrypted, peer = size["costs"]
    assert masks["messages"] == 5
    assert shared["third"] > 0
    assert encrypted["third"] > 0
    assert peer["up"] > encrypted["up"] > masks["up"]
    assert all(cost["client"] > 0 and cost["deviation"] < 1e-5 for cost in size["costs"])
    assert [item["exact"] for item in schemes["declared"]] == [5, 1, 1]
