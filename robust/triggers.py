"""What a backdoor's trigger could be, read from what updates make the model look at.

A trigger is a few features that are to command a class. Whoever teaches it makes these features
speak for that class, more than labels explain; and all who teach the same trigger agree in which.
So the question is not who is unlike the others, but which features, for which class, some clients
pull that no client of such data should: a block of clients and features.

Experimental. A suspect is no proof. Groups of honest clients whose data have something in common
that the root set lacks are found as well, so nobody is excluded for one: what a model is made to
unlearn costs little where it is none, see `protocols.federation.mending`.

How a round is read. Of each update the part that the server's class updates explain is taken off;
what is left is multiplied by the directions in which feature j speaks for class t. Under the null
hypothesis these numbers are normal with covariance

    spread (x) (W W' / r + own * diag(|W|^2)) + noise

over features and clients, for each class t: W[i, y] is how far what client i has of class y pushes
towards t; r examples of a class miss 1/r of its variance, for all clients alike; and the examples
of a client are worth 1/own independent ones. Entries are multiplied by the inverse of that
covariance, which is the best that can be done for few and weak shifts of correlated numbers
[Hall10]. Real data have more variety than a few examples; the scale of all entries of a class is
set by the median of its clients', which less than half of them do not move. Blocks are found by
`robust.scan`, under the covariance that the entries then have.

`noise` is shared: one map sketches all, so clients whose updates have a direction in common err in
the same way, and those who teach the same trigger are noise to each other. With all of that no
blend was found on the sets that this was built with, and with none of it blocks of such clients
score high by chance. A fifth of it finds what none finds; what that costs is for unlearning to say.

[Hall10]    Hall, Jin: Innovated Higher Criticism for Detecting Sparse Signals in Correlated Noise,
            Annals of Statistics 38, 2010.
[Ledoit04]  Ledoit, Wolf: A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices,
            Journal of Multivariate Analysis 88, 2004.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from robust.errors import ObservationError, require
from robust.features import between, whole_number
from robust.observe import Array, Pulls, Sketches
from robust.scan import Block, Law, densest

__all__ = ["Suspect", "TriggerSearch", "distinct", "pulls_of", "within_classes"]

_TO_DEVIATION = 1.4826
"""Standard deviation over median absolute value, of a normal law."""

_MOST_PUSHED = 2.0
"""Over the median of all clients."""

_LEAST_VARIANCE = 1e-12
"""Of the largest: what keeps the covariance of clients without any push invertible."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """Features that some clients make speak for a class.

    Attributes
    ----------
    features: positions, ascending. signs: +1 or -1 each: large, or small, values speak for it.
    target: the class.
    score: of the block, see `robust.scan`; of several blocks, their sum.
    clients: ids of those whose pulls agree, ascending. Not all of them teach it, nor are all who do
        among them.

    Raises `ObservationError` for anything else.
    """

    features: tuple[int, ...]
    signs: tuple[int, ...]
    target: int
    score: float
    clients: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, ids in (("features", self.features), ("clients", self.clients)):
            if any(one < 0 for one in ids) or any(a >= b for a, b in pairwise(ids)):
                raise ObservationError(f"{name} must be >= 0 and ascend")
        if not self.features:
            raise ObservationError("features: at least one must be there")
        if len(self.signs) != len(self.features) or not set(self.signs) <= {-1, 1}:
            raise ObservationError("a sign, +1 or -1, of each feature must be there")
        if self.target < 0 or not math.isfinite(self.score):
            raise ObservationError("0 <= target and a finite score must hold")


@dataclass(frozen=True, kw_only=True)
class TriggerSearch:
    """Suspected triggers of the last rounds.

    The blocks of each class are found one after the other, of large entries and of small ones. The
    best `most` of all classes are suspects; and those of one class together are another one, as
    parts of a trigger may be taught by different clients [Xie20dba], or have different signs.

    It keeps nothing: what a server that starts again needs is the rounds of its window. For up to a
    few hundred clients, those of all rounds of the window together, as it holds f n^2 numbers some
    times over, for one class after another.

    Who is louder is looked at first: `blocks` louder blocks of the same class and sign, or `most`
    of all, can hide a trigger. A block has at most half of the clients. And whoever pushes more is
    expected to pull more, up to twice what half of the clients push.

    Attributes
    ----------
    own: variance of a mean over a client's examples of a class, over that of one example; > 0.
    shared: how much of the noise that clients share is taken for such, in [0, 1]; see the module.
    clip: deviations from which an entry counts no more; > 0.
    columns: features in a block, at most, >= 1.
    blocks: of one class and sign, >= 1.
    most: blocks of all classes, >= 1.
    least: score of a block, in nats, >= 0. joined: of one that is put together with others, >= 0.

    Raises `ParameterError` for anything else.

    [Xie20dba]  as in `robust.attacks.backdoor_dba`.
    """

    own: float = 0.2
    shared: float = 0.2
    clip: float = 8.0
    columns: int = 8
    blocks: int = 4
    most: int = 32
    least: float = 1.0
    joined: float = 8.0

    def __post_init__(self) -> None:
        between("own", self.own, 0.0, np.inf)
        real = isinstance(self.shared, int | float)
        require(real and 0 <= self.shared <= 1, "0 <= shared <= 1")
        between("clip", self.clip, 0.0, np.inf)
        between("least", self.least, -1e-300, np.inf)
        between("joined", self.joined, -1e-300, np.inf)
        whole_number("columns", self.columns, 1)
        whole_number("blocks", self.blocks, 1)
        whole_number("most", self.most, 1)

    def suspects(self, past: Sequence[Pulls]) -> tuple[Suspect, ...]:
        """Over all rounds of `past`, each client by those in which it was seen, and in the last
        alone, as little is pulled once the model does what a trigger commands.

        Of either, blocks by score, the largest first, and then those that are several together.
        None where fewer than three clients are seen.
        Permutation equivariant but for ties. Raises `ObservationError` for no round, and for rounds
        that do not ascend or have other shapes.
        """
        found = self._found(_together(past))
        if len(past) > 1:
            found += self._found(past[-1])
        return distinct(found)

    def _found(self, seen: Pulls) -> list[Suspect]:
        if len(seen.clients) < 3:
            return []
        values, basis = np.linalg.eigh(seen.spread)
        spread = np.maximum(values, 0.0), basis
        targets = range(seen.pulls.shape[2])
        found = [one for target in targets for one in self._of(seen, spread, target)]
        found.sort(key=lambda one: (-one.score, one.target, one.features))
        kept = found[: self.most]
        return [*kept, *_joined([one for one in kept if one.score >= self.joined])]

    def shifts(self, seen: Pulls, spread: tuple[Array, Array], target: int) -> tuple[Array, Law]:
        """(n, f): the inverse covariance times what is pulled towards a class, and its law, but for
        a scale; see the module. spread: its eigenvalues, >= 0, and eigenvectors.
        """
        values, basis = spread
        pushes = _bounded(seen.pushes)[:, :, target]
        missed = pushes @ pushes.T / seen.examples
        varied = missed + self.own * np.diag((pushes**2).sum(axis=1))
        noise = self.shared * seen.noise + (1 - self.shared) * np.diag(np.diag(seen.noise))
        precision = _inverse(values[:, None, None] * varied + noise)
        entries = (seen.pulls[:, :, target] @ basis).T
        shifts = np.einsum("gij,gj->ig", precision, entries) @ basis.T
        return shifts, Law(rows=precision, basis=basis)

    def _of(self, seen: Pulls, spread: tuple[Array, Array], target: int) -> list[Suspect]:
        shifts, law = self.shifts(seen, spread, target)
        most = self.clip * law.deviations
        scale = _scale(shifts / law.deviations)
        table = np.clip(shifts / scale, -most, most) if scale > 0 else np.zeros_like(shifts)
        blocks = [block for sign in (1.0, -1.0) for block in self._blocks(sign * table, law)]
        found = []
        for block in blocks:
            # the sign of what is pulled says which values are to command the class
            sums = seen.pulls[np.ix_(block.rows, block.columns)][..., target].sum(axis=0)
            found.append(
                Suspect(
                    features=block.columns,
                    signs=tuple(np.where(sums < 0, -1, 1).tolist()),
                    target=target,
                    score=block.score,
                    clients=tuple(seen.clients[row] for row in block.rows),
                )
            )
        return found

    def _blocks(self, table: Array, law: Law) -> Iterator[Block]:
        """One after the other, without what those before it have of large entries."""
        left = table.copy()
        for _ in range(self.blocks):
            block = densest(left, law, rows=max(len(left) // 2, 1), columns=self.columns)
            if block.score < self.least:
                return
            cells = np.ix_(block.rows, block.columns)
            left[cells] = np.minimum(left[cells], 0.0)
            yield block


def pulls_of(
    seen: Sketches,
    *,
    pull: Callable[[Array], Array],
    pushes: Array,
    spread: Array,
    examples: float,
) -> Pulls:
    """What the sketches of a round say of pulls.

    pull: sketches (n, k) -> (n, f, c), inner products of the updates that the transpose of the map
        estimates with directions of norm 1.
    pushes: (c, c), [y, t] how far the server's update for class y pushes towards class t.

    Raises `ObservationError` without class updates, for sketches of no more numbers than classes,
    of which these updates explain everything, for other pushes, and as `Pulls` does.
    """
    if seen.public.classes is None:
        raise ObservationError("class updates of a root set must be there")
    known = seen.public.classes
    if len(known) >= seen.public.size:
        raise ObservationError("classes < numbers of a sketch must hold")
    if pushes.shape != (len(known), len(known)):
        raise ObservationError("pushes must have shape (classes, classes)")
    shares = np.linalg.lstsq(known.T, seen.rows.T, rcond=None)[0].T
    rest = seen.rows - shares @ known
    return Pulls(
        number=seen.number,
        clients=seen.clients,
        pulls=pull(rest),
        pushes=shares[:, :, None] * pushes,
        noise=rest @ rest.T / seen.public.size,
        spread=spread,
        examples=examples,
    )


def within_classes(inputs: Array, labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Array:
    """(f, f), the covariance of inputs (n, f) about the means of their classes, shrunk towards a
    multiple of the identity as far as so few examples ask for [Ledoit04, Theorem 1].

    Raises `ObservationError` unless some class has two examples.
    """
    counts = np.bincount(labels)
    freedom = len(labels) - np.count_nonzero(counts)
    if freedom < 1:
        raise ObservationError("two examples of a class must be there")
    means = np.zeros((len(counts), inputs.shape[1]))
    np.add.at(means, labels, inputs)
    apart = inputs - (means / np.maximum(counts, 1)[:, None])[labels]
    covariance = apart.T @ apart / freedom
    size = len(covariance)
    level = np.trace(covariance) / size
    distance = float(((covariance - level * np.eye(size)) ** 2).sum())
    squares = (apart**2).T @ (apart**2)
    errors = float((squares / freedom - covariance**2).sum()) / freedom
    share = min(max(errors, 0.0), distance) / distance if distance > 0 else 0.0
    return np.asarray((1.0 - share) * covariance + share * level * np.eye(size))


def distinct(suspects: Iterable[Suspect]) -> tuple[Suspect, ...]:
    """Of those that are the same pattern for the same class, the one of highest score."""
    found: dict[object, Suspect] = {}
    for one in suspects:
        pattern = one.features, one.signs, one.target
        if pattern not in found or found[pattern].score < one.score:
            found[pattern] = one
    return tuple(found.values())


def _together(past: Sequence[Pulls]) -> Pulls:
    """The means of each client over the rounds in which it was seen."""
    if not past:
        raise ObservationError("at least one round must be there")
    last = past[-1]
    numbers = [one.number for one in past]
    if sorted(set(numbers)) != numbers:
        raise ObservationError("rounds must ascend")
    if any(one.pulls.shape[1:] != last.pulls.shape[1:] for one in past):
        raise ObservationError("rounds must have the same features and classes")
    clients = sorted({client for one in past for client in one.clients})
    place = {client: at for at, client in enumerate(clients)}
    pulls = np.zeros((len(clients), *last.pulls.shape[1:]))
    pushes = np.zeros((len(clients), *last.pushes.shape[1:]))
    noise, count = np.zeros((len(clients), len(clients))), np.zeros(len(clients))
    for one in past:
        there = [place[client] for client in one.clients]
        pulls[there] += one.pulls
        pushes[there] += one.pushes
        noise[np.ix_(there, there)] += one.noise
        count[there] += 1
    return Pulls(
        number=last.number,
        clients=tuple(clients),
        pulls=pulls / count[:, None, None],
        pushes=pushes / count[:, None, None],
        noise=noise / np.outer(count, count),
        spread=last.spread,
        examples=last.examples,
    )


def _joined(suspects: Sequence[Suspect]) -> list[Suspect]:
    """For each class with several suspects, one of all their features; the best one's signs."""
    found = []
    for target in sorted({one.target for one in suspects}):
        mine = [one for one in suspects if one.target == target]
        signs: dict[int, int] = {}
        for one in reversed(mine):
            signs.update(zip(one.features, one.signs, strict=True))
        if len(mine) > 1:
            found.append(
                Suspect(
                    features=tuple(sorted(signs)),
                    signs=tuple(signs[feature] for feature in sorted(signs)),
                    target=target,
                    score=sum(one.score for one in mine),
                    clients=tuple(sorted({client for one in mine for client in one.clients})),
                )
            )
    return found


def _bounded(pushes: Array) -> Array:
    """Those of clients that push more than twice as much as half of them do, as twice as much."""
    sizes = np.linalg.norm(pushes, axis=(1, 2))
    most = _MOST_PUSHED * np.median(sizes)
    shares = np.divide(most, sizes, out=np.ones_like(sizes), where=sizes > most)
    return np.asarray(pushes * shares[:, None, None])


def _scale(entries: Array) -> float:
    """Of entries (n, f) that should have deviation 1: half of the clients do not move it."""
    return _TO_DEVIATION * float(np.median(np.median(np.abs(entries), axis=1)))


def _inverse(covariances: Array) -> Array:
    """(f, n, n) symmetric and nowhere negative -> their inverses, of what is kept off 0."""
    size = covariances.shape[-1]
    largest = float(np.einsum("gii->gi", covariances).max(initial=0.0))
    least = _LEAST_VARIANCE * (largest if largest > 0 else 1.0)
    return np.asarray(np.linalg.inv(covariances + least * np.eye(size)))
