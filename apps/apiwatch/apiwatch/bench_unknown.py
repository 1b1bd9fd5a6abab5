"""The benchmark of classes that nobody has seen: are they new, do they cluster, are 20 examples
enough?

Everything is decided as the commands `teach`, `clusters` and `label` do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from apiwatch.bench_names import taught_and_tested
from apiwatch.classes import BENIGN, ClassModel, ClassSums, class_weights
from apiwatch.datasets import Value, half_of, part
from apiwatch.naming import Namer, level_for
from apiwatch.unknown import clusters, novelty

__all__ = ["bench_unknown"]

_FEW = 20
_DRAWS = 3
_PURE = 0.95


def bench_unknown(folder: Path, half: str) -> list[Any]:
    """Each class left out in turn.

    half: of the values that nothing learns from: the one that methods were chosen on, or the other.
    """
    taught, tested = taught_and_tested(folder)
    attacks = [v for v in tested if v.label != BENIGN and half in ("both", half_of(v))]
    labels = sorted({value.label for value in taught} - {BENIGN})
    return [_held_out(label, taught, attacks) for label in labels]


def _held_out(held: str, taught: Sequence[Value], attacks: Sequence[Value]) -> dict[str, Any]:
    known = [value for value in taught if value.label != held]
    sums, level = _learnt(known)
    model = ClassModel(sums)
    examples = model.embed([value.text for value in known if value.label != BENIGN][::3])
    texts = [value.text for value in attacks]
    new = np.array([value.label == held for value in attacks])
    strongest = model.attacked(texts).max(axis=1)
    queue = np.flatnonzero(strongest < level)
    found = np.full(len(attacks), -1)
    found[queue] = clusters(model, [texts[i] for i in queue])
    return {
        "held out": held,
        "of it": int(new.sum()),
        "told apart by distance": _area(new, novelty(model, texts, examples)),
        "by response": _area(new, -strongest),
        "of it in the queue": round(float(np.isin(np.flatnonzero(new), queue).mean()), 3),
        "in the queue": queue.size,
        **_clustered(found, new),
        **_labeled(held, sums, level, texts, new, found),
        **_recalled(held, sums, level, taught, attacks),
    }


def _area(new: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    return round(float(roc_auc_score(new, score)), 3)


def _learnt(known: Sequence[Value]) -> tuple[ClassSums, float]:
    """The sums, and the level of the unknown by a fifth that is first kept back."""
    weights = class_weights(Counter(value.label for value in known))
    pairs = [(value.text, value.label) for value in known]
    kept = ClassSums.learn([p for i, p in enumerate(pairs) if i % 5], weights, weights)
    level = level_for(ClassModel(kept), [text for text, label in pairs[::5] if label != BENIGN])
    return kept + ClassSums.learn(pairs[::5], weights, weights), level


def _clustered(found: NDArray[np.int64], new: NDArray[np.bool_]) -> dict[str, Any]:
    """The cluster with most of the class; found: per attack its cluster, largest first, or -1."""
    sizes = np.bincount(found[found >= 0])
    if not sizes.size:
        return {"purity of its cluster": None}
    own, main = np.bincount(found[(found >= 0) & new], minlength=sizes.size), _main(found, new)
    return {
        "purity of its cluster": round(float(own[main] / sizes[main]), 3),
        "size": int(sizes[main]),
        "rank among": (main + 1, sizes.size),
        "of it in pure clusters": round(float(own[own >= _PURE * sizes].sum() / new.sum()), 3),
    }


def _main(found: NDArray[np.int64], new: NDArray[np.bool_]) -> int:
    """The cluster with most of the class."""
    return int(np.bincount(found[(found >= 0) & new], minlength=1).argmax())


def _labeled(
    held: str,
    sums: ClassSums,
    level: float,
    texts: Sequence[str],
    new: NDArray[np.bool_],
    found: NDArray[np.int64],
) -> dict[str, float]:
    """What of the rest carries the name once that cluster has it, whoever else is in it."""
    inside = found == _main(found, new)
    rest = [
        text for text, one, within in zip(texts, new, inside, strict=True) if one and not within
    ]
    few = [text for text, within in zip(texts, inside, strict=True) if within]
    if not few or not rest:
        return {}
    named = _named(held, few, sums, level, rest)
    return {"recall of the rest from that cluster": round(float(np.mean(named)), 3)}


def _recalled(
    held: str, sums: ClassSums, level: float, taught: Sequence[Value], attacks: Sequence[Value]
) -> dict[str, float]:
    """One more sum, of 20 examples under their new name, drawn by a hash; means over draws."""
    texts = [value.text for value in attacks]
    new = np.array([value.label == held for value in attacks])
    own = [value.text for value in taught if value.label == held]
    named = []
    for draw in range(_DRAWS):
        few = sorted(own, key=lambda text: part(f"draw {draw}", text))[:_FEW]
        named.append(_named(held, few, sums, level, texts))
    shares = np.array(named)
    return {
        f"recall from {_FEW}": round(float(shares[:, new].mean()), 3),
        "least of the draws": round(float(shares[:, new].mean(axis=1).min()), 3),
        "of the others so named": round(float(shares[:, ~new].mean()), 4),
    }


def _named(
    held: str, few: Sequence[str], sums: ClassSums, level: float, texts: Sequence[str]
) -> list[bool]:
    """Which texts get the name that a few examples have, after one more sum."""
    weights = class_weights({BENIGN: int(sums.counts.max()), held: len(few)})
    more = ClassSums.learn([(text, held) for text in few], [held], weights)
    namer = Namer(ClassModel(sums + more), level, (held,))
    return [name.label == held for name in namer.names(texts)]
