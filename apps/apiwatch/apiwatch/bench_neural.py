"""Names by federated averaging of a byte CNN, in the clear and in Flower, beside the closed-form
sums, on the same examples.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from apiwatch.bench_names import by_class, disguised_values, taught_and_tested
from apiwatch.bench_parts import Part
from apiwatch.classes import BENIGN, ClassModel, learn_together
from apiwatch.datasets import Value, half_of
from apiwatch.neural import (
    Arrays,
    ByteNetwork,
    Learning,
    arrays_of,
    averages,
    fitted,
    network_of,
    responses,
)
from apiwatch.neural_flower import averaged
from apiwatch.secure import Members

__all__ = ["bench_flower", "bench_neural", "bench_rates"]

_MOST = 300  # examples of each attack, four times as many benign: minutes of training
_AT_ONCE = 5  # rounds in Flower
_MOVED = 1e-5
"""About what the rounding of a sum does to a weight."""

_RATES = (2e-3, 4e-3, 8e-3, 16e-3)
_CHOSEN = Learning(rounds=20, rate=8e-3)
_CONTRAST = Learning(rounds=20, rate=8e-3, contrast=0.5)
"""By `bench_rates`: of twenty rounds the best macro F1 on the development half, and contrast at the
same rate.
"""
_Floats = NDArray[np.float64]
_Answer = Callable[[Sequence[str]], _Floats]


@dataclass(frozen=True, kw_only=True)
class _Split:
    """What sites learn from and what is tested, the same for all models."""

    sites: dict[int, list[tuple[str, str]]]
    tested: list[Value]
    labels: list[str]

    @classmethod
    def of(cls, folder: Path, half: str) -> Self:
        """half: "development", "final" or "both" of the values to test."""
        taught, others = taught_and_tested(folder)
        kept = _some(taught)
        sites = {site: pairs for site, pairs in by_class(kept).items() if pairs}
        tested = _some([one for one in others if half in ("both", half_of(one))])
        return cls(sites=sites, tested=tested, labels=sorted({value.label for value in kept}))

    @property
    def numbered(self) -> dict[int, list[tuple[str, int]]]:
        """The sites' examples, with the number of the class."""
        return {
            site: [(text, self.labels.index(label)) for text, label in pairs]
            for site, pairs in self.sites.items()
        }

    def row(self, name: str, answer: _Answer) -> dict[str, Any]:
        return {"model": name} | self.judged(answer) | _evaded(answer, self.tested, self.labels)

    def judged(self, answer: _Answer) -> dict[str, float]:
        found = answer([value.text for value in self.tested])
        truth = np.array([self.labels.index(value.label) for value in self.tested])
        return _judged(found, truth, self.labels.index(BENIGN))


def bench_neural(folder: Path, half: str) -> Iterator[Part]:
    """Twelve sites with one or two classes each; one site alone; all in one place. Averaging is in
    the clear here: `bench_flower` has the same over secure sums.
    """
    split = _Split.of(folder, half)
    count, numbered = len(split.labels), split.numbered
    everything = [pair for pairs in numbered.values() for pair in pairs]
    largest = max(numbered.values(), key=len)
    models: dict[str, Callable[[], ByteNetwork]] = {
        "averaged CNN": lambda: [*averages(numbered, count, _CHOSEN)][-1],
        "averaged CNN, contrast": lambda: [*averages(numbered, count, _CONTRAST)][-1],
        "CNN in one place": lambda: fitted(everything, count, _CHOSEN),
        "CNN of the largest site": lambda: fitted(largest, count, _CHOSEN),
    }
    yield Part.of("closed form", lambda: [_closed_form(split)])
    for name, learn in models.items():
        yield Part.of(name, partial(_answered, split, name, learn))


def _answered(split: _Split, name: str, learn: Callable[[], ByteNetwork]) -> list[Any]:
    return [split.row(name, _of(learn()))]


def _closed_form(split: _Split) -> dict[str, Any]:
    members = Members.generate(split.sites)
    sums, rounds = learn_together(split.sites, split.labels, members, model=bytes(32))
    sent = round(sum(max(summed.bytes_up.values()) for summed in rounds) / 1e6, 2)
    row = split.row("closed form, 2 sums", ClassModel(sums).responses)
    return row | {"MB sent by one site": sent}


