"""The benchmark of classes that nobody has seen: are they new, do they cluster, are 20 examples
enough?

Everything is decided as the commands `teach`, `clusters` and `label` do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from apiwatch.bench_names import taught_and_tested
from apiwatch.classes import BENIGN, ClassModel, ClassSums, class_weights
from apiwatch.datasets import Value, half_of, left_out, part
from apiwatch.naming import Namer, level_for
from apiwatch.unknown import clusters, covering, novelty

__all__ = ["bench_unknown"]

_FEW = 20
_DRAWS = 3
_PURE = 0.95
_Bools = NDArray[np.bool_]


def bench_unknown(folder: Path, half: str) -> list[Any]:
    """What there is to learn from and to test on, and each class left out in turn.

    half: of the values that nothing learns from: the one that methods were chosen on, or the other.
    """
    taught, tested = taught_and_tested(folder)
    values = [value for value in tested if half in ("both", half_of(value))]
    labels = sorted({value.label for value in taught} - {BENIGN})
    return [left_out(folder), *(_held_out(label, taught, values) for label in labels)]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What is known before a class is.

    sums: of all examples but its own. level: of the unknown. before, fresh: the sums that the level
    was set with, and the attacks that were not in them.
    """

    sums: ClassSums
    level: float
    before: ClassSums
    fresh: list[str]

    @classmethod
    def learn(cls, known: Sequence[Value]) -> _Known:
        """A fifth is first kept back, as `teach` does."""
        weights = class_weights(Counter(value.label for value in known))
        pairs = [(value.text, value.label) for value in known]
        before = ClassSums.learn([p for i, p in enumerate(pairs) if i % 5], weights, weights)
        fresh = [text for text, label in pairs[::5] if label != BENIGN]
        sums = before + ClassSums.learn(pairs[::5], weights, weights)
        level = level_for(ClassModel(before), fresh)
        return cls(sums=sums, level=level, before=before, fresh=fresh)


def _held_out(held: str, taught: Sequence[Value], tested: Sequence[Value]) -> dict[str, Any]:
    known = _Known.learn([value for value in taught if value.label != held])
    model = ClassModel(known.sums)
    own = [value.text for value in taught if value.label == held]
    attacks = [value for value in tested if value.label != BENIGN]
    texts = [value.text for value in attacks]
    new = np.array([value.label == held for value in attacks])
    strongest = model.attacked(texts).max(axis=1)
    queue = np.flatnonzero(strongest < known.level)
    found = np.full(len(attacks), -1)
    found[queue] = clusters(model, [texts[i] for i in queue])
    shown = [v.text for v in taught if v.label not in (held, BENIGN)][::3]
    return {
        "held out": held,
        "of it": int(new.sum()),
        "told apart by distance": _area(new, novelty(model, texts, model.embed(shown))),
        "by response": _area(new, -strongest),
        "of it in the queue": round(float(np.isin(np.flatnonzero(new), queue).mean()), 3),
        "in the queue": queue.size,
        **_clustered(found, new),
        **_labeled(held, known, texts, new, found),
        **_recalled(held, known, own, tested),
    }


def _area(new: _Bools, score: NDArray[np.float64]) -> float:
    return round(float(roc_auc_score(new, score)), 3)


def _clustered(found: NDArray[np.int64], new: _Bools) -> dict[str, Any]:
    """The cluster with most of the class; found: per attack its cluster, largest first, or -1.

    What is in pure clusters is a share of all of the class, those in none included.
    """
    own = np.bincount(found[(found >= 0) & new], minlength=1)
    if not own.any():
        return {"purity of its cluster": None}
    sizes, main = np.bincount(found[found >= 0]), _main(found, new)
    own = np.bincount(found[(found >= 0) & new], minlength=sizes.size)
    return {
        "purity of its cluster": round(float(own[main] / sizes[main]), 3),
        "size": int(sizes[main]),
        "rank among": (main + 1, sizes.size),
        "of it in pure clusters": round(float(own[own >= _PURE * sizes].sum() / new.sum()), 3),
        "of it in clusters": round(float(own.sum() / new.sum()), 3),
    }


def _main(found: NDArray[np.int64], new: _Bools) -> int:
    """The cluster with most of the class."""
    return int(np.bincount(found[(found >= 0) & new], minlength=1).argmax())


def _labeled(
    held: str, known: _Known, texts: Sequence[str], new: _Bools, found: NDArray[np.int64]
) -> dict[str, float]:
    """What of the rest carries the name once that cluster has it, whoever else is in it."""
    if not np.any(new & (found >= 0)):
        return {}
    inside = found == _main(found, new)
    few, rest = list(compress(texts, inside)), list(compress(texts, new & ~inside))
    if not rest:
        return {}
    named = _named(held, few, known, rest)
    return {"recall of the rest from that cluster": round(float(np.mean(named)), 3)}


def _recalled(
    held: str, known: _Known, own: Sequence[str], tested: Sequence[Value]
) -> dict[str, Any]:
    """One more sum, of 20 examples under their new name.

    They are those that `clusters` proposes first; beside it, drawn by a hash, means over draws.
    """
    texts, labels = [v.text for v in tested], np.array([v.label for v in tested])
    new, benign = labels == held, labels == BENIGN
    few, shown = _proposed(known, own)
    named = np.array(_named(held, few, known, texts))
    drawn = [
        _named(held, sorted(own, key=lambda text: part(f"draw {draw}", text))[:_FEW], known, texts)
        for draw in range(_DRAWS)
    ]
    at_random = np.array(drawn)[:, new].mean(axis=1)
    return {
        f"recall from {_FEW} proposed": round(float(named[new].mean()), 3),
        "proposals": shown,
        "other attacks so named": round(float(named[~new & ~benign].mean()), 4),
        "benign so named": round(float(named[benign].mean()), 4),
        f"recall from {_FEW} drawn": round(float(at_random.mean()), 3),
        "least of the draws": round(float(at_random.min()), 3),
    }


def _proposed(known: _Known, own: Sequence[str]) -> tuple[list[str], int]:
    """Of a queue that examples and fresh known attacks come to: the first 20 of the class that are
    proposed, and how many proposals somebody looks at for it.
    """
    model = ClassModel(known.before)
    texts = [*known.fresh, *own]
    unknown = np.flatnonzero(model.attacked(texts).max(axis=1) < known.level)
    queue = [texts[i] for i in unknown]
    is_own = unknown >= len(known.fresh)
    few: list[str] = []
    for shown, number in enumerate(covering(model, queue), 1):
        few += [queue[number]] if is_own[number] else []
        if len(few) == _FEW:
            return few, shown
    return few, len(queue)


def _named(held: str, few: Sequence[str], known: _Known, texts: Sequence[str]) -> list[bool]:
    """Which texts get the name that a few examples have, after one more sum."""
    weights = class_weights({BENIGN: int(known.sums.counts.max()), held: len(few)})
    more = ClassSums.learn([(text, held) for text in few], [held], weights)
    namer = Namer(ClassModel(known.sums + more), known.level, (held,))
    return [name.label == held for name in namer.names(texts)]
