"""What the server makes of what rounds open: whom it accepts, and what the log says of it.

    judge = Screening(Cascade())                       # robust's rules, round after round
    judge = lambda seen: {client for …}                # or any function of an Observation
    judge = GroupSuspicion(Direction())                # of groups: a ranking, which excludes nobody

Beside the statistics a judge sees, sketched by the map of the round, what everybody knows and a
client without data could send: the last means, what the server's optimizer made of them, the model,
the perturbation of an audit round, and each side value by itself. Metrics and integers fill as much
of a vector as the clip allows the update; were they not among what is known, a plausible loss would
pass for evidence of training.

Statistics of groups come with the sum. Whom a function leaves out for them is left out of the next
round, until it has seen another.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.adapters.flower.call import Call
from protocols.adapters.flower.mending import Mender
from protocols.adapters.flower.terms import Layout, SecurePlan
from protocols.adapters.flower.weights import Weighing, Weights
from protocols.plan import RoundPlan
from protocols.round import ServerRound
from protocols.screening import GroupScreen, observed
from protocols.weighing import Carried, PublicWeights
from robust.decide import Cascade, Screening, Verdicts
from robust.detect import Abstained
from robust.group_suspicion import GroupSuspicion, Suspects
from robust.observe import GroupSketches, Norms, Observation, Sketches
from secagg.errors import ParameterError
from secagg.event import GroupStatistics, Statistics
from secagg.identity import PartyId

__all__ = ["Changes", "Classes", "Judge", "Judging", "Root", "Verdict"]

Changes = Mapping[str, NDArray[Any]]
Judge = Callable[[Observation], Collection[PartyId]] | Screening | Cascade | GroupSuspicion
Root = Callable[[Changes], Changes]
Classes = Callable[[Changes], Sequence[Changes]]
Verdict = Verdicts | Suspects | frozenset[PartyId]

_REMEMBERED = 6
_SAME = 1e-3  # relative: a change of the model this near to a mean is that mean, rounded
_IDLE = "root and classes are for a judge, and there is none"
_log = logging.getLogger("flwr")


class Judging:
    """A judge, a rule for the weights, and the public vectors that they are shown.

    root: the server's own update, given the model: the change of each of its arrays. classes: the
    same for each class of the server's own data. mender: shown what was opened of whom the sum is.

    Raises `ParameterError` for a judge, weights or vectors that do not fit the plan.
    """

    def __init__(
        self,
        plan: SecurePlan,
        judge: Judge | None,
        weights: Weights | None,
        root: Root | None,
        classes: Classes | None,
        mender: Mender | None = None,
    ) -> None:
        _check(plan, judge, weights, root, classes)
        self._mender = mender
        self.verdict: Verdict | None = None  # of the round at hand
        self._judge = Screening(judge) if isinstance(judge, Cascade) else judge
        self._weighing = None if weights is None else Weighing(plan, weights)
        self._root = root
        self._classes = classes
        self._means: deque[NDArray[np.float64]] = deque(maxlen=_REMEMBERED)
        self._changes: deque[NDArray[np.float64]] = deque(maxlen=_REMEMBERED)
        self._model: NDArray[np.float64] | None = None
        self._suspected: frozenset[PartyId] = frozenset()
        self._layout: Layout | None = None
        self._added: NDArray[np.float64] | None = None
        self._server: ServerRound | None = None
        self._statistics: Statistics | None = None

    # -- a round ----------------------------------------------------------------------------

    def begin(self, layout: Layout, added: NDArray[np.float64] | None) -> None:
        """A round of the model of `layout`; added: (d,), what an audit round adds to it.

        Raises `IntegrityError` where its dtypes cannot hold the sum.
        """
        self._follow(layout.coordinates(layout.arrays))
        self.verdict, self._added = None, added
        self._layout = layout if added is None else layout.moved(added)

    def public(self, call: Call) -> PublicWeights | None:
        """The weights by which clients multiply; `ParameterError` where no round can have them."""
        return None if self._weighing is None else self._weighing.public(call)

    @property
    def carried(self) -> Carried | None:
        """What public weights are made from; None where there are none."""
        return None if self._weighing is None else self._weighing.carried

    def accepted(
        self, server: ServerRound, call: Call, statistics: Statistics
    ) -> frozenset[PartyId]:
        """Whom to accept. Raises `Aborted` where a rule finds no weights, and `ParameterError` for
        a judge that returns other than a collection of ids.
        """
        self._server, self._statistics = server, statistics
        accepted = statistics.eligible - self._excluded(server, statistics)
        if self._weighing is not None:
            accepted &= self._weighing.accepted(server.plan, call, statistics, self._own())
        return accepted

    def see(self, groups: GroupStatistics) -> None:
        """What was opened of groups in the round that `accepted` was last asked about, of which
        it raises `ParameterError` likewise.
        """
        if self._judge is None:
            return
        assert self._server is not None, "groups come after the decision"
        seen = self._observed(self._server.plan, groups, self._server.invitation.number)
        assert isinstance(seen, GroupSketches), "all that is opened of groups"
        if isinstance(self._judge, GroupSuspicion):
            self.verdict = _ranking(self._judge, seen)
        elif callable(self._judge):
            self.verdict = self._suspected = _checked(self._judge(seen), "of the next round ")

    def look(self, included: Collection[PartyId]) -> None:
        """Have the mender, if there is one, read the pulls of those who are in the sum. Raises
        `IntegrityError` where that is impossible.

        Not of those accepted: who is then proven to have lied is not in it, and of some rounds
        there is no sum. Their sketches teach the model nothing.
        """
        if self._mender is None:
            return
        assert self._server is not None, "a sum comes after the decision"
        assert self._statistics is not None, "a decision comes after them"
        self._mender.look(self._server, self._statistics, self._of_round(), included)

    def learn(self, mean: NDArray[np.float64]) -> None:
        """Remember the mean update (d,) of a round, which is public from now on."""
        self._means.append(mean)

    # -- parts ------------------------------------------------------------------------------

    def _follow(self, model: NDArray[np.float64]) -> None:
        """Remember the change to `model` (d,), which all clients see, unless it is the last mean:
        an optimizer such as FedAdam makes something else of that, beyond the span of all means.
        """
        before, self._model = self._model, model
        if before is None or before.size != model.size or not self._means:
            return
        change, mean = model - before, self._means[-1]
        beyond = change - mean if mean.size == change.size else change
        if np.linalg.norm(beyond) > _SAME * np.linalg.norm(change) > 0:
            self._changes.append(change)

    def _excluded(self, server: ServerRound, statistics: Statistics) -> frozenset[PartyId]:
        if self._judge is None:
            return frozenset()
        if isinstance(server.plan.screen, GroupScreen):
            return self._suspected
        number = server.invitation.number
        if not isinstance(self._judge, Screening):
            assert callable(self._judge), "as checked when it was given"
            found = _checked(self._judge(self._observed(server.plan, statistics, number)))
            self.verdict = found
            return found
        number = max(number, self._judge.last + 1)  # it may go on from another run
        seen = self._observed(server.plan, statistics, number)
        assert isinstance(seen, Norms | Sketches), "all that is opened of clients"
        self.verdict = verdicts = self._judge.judge(seen)
        _say(verdicts)
        return frozenset(verdicts.excluded)

    def _observed(
        self, plan: RoundPlan, statistics: Statistics | GroupStatistics, number: int
    ) -> Observation:
        layout = self._of_round()
        model = layout.arrays
        past = [each for each in (*self._means, *self._changes) if each.size == layout.sizes[0]]
        audit = [] if self._added is None else [self._added]
        known = [layout.public(vector) for vector in (*past, layout.coordinates(model), *audit)]
        return observed(
            plan,
            statistics,
            number,
            known=[*known, *layout.sides()],
            root=self._own(),
            classes=[layout.own(each) for each in self._classes(model)] if self._classes else (),
        )

    def _own(self) -> Any:
        """The server's own update as a tree of the plan; None where it has none."""
        layout = self._of_round()
        return None if self._root is None else layout.own(self._root(layout.arrays))

    def _of_round(self) -> Layout:
        assert self._layout is not None, "a round was begun"
        return self._layout


