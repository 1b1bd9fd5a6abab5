"""The benchmark of encryption runs, at a size where its times mean nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tenseal")

ROOT = Path(__file__).resolve().parents[2]


ROWS = (
    "encryption alone",
    "NVFLARE's settings",
    "whole round",
    "pairwise masks",
    "rounded",
    "norms",
)


@pytest.mark.slow
def test_it_compares_ours_with_the_peer_and_with_masks() -> None:
    """All rows but the last, which is the one before it with four times the numbers."""
    options = ("--size", "4000", "--clients", "3", "--repeats", "1", "--only", *ROWS)
    command = [sys.executable, "-m", "benchmarks.he", *options]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    for name in ROWS:
        assert any(f" {name} " in line for line in lines)
    assert not any(" cosines " in line for line in lines)
    for ratio in ("encryption alone: ", "whole round: ", "upload: "):
        assert any(line.startswith(ratio) for line in lines)
