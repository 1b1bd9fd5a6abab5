"""What an attack is: what malicious clients know of a round -> what they send instead.

An attack takes hold of data before training (`poison`), of updates after it (`craft`), or of both.
All malicious clients of a round are attacked with together, so that they can collude.

It sees what every client sees (the weights, all global updates so far) and, beside that, what it
declares in `needs` and nothing else: `updates` hides the rest. So a declared need is an assumption
about the adversary that a run has checked, and a benchmark can print it.

Randomness is an argument, a numpy generator that the caller has seeded: nothing here protects a
secret, and an experiment must repeat itself.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from robust.errors import ObservationError
from robust.observe import Array

__all__ = ["Access", "Attack", "Examples", "Goal", "Knowledge"]


class Goal(enum.Enum):
    """What an attack is for."""

    FREE_RIDE = "the global model, without training for it"
    POISON = "a global model that is worse"
    BACKDOOR = "a global model that a trigger commands"


class Access(enum.Enum):
    """What an attack may be given beside the public state; each is a float64 array."""

    NORM = "(): the Euclidean norm of a typical honest update of this round"
    COSINE = "(): the cosine of a typical honest update and the last global update"
    CLEAN = "(m, d): what the malicious clients would send if they were honest"
    POISONED = "(m, d): what training on the data that `poison` returned gives"
    BENIGN = "(b, d), b >= 1: the updates of the honest clients: the omniscient adversary"
    CLASSES = "(c, d): one update for each class, as the server computes them from its root set"
    PROJECTION = "(k, d): the projection that sketches of this round will be made with"


@dataclass(frozen=True, eq=False)
class Examples:
    """Labeled data of one client, or of a test.

    Attributes
    ----------
    inputs: (n, f) float64.
    labels: (n,) int64, each in 0 ... classes - 1; n >= 1.
    classes: how many there are for all clients together.

    Raises `ObservationError` for shapes and labels that do not agree.
    """

    inputs: Array
    labels: NDArray[np.int64]
    classes: int

    def __post_init__(self) -> None:
        if self.inputs.ndim != 2 or self.labels.shape != self.inputs.shape[:1] or not len(self):
            raise ObservationError(
                f"inputs (n, f) and labels (n,), n >= 1, must hold, got {self.inputs.shape} and "
                f"{self.labels.shape}"
            )
        if self.labels.min() < 0 or self.labels.max() >= self.classes:
            raise ObservationError(f"0 <= label < classes = {self.classes} must hold")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """The examples at these positions."""
        return Examples(self.inputs[rows], self.labels[rows], self.classes)

    def relabeled(self, labels: NDArray[np.int64]) -> Examples:
        """The same inputs with other labels."""
        return Examples(self.inputs, labels, self.classes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Knowledge:
    """What the malicious clients of one round know. Arrays become read-only.

    Attributes
    ----------
    number: t >= 0, the round. Round 0 has no history.
    clients: n, everybody who sends an update in this round.
    malicious: m, 1 <= m <= n, those whom the attack commands.
    weights: (d,), the global model that the round starts from.
    history: (h, d), every global update so far, oldest first; h = 0 at the start.
    private: what was found out beside that; `knowledge[access]` reads it.

    Raises `ObservationError` for shapes that do not agree.
    """

    number: int
    clients: int
    malicious: int
    weights: Array
    history: Array
    private: Mapping[Access, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.number >= 0 and 1 <= self.malicious <= self.clients):
            raise ObservationError("number >= 0 and 1 <= malicious <= clients must hold")
        for name, array in (("weights", self.weights), ("history", self.history)):
            object.__setattr__(self, name, _frozen(array))
        private = {access: _frozen(array) for access, array in self.private.items()}
        object.__setattr__(self, "private", MappingProxyType(private))
        if self.weights.ndim != 1 or self.history.shape[1:] != self.weights.shape:
            raise ObservationError("weights (d,) and history (h, d) must hold")
        for access, array in private.items():
            self._check(access, array)

    def __getitem__(self, access: Access) -> Array:
        """What was found out; raises `ObservationError` where that was not."""
        if access not in self.private:
            raise ObservationError(f"this attack needs {access.name}, which it was not given")
        return self.private[access]

    @property
    def size(self) -> int:
        """d, the parameters of the model."""
        return len(self.weights)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d), the shape of what an attack crafts."""
        return self.malicious, self.size

    @property
    def last(self) -> Array:
        """(d,), the last global update; zeros where there is none yet."""
        return self.history[-1] if len(self.history) else np.zeros(self.size)

    def only(self, needs: Collection[Access]) -> Knowledge:
        """The same round seen by somebody who found out no more than this."""
        kept = {access: array for access, array in self.private.items() if access in needs}
        return replace(self, private=kept)

    def _check(self, access: Access, array: Array) -> None:
        if access in (Access.NORM, Access.COSINE):
            fits = array.ndim == 0
        else:
            of_malicious = access in (Access.CLEAN, Access.POISONED)
            fits = array.ndim == 2 and array.shape[1] == self.size
            fits = fits and (len(array) == self.malicious if of_malicious else len(array) >= 1)
        if not fits:
            raise ObservationError(f"{access.name} must be {access.value}, got {array.shape}")


class Attack(ABC):
    """What malicious clients do.

    A new one inherits this as a frozen dataclass whose fields are its parameters, and its test
    inherits `robust.attacks.testing.AttackConformance`.

    `name`, `goal` and `needs` are constants of a class, or properties where parameters decide.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """A few words, for tables."""

    @property
    @abstractmethod
    def goal(self) -> Goal:
        """What it is for."""

    @property
    def needs(self) -> frozenset[Access]:
        """What it must be given; what it can do without, it is not given."""
        return frozenset()

    @property
    def trains(self) -> bool:
        """Whether some malicious client trains on something."""
        return not self.needs.isdisjoint({Access.CLEAN, Access.POISONED})

    def poison(self, cohort: Sequence[Examples], _: np.random.Generator, /) -> Sequence[Examples]:
        """What the m malicious clients train on instead of what they have; here, the same."""
        return cohort

    @abstractmethod
    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        """What the m malicious clients send, (m, d)."""

    def updates(self, knowledge: Knowledge, rng: np.random.Generator) -> Array:
        """`craft`, with sight of no more than what the attack `needs`; (m, d) float64.

        Raises `ObservationError` if a need is not met, or if what was crafted is not finite
        or not (m, d).
        """
        rows = self.craft(knowledge.only(self.needs), rng)
        if rows.shape != knowledge.shape or not bool(np.isfinite(rows).all()):
            raise ObservationError(
                f"{self.name}: updates must be finite and {knowledge.shape}, got {rows.shape}"
            )
        return rows


def _frozen(array: Array) -> Array:
    view = np.asarray(array, dtype=np.float64).view()
    view.setflags(write=False)
    return view
