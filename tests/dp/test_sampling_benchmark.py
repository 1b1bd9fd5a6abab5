"""The benchmark of the samplers runs, at a size where its figures mean nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_measures_every_sampler() -> None:
    options = ("--sigmas", "3", "--count", "4096", "--repeats", "1")
    command = [sys.executable, "-m", "benchmarks.sampling", *options]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in ("Skellam: table ", "DiscreteGaussian: table ", "rejection", "rounded normal"):
        (line,) = (line for line in done.stdout.splitlines() if name in line)
        assert line.endswith(" /s")
