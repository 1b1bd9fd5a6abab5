"""What the server may learn of each update before the sum: the plan's choice, and what comes of it.

    plan = RoundPlan.for_update(model, clients=40, clip=NormClip(1.0), screen=SketchScreen())

    event = server.next_event()                    # secagg.event.Statistics
    seen = observed(plan, event, number, known=[last_mean])
    server.accept(judge(seen))                     # or let the deadline accept all in bounds

With `GroupScreen` nothing is known before the sum; `secagg.event.GroupStatistics` comes with it.

EXPERIMENTAL, as the scheme behind it is: docs/spec/verified.md. What is opened is numbers of each
client; how much they tell is in docs/explanation/detection.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dp.noise_discrete_gaussian import DiscreteGaussian
from robust.observe import GroupSketches, Imitated, Norms, Observation, Public, Sketches
from secagg.errors import InputRefused, ParameterError
from secagg.event import GroupStatistics, Statistics
from secagg.identity import PartyId
from secagg.primitives.ring import Words, reduce
from secagg.quantize import FixedPoint, RangeClip
from secagg.rand import Rand
from secagg.schemes.secagg_plus.verified import Screen, SecAggPlusVerified
from secagg.sketch import SketchMap, check_shape
from secagg.structure import flatten

if TYPE_CHECKING:
    from protocols.plan import RoundPlan

__all__ = ["GroupScreen", "NormScreen", "PlanScreen", "SketchScreen", "observed"]

Reals = NDArray[np.float64]

_TABLE_BITS = 16  # of a standard deviation that is drawn from a table of some 10^6 entries


@dataclass(frozen=True, kw_only=True)
class _Screening:
    """What is opened of each update: `rows` numbers, and the weight where the plan has weights.

    rows: of the sketch; an inner product or a norm is known to about 1 / sqrt(rows). noise:
    standard deviation of noise that clients commit to before the sketch is drawn, in each number,
    over the clip bound: numbers are scaled so that their squares add up to that of the norm.
    tables, buckets: see `secagg.sketch`.

    Raises `ParameterError` with the inequality that fails.
    """

    rows: int
    noise: float = 0.0
    tables: int = 3
    buckets: int = 1 << 13

    def __post_init__(self) -> None:
        check_shape(rows=self.rows, tables=self.tables, buckets=self.buckets)
        if type(self.noise) not in (int, float) or not 0 <= self.noise <= 100:
            raise ParameterError(f"0 <= noise <= 100 must hold, got {self.noise!r:.40}")

    def of(self, quantize: FixedPoint) -> Screen:
        """What the scheme opens of updates in this encoding."""
        if isinstance(quantize.clip, RangeClip):
            raise ParameterError(
                "a screen bounds norms: take a NormClip, as no sketch can hold each coordinate to "
                "a range"
            )
        return self._of(quantize.bound, quantize.max_weight)

    def headroom(self, clients: int, corrupt: int) -> int:
        """How many updates at the bound the ring must hold, so that cheaters up to the soft bound
        do not wrap it and none passes by wrapping, alone or together with `corrupt` in all.
        """
        unit = 1 << 20
        screen = self._of(unit, 0)
        rows = max(screen.row_bound, screen.together(clients, corrupt) * screen.root)
        return -(-max(clients * screen.most_norm, 4 * rows) // unit) + 1

    def extended(self, vector: Words, screen: Screen, width: int, rand: Rand) -> Words:
        """`vector` with the noise of each row after it."""
        if not screen.noise:
            return vector
        # steps where its table would be huge, and uniform bits below, or rows would show theirs
        step = 1 << max(0, math.frexp(screen.noise)[1] - _TABLE_BITS)
        drawn = DiscreteGaussian(Fraction(screen.noise / step) ** 2).sample(screen.rows, rand)
        below = np.frombuffer(rand(8 * screen.rows), "<u8") & np.uint64(step - 1)
        noise = drawn * step + below.astype(np.int64) - step // 2
        return np.concatenate([vector, reduce(noise.astype(vector.dtype), width)])

    def _of(self, bound: int, max_weight: int) -> Screen:
        return Screen(
            bound=bound,
            rows=self.rows,
            tables=self.tables,
            buckets=self.buckets,
            max_weight=max_weight,
            noise=self.noise * bound * math.sqrt(self.rows * self.tables / 2),
            group=self._group,
        )

    @property
    def _group(self) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class NormScreen(_Screening):
    """Detectors see an estimate of each norm. The server has the numbers that it is made from."""

    rows: int = 64


@dataclass(frozen=True, kw_only=True)
class SketchScreen(_Screening):
    """Detectors see the sketches: norms, and the angles between updates and to public vectors."""

    rows: int = 256


@dataclass(frozen=True, kw_only=True)
class GroupScreen(_Screening):
    """Detectors see sketches of sums over groups, drawn anew in each round, and nothing of one
    update alone; nor does the server. They come with the sum, too late to leave anybody out of it;
    a sum of which a group is beyond the bounds is withheld.

    size: clients in a group at least, two more than may collude.
    """

    rows: int = 256
    size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.size) is not int or not 2 <= self.size <= 1 << 20:
            raise ParameterError(f"2 <= size <= 2**20, an int, must hold, got {self.size!r:.40}")

    @property
    def _group(self) -> int:
        return self.size


PlanScreen = NormScreen | SketchScreen | GroupScreen


def observed(
    plan: RoundPlan,
    statistics: Statistics | GroupStatistics,
    number: int,
    *,
    known: Sequence[Any] = (),
    root: Any = None,
    classes: Sequence[Any] = (),
    imitate: Callable[[Sequence[PartyId]], Imitated] | None = None,
) -> Observation:
    """What a detector of `robust` may see of round `number`: of those who may be accepted, or of
    the groups of those who were.

    known: trees of the plan's structure that everybody knows, which a client without data could
    send: the last means, the model, an audit perturbation. root: the server's own update. classes:
    one update for each class of the server's own data. imitate: ids (n,) -> updates of made-up
    clients in their places, flattened as the plan flattens; not of groups.
    Raises `InputRefused` for other trees, and `ParameterError` for statistics that the plan does
    not open.
    """
    screen, scheme = plan.screen, plan.scheme
    if screen is None or not isinstance(scheme, SecAggPlusVerified):
        raise ParameterError("this plan opens nothing: give it a screen")
    if isinstance(screen, GroupScreen) != isinstance(statistics, GroupStatistics):
        raise ParameterError("GroupStatistics are what a GroupScreen opens, and no other screen")
    assert isinstance(plan.quantize, FixedPoint), "only exact plans have a screen"
    sketch = scheme.opened_map(statistics.seed).sketch
    public = partial(_public, plan, sketch, known, root, classes)
    if isinstance(statistics, GroupStatistics):
        if imitate is not None:
            raise ParameterError("imitate is for sketches of clients, not of groups")
        return _of_groups(plan.quantize, scheme, sketch, statistics, number, public())
    kept = np.isin(np.array(statistics.clients), list(statistics.eligible))
    weights = np.ones(int(kept.sum()))
    if statistics.weights is not None:
        weights = statistics.weights[kept].astype(np.float64)
    units = plan.quantize.resolution / (sketch.scale * weights)
    clients, rows = tuple(sorted(statistics.eligible)), statistics.rows[kept] * units[:, None]
    noise = scheme.screen.noise * units
    if isinstance(screen, NormScreen):
        squares = np.maximum((rows**2).sum(axis=1) - screen.rows * noise**2, 0)
        return Norms(
            number=number, clients=clients, norms=np.sqrt(squares), bound=plan.quantize.clip.bound
        )
    return Sketches(
        number=number,
        clients=clients,
        rows=rows,
        public=public(),
        noise=float(noise.max()),
        imitations=None if imitate is None else _sketched(sketch, imitate(clients)),
    )


def _of_groups(
    quantize: FixedPoint,
    scheme: SecAggPlusVerified,
    sketch: SketchMap,
    statistics: GroupStatistics,
    number: int,
    public: Public,
) -> GroupSketches:
    """Sums of updates; where clients have weights, each counts by its own over the group's mean."""
    sizes = np.array([len(group) for group in statistics.groups], np.float64)
    total = sizes if statistics.weights is None else statistics.weights.astype(np.float64)
    units = quantize.resolution / sketch.scale * sizes / np.maximum(total, 1)
    return GroupSketches(
        number=number,
        clients=tuple(sorted(peer for group in statistics.groups for peer in group)),
        groups=statistics.groups,
        rows=statistics.rows * units[:, None],
        public=public,
        noise=float((scheme.screen.noise * units * np.sqrt(sizes)).max()),
    )


def _public(
    plan: RoundPlan, sketch: SketchMap, known: Sequence[Any], root: Any, classes: Sequence[Any]
) -> Public:
    def sketched(trees: Sequence[Any]) -> Reals:
        return sketch.of_reals(np.stack([_vector(plan, tree) for tree in trees]))

    return Public(
        known=sketched(known) if len(known) else np.zeros((0, sketch.rows)),
        root=None if root is None else sketched([root])[0],
        classes=sketched(classes) if len(classes) else None,
    )


def _sketched(sketch: SketchMap, updates: Imitated) -> Imitated:
    """Of updates (d,), their sketches (k,)."""

    def of(rows: Reals) -> Reals:
        flat = sketch.of_reals(rows.reshape(-1, rows.shape[-1]))
        return flat.reshape(*rows.shape[:-1], -1)

    return Imitated(rows=of(updates.rows), classes=of(updates.classes))


def _vector(plan: RoundPlan, tree: Any) -> Reals:
    vector, structure = flatten(tree)
    if structure.digest != plan.structure.digest:
        raise InputRefused("a public vector is a tree of the plan's structure")
    return vector
