"""Canaries in real rounds: is the epsilon of a plan what was promised?

    audit = audit_epsilon(plan, delta=1e-5, rounds=4, rng=np.random.default_rng(1))
    audit.found.gaussian_run <= audit.claimed

Some clients of each run are canaries. A coin decides whether one sends, in all rounds of the run,
an update of the full clip bound in a direction of its own, or zeros; these are the neighbors of the
accountant. Directions are orthogonal. The score of a canary is how far the released sums of a run
reach in its direction. Everything goes through the machines of the scheme, as real bytes.

The claim is that of the plan for as many rounds. An audit finds what is grossly wrong: noise that
is forgotten, added at another scale, or a clip that is skipped. `protocols.audit` sees a twentieth
of the noise missing, in one round; canaries test everything from the update to the mean.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp.account_reduction import ReductionAccountant
from dp.audit.epsilon import LowerBounds, Scores, lower_bounds, reach
from dp.events import Composed
from dp.noise import whole
from protocols.federation.federation import Federation
from protocols.helper import HelperKeeper
from protocols.plan import RoundPlan
from protocols.private import Private
from protocols.simulate import run_round
from protocols.third import ThirdParty
from robust.observe import Array
from secagg.errors import ParameterError
from secagg.identity import PartyId
from secagg.rand import Rand
from secagg.structure import flatten

__all__ = ["EpsilonAudit", "audit_epsilon"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EpsilonAudit:
    """What canaries say, and what was claimed.

    Attributes
    ----------
    claimed: epsilon of all rounds of a run together, at `found.delta`.
    found: lower bounds from the scores, and an estimate.
    scores: in units of the canaries' norm; an honest sum has 1 per round for those that are in.
    """

    claimed: float
    found: LowerBounds
    scores: Scores = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether no sound bound exceeds the claim."""
        return max(self.found.one_run, self.found.gaussian_run) <= self.claimed


def audit_epsilon(
    plan: RoundPlan,
    *,
    delta: float,
    rng: np.random.Generator,
    rounds: int = 1,
    runs: int = 1,
    scale: float = 1.0,
    federation: Federation | None = None,
    error: float = 0.05,
    authority: ThirdParty | None = None,
    rand: Rand = os.urandom,
) -> EpsilonAudit:
    """Audit `plan` with canaries in `runs` runs of `rounds` rounds each.

    scale: the norm of a canary's update over the clip bound; above 1, the clip is audited too.
    federation: clients that train; they take the first places in the plan, and the model that they
    train moves by each mean. Without one, all clients are canaries. rng: of coins and directions.
    error: how likely it is, at most, that a correct plan does not pass. authority: whose keys the
    plan has, if it has a key authority's. rand: of everybody's keys and noise.

    Raises `ParameterError` for a plan without noise, one that is shorter than its canaries are
    many, one that would pass whatever its canaries say, as they are too few to refute its claim, a
    federation that leaves no canary or has another model; and what ended a round without a sum.
    """
    if not isinstance(plan.quantize, Private):
        raise ParameterError("this plan adds no noise")
    trainers = 0 if federation is None else len(federation.clients)
    canaries = plan.scheme.clients - trainers
    size = plan.structure.size
    if not (1 <= canaries <= size and 0 < scale < np.inf):
        raise ParameterError(
            "1 <= canaries <= coordinates and 0 < scale < infinity must hold, got "
            f"{canaries}, {size}, {scale}"
        )
    event = Composed(((plan.quantize.event, whole("rounds", rounds, 1)),))
    claimed = ReductionAccountant().epsilon(event, delta)
    part = error / 2  # of either bound that decides
    _require_reach(canaries * whole("runs", runs, 1), claimed, delta, part)
    setting = _Setting(plan, canaries, rounds, scale, federation, authority, rand)
    parts = [_run(setting, rng) for _ in range(runs)]
    inside, score = (np.concatenate(each) for each in zip(*parts, strict=True))
    if inside.all() or not inside.any():
        raise ParameterError("canaries inside and outside must be there: more runs are needed")
    scores = Scores(score[inside], score[~inside])
    found = lower_bounds(scores, delta, error=part)
    return EpsilonAudit(claimed=claimed, found=found, scores=scores)


def _require_reach(canaries: int, claimed: float, delta: float, error: float) -> None:
    """That some scores would convict: an audit that every plan passes says nothing of any."""
    most = reach(canaries, delta, error=error)
    if not most > claimed:
        raise ParameterError(
            f"reach > claim must hold: {canaries} canaries refute an epsilon of {most:.3g} at "
            f"most, and {claimed:.3g} is claimed; make more runs, or rounds with more clients"
        )


class _Setting(NamedTuple):
    """What all runs share."""

    plan: RoundPlan
    canaries: int
    rounds: int
    scale: float
    federation: Federation | None
    authority: ThirdParty | None
    rand: Rand


def _run(setting: _Setting, rng: np.random.Generator) -> tuple[NDArray[np.bool_], Array]:
    """Which canaries are in, (m,), and their scores, (m,)."""
    inside = rng.random(setting.canaries) < 0.5
    directions = _orthonormal(setting.canaries, setting.plan.structure.size, rng)
    assert isinstance(setting.plan.quantize, Private)
    norm = setting.plan.quantize.mechanism.clip
    updates = setting.scale * norm * inside[:, None] * directions
    score = np.zeros(setting.canaries)
    for number in range(setting.rounds):
        score += directions @ _released(setting, updates, number) / norm
    return inside, score


def _released(setting: _Setting, canaries: Array, number: int) -> Array:
    """The sum (d,) that one round releases: the mean, times how many it is of."""
    plan, federation, rows = setting.plan, setting.federation, canaries
    if federation is not None:
        rows = np.concatenate([federation.round().updates, canaries])
    third = HelperKeeper.generate(setting.rand) if plan.scheme.helpers else setting.authority
    updates = _submitted(plan, rows)
    outcome = run_round(plan, updates, number=number, third=third, rand=setting.rand)
    if outcome.result is None:
        assert outcome.failure is not None, "a round without a result has failed"
        raise outcome.failure
    mean = flatten(outcome.result.mean)[0]
    if federation is not None:
        federation.apply(mean)
    total: Array = mean * len(outcome.result.included)
    return total


def _submitted(plan: RoundPlan, rows: Array) -> Mapping[PartyId, tuple[Any, int]]:
    return {at: (plan.structure.restore(row), 1) for at, row in enumerate(rows, start=1)}


def _orthonormal(count: int, size: int, rng: np.random.Generator) -> Array:
    """Random directions (count, size) that are orthogonal to each other."""
    rows: Array = np.linalg.qr(rng.standard_normal((size, count)))[0].T
    return rows
