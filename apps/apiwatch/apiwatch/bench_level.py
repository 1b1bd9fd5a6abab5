"""Below which response a value is unknown: the share of known attacks that this costs, by
cross-fitting.

Of the examples to learn from alone, no value of a test among them: each class in turn is left out
of what is learned, and is then what nobody has seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from itertools import chain
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apiwatch.bench_names import taught_and_tested
from apiwatch.classes import BENIGN, ClassModel, ClassSums, class_weights
from apiwatch.datasets import Value

__all__ = ["bench_level"]

_SHARES = np.arange(1, 31) / 100
_Floats = NDArray[np.float64]


def bench_level(folder: Path, _half: str) -> list[Any]:
    """By the share of fresh known attacks below the level, the share of classes left out that is
    below it, their mean less the first, and which share is best; also without each class.
    """
    taught, _ = taught_and_tested(folder)
    found = below(taught)
    labels, shares = list(found), np.array(list(found.values()))
    rows: list[Any] = [
        {"share of known attacks": float(share)}
        | {label: round(float(of), 3) for label, of in zip(labels, column, strict=True)}
        | {"mean less share": round(float(column.mean() - share), 4)}
        for share, column in zip(_SHARES, shares.T, strict=True)
    ]
    without = {f"without {k}": best(np.delete(shares, i, 0)) for i, k in enumerate(labels)}
    return [*rows, {"best": best(shares)} | without]


def below(taught: Sequence[Value]) -> dict[str, _Floats]:
    """(30,) for each class of attacks: how much of it is below the level, had nobody seen it.

    The level leaves 1 to 30 % of fresh known attacks below it: a fifth is kept back, as `teach`
    does.
    """
    texts: dict[str, list[str]] = {}
    for value in taught:
        texts.setdefault(value.label, []).append(value.text)
    weights = class_weights(Counter(value.label for value in taught))
    sums = {
        label: ClassSums.learn(
            [(text, label) for i, text in enumerate(own) if i % 5], [label], weights
        )
        for label, own in texts.items()
    }
    return {held: _below(held, texts, sums) for held in sorted(texts) if held != BENIGN}


def _below(held: str, texts: dict[str, list[str]], sums: dict[str, ClassSums]) -> _Floats:
    model = ClassModel(reduce(add, (one for label, one in sums.items() if label != held)))
    fresh = chain.from_iterable(own[::5] for k, own in texts.items() if k not in (held, BENIGN))
    levels = np.quantile(model.attacked(list(fresh)).max(axis=1), _SHARES)
    strongest = model.attacked(texts[held]).max(axis=1)
    shares: _Floats = (strongest[:, None] < levels).mean(axis=0)
    return shares


def best(shares: _Floats) -> float:
    """shares: (classes, 30). Where the mean exceeds the share of known attacks most [Youden50]."""
    return float(_SHARES[(shares.mean(axis=0) - _SHARES).argmax()])
