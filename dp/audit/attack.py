"""What an attack on privacy is: what somebody sees of rounds -> what they conclude about a client.

An attack sees what it declares in `needs` and nothing else: `run` hides the rest. Half of that is
*prior*, known before any round (a model, data of the attacker's own), and half was *observed* in
rounds (a sum, a sketch). Its `control` is another attack on the same question that needs nothing
observed: what it achieves is no leak. A figure without its control says nothing, and neither does
one of an attack that was never seen to succeed; `dp.audit.testing` asks for both.

An array has named axes. `d` is the size of an update, `c` how many candidates there are, and so
on; arrays of one view that share a name share the size.

Randomness is an argument, a numpy generator that the caller has seeded: nothing here protects a
secret, and an experiment must repeat itself.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dp.errors import ParameterError, require

__all__ = ["Access", "Array", "Attack", "Coin", "Goal", "Guess", "Trial", "View"]

Array = NDArray[np.float64]


class Goal(enum.Enum):
    """What an attack wants to know. The value is the axes of what it concludes."""

    MEMBERSHIP = ""
    """A number, higher where the target is more likely to be in the sum; the truth is 1 or 0."""
    CHOICE = "c"
    """A number for each candidate, the highest for the likeliest; the truth is its position ()."""
    RECORDS = "m f"
    """Records with features of 0 … 1, in any order; the truth likewise."""
    UPDATE = "d"
    """The update of one client, up to its length."""


class Access(enum.Enum):
    """What an attack may be given. The value is its axes, whether it is observed, and a word."""

    TARGET = "d", False, "what the target would send"
    SHADOWS = "s d", False, "sums without the target, imitated from data of the attacker's own"
    CLASSES = "c d", False, "the update that data of each class alone gives"
    SHARES = "c", False, "how frequent each candidate is"
    TYPICAL = "c f", False, "the mean record of each class"
    WEIGHTS = "d", False, "the model that clients start from, as the server sent it"
    PROJECTION = "k d", False, "the public map that sketches are made with"
    EARLIER = "c k", False, "the statistics of each candidate in an earlier round"
    EXAMPLES = "s k", False, "statistics of clients that the attacker imitates"
    ANSWERS = "s", False, "what is true of each of these clients, as the position of a candidate"
    KNOWN = "d", False, "the part of a sum that the attacker knows"
    PRESENCE = "t n", False, "who is in the sum of each round, 1 or 0"
    LABELS = "m", False, "the labels of the records that were trained on"
    NOISE = "", False, "the deviation of the noise in each coordinate of a sum, which is public"
    LOSSES_WITHOUT = "s", False, "losses of the target under models that never saw it"
    LOSSES_WITH = "s", False, "losses of the target under models that were trained on it"
    SUM = "d", True, "the sum of the updates of a round"
    SUMS = "t d", True, "the sum of each round"
    STATISTIC = "k", True, "the numbers that are opened of one client's update, or of a group's"
    MASKED = "d", True, "one client's masked vector, of residues, all masks but one taken off"
    LOSS = "", True, "the loss of the target under the final model"

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of its axes; none for a number."""
        return tuple(self.value[0].split())

    @property
    def observed(self) -> bool:
        """Whether rounds reveal it; the rest is known before."""
        return self.value[1]

    @property
    def meaning(self) -> str:
        """What it is, in words."""
        return self.value[2]


