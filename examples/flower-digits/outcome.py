"""Compares what a run released with the plaintext means; not part of the app."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Round", "rounds_of", "table"]

Tree = dict[str, Any]
_ROUNDING = 1e-5  # of a released coordinate: quantization, and Flower's float32 weights


@dataclass(frozen=True)
class Round:
    """One round of a run.

    included: partitions that should be in the mean. deviation: largest distance of a coordinate of
    the released model from their plaintext mean. nearest: the least such distance from the mean of
    any other set of clients. exchanges: how often the server sent messages. seconds: wall time.
    """

    number: int
    accuracy: float
    included: list[int]
    deviation: float
    nearest: float
    exchanges: int
    seconds: float

    @property
    def matches(self) -> bool:
        """Whether the released model is that plaintext mean, and no other, up to rounding."""
        return self.deviation <= _ROUNDING < self.nearest


def rounds_of(seen: Path, lost: Mapping[int, Set[int]]) -> list[Round]:
    """The rounds that `rehearsal` wrote down. `lost`: by round, who never delivered an update."""
    lines = [json.loads(line) for line in (seen / "rounds.jsonl").read_text().splitlines()]
    return [_round(seen, line, lost.get(line["round"], set())) for line in lines[1:]]


def _round(seen: Path, line: dict[str, Any], lost: Set[int]) -> Round:
    number = line["round"]
    updates = {
        int(path.stem.rpartition("-")[2]): _load(path)
        for path in seen.glob(f"update-{number}-*.npz")
    }
    included = sorted(updates.keys() - lost)
    released = _load(seen / f"model-{number}.npz")
    distances = {
        chosen: _distance(released, _mean([updates[each] for each in chosen]))
        for chosen in _subsets(sorted(updates))
    }
    deviation = distances.pop(tuple(included))
    return Round(
        number=number,
        accuracy=line["accuracy"],
        included=included,
        deviation=deviation,
        nearest=min(distances.values()),
        exchanges=line["exchanges"],
        seconds=line["seconds"],
    )


def _subsets(partitions: list[int]) -> Iterable[tuple[int, ...]]:
    sizes = range(1, len(partitions) + 1)
    return chain.from_iterable(combinations(partitions, size) for size in sizes)


def _load(path: Path) -> Tree:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float64) for name in arrays.files}


def _mean(updates: list[Tree]) -> Tree:
    weights = [update["examples"] for update in updates]
    names = updates[0].keys() - {"examples"}
    return {
        name: sum(w * u[name] for w, u in zip(weights, updates, strict=True)) / sum(weights)
        for name in names
    }


def _distance(left: Tree, right: Tree) -> float:
    return max(float(np.abs(left[name] - right[name]).max()) for name in left)


def table(rounds: list[Round]) -> str:
    """One line per round, for people."""
    head = "round  accuracy  in mean  exchanges  seconds   off by  nearest"
    rows = (
        f"{each.number:5}  {each.accuracy:8.1%}  {len(each.included):7}  {each.exchanges:9}  "
        f"{each.seconds:7.1f}  {each.deviation:7.0e}  {each.nearest:8.0e}"
        for each in rounds
    )
    return "\n".join([head, *rows])
