"""The page on the move from Flower's SecAgg+: its code runs, before and after."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from benchmarks.flower_grid import MeteredGrid, context_of
from benchmarks.report import FLOWER_PAGE
from protocols.adapters.flower import enroll

CLIENTS = 4


class Training:
    """The page's `fresh` and `fit`. seen: the arrays that `fit` was given, call by call."""

    def __init__(self) -> None:
        self.seen: list[list[np.ndarray]] = []

    def fresh(self) -> list[np.ndarray]:
        return [np.zeros(3, np.float32), np.asarray(1.5, np.float32)]

    def fit(self, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], int, float]:
        self.seen.append(arrays)
        return [np.asarray(array + 0.5, array.dtype) for array in arrays], 100, 0.25


def defined(blocks: list[str], training: Training) -> dict[str, Any]:
    names: dict[str, Any] = {"fresh": training.fresh, "fit": training.fit}
    for block in blocks:
        exec(compile(block, FLOWER_PAGE.name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def blocks() -> dict[str, list[str]]:
    """The blocks of each side, client's and server's, by the word above them."""
    text = FLOWER_PAGE.read_text("utf-8")
    found: dict[str, list[str]] = {"Before": [], "After": []}
    for word, code in re.findall(
        r"^(Before|After):\n\n```py\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    ):
        found[word].append(code)
    assert [len(each) for each in found.values()] == [2, 2]
    return found


def test_the_code_after_the_move_trains(
    blocks: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    enroll("keys", CLIENTS)
    training = Training()
    names = defined(blocks["After"], training)
    contexts = {node: context(node) for node in range(1, CLIENTS + 1)}
    grid = MeteredGrid(names["app"], contexts, lambda: None, 60.0)
    names["server"](grid, context_of(0))
    assert grid.errors == []
    assert grid.exchanges == ["deal", *["train", "unmask"] * 3]
    assert len(training.seen) == 3 * CLIENTS
    for before, after in zip(training.fresh(), training.seen[-1], strict=True):
        np.testing.assert_allclose(after, before + 1.0, atol=1e-5)


def test_the_code_before_the_move_is_flowers(blocks: dict[str, list[str]]) -> None:
    names = defined(blocks["Before"], Training())
    assert isinstance(names["app"], ClientApp)
    assert isinstance(names["server"], ServerApp)
    arrays, examples, metrics = names["Trainer"]().fit([np.zeros(3)], {})
    assert (arrays[0].tolist(), examples, metrics) == ([0.5] * 3, 100, {"loss": 0.25})


def context(node: int) -> Context:
    config = {
        "secagg-identity": f"keys/client-{node}.key",
        "secagg-roster": "keys/roster.json",
    }
    return context_of(node, **config)
