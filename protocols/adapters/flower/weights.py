"""Robust rules for the weights of a sum, from the sketches that a round opens.

    weights = Selected(rule=MultiKrum(corrupt=1))            whom to accept, in the same round
    weights = Drawn(rule=Mean())                             the same, by a public coin
    weights = CarriedWeights(rule=MultiKrum(…), most=4)      from the rounds before, public before
                                                             anybody masks

What each means is in `protocols.weighing`. Rules see the sketches of those within the bounds and
no public row; `rooted` adds the server's own update as row 0, which rules such as FLTrust need.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from protocols.adapters.flower.call import Call
from protocols.adapters.flower.terms import SecurePlan
from protocols.plan import RoundPlan
from protocols.screening import SketchScreen, observed
from protocols.weighing import Carried, PublicWeights, drawn, selected
from robust.errors import RobustError
from robust.observe import Sketches
from robust.weigh import Weigher
from secagg.errors import Aborted, InputRefused, ParameterError
from secagg.event import Statistics
from secagg.identity import PartyId

__all__ = ["CarriedWeights", "Drawn", "Selected", "Weighing", "Weights"]


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """rule: of `robust.weigh`. rooted: whether its public row 0 is the server's own update."""

    rule: Weigher
    rooted: bool = False


@dataclass(frozen=True, kw_only=True)
class Selected(_Rule):
    """Whom the rule gives weight, all alike, as Multi-Krum does: the mean is the rule's."""


@dataclass(frozen=True, kw_only=True)
class Drawn(_Rule):
    """Each client with a chance in proportion to its weight: the mean is the rule's on average."""


@dataclass(frozen=True, kw_only=True)
class CarriedWeights(_Rule):
    """Public weights that follow from the rounds before, by which clients multiply their updates.

    most: the largest of them, >= 2; a client may have `max_weight // most` examples at most then.
        So many of the largest as must remain in a sum count for 1 or more; where fewer than that
        are above 0, the round that led there fails and leaves no trace in them.
    carried: where to start, such as what another run has left.
    """

    most: int
    carried: Carried = field(default_factory=Carried)

    def __post_init__(self) -> None:
        if type(self.most) is not int or self.most < 2:
            raise ParameterError(f"most >= 2, an int, must hold, got {self.most!r:.40}")


Weights = Selected | Drawn | CarriedWeights


class Weighing:
    """What a rule says, round after round. carried: after the last one seen.

    Raises `ParameterError` for a plan under which the rule sees no angles, or has no room.
    """

    def __init__(self, plan: SecurePlan, weights: Weights) -> None:
        if not isinstance(plan.screen, SketchScreen):
            raise ParameterError("weights need a plan with a SketchScreen: rules see angles")
        if isinstance(weights, CarriedWeights) and not weights.most <= plan.max_weight:
            raise ParameterError(
                f"most <= max_weight = {plan.max_weight} must hold, got {weights.most}"
            )
        self.carried = weights.carried if isinstance(weights, CarriedWeights) else None
        self._weights = weights

    def public(self, call: Call) -> PublicWeights | None:
        """By what the cohort of `call` is to multiply; None where clients count as they are.

        Raises `ParameterError` for weights that the round cannot have, as where too few are above
        0.
        """
        return None if self.carried is None else self._public(self.carried, call)

    def accepted(
        self, plan: RoundPlan, call: Call, statistics: Statistics, root: Any
    ) -> frozenset[PartyId]:
        """Whom to accept. root: the server's own update, a tree of the plan; None without one.

        Raises `Aborted` where the rule finds no weights, as with too few clients for it.
        """
        known = [root] if self._weights.rooted else []
        seen = observed(plan, statistics, call.number, known=known)
        assert isinstance(seen, Sketches), "the screen is a SketchScreen, as checked"
        try:
            return self._accepted(call, statistics, seen)
        except (RobustError, InputRefused, ParameterError) as error:
            name = self._weights.rule.name
            raise Aborted("decide", f"{name} finds no weights: {error}") from None

    def _accepted(self, call: Call, statistics: Statistics, seen: Sketches) -> frozenset[PartyId]:
        rule = self._weights.rule
        if isinstance(self._weights, Selected):
            return selected(rule, seen)
        if self.carried is None or call.weights is None:
            return drawn(rule, seen, statistics.seed)
        after = self.carried.after(rule, seen, **self._bounds(call))
        self._public(after, call)  # else no round of these clients could follow, ever
        self.carried = after
        return call.weights.accepted(statistics)

    def _public(self, carried: Carried, call: Call) -> PublicWeights:
        bounds, cohort = self._bounds(call), call.cohort
        weights = PublicWeights.of(
            carried.weights(cohort),
            cohort,
            examples=call.plan.max_weight // bounds["most"],
            **bounds,
        )
        weights.check(_plan_of(call))
        return weights

    def _bounds(self, call: Call) -> dict[str, int]:
        """So many of the largest weights as must remain in a sum are within this ratio."""
        assert isinstance(self._weights, CarriedWeights), "nothing is carried otherwise"
        return {"most": self._weights.most, "least": _plan_of(call).scheme.survivors}


def _plan_of(call: Call) -> RoundPlan:
    return call.plan.round_plan(len(call.cohort), *call.sizes)
