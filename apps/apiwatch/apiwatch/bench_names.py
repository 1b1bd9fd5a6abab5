"""The benchmarks of C: what attacks are called, and what is done about new ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from apiwatch.classes import BENIGN, ClassModel, ClassSums, class_weights, learn_together
from apiwatch.datasets import Value, training, values
from apiwatch.figures import Figures
from apiwatch.secure import Members
from apiwatch.unknown import clusters, novelty

__all__ = [
    "bench_classes",
    "bench_unknown",
    "by_class",
    "disguised_values",
    "taught_and_tested",
]


def bench_classes(folder: Path, _half: str) -> list[Any]:
    """Eight classes over twelve sites with one or two of the attacks each."""
    taught, tested = taught_and_tested(folder)
    sites = by_class(taught)
    labels = sorted({value.label for value in taught})
    sums, rounds = learn_together(sites, labels, Members.generate(sites), model=bytes(32))
    weights = class_weights(Counter(value.label for value in taught))
    pooled = ClassSums.learn([(v.text, v.label) for v in taught], labels, weights)
    responses = ClassModel(sums).responses([value.text for value in tested])
    benign = labels.index(BENIGN)
    truth = np.array([labels.index(value.label) for value in tested])
    attack = np.delete(responses, benign, axis=1).max(axis=1) - responses[:, benign]
    usual, attacks = attack[truth == benign], attack[truth != benign]
    each = f1_score(truth, responses.argmax(axis=1), average=None)
    return [
        Figures.of("eight classes, two sums", usual, usual, attacks),
        {
            "macro F1": float(each.mean()),
            "equal": sums.digest == pooled.digest,
            "MB sent by one site": [round(max(r.bytes_up.values()) / 1e6, 2) for r in rounds],
            "examples": [len(taught), len(tested)],
        }
        | {f"F1 {label}": round(float(f1), 3) for label, f1 in zip(labels, each, strict=True)},
    ]


def bench_unknown(folder: Path, _half: str) -> list[Any]:
    """Each class left out in turn: is it new, does it cluster, are 20 examples of it enough?"""
    taught, tested = taught_and_tested(folder)
    labels = sorted({value.label for value in taught} - {BENIGN})
    return [_held_out(label, taught, tested) for label in labels]


def _held_out(held: str, taught: list[Value], tested: list[Value]) -> dict[str, Any]:
    kept = [value for value in taught if value.label != held]
    weights = class_weights(Counter(value.label for value in kept))
    sums = ClassSums.learn([(v.text, v.label) for v in kept], weights, weights)
    model = ClassModel(sums)
    known = model.embed([v.text for v in kept if v.label != BENIGN][::3])
    attacks = [value for value in tested if value.label != BENIGN]
    texts = [value.text for value in attacks]
    new = np.array([value.label == held for value in attacks])
    distance = novelty(model, texts, known)
    silence = -np.array([response for _, response in model.names(texts)])
    far = silence > np.quantile(silence[~new], 0.95)
    queue = [value for value, is_far in zip(attacks, far, strict=True) if is_far]
    found = clusters(model, [value.text for value in queue])
    largest = [value.label == held for value, c in zip(queue, found, strict=True) if c == 0]
    return {
        "held out": held,
        "novelty AUROC, cosine": round(float(roc_auc_score(new, distance)), 3),
        "novelty AUROC, response": round(float(roc_auc_score(new, silence)), 3),
        "purity of the largest cluster": round(float(np.mean(largest)), 3) if largest else None,
        "its size": len(largest),
        "recall from 20 examples": round(_recall(held, sums, taught, tested), 3),
    }


def _recall(held: str, sums: ClassSums, taught: list[Value], tested: list[Value]) -> float:
    """One more sum, of 20 examples under their new name."""
    few = [(v.text, held) for v in taught if v.label == held][:20]
    most = int(sums.counts.max())
    weights = class_weights({BENIGN: most, held: len(few)})
    model = ClassModel(sums + ClassSums.learn(few, [held], weights))
    named = model.names([v.text for v in tested if v.label == held])
    return float(np.mean([label == held for label, _ in named]))


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
