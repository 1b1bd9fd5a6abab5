"""What a server may know of a round: norms, sketches of updates, or sketches of sums of groups.

A detector works on these and on nothing else, so that whatever opens them (two servers that hold
shares, a trusted enclave, nobody but a simulation) has one list of what it discloses.

All arrays are float64, copied and read-only. Construction refuses, with `ObservationError`, what
is not finite or has the wrong shape; entries beyond 1e70 too. Entries below 1e-70 become 0. So
ratios of sums of squares stay finite.

Sketches. For a projection P of d-dimensional updates u_i, row i is P u_i, scaled so that
<row_i, row_j> estimates <u_i, u_j> without bias, with standard error about |u_i||u_j|/sqrt(k).
P must be drawn after the updates are committed: who knows it first hides in its null space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from numbers import Integral
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from robust.errors import ObservationError

__all__ = [
    "MOST_CLIENT",
    "Array",
    "GroupSketches",
    "Imitated",
    "Index",
    "Mask",
    "Norms",
    "Observation",
    "Public",
    "Pulls",
    "Sketches",
]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

MOST_CLIENT = 1 << 53
_MOST = 1e70
_LEAST = 1e-70


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What was seen of one round.

    Attributes
    ----------
    number: of the round, >= 0.
    clients: ids of those seen, in [0, 2^53), strictly ascending, at least one. Row i of an array
        belongs to clients[i].
    """

    number: int
    clients: tuple[int, ...]

    def __post_init__(self) -> None:
        _set(self, number=_whole("number", self.number))
        _set(self, clients=tuple(_whole("client", client) for client in self.clients))
        _check(len(self.clients) >= 1, "clients: at least one")
        _check(_ascends(self.clients), "clients: ids must be strictly ascending")
        # figures hold ids too, as float64
        _check(self.clients[-1] < MOST_CLIENT, "clients: id < 2^53")


@dataclass(frozen=True, kw_only=True, eq=False)
class Norms(Observation):
    """Euclidean norms of updates.

    Attributes
    ----------
    norms: (n,), >= 0.
    bound: the norm to which clients were told to clip, positive; None where there was none.
    """

    norms: Array
    bound: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, norms=_array("norms", self.norms, (len(self.clients),)))
        _check(bool((self.norms >= 0).all()), "norms: 0 <= norm")
        if self.bound is not None:
            _set(self, bound=_real("bound", self.bound))
            _check(self.bound > 0, "bound: 0 < bound")

    def only(self, keep: Mask) -> Norms:
        """The same round without the clients of which `keep` (n,) is false; at least one stays."""
        return replace(self, clients=_kept(self.clients, keep), norms=self.norms[keep])