def bench_flower(folder: Path, half: str) -> Iterator[Part]:
    """The averaged network over secure sums in Flower, and how far it is from that in the clear.

    Five rounds at a time: a part goes on with the weights that the one before has left.
    """
    split = _Split.of(folder, half)
    for done in range(0, _CHOSEN.rounds, _AT_ONCE):
        name = f"rounds {done + 1} to {done + _AT_ONCE}"
        yield Part(name=name, run=partial(_rounds, split, done))
    yield Part(name="beside the clear", run=partial(_beside_the_clear, split))


def _rounds(split: _Split, done: int, state: str) -> tuple[list[Any], str]:
    how = replace(_CHOSEN, rounds=_AT_ONCE)
    start, before = _unpacked(state) if done else (None, 0)
    network, sent = averaged(split.numbered, len(split.labels), how, start, done)
    return [], _packed(arrays_of(network), before + sent)


def _beside_the_clear(split: _Split, state: str) -> tuple[list[Any], str]:
    weights, sent = _unpacked(state)
    count, texts = len(split.labels), [value.text for value in split.tested]
    network = network_of(weights, count)
    starts = (None, _moved(arrays_of(ByteNetwork.fresh(count))))
    clear, moved = ([*averages(split.numbered, count, _CHOSEN, one)][-1] for one in starts)
    found, due, other = (responses(one, texts) for one in (network, clear, moved))
    cost = {
        "MB sent by one site": round(sent / 1e6, 2),
        "largest difference to the clear": round(float(np.abs(found - due).max()), 2),
        f"of the clear, begun {_MOVED:g} beside": round(float(np.abs(other - due).max()), 2),
    }
    return [split.row("averaged CNN, in Flower", _of(network)) | cost], ""


def _moved(weights: Arrays) -> Arrays:
    """Beside these by `_MOVED`, up or down."""
    rng = np.random.default_rng(0)
    signs = {name: rng.choice([-1.0, 1.0], each.shape) for name, each in weights.items()}
    return {
        name: (each + _MOVED * signs[name]).astype(each.dtype) for name, each in weights.items()
    }


def _packed(weights: Arrays, sent: int) -> str:
    """Weights, and the bytes that one site has sent for them, as text."""
    file = BytesIO()
    np.savez_compressed(file, allow_pickle=False, sent=np.int64(sent), **weights)
    return b64encode(file.getvalue()).decode()


def _unpacked(state: str) -> tuple[Arrays, int]:
    """The inverse of `_packed`."""
    with np.load(BytesIO(b64decode(state)), allow_pickle=False) as found:
        return {name: found[name] for name in found.files if name != "sent"}, int(found["sent"])


def bench_rates(folder: Path, _half: str, *, contrast: float = 0.0) -> Iterator[Part]:
    """Averaging in the clear, by the rate and the rounds, on the development half: what
    `bench_neural` uses is chosen here.
    """
    split = _Split.of(folder, "development")
    for rate in _RATES:
        how = Learning(rounds=_CHOSEN.rounds, rate=rate, contrast=contrast)
        yield Part.of(f"{rate:g}", partial(_rated, split, how))


def _rated(split: _Split, how: Learning) -> list[Any]:
    rows: list[Any] = []
    for number, network in enumerate(averages(split.numbered, len(split.labels), how), 1):
        if number % 10 == 0:
            found = split.judged(_of(network))
            rows.append({"rate": how.rate, "contrast": how.contrast, "rounds": number} | found)
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


def _judged(found: _Floats, truth: NDArray[np.int64], benign: int) -> dict[str, float]:
    attack = np.delete(found, benign, axis=1).max(axis=1) - found[:, benign]
    usual, attacks = attack[truth == benign], attack[truth != benign]
    level = np.sort(usual)[::-1][int(0.01 * usual.size)]
    labels = range(found.shape[1])
    each = f1_score(truth, found.argmax(axis=1), labels=labels, average=None, zero_division=0)
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
