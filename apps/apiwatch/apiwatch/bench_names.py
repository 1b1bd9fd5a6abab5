"""The benchmark of C: what attacks are called, and what C and a network are compared on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from apiwatch.classes import BENIGN, ClassModel, ClassSums, class_weights, learn_together
from apiwatch.datasets import Value, training, values
from apiwatch.figures import Figures
from apiwatch.secure import Members

__all__ = [
    "bench_classes",
    "by_class",
    "disguised_values",
    "named",
    "taught_and_tested",
]

_Floats = NDArray[np.float64]


def bench_classes(folder: Path, _half: str) -> list[Any]:
    """Eight classes over twelve sites with one or two of the attacks each."""
    taught, tested = taught_and_tested(folder)
    sites = by_class(taught)
    labels = sorted({value.label for value in taught})
    sums, rounds = learn_together(sites, labels, Members.generate(sites), model=bytes(32))
    weights = class_weights(Counter(value.label for value in taught))
    pooled = ClassSums.learn([(v.text, v.label) for v in taught], labels, weights)
    responses = ClassModel(sums).responses([value.text for value in tested])
    figures, each = named(responses, responses, sums.labels, tested, "eight classes, two sums")
    return [
        figures,
        {
            "equal": sums.digest == pooled.digest,
            "MB sent by one site": [round(max(r.bytes_up.values()) / 1e6, 2) for r in rounds],
            "examples": [len(taught), len(tested)],
        }
        | each,
    ]


def named(
    responses: _Floats, parts: _Floats, labels: Sequence[str], tested: Sequence[Value], name: str
) -> tuple[Figures, dict[str, float]]:
    """How well attacks are told from benign values, and macro F1 with that of each class.

    responses, parts: (n, c) of the classes that a model knows. The largest response to an attack
    less the benign one tells attacks; the largest part is the name.
    """
    truth = np.array([value.label for value in tested])
    benign = labels.index(BENIGN)
    attack = np.delete(responses, benign, axis=1).max(axis=1) - responses[:, benign]
    usual, attacks = attack[truth == BENIGN], attack[truth != BENIGN]
    every = np.unique(truth).tolist()
    found = np.array(labels)[parts.argmax(axis=1)]
    each = f1_score(truth, found, average=None, labels=every)
    rows = {f"F1 {label}": round(float(f1), 3) for label, f1 in zip(every, each, strict=True)}
    return Figures.of(name, usual, usual, attacks), {"macro F1": float(each.mean())} | rows


def disguised_values(texts: Sequence[str]) -> dict[str, list[str]]:
    """Decoded values as an attacker would disguise them."""
    return {
        "140 letters before": ["a" * 140 + text for text in texts],
        "upper case": [text.upper() for text in texts],
        "spaces as comments": [text.replace(" ", "/**/") for text in texts],
        "encoded once more": [quote(text, errors="replace") for text in texts],
        "quotes split": [text.replace("'", "'+'") for text in texts],
    }


def taught_and_tested(folder: Path) -> tuple[list[Value], list[Value]]:
    """Examples to learn from, and others."""
    found = values(folder)
    return [v for v in found if training(v)], [v for v in found if not training(v)]


def by_class(taught: list[Value], sites: int = 12) -> dict[int, list[tuple[str, str]]]:
    """Attack classes are dealt out to sites in turn; the benign are split by a hash."""
    attacks = sorted({value.label for value in taught} - {BENIGN})
    dealt: dict[int, list[tuple[str, str]]] = {site: [] for site in range(1, sites + 1)}
    for value in taught:
        key = sha256(value.text.encode("utf-8", "surrogatepass")).digest()[0]
        share = (
            key if value.label == BENIGN else attacks.index(value.label) + len(attacks) * (key % 2)
        )
        dealt[1 + share % sites].append((value.text, value.label))
    return dealt