@dataclass(frozen=True, kw_only=True, eq=False)
class Public:
    """Sketches, under the projection of the round, of vectors that everybody can compute.

    Attributes
    ----------
    known: (h, k), every public vector that a client without data could replay: the last global
        updates, the current weights, the perturbation of an audit round. h = 0 in a first round.
    root: (k,), the server's own update on its root set; None without one.
    classes: (c, k), one update for each class of the root set, c >= 1; None without one.
    """

    known: Array
    root: Array | None = None
    classes: Array | None = None

    def __post_init__(self) -> None:
        _set(self, known=_array("known", self.known, (None, None)))
        _check(self.size >= 1, "known: at least one column")
        if self.root is not None:
            _set(self, root=_array("root", self.root, (self.size,)))
        if self.classes is not None:
            _set(self, classes=_array("classes", self.classes, (None, self.size)))
            _check(len(self.classes) >= 1, "classes: at least one row")

    @classmethod
    def nothing(cls, size: int) -> Public:
        """No public vector at all, for sketches of `size` numbers."""
        return cls(known=np.empty((0, size)))

    @property
    def size(self) -> int:
        """k, the numbers in a sketch."""
        return int(self.known.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Imitated:
    """What made-up honest clients would have sent, and what a server would have known of them.

    The root set is split in halves, at random and b times; index 0 or 1 says of which half, 2 is
    the whole. Made-up clients of one half are to be judged by what the other half knows, those of
    the whole by what one half knows: see `robust.rule_coalition`.

    Attributes
    ----------
    rows: (b, 3, n, k), b >= 2, updates of n made-up clients that trained on this half, or on all.
    classes: (b, 2, c, k), c >= 1, one update for each class of this half.

    k are the numbers of a sketch; before the sketch, the d of an update.
    """

    rows: Array
    classes: Array

    def __post_init__(self) -> None:
        _set(self, rows=_array("rows", self.rows, (None, 3, None, None)))
        splits, _, clients, size = self.rows.shape
        _check(splits >= 2, "imitated rows: at least two splits")
        _check(min(clients, size) >= 1, "imitated rows: at least one client")
        _set(self, classes=_array("classes", self.classes, (splits, 2, None, size)))
        _check(self.classes.shape[2] >= 1, "imitated classes: at least one")

    def only(self, keep: Mask) -> Imitated:
        """Without the made-up clients of which `keep` (n,) is false; at least one stays."""
        return replace(self, rows=self.rows[:, :, keep])

    def through(self, sketch: Callable[[Array], Array]) -> Imitated:
        """What a linear map (n, d) -> (n, k) leaves of them."""

        def of(rows: Array) -> Array:
            flat = sketch(rows.reshape(-1, rows.shape[-1]))
            return flat.reshape(*rows.shape[:-1], -1)

        return Imitated(rows=of(self.rows), classes=of(self.classes))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sketches(Observation):
    """One sketch for each update.

    Attributes
    ----------
    rows: (n, k).
    public: sketches of public vectors under the same projection.
    noise: standard deviation of the noise in each entry of a row, >= 0.
    imitations: what honest clients would have sent that the server made up from its root set, row i
        in the place of clients[i], with as many classes as `public` has; None without them.
    """

    rows: Array
    public: Public
    noise: float = 0.0
    imitations: Imitated | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = len(self.clients), self.public.size
        _set(self, rows=_array("rows", self.rows, shape), noise=_noise(self.noise))
        if self.imitations is not None:
            self._check_imitations(self.imitations)

    def _check_imitations(self, made_up: Imitated) -> None:
        _check(made_up.rows.shape[2:] == self.rows.shape, "imitations: a row for each client")
        known = self.public.classes
        _check(
            known is not None and known.shape == made_up.classes.shape[2:],
            "imitations: the classes of `public`",
        )

    @cached_property
    def gram(self) -> Array:
        """(n, n), estimates of <u_i, u_j>; noise makes its diagonal too large by k noise^2."""
        return _frozen(self.rows @ self.rows.T)

    @cached_property
    def norms(self) -> Array:
        """(n,), square roots of the diagonal of `gram`."""
        return _frozen(np.sqrt(self.gram.diagonal()))

    def as_norms(self) -> Norms:
        """The same round, with the estimated norms only."""
        return Norms(number=self.number, clients=self.clients, norms=self.norms)

    def only(self, keep: Mask) -> Sketches:
        """The same round without the clients of which `keep` (n,) is false; at least one stays."""
        others = None if self.imitations is None else self.imitations.only(keep)
        clients = _kept(self.clients, keep)
        return replace(self, clients=clients, rows=self.rows[keep], imitations=others)


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupSketches(Observation):
    """One sketch for each group of clients: of the sum of its updates, never of one update alone.

    Attributes
    ----------
    groups: disjoint, each ascending and not empty; together they are `clients`.
    rows: (g, k), row i is the sum over groups[i].
    public, noise: as in `Sketches`; noise counts once for a group.
    """

    groups: tuple[tuple[int, ...], ...]
    rows: Array
    public: Public
    noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        groups = tuple(tuple(_whole("client", one) for one in group) for group in self.groups)
        _check(all(groups) and all(map(_ascends, groups)), "groups: each ascending, none empty")
        together = sorted(one for group in groups for one in group)
        _check(tuple(together) == self.clients, "groups: disjoint, and together the clients")
        rows = _array("rows", self.rows, (len(groups), self.public.size))
        _set(self, groups=groups, rows=rows, noise=_noise(self.noise))


@dataclass(frozen=True, kw_only=True, eq=False)
class Pulls(Observation):
    """What each update makes the model look at, beyond what its labels explain.

    Attributes
    ----------
    pulls: (n, f, c), how much it makes feature j speak for class t: inner products with directions
        of norm 1, estimated from a sketch.
    pushes: (n, c, c), [i, y, t] how far what client i has of class y pushes towards class t.
    noise: (n, n), the covariance between clients of what the sketch adds to the pulls of a feature;
        symmetric, and nowhere negative on the diagonal. One map sketches all: clients whose updates
        have a direction in common share its noise.
    spread: (f, f), covariance of the features within a class; symmetric.
    examples: of a class in the root set, on the average, > 0.
    """

    pulls: Array
    pushes: Array
    noise: Array
    spread: Array
    examples: float

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.clients)
        _set(self, pulls=_array("pulls", self.pulls, (count, None, None)))
        _, features, classes = self.pulls.shape
        _check(min(features, classes) >= 1, "pulls: at least one feature and one class")
        _set(self, pushes=_array("pushes", self.pushes, (count, classes, classes)))
        _set(self, noise=_array("noise", self.noise, (count, count)))
        _set(self, spread=_array("spread", self.spread, (features, features)))
        _set(self, examples=_real("examples", self.examples))
        _check(bool(np.allclose(self.noise, self.noise.T)), "noise: symmetric")
        _check(bool((np.diag(self.noise) >= 0).all()), "noise: 0 <= its diagonal")
        _check(bool(np.allclose(self.spread, self.spread.T)), "spread: symmetric")
        _check(self.examples > 0, "examples: 0 < examples")


