"""The benchmark of classes that nobody has seen: are they new, do they cluster, are 20 examples
enough?

Everything is decided as the commands `teach`, `clusters` and `label` do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from apiwatch.bench_names import taught_and_tested
from apiwatch.bench_parts import Part
from apiwatch.classes import BENIGN, ClassModel, ClassSums, class_weights
from apiwatch.datasets import Value, half_of, later_values, left_out, part, training
from apiwatch.naming import Namer, level_for
from apiwatch.unknown import clusters, covering, novelty

__all__ = ["bench_later", "bench_unknown"]

_FEW = (5, 10, 20)
_DRAWS = 3
_PURE = 0.95
_Bools = NDArray[np.bool_]


def bench_unknown(folder: Path, half: str) -> Iterator[Part]:
    """What there is to learn from and to test on, and each class left out in turn.

    half: of the values that nothing learns from: the one that methods were chosen on, or the other.
    """
    taught, tested = taught_and_tested(folder)
    values = [value for value in tested if half in ("both", half_of(value))]
    labels = sorted({value.label for value in taught} - {BENIGN})
    yield Part.of("values", lambda: [left_out(folder)])
    yield from _each(labels, taught, values)


def _each(labels: Sequence[str], taught: list[Value], tested: list[Value]) -> Iterator[Part]:
    for label in labels:
        yield Part.of(label, partial(_row, label, taught, tested))


def _row(held: str, taught: list[Value], tested: list[Value]) -> list[Any]:
    return [_held_out(held, taught, tested)]


def bench_later(folder: Path, half: str) -> Iterator[Part]:
    """The same for families of CRS tests that are no class of `bench_unknown`; everything that
    decides was frozen before the first run of it.

    half: of the values of known classes that are beside them in the test.
    """
    taught, tested = taught_and_tested(folder)
    later, counts = later_values(folder)
    taught = [*taught, *(value for value in later if training(value))]
    tested = [value for value in tested if half in ("both", half_of(value))]
    tested = [*tested, *(value for value in later if not training(value))]
    labels = sorted({value.label for value in later})
    yield Part.of("values", lambda: [counts])
    yield from _each(labels, taught, tested)


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
        "level": round(known.level, 3),
        "of it in the queue": round(float(np.isin(np.flatnonzero(new), queue).mean()), 3),
        "of others in the queue": round(float((strongest[~new] < known.level).mean()), 3),
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
    """One more sum, of 5, 10 or 20 examples under their new name, or of all that there are.

    They are those that `clusters` proposes first; beside the most of them, as many drawn by a hash,
    means over draws.
    """
    texts, labels = [v.text for v in tested], np.array([v.label for v in tested])
    new, benign = labels == held, labels == BENIGN
    few, shown = _proposed(known, own)
    sizes = [size for size in _FEW if size < len(few)]
    named = {n: np.array(_named(held, few[:n], known, texts)) for n in (*sizes, len(few))}
    most = named[len(few)]
    drawn = [
        _named(held, sorted(own, key=_order(draw))[: len(few)], known, texts)
        for draw in range(_DRAWS)
    ]
    at_random = np.array(drawn)[:, new].mean(axis=1)
    recalls = {
        f"recall from {n} proposed": round(float(at[new].mean()), 3) for n, at in named.items()
    }
    return {
        "examples": len(own),
        **recalls,
        "proposals": shown,
        "other attacks so named": round(float(most[~new & ~benign].mean()), 4),
        "benign so named": round(float(most[benign].mean()), 4),
        f"recall from {len(few)} drawn": round(float(at_random.mean()), 3),
        "least of the draws": round(float(at_random.min()), 3),
    }


def _order(draw: int) -> Callable[[str], float]:
    """By what a draw is sorted."""
    return lambda text: part(f"draw {draw}", text)


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
        if len(few) == _FEW[-1]:
            return few, shown
    return few, len(queue)


def _named(held: str, few: Sequence[str], known: _Known, texts: Sequence[str]) -> list[bool]:
    """Which texts get the name that a few examples have, after one more sum."""
    weights = class_weights({BENIGN: int(known.sums.counts.max()), held: len(few)})
    more = ClassSums.learn([(text, held) for text in few], [held], weights)
    namer = Namer(ClassModel(known.sums + more), known.level, (held,))
    return [name.label == held for name in namer.names(texts)]
