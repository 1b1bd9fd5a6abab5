"""What do the numbers tell that are opened of each client? The trials, from a federation.

    labels     the most frequent label of a client, from what is opened of its update
    links      which client of an earlier round it is
    sparse     the update itself, where few of its coordinates are not zero

A *statistic* is a map from updates (n, d) to what is opened, (n, k): `norm`, `cosine`, `sketch`,
`passed`, and `both` of two. Of a group, what is opened is the statistic of its sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp.audit.attack import Access, Trial, View
from protocols.federation.data import Split, owners_iid, parts
from protocols.federation.model import Network, Training
from robust.attacks.attack import Examples
from robust.attacks.vectors import lengths, units
from robust.observe import Array
from secagg.errors import ParameterError

__all__ = [
    "Clients",
    "Sides",
    "Statistic",
    "both",
    "clients",
    "clients_of",
    "cosine",
    "label_trials",
    "lifted",
    "link_trials",
    "norm",
    "passed",
    "sketch",
    "sparse_trials",
]

Statistic = Callable[[Array], Array]
"""Updates (n, d) -> what is opened of each, (n, k)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clients:
    """Updates (n, d) with the most frequent label (n,) of each client, and references.

    Attributes
    ----------
    updates, labels: of clients.
    again: updates of the same clients in the next round, (n, d), on other batches.
    imitated, answers: (s, d) and (s,), of clients that the attacker makes up from its own data.
    root: the server's own update, (d,); classes: one for each class, (c, d), of its own data.
    """

    updates: Array
    labels: NDArray[np.int64]
    again: Array
    imitated: Array
    answers: NDArray[np.int64]
    root: Array
    classes: Array

    @property
    def shares(self) -> Array:
        """How frequent each label is among the imitated clients, (c,)."""
        return np.bincount(self.answers, minlength=len(self.classes)) / len(self.answers)


def clients(
    split: Split,
    rng: np.random.Generator,
    *,
    count: int = 200,
    imitated: int = 1000,
    records: int = 20,
    alpha: float = 0.3,
    hidden: int = 16,
    training: Training | None = None,
) -> Clients:
    """Clients whose labels are mixed by a Dirichlet(alpha) draw; one record alone has one label.

    Half of the data is the attacker's. Raises `ParameterError` unless each number >= 1, alpha > 0.
    """
    work = training or Training(steps=3, batch=10, rate=0.1)
    data = split.train
    network = Network(inputs=data.inputs.shape[1], hidden=hidden, classes=data.classes)
    start = network.fresh(rng)
    theirs, own = parts(data, owners_iid(data, 2, rng))

    def trained(cohort: Sequence[Examples]) -> Array:
        return network.trained(start, cohort, work, [rng] * len(cohort))

    sides = Sides(theirs, own, split.root)
    return clients_of(
        sides, trained, rng, count=count, imitated=imitated, records=records, alpha=alpha
    )


class Sides(NamedTuple):
    """Data of the clients, of the attacker, and what the server has of each class."""

    theirs: Examples
    own: Examples
    root: Examples


def clients_of(
    sides: Sides,
    trained: Callable[[Sequence[Examples]], Array],
    rng: np.random.Generator,
    *,
    count: int,
    imitated: int,
    records: int,
    alpha: float,
) -> Clients:
    """The same with any training: data of n clients -> their updates (n, d)."""
    if min(count, imitated, records) < 1 or not 0 < alpha < np.inf:
        raise ParameterError("count, imitated, records >= 1 and 0 < alpha < inf must hold")
    root = sides.root
    cohorts = [
        _mixed(half, n, records, alpha, rng)
        for half, n in ((sides.theirs, count), (sides.own, imitated))
    ]
    each = [root.take(np.flatnonzero(root.labels == one)) for one in range(root.classes)]
    return Clients(
        updates=trained(cohorts[0]),
        labels=_majorities(cohorts[0]),
        again=trained(cohorts[0]),
        imitated=trained(cohorts[1]),
        answers=_majorities(cohorts[1]),
        root=trained([root])[0],
        classes=trained(each),
    )


def norm(updates: Array) -> Array:
    """The logarithm of the norm, (n, 1)."""
    found: Array = np.log(lengths(updates) + 1e-12)
    return found


def cosine(reference: Array) -> Statistic:
    """The cosine with a public update (d,), (n, 1)."""
    return lambda updates: (units(updates) @ units(reference[None])[0])[:, None]


def sketch(projection: Array) -> Statistic:
    """A linear map (k, d) of the update."""
    return lambda updates: updates @ projection.T