def _kept(clients: tuple[int, ...], keep: Mask) -> tuple[int, ...]:
    return tuple(np.array(clients)[keep].tolist())


def _set(target: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(target, name, value)


def _check(holds: bool, rule: str) -> None:
    if not holds:
        raise ObservationError(f"{rule} must hold" if "must" not in rule else rule)


def _ascends(ids: Iterable[int]) -> bool:
    return all(a < b for a, b in pairwise(ids))


def _whole(name: str, value: object) -> int:
    if not _is_whole(value) or value < 0:
        raise ObservationError(f"{name} >= 0 must hold for an integer, got {value!r:.60}")
    return int(value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)


def _real(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ObservationError(f"{name} must be a real number")
    number = float(value)
    if not abs(number) <= _MOST:  # a NaN fails too
        raise ObservationError(f"|{name}| <= {_MOST:g} must hold")
    return number


def _noise(value: Any) -> float:
    noise = _real("noise", value)
    _check(noise >= 0, "noise: 0 <= noise")
    return noise


def _array(name: str, value: object, shape: tuple[int | None, ...]) -> Array:
    """A read-only float64 copy of `value`, of `shape`, in which None stands for any size."""
    found = np.asarray(value)
    if found.dtype.kind not in "fiu":
        raise ObservationError(f"{name} must hold real numbers, got dtype {found.dtype}")
    fits = found.ndim == len(shape) and all(
        want is None or want == size for want, size in zip(shape, found.shape, strict=True)
    )
    if not fits:
        raise ObservationError(f"{name} must have shape {shape}, got {found.shape}")
    copied = np.array(found, dtype=np.float64)
    if not bool((np.abs(copied) <= _MOST).all()):
        raise ObservationError(f"{name}: entries must be finite and at most {_MOST:g}")
    copied[np.abs(copied) < _LEAST] = 0.0
    return _frozen(copied)


def _frozen(array: Array) -> Array:
    array.setflags(write=False)
    return array