def _check(
    plan: SecurePlan,
    judge: Judge | None,
    weights: Weights | None,
    root: Root | None,
    classes: Classes | None,
) -> None:
    if judge is not None and plan.screen is None:
        raise ParameterError("a judge needs a plan with a screen: there is nothing to see")
    if weights is not None and weights.rooted and root is None:
        raise ParameterError("rooted weights need a root")
    if classes is not None and judge is None:
        raise ParameterError(_IDLE)
    if root is not None and judge is None and (weights is None or not weights.rooted):
        raise ParameterError(_IDLE)
    if plan.audit is not None and judge is None and weights is None:
        raise ParameterError("audit rounds are for a judge or weights, and there is neither")
    if judge is not None:
        _check_kind(plan, judge)


def _check_kind(plan: SecurePlan, judge: Judge) -> None:
    if not callable(judge) and not isinstance(judge, Screening | Cascade | GroupSuspicion):
        raise ParameterError(
            f"a judge is one of robust's or a function, got {type(judge).__name__}"
        )
    grouped = isinstance(plan.screen, GroupScreen)
    if grouped and isinstance(judge, Screening | Cascade):
        raise ParameterError(
            "a Screening judges clients, and a GroupScreen shows none: take a GroupSuspicion, or a "
            "function"
        )
    if isinstance(judge, GroupSuspicion) and not grouped:
        raise ParameterError("a GroupSuspicion needs a plan with a GroupScreen")


def _ranking(judge: GroupSuspicion, seen: GroupSketches) -> Suspects | None:
    """With one more round; None where its detector tells nothing of that."""
    found = judge.add(seen)
    if isinstance(found, Abstained):
        _log.info("secagg: the detector of groups abstained: %s", found)
        return None
    return judge.suspects()


def _say(verdicts: Verdicts) -> None:
    for verdict in verdicts.verdicts:
        for finding in verdict.reasons:
            _log.warning("secagg: client %d is left out: %s", verdict.client, finding.in_words)
    for abstained in verdicts.abstained:
        _log.info("secagg: a rule abstained: %s", abstained)


def _checked(excluded: object, of: str = "") -> frozenset[PartyId]:
    """of: what a client is left out of, where that is not the round at hand."""
    if not isinstance(excluded, Collection) or any(type(client) is not int for client in excluded):
        raise ParameterError("a judge returns a collection of client ids")
    for client in sorted(excluded):
        _log.warning("secagg: client %d is left out %sby the judge", client, of)
    return frozenset(excluded)
