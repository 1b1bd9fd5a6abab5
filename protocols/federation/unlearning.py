"""Suspected triggers, round after round: looked for in what is opened, and unlearned after the sum.

    unlearning = Unlearning(model=network, root=examples)

    unlearning.look(plan, statistics, number, weights, summed=included)    # when the sum is known
    found = unlearning.mended(weights + mean, rng)                         # found.weights go out

Nothing is opened for it that a `SketchScreen` does not open anyway, and nobody is left out for what
it finds. EXPERIMENTAL: what it costs, what it misses and how attackers can use it is in
docs/explanation/detection.md.

What is kept between rounds: the pulls of the window, the suspects that commanded in it, and the
server's own model, in which no client had a part and which says how much a pattern commands by
itself. That model begins as what clients trained from in the first round that was looked at. So a
server that starts again must bring it along (`own`): else it begins as a model that clients had a
part in, and what commands there already passes for natural, until training on the root set alone
has made it forget. The window fills again by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from protocols.federation.imitations import by_class
from protocols.federation.mendable import Mendable
from protocols.federation.mending import Mending
from protocols.federation.model import Training, draws
from protocols.plan import RoundPlan
from protocols.screening import SketchScreen, observed
from robust.attacks.attack import Examples
from robust.errors import ObservationError
from robust.features import orthonormal, residuals, whole_number
from robust.observe import Array, Public, Pulls, Sketches
from robust.triggers import Suspect, TriggerSearch, distinct, pulls_of, within_classes
from secagg.errors import ParameterError
from secagg.event import Statistics
from secagg.identity import PartyId
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified
from secagg.sketch import SketchMap

__all__ = ["Unlearned", "Unlearning", "transposed"]

_CLASS_STEPS = 3
"""On all root examples of a class: a direction, before the class saturates."""

_MOST_NUMBERS = 1 << 24
"""In the estimates of updates that are held at a time."""

_WHOLE = slice(None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Unlearned:
    """What came of a round.

    Attributes
    ----------
    weights: (d,), of the mended model; those given where nothing commanded.
    suspects: what was looked at, those of the window that commanded before among them.
    commanded: of these, what the model obeyed, and has unlearned as far as `Mending` says.
    """

    weights: Array
    suspects: tuple[Suspect, ...]
    commanded: tuple[Suspect, ...]


class Unlearning:
    """The rounds of one model.

    Parameters
    ----------
    model: whose weights clients train.
    root: the server's own examples, of the model's features and classes, finite; some of each
        class, and two of one; 1 % of its entries, or more, other than 0. Features must be scaled
        to a deviation of about 1.
    search, mending: how suspects are found and unlearned; the usual ones if None.
    training: of the server's own model in a round; 30 steps if None.
    window: rounds over which pulls are averaged and commands remembered, >= 1.
    own: (d,), the server's own model of an earlier run; None to begin with the first round.

    Raises `ObservationError` for a root set or model that is not as said, and
    `robust.errors.ParameterError` for a window.
    """

    def __init__(
        self,
        *,
        model: Mendable,
        root: Examples,
        search: TriggerSearch | None = None,
        mending: Mending | None = None,
        training: Training | None = None,
        window: int = 10,
        own: Array | None = None,
    ) -> None:
        whole_number("window", window, 1)
        _check_root(model, root)
        self.model, self.root = model, root
        self._search, self._mending = search or TriggerSearch(), mending or Mending()
        self._training = training or Training(steps=30)
        self._mending.largest(root)  # raises where patterns could not be
        self._spread = within_classes(root.inputs, root.labels)
        self._targets = np.eye(root.classes)
        self._pulls: deque[Pulls] = deque(maxlen=window)
        self._commanded: deque[tuple[Suspect, ...]] = deque(maxlen=window)
        self._own = None if own is None else self._checked("own", own).copy()

    @property
    def last(self) -> int:
        """The number of the last round that was looked at; -1 before the first."""
        return self._pulls[-1].number if self._pulls else -1

    @property
    def own(self) -> Array | None:
        """(d,), the server's own model, for another run to begin with; None before a round."""
        return None if self._own is None else self._own.copy()

    def classes(self, weights: Array) -> Array:
        """(c, d), what steps of SGD on the root examples of each class change of `weights`."""
        return np.stack([self._of_class(weights, one) for one in by_class(self.root)])

    def look(
        self,
        plan: RoundPlan,
        statistics: Statistics,
        number: int,
        weights: Array,
        *,
        summed: Collection[PartyId],
        place: slice = _WHOLE,
    ) -> None:
        """Reads the pulls of round `number` from what was opened of it.

        weights: (d,), what clients trained from. summed: who is in the sum, which may be fewer than
        were accepted; whoever is not teaches the model nothing, and could only have something
        unlearned. place: where changes of the weights are in the plan's vector, if not all of it;
        all else there is taken off the sketches, number by number.

        A round of which nobody is summed tells nothing. Raises `ParameterError` for a plan
        without a `SketchScreen`, whose updates have another size, or whose sketches have no more
        numbers than classes and what is beside the update together; and else as `see`.
        """
        back = transposed(plan, statistics)
        self._check_size(plan, place)
        if not statistics.eligible.intersection(summed):
            return
        self._check_speaks("weights", weights)
        classes = self.classes(weights)
        seen = _sketched(plan, statistics, number, classes, place)
        self.see(
            seen.only(np.isin(seen.clients, list(summed))),
            back=lambda sketches: back(sketches)[:, place],
            weights=weights,
            classes=classes,
        )

    def see(
        self, seen: Sketches, *, back: Callable[[Array], Array], weights: Array, classes: Array
    ) -> None:
        """The same, of sketches: for loops of another kind.

        back: sketches (n, k) -> estimates of the updates (n, d), as `transposed` gives. weights:
        (d,), what clients trained from. classes: (c, d), of which `seen` has the sketches.

        Raises `ObservationError` where rounds do not ascend, for weights or class updates that are
        not finite or not the model's, for weights of which the model says nothing finite, and as
        `robust.triggers.pulls_of`.
        The state is then as before.
        """
        if seen.number <= self.last:
            raise ObservationError(f"rounds must ascend: {seen.number} comes after {self.last}")
        self._check_speaks("weights", weights)
        due = (self.model.classes, self.model.size)
        if classes.shape != due or not bool(np.isfinite(classes).all()):
            raise ObservationError(f"classes must be finite and {due}")
        found = pulls_of(
            seen,
            pull=lambda sketches: self._pulled(weights, back, sketches),
            pushes=self.model.pulls(weights, self.root.inputs, classes)[:, -1],
            spread=self._spread,
            examples=len(self.root) / self.root.classes,
        )
        self._pulls.append(found)
        if self._own is None:
            self._own = weights.copy()

    def mended(self, weights: Array, rng: np.random.Generator) -> Unlearned:
        """The model after the sum of the round that was looked at last, `weights` (d,), without
        what suspects command. rng: of patterns and batches; clients must not know it before.

        Raises `ObservationError` before the first round, for weights that are not finite or not the
        model's, and where what comes out is not finite; likewise where what these models say of
        the root set is not. Suspects and the server's own model are then as before.
        """
        self._check_speaks("weights", weights)
        if self._own is None:
            raise ObservationError("a round must have been looked at")
        found = self._search.suspects(tuple(self._pulls))
        suspects = distinct(chain(found, *self._commanded))
        own = self._advanced(self._own, rng)
        self._check_speaks("own", own)
        after, guilty = self._mending.mended(self.model, weights, own, self.root, suspects, rng)
        self._check_speaks("mended weights", after)
        self._own = own
        self._commanded.append(guilty)
        return Unlearned(weights=after, suspects=suspects, commanded=guilty)

    def _pulled(self, weights: Array, back: Callable[[Array], Array], sketches: Array) -> Array:
        """(n, f, c), in parts that leave room in memory."""
        parts = min(-(-len(sketches) * self.model.size // _MOST_NUMBERS), len(sketches))
        found = [
            self.model.pulls(weights, self.root.inputs, back(part))[:, :-1]
            for part in np.array_split(sketches, parts)
        ]
        return np.concatenate(found)

    def _of_class(self, weights: Array, examples: Examples) -> Array:
        after, targets = weights, self._targets[examples.labels]
        for _ in range(_CLASS_STEPS):
            after = self.model.step(after, examples.inputs, targets, self._training.rate)
        return after - weights

    def _advanced(self, own: Array, rng: np.random.Generator) -> Array:
        """The server's own model, which no client had a part in, after one more round."""
        for rows in draws(len(self.root), self._training, rng):
            targets = self._targets[self.root.labels[rows]]
            own = self.model.step(own, self.root.inputs[rows], targets, self._training.rate)
        return own

    def _check_size(self, plan: RoundPlan, place: slice) -> None:
        size = len(np.arange(plan.structure.size)[place])
        if size != self.model.size:
            raise ParameterError(
                f"update: {self.model.size} coordinates, as the model has, must hold, got {size}"
            )
        assert isinstance(plan.screen, SketchScreen), "as was checked before"
        taken = self.model.classes + plan.structure.size - size
        if taken >= plan.screen.rows:
            raise ParameterError(
                "classes + coordinates beside the update < rows must hold, "
                f"got {taken} and {plan.screen.rows}"
            )

    def _check_speaks(self, name: str, weights: Array) -> None:
        """A NaN is larger than no threshold: nothing would command, or pull."""
        with np.errstate(over="ignore", invalid="ignore"):
            said = self.model.probabilities(self._checked(name, weights), self.root.inputs)
        if not bool(np.isfinite(said).all()):
            raise ObservationError(f"{name}: what the model says of the root set must be finite")

    def _checked(self, name: str, row: Array) -> Array:
        if row.shape != (self.model.size,) or not bool(np.isfinite(row).all()):
            raise ObservationError(f"{name} must be finite and ({self.model.size},)")
        return row


def transposed(plan: RoundPlan, statistics: Statistics) -> Callable[[Array], Array]:
    """Sketches (n, k) of a round -> estimates (n, d) of its updates, flattened as the plan does.

    Raises `ParameterError` for a plan without a `SketchScreen`, and for one of an encrypted scheme,
    whose map has no transpose.
    """
    scheme = plan.scheme
    if not isinstance(plan.screen, SketchScreen):
        raise ParameterError("unlearning needs a plan with a SketchScreen")
    if not isinstance(scheme, SecAggPlusVerified | TwoAggregators):
        raise ParameterError("unlearning needs a scheme whose sketch has a transpose: not CKKS")
    sketch = scheme.opened_map(statistics.seed).sketch
    assert isinstance(sketch, SketchMap)
    return sketch.transposed


def _sketched(
    plan: RoundPlan, statistics: Statistics, number: int, classes: Array, place: slice
) -> Sketches:
    """A round and class updates (c, d), without what is beside `place` in the plan's vector."""
    beside = np.delete(np.arange(plan.structure.size), place)
    own = np.zeros((len(classes), plan.structure.size))
    own[:, place] = classes
    other = np.zeros((len(beside), plan.structure.size))
    other[np.arange(len(beside)), beside] = 1.0
    trees = [[plan.structure.restore(row) for row in rows] for rows in (own, other)]
    seen = observed(plan, statistics, number, classes=trees[0], known=trees[1])
    assert isinstance(seen, Sketches), "what a SketchScreen shows"
    assert seen.public.classes is not None, "as was just given"
    basis = orthonormal(seen.public.known)
    public = Public(
        known=np.empty((0, seen.public.size)), classes=residuals(seen.public.classes, basis)
    )
    return replace(seen, rows=residuals(seen.rows, basis), public=public)


def _check_root(model: Mendable, root: Examples) -> None:
    if (model.inputs, model.classes) != (root.inputs.shape[1], root.classes):
        raise ObservationError(
            "the root set must have the features and classes of the model, "
            f"{model.inputs} and {model.classes}, not {root.inputs.shape[1]} and {root.classes}"
        )
    if not bool(np.isfinite(root.inputs).all()):
        raise ObservationError("inputs of the root set must be finite")
    if not np.bincount(root.labels, minlength=root.classes).all():
        raise ObservationError("an example of each class must be in the root set")
