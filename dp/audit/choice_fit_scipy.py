"""The labels of a client, by fitting its update with one update for each class. Needs scipy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, Guess, View

try:
    from scipy.optimize import nnls
except ImportError as error:
    raise ImportError("the fit of labels needs scipy: pip install 'secagg[audit]'") from error

__all__ = ["LabelFit", "label_mix"]


@dataclass(frozen=True, kw_only=True)
class LabelFit(Attack):
    """The shares of the classes in a client's data, from a sketch of its update.

    Nobody is imitated: the server needs a few records of each class, for `CLASSES`.
    """

    name = "label fit"
    goal = Goal.CHOICE
    needs = frozenset({Access.STATISTIC, Access.CLASSES, Access.PROJECTION, Access.SHARES})

    @property
    def control(self) -> Attack:
        return Guess()

    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        classes = view[Access.CLASSES] @ view[Access.PROJECTION].T
        tie = Guess().conclude(view, rng)
        return label_mix(view[Access.STATISTIC], classes) + 1e-9 * tie


def label_mix(sketch: Array, classes: Array) -> Array:
    """Shares (c,) >= 0 that sum to 1, or zeros: of sketches (c, k) that make up the sketch (k,)."""
    fitted, _ = nnls(classes.T, sketch)
    shares: Array = fitted / max(float(fitted.sum()), 1e-12)
    return shares
