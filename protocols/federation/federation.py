"""Rounds of federated averaging in which some clients attack.

Everything follows from one seed, and each thing from a stream of its own: the batches of a client
in a round do not depend on the attack, on who is malicious or on how many others there are. So a
run with an attack and one without differ by the attack alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.federation.data import Owners, Split, parts
from protocols.federation.imitations import Imitations, by_class, of_class
from protocols.federation.model import Network, Training
from robust.attacks.attack import Access, Attack, Examples, Knowledge
from robust.attacks.trigger import Trigger
from robust.attacks.vectors import lengths, units
from robust.observe import Array, Imitated
from secagg.errors import InputRefused, ParameterError

__all__ = ["Federation", "RoundData"]

_HONEST = -1
"""The side of a client that makes no attack."""


class _Stream(enum.IntEnum):
    WEIGHTS = 0
    MEMBERS = 1
    BATCHES = 2
    POISON = 3
    CRAFT = 4
    ROOT = 5
    CLASSES = 6
    COHORT = 7


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundData:
    """Everything that happened in a round, seen from nowhere: no server knows all of this.

    Attributes
    ----------
    number: of the round, from 0.
    clients: ids of those who took part, ascending; row i of `updates` is from clients[i].
    updates: (n, d), what was sent.
    honest: (n,), who did not attack.
    weights: (d,), what clients started from, the perturbation included.
    history: (h, d), the global updates before this round, oldest first; h <= number, and
        less where rounds were skipped.
    root: (d,), the update of the server on its root set.
    classes: (c, d), three steps of SGD on the root examples of each class.
    perturbation: (d,), what was added to the global model for an audit of this round, or None.
    imitate: ids (n,) -> what made-up honest clients in their places would send, trained on halves
        of the server's root set.
    network: the shape of the model. examples: the server's root set.
    """

    number: int
    clients: tuple[int, ...]
    updates: Array
    honest: NDArray[np.bool_]
    weights: Array
    history: Array
    root: Array
    classes: Array
    perturbation: Array | None
    imitate: Callable[[Sequence[int]], Imitated]
    network: Network
    examples: Examples

    def mean(self, shares: Array | None = None) -> Array:
        """The mean update, (d,), with shares (n,) >= 0 that need not sum to 1; all equal if None.

        Raises `InputRefused` for shares that are negative, not finite, or all zero.
        """
        weight = np.ones(len(self.clients)) if shares is None else np.asarray(shares, np.float64)
        fits = weight.shape == (len(self.clients),) and bool(np.isfinite(weight).all())
        if not fits or weight.min() < 0 or weight.sum() <= 0:
            raise InputRefused("shares (n,) must be finite and >= 0, and one of them positive")
        mean: Array = weight @ self.updates / weight.sum()
        return mean


class _Seen(NamedTuple):
    """What there is of a round when the attack begins."""

    start: Array
    honest: Array
    malicious: NDArray[np.int64]
    projection: Array | None


class Federation:
    """A population of clients with data, an attack, and the model that they train.

    `round` says what is sent in the round to come and changes nothing; `apply` takes what the
    server makes of it and goes on to the next, `skip` goes on without.

    Parameters
    ----------
    split: the data; clients share `split.train` as `owners` says and have ids 1 ... n.
    hidden: units of the network.
    attackers: attacks, each with how many clients make it together; the clients are drawn from the
        seed. Attacks know nothing of each other.
    participants: p, how many take part in a round, drawn anew each time; None for all n.

    Raises `ParameterError` unless each attack has at least one client, and all together fewer than
    p <= n: somebody honest takes part in every round.
    """

    def __init__(
        self,
        *,
        split: Split,
        owners: Owners,
        seed: int,
        attackers: Sequence[tuple[Attack, int]] = (),
        hidden: int = 64,
        training: Training | None = None,
        participants: int | None = None,
    ) -> None:
        self._split, self._seed = split, seed
        self._attacks = tuple(attack for attack, _ in attackers)
        self._parts = parts(split.train, owners)
        self._participants = len(self._parts) if participants is None else participants
        counts = [count for _, count in attackers]
        if any(count < 1 for count in counts):
            raise ParameterError("each attack must have at least one client")
        if not sum(counts) < self._participants <= len(self._parts):
            raise ParameterError("attackers < participants <= clients must hold")
        self._training = training or Training()
        features, classes = split.train.inputs.shape[1], split.train.classes
        self.network = Network(inputs=features, hidden=hidden, classes=classes)
        self.weights = self.network.fresh(self._rng(_Stream.WEIGHTS))
        self._imitations = Imitations(
            network=self.network, training=self._training, root=split.root, seed=seed
        )
        self._history: list[Array] = []
        self._skipped = 0
        self._side = np.full(len(self._parts), _HONEST)
        members = self._rng(_Stream.MEMBERS).permutation(len(self._parts))
        self._side[members[: sum(counts)]] = np.repeat(np.arange(len(counts)), counts)

    @property
    def number(self) -> int:
        """The round to come, from 0."""
        return len(self._history) + self._skipped

    @property
    def clients(self) -> tuple[int, ...]:
        """Ids, ascending."""
        return tuple(range(1, len(self._parts) + 1))

    @property
    def malicious(self) -> tuple[int, ...]:
        """Ids of those who attack, ascending."""
        return tuple(int(one) + 1 for one in np.flatnonzero(self._side != _HONEST))

    def attack_of(self, client: int) -> Attack | None:
        """What the client of this id does, or None if it is honest."""
        side = int(self._side[client - 1])
        return None if side == _HONEST else self._attacks[side]

    @property
    def history(self) -> Array:
        """(h, d), the global updates so far, oldest first."""
        return np.array(self._history).reshape(len(self._history), self.network.size)

    def round(
        self, *, projection: Array | None = None, perturbation: Array | None = None
    ) -> RoundData:
        """What is sent in this round; the same again until `apply`.

        projection: (k, d), given to an attack that needs it.
        perturbation: (d,), public, added to the model that clients start from, as in an audit.

        Raises `robust.errors.ObservationError` where the attack needs a projection that is missing.
        """
        start = self.weights if perturbation is None else self.weights + perturbation
        cohort = self._cohort()
        sides = self._side[cohort]
        honest = sides == _HONEST
        updates = np.empty((len(cohort), self.network.size))
        updates[honest] = self._trained(start, cohort[honest])
        for side, attack in enumerate(self._attacks):
            if (ours := sides == side).any():
                seen = _Seen(start, updates[honest], cohort[ours], projection)
                rng = self._now(_Stream.CRAFT, side)
                updates[ours] = attack.updates(self._knowledge(attack, seen), rng)
        return RoundData(
            number=self.number,
            clients=tuple(int(one) + 1 for one in cohort),
            updates=updates,
            honest=honest,
            weights=start,
            history=self.history,
            root=self._root(start),
            classes=self._classes(start),
            perturbation=perturbation,
            imitate=partial(self._imitations.updates, start, self.number),
            network=self.network,
            examples=self._split.root,
        )

    def apply(self, update: Array) -> None:
        """Adds the server's update (d,) to the model. Raises `InputRefused` if it is not finite."""
        if update.shape != self.weights.shape or not bool(np.isfinite(update).all()):
            raise InputRefused(f"an update must be finite and {self.weights.shape}")
        self._history.append(np.array(update, dtype=np.float64))
        self.weights = self.weights + update

    def skip(self) -> None:
        """Goes on to the next round with the same model, as after an audit or without a sum."""
        self._skipped += 1

    def accuracy(self) -> float:
        """The share of the test that the model labels rightly."""
        return self.network.accuracy(self.weights, self._split.test)

    def attack_success(self, trigger: Trigger) -> float:
        """The share of the test's other classes that the trigger turns into its target."""
        return self.network.attack_success(self.weights, self._split.test, trigger)

    def _cohort(self) -> NDArray[np.int64]:
        """Positions of those who take part in this round, ascending."""
        order = self._now(_Stream.COHORT).permutation(len(self._parts))
        return np.sort(order[: self._participants])

    def _knowledge(self, attack: Attack, seen: _Seen) -> Knowledge:
        private = {Access.BENIGN: seen.honest, **self._typical(seen.honest)}
        if Access.CLEAN in attack.needs:
            private[Access.CLEAN] = self._trained(seen.start, seen.malicious)
        if Access.POISONED in attack.needs:
            cohort = attack.poison(self._owned(seen.malicious), self._now(_Stream.POISON))
            private[Access.POISONED] = self._trained(seen.start, seen.malicious, cohort)
        if Access.CLASSES in attack.needs:
            private[Access.CLASSES] = self._classes(seen.start)
        if seen.projection is not None:
            private[Access.PROJECTION] = seen.projection
        return Knowledge(
            number=self.number,
            clients=self._participants,
            malicious=len(seen.malicious),
            weights=seen.start,
            history=self.history,
            private=private,
        )

    def _typical(self, honest: Array) -> dict[Access, Array]:
        """Medians over the honest clients: more than an attacker would measure."""
        last = self._history[-1] if self._history else np.zeros(self.network.size)
        cosines = units(honest) @ units(last[None])[0]
        return {
            Access.NORM: np.array(np.median(lengths(honest))),
            Access.COSINE: np.array(np.median(cosines)),
        }

    def _trained(
        self, start: Array, who: NDArray[np.int64], cohort: Sequence[Examples] | None = None
    ) -> Array:
        # poisoned data too is drawn with the batches of the client: what then differs is the poison
        streams = [self._now(_Stream.BATCHES, int(one)) for one in who]
        return self.network.trained(start, cohort or self._owned(who), self._training, streams)

    def _owned(self, who: NDArray[np.int64]) -> Sequence[Examples]:
        return [self._parts[one] for one in who]

    def _root(self, start: Array) -> Array:
        streams = [self._now(_Stream.ROOT)]
        (row,) = self.network.trained(start, [self._split.root], self._training, streams)
        return np.asarray(row)

    def _classes(self, start: Array) -> Array:
        cohort = by_class(self._split.root)
        streams = [self._now(_Stream.CLASSES, one) for one in range(len(cohort))]
        return self.network.trained(start, cohort, of_class(self._training), streams)

    def _now(self, stream: _Stream, who: int = 0) -> np.random.Generator:
        return self._rng(stream, self.number, who)

    def _rng(self, *path: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *path])
