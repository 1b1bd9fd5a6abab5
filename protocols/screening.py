"""What the server may learn of each update before the sum: the plan's choice, and what comes of it.

    plan = RoundPlan.for_update(model, clients=40, clip=NormClip(1.0), screen=SketchScreen())

    event = server.next_event()                    # secagg.event.Statistics
    seen = observed(plan, event, number, known=[last_mean])
    server.accept(judge(seen))                     # or let the deadline accept all in bounds

With `GroupScreen` nothing is known before the sum; `secagg.event.GroupStatistics` comes with it.
With two aggregators, who prove norms, they are opened exactly: `ExactNormScreen`, `CosineScreen`.

With a key authority, `scheme=authority.scheme`, clients still send one message.

EXPERIMENTAL, as the schemes behind it are: docs/spec/verified.md, docs/spec/ckks.md. What is opened
is numbers of each client; how much they tell is in docs/explanation/detection.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from protocols.screens import (
    CosineProof,
    CosineScreen,
    ExactNormScreen,
    GroupScreen,
    MaskedScreen,
    NormScreen,
    PlanScreen,
    SketchScreen,
    check_choice,
    screen_of,
)
from robust.observe import GroupSketches, Imitated, Norms, Observation, Public, Sketches
from secagg.errors import InputRefused, ParameterError
from secagg.event import GroupStatistics, Statistics
from secagg.identity import PartyId
from secagg.quantize import FixedPoint
from secagg.schemes.ckks import EncryptedScreened, SlotMap
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified
from secagg.sketch import SketchMap
from secagg.structure import flatten

if TYPE_CHECKING:
    from protocols.plan import RoundPlan

__all__ = [
    "CosineProof",
    "CosineScreen",
    "ExactNormScreen",
    "GroupScreen",
    "MaskedScreen",
    "NormScreen",
    "PlanScreen",
    "SketchScreen",
    "check_choice",
    "cosines",
    "observed",
    "screen_of",
]

Reals = NDArray[np.float64]


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
    if (
        screen is None
        or isinstance(screen, CosineProof)
        or not isinstance(scheme, SecAggPlusVerified | EncryptedScreened | TwoAggregators)
    ):
        raise ParameterError("this plan opens nothing: give it a screen")
    if isinstance(screen, GroupScreen) != isinstance(statistics, GroupStatistics):
        raise ParameterError("GroupStatistics are what a GroupScreen opens, and no other screen")
    assert isinstance(plan.quantize, FixedPoint), "only exact plans have a screen"
    if isinstance(screen, ExactNormScreen | CosineScreen):
        assert isinstance(statistics, Statistics), "no groups"
        return _exact_norms(plan.quantize, statistics, number)
    sketch = scheme.opened_map(statistics.seed).sketch
    public = partial(_public, plan, sketch, known, root, classes)
    if isinstance(statistics, GroupStatistics):
        assert isinstance(scheme, SecAggPlusVerified | TwoAggregators), "no other opens groups"
        assert isinstance(sketch, SketchMap)
        if imitate is not None:
            raise ParameterError("imitate is for sketches of clients, not of groups")
        return _of_groups(plan.quantize, scheme, sketch, statistics, number, public())
    kept, weights = _kept(statistics)
    units = plan.quantize.resolution / (sketch.scale * weights)
    clients, rows = tuple(sorted(statistics.eligible)), statistics.rows[kept] * units[:, None]
    noise = _noise(scheme) * units
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
        imitations=None if imitate is None else imitate(clients).through(sketch.of_reals),
    )


def cosines(plan: RoundPlan, statistics: Statistics) -> dict[PartyId, float]:
    """The cosine of the angle between each eligible client's update and the reference, exactly but
    for float64; 0.0 for an update of zeros. `ParameterError` where the plan opens none.
    """
    if not isinstance(plan.screen, CosineScreen) or statistics.norms is None:
        raise ParameterError("this plan opens no cosines: give it a CosineScreen")
    kept, _ = _kept(statistics)
    products = statistics.products[kept, 0].astype(np.float64)
    lengths = np.sqrt(statistics.norms[kept].astype(np.float64)) * plan.screen.reference.norm
    found = products / np.where(lengths > 0, lengths, 1.0)
    return dict(zip(sorted(statistics.eligible), found.tolist(), strict=True))


def _exact_norms(quantize: FixedPoint, statistics: Statistics, number: int) -> Norms:
    assert statistics.norms is not None, "a norm of each client"
    kept, weights = _kept(statistics)
    norms = np.sqrt(statistics.norms[kept].astype(np.float64)) * quantize.resolution / weights
    clients = tuple(sorted(statistics.eligible))
    return Norms(number=number, clients=clients, norms=norms, bound=quantize.clip.bound)


def _kept(statistics: Statistics) -> tuple[NDArray[np.bool_], Reals]:
    """Which rows are of eligible clients, and the weights of these."""
    kept = np.isin(np.array(statistics.clients), list(statistics.eligible))
    weights = np.ones(int(kept.sum()))
    if statistics.weights is not None:
        weights = statistics.weights[kept].astype(np.float64)
    return kept, weights


def _noise(scheme: SecAggPlusVerified | EncryptedScreened | TwoAggregators) -> float:
    """That of clients in each number: no other scheme has any."""
    return scheme.screen.noise if isinstance(scheme, SecAggPlusVerified) else 0.0


def _of_groups(
    quantize: FixedPoint,
    scheme: SecAggPlusVerified | TwoAggregators,
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
        noise=float((_noise(scheme) * units * np.sqrt(sizes)).max()),
    )


def _public(
    plan: RoundPlan,
    sketch: SketchMap | SlotMap,
    known: Sequence[Any],
    root: Any,
    classes: Sequence[Any],
) -> Public:
    def sketched(trees: Sequence[Any]) -> Reals:
        return sketch.of_reals(np.stack([_vector(plan, tree) for tree in trees]))

    return Public(
        known=sketched(known) if len(known) else np.zeros((0, sketch.rows)),
        root=None if root is None else sketched([root])[0],
        classes=sketched(classes) if len(classes) else None,
    )


def _vector(plan: RoundPlan, tree: Any) -> Reals:
    vector, structure = flatten(tree)
    if structure.digest != plan.structure.digest:
        raise InputRefused("a public vector is a tree of the plan's structure")
    return vector