@dataclass(frozen=True, eq=False)
class View:
    """What there is to see in one trial. Arrays become read-only float64.

    given: each finite and with the axes of its `Access`. extra: sizes of axes that no array has.

    Raises `ParameterError` for shapes that do not agree and for what is not finite.
    """

    given: Mapping[Access, Array]
    extra: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {access: _frozen(access.name, array) for access, array in self.given.items()}
        sizes = dict(self.extra)
        for access, array in given.items():
            _agree(access.name, access.axes, array.shape, sizes)
        object.__setattr__(self, "given", MappingProxyType(given))
        object.__setattr__(self, "extra", MappingProxyType(sizes))

    def __getitem__(self, access: Access) -> Array:
        """What was seen; raises `ParameterError` where that was not."""
        if access not in self.given:
            raise ParameterError(f"this attack needs {access.name}, which it was not given")
        return self.given[access]

    def size(self, axis: str) -> int:
        """How long this axis is; raises `ParameterError` where nothing says so."""
        if axis not in self.extra:
            raise ParameterError(f"no array has the axis {axis!r}, and no size was given for it")
        return self.extra[axis]

    def only(self, needs: Collection[Access]) -> View:
        """The same trial seen by somebody who knows no more than this. Sizes are public."""
        kept = {access: array for access, array in self.given.items() if access in needs}
        seen = copy(self)  # whose arrays are checked already, and may be large
        object.__setattr__(seen, "given", MappingProxyType(kept))
        return seen

    def checked(self, goal: Goal, found: Array) -> Array:
        """A conclusion of that goal; `ParameterError` unless it is finite and of its axes."""
        array = _frozen(goal.name, found)
        _agree(goal.name, goal.value.split(), array.shape, dict(self.extra))
        return array


@dataclass(frozen=True, eq=False)
class Trial:
    """One experiment: what there is to see, and what is true."""

    view: View
    truth: Array


class Attack(ABC):
    """How somebody concludes something about a client.

    A new one inherits this as a frozen dataclass whose fields are its parameters, and its test
    inherits `dp.audit.testing.AttackConformance`.

    `name`, `goal` and `needs` are constants of a class, or properties where parameters decide.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """A few words, for tables."""

    @property
    @abstractmethod
    def goal(self) -> Goal:
        """What it wants to know."""

    @property
    @abstractmethod
    def needs(self) -> frozenset[Access]:
        """What it must be given; what it can do without, it is not given."""

    @property
    @abstractmethod
    def control(self) -> Attack:
        """The same question answered from what is known before any round."""

    @abstractmethod
    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        """The conclusion, of the axes that the goal has."""

    def run(self, view: View, rng: np.random.Generator) -> Array:
        """`conclude`, with sight of no more than what the attack `needs`.

        Raises `ParameterError` if a need is not met, or if the conclusion is not finite or has
        other axes than the goal.
        """
        return view.checked(self.goal, self.conclude(view.only(self.needs), rng))


@dataclass(frozen=True, kw_only=True)
class Coin(Attack):
    """The control of membership: a number drawn at random."""

    name = "coin"
    goal = Goal.MEMBERSHIP
    needs = frozenset()

    @property
    def control(self) -> Attack:
        return self

    def conclude(self, _: View, rng: np.random.Generator, /) -> Array:
        return np.array(rng.random())


@dataclass(frozen=True, kw_only=True)
class Guess(Attack):
    """The control of a choice: the most frequent candidate, or any where frequencies are equal."""

    name = "guess"
    goal = Goal.CHOICE
    needs = frozenset({Access.SHARES})

    @property
    def control(self) -> Attack:
        return self

    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        shares = view[Access.SHARES]
        # an order among equals that has nothing to do with their position
        return shares + 1e-12 * rng.random(shares.shape)


def _frozen(name: str, array: Array) -> Array:
    view = np.asarray(array, dtype=np.float64).view()
    require(bool(np.isfinite(view).all()), f"{name}: finite")
    view.setflags(write=False)
    return view


def _agree(name: str, axes: Iterable[str], shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Take the sizes of axes from this array, where they are new, and compare them where not."""
    axes = tuple(axes)
    fits = len(axes) == len(shape) and all(
        sizes.setdefault(axis, size) == size for axis, size in zip(axes, shape, strict=True)
    )
    require(fits, f"{name}: axes ({', '.join(axes)}) of the sizes of the others, not {shape},")
