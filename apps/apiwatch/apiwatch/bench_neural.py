"""Names by federated averaging of a byte CNN in Flower, beside the closed-form sums, on the same
examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from apiwatch.bench_names import by_class, disguised_values, taught_and_tested
from apiwatch.classes import BENIGN, ClassModel, learn_together
from apiwatch.datasets import Value
from apiwatch.neural import ByteNetwork, Learning, fitted, responses
from apiwatch.neural_flower import averaged
from apiwatch.secure import Members

__all__ = ["bench_neural"]

_MOST = 300  # examples of each attack, four times as many benign: minutes of training
_Floats = NDArray[np.float64]
_Answer = Callable[[Sequence[str]], _Floats]


def bench_neural(folder: Path, _half: str) -> list[Any]:
    """Twelve sites with one or two classes each; one site alone; all in one place."""
    taught, tested = (_some(part) for part in taught_and_tested(folder))
    sites = by_class(taught)
    labels = sorted({value.label for value in taught})
    numbered = {
        site: [(text, labels.index(label)) for text, label in pairs]
        for site, pairs in sites.items()
        if pairs
    }
    everything = [pair for pairs in numbered.values() for pair in pairs]
    texts, truth = [v.text for v in tested], np.array([labels.index(v.label) for v in tested])
    rows: list[Any] = []

    def row(name: str, rounds: int, sent: int, answer: _Answer) -> None:
        found = _judged(answer(texts), truth, labels.index(BENIGN))
        cost = {"rounds": rounds, "MB sent by one site": round(sent / 1e6, 2)}
        rows.append({"model": name, **cost, **found, **_evaded(answer, tested, labels)})

    members = Members.generate(sites)
    sums, sent_sums = learn_together(sites, labels, members, model=bytes(32))
    row("closed form, 2 sums", 2, _sent(sent_sums), ClassModel(sums).responses)
    for contrast in (0.0, 0.5):
        how = Learning(contrast=contrast)
        network, sent = averaged(numbered, len(labels), how)
        row(f"averaged CNN, contrast {contrast}", how.rounds, sent, _of(network))
    row("CNN in one place", 0, 0, _of(fitted(everything, len(labels), Learning(rounds=5))))
    largest = max(numbered.values(), key=len)
    row("CNN of the largest site", 0, 0, _of(fitted(largest, len(labels), Learning(rounds=5))))
    return rows


def _some(values: Sequence[Value]) -> list[Value]:
    """The first of each class, in their order; parts were drawn by a hash already."""
    seen: Counter[str] = Counter()
    kept = []
    for value in values:
        seen[value.label] += 1
        if seen[value.label] <= (4 * _MOST if value.label == BENIGN else _MOST):
            kept.append(value)
    return kept


def _of(network: ByteNetwork) -> _Answer:
    return lambda texts: responses(network, texts)


def _sent(rounds: Sequence[Any]) -> int:
    return sum(max(summed.bytes_up.values()) for summed in rounds)


def _judged(found: _Floats, truth: NDArray[np.int64], benign: int) -> dict[str, float]:
    attack = np.delete(found, benign, axis=1).max(axis=1) - found[:, benign]
    usual, attacks = attack[truth == benign], attack[truth != benign]
    level = np.sort(usual)[::-1][int(0.01 * usual.size)]
    each = f1_score(truth, found.argmax(axis=1), average=None, zero_division=0)
    return {
        "AUROC": round(float(roc_auc_score(truth != benign, attack)), 4),
        "at 1 %": round(float((attacks > level).mean()), 3),
        "macro F1": round(float(each.mean()), 3),
    }


def _evaded(answer: _Answer, tested: Sequence[Any], labels: Sequence[str]) -> dict[str, float]:
    """Attacks found at 1 % of false alarms on undisguised values, once they are disguised."""
    benign = labels.index(BENIGN)

    def scores(texts: Sequence[str]) -> _Floats:
        found = answer(texts)
        attack: _Floats = np.delete(found, benign, axis=1).max(axis=1) - found[:, benign]
        return attack

    usual = scores([v.text for v in tested if v.label == BENIGN])
    level = np.sort(usual)[::-1][int(0.01 * usual.size)]
    attacks = [v.text for v in tested if v.label != BENIGN]
    return {
        name: round(float((scores(texts) > level).mean()), 3)
        for name, texts in disguised_values(attacks).items()
    }
