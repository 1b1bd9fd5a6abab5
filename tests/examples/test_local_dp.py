"""The example with both kinds of noise: it learns, its sums are exact, its figures are right."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from dp import Gaussian, ReductionAccountant

for module in ("torch", "opacus", "sklearn", "dp_accounting"):
    pytest.importorskip(module)

SCRIPT = Path(__file__).parents[2] / "examples" / "local-dp" / "train.py"
LINE = re.compile(
    r"round (\d+): ([\d.]+)% right, exact: (\w+); "
    r"one record: \(([\d.]+), 1e-05\)-DP; one client: \(([\d.]+), 1e-05\)-DP"
)


class Printed(NamedTuple):
    number: int
    accuracy: float
    exact: bool
    record: float
    client: float


def printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> list[Printed]:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = map(LINE.fullmatch, capsys.readouterr().out.splitlines())
    found = [line.groups() for line in lines if line is not None]
    return [
        Printed(int(number), float(right) / 100, exact == "True", float(record), float(client))
        for number, right, exact, record, client in found
    ]


@pytest.mark.slow
def test_both_promises_are_counted_round_by_round(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = printed(monkeypatch, capsys, "--rounds", "2", "--user-noise", "1")
    assert (first.number, second.number) == (1, 2)
    assert first.exact
    assert second.exact
    least = ReductionAccountant().epsilon(Gaussian(1.0), 1e-5)
    assert first.client == pytest.approx(least, rel=1e-3)  # four digits, and less than rounding
    assert 0 < first.record < second.record < 2 * first.record
    assert first.client < second.client < 2 * first.client


@pytest.mark.slow
def test_the_model_learns_where_noise_is_little(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--rounds", "2", "--user-noise", "0.01", "--record-noise", "0.5")
    *_, last = printed(monkeypatch, capsys, *options)
    assert last.accuracy > 0.5
    assert last.client > 1000 > 10 * last.record