def lifted(projection: Array) -> Statistic:
    """The sketch, back in the space of updates: comparable between different maps."""
    return lambda updates: updates @ projection.T @ projection


def passed(statistic: Statistic, limits: Array) -> Statistic:
    """Whether each number is at most its limit (k,): the bits of a check."""
    return lambda updates: (statistic(updates) <= limits).astype(np.float64)


def both(one: Statistic, other: Statistic) -> Statistic:
    """Two statistics of each client."""
    return lambda updates: np.concatenate([one(updates), other(updates)], axis=1)


def label_trials(
    found: Clients,
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    group: int = 1,
    projection: Array | None = None,
) -> Sequence[Trial]:
    """Each client is attacked once: what is its most frequent label?

    group: how many clients a statistic is opened of, the sum of whose updates it takes; the others
    are drawn anew for each trial. projection: (k, d), told to attacks that need it.

    Raises `ParameterError` unless 1 <= group <= clients.
    """
    if not 1 <= group <= len(found.updates):
        raise ParameterError(f"1 <= group <= {len(found.updates)} must hold, got {group}")
    prior: dict[Access, Array] = {
        Access.EXAMPLES: statistic(_grouped(found.imitated, group, rng)),
        Access.ANSWERS: found.answers.astype(np.float64),
        Access.SHARES: found.shares,
        Access.CLASSES: found.classes,
    }
    if projection is not None:
        prior[Access.PROJECTION] = projection
    opened = statistic(_grouped(found.updates, group, rng))
    return [
        Trial(View({**prior, Access.STATISTIC: row}), np.array(label))
        for row, label in zip(opened, found.labels, strict=True)
    ]


def link_trials(
    found: Clients,
    statistic: Statistic,
    later: Statistic | None = None,
    *,
    group: int = 1,
    rng: np.random.Generator | None = None,
) -> Sequence[Trial]:
    """Each client of a round is looked for among those of the round before.

    later: the statistic of the second round, where it is another. group: how many clients a
    statistic is opened of; the others are drawn anew, by `rng`, in each round.

    Raises `ParameterError` unless 1 <= group <= clients, and for a group without a generator.
    """
    if not 1 <= group <= len(found.updates) or (group > 1 and rng is None):
        raise ParameterError(
            f"1 <= group <= {len(found.updates)} must hold, and rng for groups, got {group}"
        )
    rows = (found.updates, found.again)
    if rng is not None:
        rows = (_grouped(found.updates, group, rng), _grouped(found.again, group, rng))
    earlier, now = statistic(rows[0]), (later or statistic)(rows[1])
    many = len(earlier)
    prior = {Access.EARLIER: earlier, Access.SHARES: np.full(many, 1 / many)}
    return [
        Trial(View({**prior, Access.STATISTIC: row}), np.array(at)) for at, row in enumerate(now)
    ]


def sparse_trials(updates: Array, projection: Array, *, kept: int) -> Sequence[Trial]:
    """Updates (n, d) of which all but the `kept` largest coordinates are zero, and their sketches.

    So are those of embeddings, and of clients that compress. Raises `ParameterError` unless
    1 <= kept <= d.
    """
    if not 1 <= kept <= updates.shape[1]:
        raise ParameterError(f"1 <= kept <= {updates.shape[1]} must hold, got {kept}")
    least = np.sort(np.abs(updates), axis=1)[:, -kept]
    rows = np.where(np.abs(updates) >= least[:, None], updates, 0.0)
    return [
        Trial(View({Access.PROJECTION: projection, Access.STATISTIC: projection @ row}), row)
        for row in rows
    ]


def _mixed(
    half: Examples, count: int, records: int, alpha: float, rng: np.random.Generator
) -> Sequence[Examples]:
    """Clients with `records` records of labels by Dirichlet(alpha); no class is used up."""
    frequency = np.bincount(half.labels, minlength=half.classes)
    shares = rng.dirichlet(np.full(half.classes, alpha), size=count)
    weights = shares[:, half.labels] / np.maximum(frequency, 1)[half.labels]
    weights /= weights.sum(axis=1, keepdims=True)
    return [half.take(rng.choice(len(half), records, p=each)) for each in weights]


def _majorities(cohort: Sequence[Examples]) -> NDArray[np.int64]:
    return np.array([np.bincount(one.labels).argmax() for one in cohort])


def _grouped(rows: Array, group: int, rng: np.random.Generator) -> Array:
    """Each row plus group - 1 others at random, (n, d)."""
    found = rows.copy()
    for _ in range(group - 1):
        found += rows[(np.arange(len(rows)) + rng.integers(1, len(rows))) % len(rows)]
    return found
