"""The server's side: a strategy around the user's own.

The inner strategy keeps what is its own: sampling, configuration, the optimizer, evaluation. It
sees one reply per round, whose arrays, metrics and weight are the sum's. `Strategy.start` is
Flower's, unchanged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from dp.errors import BudgetExceeded
from protocols.adapters.flower.call import (
    CALL,
    FRAMES,
    Call,
    arrays_record,
    frames_record,
    numpy_arrays,
)
from protocols.adapters.flower.coordinator import Asked, Coordinator, RoundReport
from protocols.adapters.flower.coordinator_brief import BriefCoordinator
from protocols.adapters.flower.coordinator_screened import ScreenedCoordinator
from protocols.adapters.flower.exchange import Gathered, exchange, wait_for
from protocols.adapters.flower.inner import check_inner
from protocols.adapters.flower.judging import Classes, Judge, Judging, Root, Verdict
from protocols.adapters.flower.mending import Arrays, Mender
from protocols.adapters.flower.messages import answer_of, one_model
from protocols.adapters.flower.terms import Layout, SecurePlan
from protocols.adapters.flower.weights import Weights
from protocols.enrollment import load_identity, load_roster
from protocols.federation.unlearning import Unlearning
from protocols.ledger import PrivacyLedger
from protocols.private import Privacy
from protocols.round import Result
from protocols.weighing import Carried
from secagg.errors import (
    Aborted,
    InputRefused,
    IntegrityError,
    ParameterError,
    SecAggError,
)
from secagg.event import FraudProven, GroupStatistics
from secagg.identity import Identity, Roster
from secagg.rand import Rand

__all__ = ["RoundReport", "SecureAggregation"]

_log = logging.getLogger("flwr")


class SecureAggregation(Strategy):
    """Any averaging strategy, such as FedAvg, FedProx or FedAdam, over secure sums.

    strategy: the inner one. plan: the public terms of the run. identity, roster: the server's key
    and who is who, or paths of their files. deadline: seconds that an exchange may take besides
    training, and that clients may take to connect. train_deadline: seconds after which a training
    message is void; `start(timeout=…)` says how long Flower waits for one. ledger: the privacy
    budget of the session, for a plan with noise. The first round that it cannot afford and all
    after it are in `failures` with `dp.errors.BudgetExceeded`, and nobody trains in them: the model
    stays as the last round has left it.

    judge: for a plan with a screen, `robust.decide.Screening` or `Cascade`, or a function of
    `robust.observe.Observation` that returns whom to leave out; without one, all within the bounds
    of the plan are summed. Of groups a function says whom to leave out of the next round, and a
    `robust.group_suspicion.GroupSuspicion` ranks. weights: a robust rule for a plan with a
    `SketchScreen`, see `weights`; whom a judge leaves out stays out. root: the server's own update
    of a model, arrays by name of what changes; classes: one such update for each class of the
    server's own data. The judge is shown both, what the last rounds did and the model. `verdicts`
    has what a judge found in each round, `groups` what was opened of groups, and `proofs` by whom a
    round was proven to have been lied in. Whom a round left out, and its public weights, are in its
    report; how many, in its metrics `secagg.included` and `secagg.refused`.

    The sum of an audit round is not applied: the model stays, as its metric `secagg.audit` says.

    unlearning: experimental, for a plan with a `SketchScreen`: suspected triggers are unlearned
    before what the inner strategy returns is the model, see `mending`. Those that commanded it are
    in the round's report, their number in its metrics, `secagg.unlearned`.

    A round that cannot be finished leaves the model as it is: it is logged, listed in `failures`,
    and training goes on. `reports` has what each round took whose sum was released. Such a round is
    in `failures` as well where the model's dtypes cannot hold the mean, the inner strategy returns
    other arrays than the model's, or triggers cannot be looked for or unlearned. What the inner
    strategy or a judge raises, `start` raises.

    Raises `ParameterError` for a strategy that needs single updates, with the reason, and for an
    identity, roster, ledger or judge that does not fit. `start` raises `InputRefused` for a model
    that cannot be averaged, or an inner strategy that sends several; and what a ledger raises that
    is damaged or cannot be written.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        plan: SecurePlan,
        identity: Identity | str | Path,
        roster: Roster | str | Path,
        deadline: float = 120.0,
        train_deadline: float = 3600.0,
        poll: float = 0.2,
        rand: Rand = os.urandom,
        ledger: PrivacyLedger | None = None,
        judge: Judge | None = None,
        root: Root | None = None,
        classes: Classes | None = None,
        weights: Weights | None = None,
        unlearning: Unlearning | None = None,
    ) -> None:
        check_inner(strategy)
        if ledger is not None and plan.privacy is None:
            raise ParameterError("a ledger needs a plan with privacy: no budget affords exact sums")
        self.inner = strategy
        self.plan = plan
        self.reports: dict[int, RoundReport] = {}
        self.failures: dict[int, SecAggError | BudgetExceeded] = {}
        self.verdicts: dict[int, Verdict] = {}
        self.groups: dict[int, GroupStatistics] = {}
        self.proofs: dict[int, tuple[FraudProven, ...]] = {}
        key = identity if isinstance(identity, Identity) else load_identity(identity)
        people = roster if isinstance(roster, Roster) else load_roster(roster)
        self._deadline, self._train_deadline, self._poll = deadline, train_deadline, poll
        self._mender = None if unlearning is None else Mender(plan, unlearning, rand)
        self._judging = Judging(plan, judge, weights, root, classes, self._mender)
        self._coordinator = self._coordinating(key, people, rand, ledger)
        self._ledger = ledger
        self._round = 0
        self._spent: BudgetExceeded | None = None
        self._grid: Grid | None = None
        self._layout: Layout | None = None
        self._template: Message | None = None

    @property
    def carried(self) -> Carried | None:
        """Of `CarriedWeights`, after the last round seen; another run may start from it."""
        return self._judging.carried

    # -- training ---------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, each with its delivery. Deals are fetched before."""
        self._grid, self._layout, self._template = grid, None, None
        self._round = server_round
        if self._spent is not None:
            self.failures[server_round] = self._spent
            return []
        try:
            gathered = self._gathered(grid, "min_train_nodes")
            messages = list(self.inner.configure_train(server_round, arrays, config, gathered))
            return self._secured(messages) if messages else []
        except (Aborted, IntegrityError, ParameterError) as error:
            self._fail(server_round, error)
            return []
        except BudgetExceeded as error:
            self._end(server_round, error)
            return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """What the inner strategy makes of the one reply that stands for all."""
        if self._layout is None or self._template is None:
            return None, None
        try:
            result = self._coordinator.finish(filter(None, map(answer_of, replies)))
        except (Aborted, IntegrityError) as error:
            return self._fail(server_round, error)
        finally:
            self._keep(server_round)
        report = self._coordinator.report
        self._report(server_round, report)  # the sum is out, whatever follows
        if report.audit:
            return None, self._counted(report, None)
        self._judging.learn(result.mean["update"])
        try:
            self._judging.look(result.included)
            synthetic = self._synthetic(self._layout, self._template, result)
        except IntegrityError as error:
            return self._fail(server_round, error)
        arrays, metrics = self.inner.aggregate_train(server_round, [synthetic])
        try:
            return self._like_the_model(self._layout, arrays), self._counted(report, metrics)
        except (InputRefused, IntegrityError) as error:
            return self._fail(server_round, error)

    # -- evaluation and the rest ------------------------------------------------------------

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages; none where fewer nodes are there than it waits for, or
        the budget is spent and the model thus the same as before.
        """
        if self._spent is not None:
            return []
        if getattr(self.inner, "fraction_evaluate", 1.0) == 0.0:
            return list(self.inner.configure_evaluate(server_round, arrays, config, grid))
        try:
            gathered = self._gathered(grid, "min_evaluate_nodes", least=0)
        except Aborted as error:
            _log.error("secagg: no evaluation in round %d: %s", server_round, error)
            return []
        return list(self.inner.configure_evaluate(server_round, arrays, config, gathered))

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """The inner strategy's."""
        return self.inner.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        """Log the plan, and what the inner strategy logs."""
        plan = self.plan
        count = (
            "two exchanges a round, the first three"
            if plan.screen is None
            else "six exchanges a round"
        )
        _log.info("\t├──> Secure aggregation (%s):", count)
        _log.info("\t│\t├── Clip: %s | largest weight: %d", plan.clip, plan.max_weight)
        _log.info("\t│\t├── Withstands: corrupt %.2f | dropout %.2f", plan.corrupt, plan.dropout)
        if plan.screen is not None:
            _log.info("\t│\t├── Opened of each update: %s", plan.screen)
        if self._mender is not None:
            _log.info("\t│\t├── Suspected triggers are unlearned (experimental)")
        if plan.audit is not None:
            _log.info("\t│\t├── Audit rounds: every %d", plan.audit.every)
        _log.info("\t│\t└── Privacy: %s", _protection(plan.privacy, self._ledger))
        self.inner.summary()

    # -- parts ------------------------------------------------------------------------------

    def _coordinating(
        self, key: Identity, people: Roster, rand: Rand, ledger: PrivacyLedger | None
    ) -> Coordinator:
        if self.plan.screen is None:
            return BriefCoordinator(key, people, self._ask, rand, ledger)
        return ScreenedCoordinator(key, people, self._ask, self._judging, rand)

    def _keep(self, server_round: int) -> None:
        """What was found in a round, whatever has come of it."""
        if self._judging.verdict is not None:
            self.verdicts[server_round] = self._judging.verdict
        if self._coordinator.groups is not None:
            self.groups[server_round] = self._coordinator.groups
        if self._coordinator.proofs:
            self.proofs[server_round] = self._coordinator.proofs

    def _counted(self, report: RoundReport, metrics: MetricRecord | None) -> MetricRecord | None:
        """With how many were summed and left out, in a plan with a screen."""
        if self.plan.screen is None:
            return metrics
        found = {} if metrics is None else dict(metrics)
        found |= {"secagg.included": len(report.included), "secagg.refused": len(report.refused)}
        if self._mender is not None:
            found["secagg.unlearned"] = len(report.unlearned)
        return MetricRecord(found | ({"secagg.audit": 1} if report.audit else {}))

    def _gathered(self, grid: Grid, minimum: str, least: int | None = None) -> Gathered:
        """The grid, once enough nodes are connected; `Aborted` if too few are in time: the inner
        strategy would wait for ever.
        """
        wants = (getattr(self.inner, name, 0) for name in (minimum, "min_available_nodes"))
        needed = max(self.plan.least_clients if least is None else least, *wants)
        nodes: list[int] = []

        def enough() -> bool:
            nodes[:] = grid.get_node_ids()
            return len(nodes) >= needed

        if not wait_for(enough, deadline=self._deadline, poll=self._poll):
            raise Aborted("hello", f"{len(nodes)} nodes are connected, at least {needed} needed")
        return Gathered(grid, nodes)

    def _secured(self, messages: list[Message]) -> list[Message]:
        layout = Layout.of(self.plan, one_model(messages))
        if self._mender is not None:
            self._mender.begin(layout)
        weighted_by = str(getattr(self.inner, "weighted_by_key", "num-examples"))
        call = Call(
            stage="train",
            session=b"",
            number=0,
            cohort=(),
            plan=self.plan,
            sizes=layout.sizes,
            weighted_by=weighted_by,
        )
        by_node = {message.metadata.dst_node_id: message for message in messages}
        call, frames = self._coordinator.begin(call, list(by_node), layout.digest(weighted_by))
        added = layout.perturbation(call.session, call.number)
        self._coordinator.report.audit = added is not None
        self._judging.begin(layout, added)
        self._layout, self._template = layout, messages[0]
        return [
            self._message(by_node[node], call, {"delivery": frame})
            for node, frame in frames.items()
            if node in by_node
        ]

    def _message(self, base: Message, call: Call, frames: Mapping[str, bytes]) -> Message:
        content = {**base.content, CALL: call.record(), FRAMES: frames_record(frames)}
        metadata = base.metadata
        return Message(
            RecordDict(content),
            metadata.dst_node_id,
            metadata.message_type,
            ttl=self._train_deadline,
            group_id=metadata.group_id,
        )

    def _ask(
        self,
        call: Call,
        frames: Mapping[int, Mapping[str, bytes]],
        take: Callable[[Asked], None],
        enough: Callable[[], bool],
    ) -> None:
        assert self._grid is not None, "an exchange takes place within a round"
        messages = [
            Message(
                RecordDict({CALL: call.record(), FRAMES: frames_record(named)}),
                node,
                "train",
                ttl=self._deadline,
            )
            for node, named in frames.items()
        ]

        def taken(reply: Message) -> None:
            if (answer := answer_of(reply)) is not None:
                take(answer)

        exchange(
            self._grid, messages, taken, deadline=self._deadline, poll=self._poll, enough=enough
        )

    def _synthetic(self, layout: Layout, template: Message, result: Result) -> Message:
        arrays, metrics = layout.decode(result.mean)
        weighted_by = str(getattr(self.inner, "weighted_by_key", "num-examples"))
        key = str(getattr(self.inner, "arrayrecord_key", "arrays"))
        record = MetricRecord({**metrics, weighted_by: result.total_weight})
        return Message(
            RecordDict({key: arrays_record(arrays), "metrics": record}),
            reply_to=template,
        )

    def _like_the_model(self, layout: Layout, arrays: ArrayRecord | None) -> ArrayRecord | None:
        """In the model's dtypes: averaging leaves float64 where integers were, and a model that
        changes its structure could not use the deals that were made ahead. Mended, where it is.
        """
        if arrays is None:
            return None
        model: Arrays = layout.like(numpy_arrays(arrays))
        if self._mender is not None:
            model, self._coordinator.report.unlearned = self._mender.mended(layout, model)
        return arrays_record(model)

    def _report(self, server_round: int, report: RoundReport) -> None:
        self.reports[server_round] = report
        _log.info(
            "secagg: the mean of %d clients of total weight %d, in %d exchanges",
            len(report.included),
            report.total_weight,
            report.exchanges,
        )
        if report.epsilon is not None and self._ledger is not None:
            _log.info("secagg: epsilon %.4g at delta %g", report.epsilon, self._ledger.delta)

    def _fail(self, server_round: int, error: SecAggError) -> tuple[None, None]:
        self.failures[server_round] = error
        _log.error("secagg: round %d leaves the model as it was: %s", server_round, error)
        return None, None

    def _end(self, server_round: int, error: BudgetExceeded) -> None:
        self._spent = self.failures[server_round] = error
        _log.error(
            "secagg: training ends before round %d with the model so far: %s", server_round, error
        )


def _protection(privacy: Privacy | None, ledger: PrivacyLedger | None) -> str:
    if privacy is None:
        return "no noise"
    kind, law = type(privacy).__name__, privacy.noise.__name__
    limit = "no budget" if ledger is None else f"epsilon <= {ledger.epsilon:g} at {ledger.delta:g}"
    return f"{kind}, {law}, multiplier {privacy.multiplier:g} | {limit}"
