"""The benchmark of names that are learnt with noise: what each epsilon leaves of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from apiwatch.bench_names import by_class, named, taught_and_tested
from apiwatch.bench_parts import Part
from apiwatch.classes import BENIGN, ClassModel, ClassSums
from apiwatch.datasets import Value
from apiwatch.naming import level_for
from apiwatch.private_classes import NamePrivacy, PrivateClasses
from apiwatch.splits import SITES

__all__ = ["bench_private_names"]

_EPSILONS = (8.0, 3.0, 1.0)
_DRAWS = 3


def bench_private_names(folder: Path, _half: str) -> Iterator[Part]:
    """Eight classes over twenty sites with one or two of the attacks each, and noise three times.

    Every example weighs the same in all rows, and names are told by responses beside those that
    are usual.
    """
    taught, tested = taught_and_tested(folder)
    yield Part.of("exact", partial(_exact, taught, tested))
    for epsilon in _EPSILONS:
        for draw in range(1, _DRAWS + 1):
            name = f"epsilon {epsilon:g}, draw {draw}"
            yield Part.of(name, partial(_noisy, name, epsilon, taught, tested))


def _exact(taught: list[Value], tested: list[Value]) -> list[Any]:
    pairs = [(value.text, value.label) for value in taught]
    equal = dict.fromkeys((label for _, label in pairs), 4)
    kept = ClassSums.learn([p for i, p in enumerate(pairs) if i % 5], equal, equal)
    back = [text for text, label in pairs[::5] if label != BENIGN]
    sums = kept + ClassSums.learn(pairs[::5], equal, equal)
    return _rows("exact", sums, level_for(ClassModel(kept), back), tested)


def _noisy(name: str, epsilon: float, taught: list[Value], tested: list[Value]) -> list[Any]:
    labels = {value.label for value in taught}
    learnt = PrivateClasses(by_class(taught, SITES), labels, NamePrivacy(epsilon=epsilon))
    learnt.learn()
    told = {
        "of": name,
        "drowned": list(learnt.drowned),
        "epsilon by the accountant": round(learnt.ledger.epsilon(learnt.privacy.delta), 4),
        "MB sent by one site": [round(max(r.bytes_up.values()) / 1e6, 2) for r in learnt.rounds],
    }
    if learnt.sums is None:
        return [told]
    return [*_rows(name, learnt.sums, learnt.level, tested), told]


def _rows(name: str, sums: ClassSums, level: float | None, tested: Sequence[Value]) -> list[Any]:
    model = ClassModel(sums)
    texts = [value.text for value in tested]
    figures, each = named(model.responses(texts), model.parts(texts), sums.labels, tested, name)
    strongest = model.attacked([v.text for v in tested if v.label != BENIGN]).max(axis=1)
    below = None if level is None else round(float(np.mean(strongest < level)), 3)
    return [figures, each | {"level": level, "attacks below it": below}]
