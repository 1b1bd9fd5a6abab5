"""Noise that two aggregators add: each alone keeps the promise, and a sum has both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dp.errors import BudgetExceeded
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.parties import ByAggregators
from protocols.audit import audit_noise
from protocols.helper import HelperKeeper
from protocols.journal import ClientJournal
from protocols.ledger import PrivacyLedger
from protocols.plan import RoundPlan
from protocols.private import AggregatorNoise, CentralNoise, DistributedNoise, LeafClip, Private
from protocols.round import ClientRound, Invitation, ServerRound
from protocols.screening import ExactNormScreen
from protocols.simulate import Population, run_round
from secagg.errors import ParameterError
from secagg.identity import SERVER, THIRD
from secagg.primitives.field64 import field64
from secagg.quantize import NormClip
from secagg.schemes.pine import PineScreen, TwoAggregators
from secagg.schemes.pine.messages import Collect, Sum
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.wire import decode, ids

D = 4096
CLIENTS = range(1, 6)
NOISE = AggregatorNoise(multiplier=1.0)


def plan_of(privacy: Any = NOISE, **changes: Any) -> RoundPlan:
    options = {"minimum": 3, "corrupt": 0.0, "clip": NormClip(1.0), **changes}
    kind = options.pop("scheme", TwoAggregators)
    return RoundPlan.for_update(
        {"a": np.zeros(D // 2), "b": np.zeros(D // 2)}, clients=5, scheme=kind, privacy=privacy,
        **options,
    )  # fmt: skip


def tree(value: float) -> dict[str, np.ndarray]:
    return {"a": np.full(D // 2, value), "b": np.full(D // 2, -value)}


def zeros() -> dict[int, tuple[Any, int]]:
    return dict.fromkeys(CLIENTS, (tree(0.0), 1))


class Table:
    """A null round whose frames the test carries."""

    def __init__(self, plan: RoundPlan) -> None:
        people, self.keeper = Population.generate(CLIENTS), HelperKeeper.generate()
        self.plan, self.people = plan, people
        self.invitation = Invitation(
            plan=plan, session=bytes(16), number=3, model=bytes(32),
            roster=self.keeper.enrolled(people.roster),
        )  # fmt: skip
        self.leader = ServerRound(self.invitation, people.server)
        self.total = np.zeros(plan.scheme.length, np.uint64)
        for client in CLIENTS:
            party = ClientRound(
                self.invitation, people.clients[client], client, journal=ClientJournal()
            )
            vector = party.encode(tree(0.0), 1)
            self.total += vector
            party.submit_encoded(vector)
            self.leader.receive(client, party.to_send()[0][1])
        for _, frame in self.leader.to_send():
            self.leader.receive(THIRD, self.answer(frame))
        ((_, self.collect),) = self.leader.to_send()

    def answer(self, frame: bytes) -> bytes:
        return self.keeper.answer(self.plan.scheme, self.invitation.round, frame)

    def resumed(self, snapshot: bytes) -> Any:
        return self.plan.scheme.resume_helper(
            snapshot, self.invitation.round, self.keeper._identity
        )

    def machine(self) -> Any:
        """The helper's, which answers without a journal."""
        return self.keeper._begun[2]


def law(plan: RoundPlan) -> DiscreteGaussian:
    assert isinstance(plan.quantize, Private)
    noise = plan.quantize.mechanism.noise
    assert isinstance(noise, ByAggregators)
    assert isinstance(noise.noise, DiscreteGaussian)
    return noise.noise


def ratio(plan: RoundPlan, noise: np.ndarray) -> float:
    """Of the mean square to the variance of one aggregator's noise: for so many coordinates within
    0.15 of its mean but for once in 10**11 times.
    """
    return float((noise.astype(np.float64) ** 2).mean() / float(law(plan).variance))


def test_the_sum_has_the_noise_of_both_and_its_price_is_that_of_one() -> None:
    plan = plan_of()
    outcome = run_round(plan, zeros(), third=HelperKeeper.generate())
    assert outcome.result is not None
    assert plan.event is not None
    assert plan.event.parts == 1
    assert float(plan.event.noise.sigma_squared) >= float(plan.event.sensitivity.squared)
    assert ratio(plan, outcome.result.total) == pytest.approx(2.0, abs=0.3)
    assert not plan.trusts_server
    assert outcome.exact


def test_a_leader_that_leaves_its_noise_out_sees_no_sum_without_the_helpers() -> None:
    plan = plan_of()
    table = Table(plan)
    reply = table.answer(table.collect)
    share = field64().decode(decode(Sum, reply[45:-64], plan.scheme.limits).share)
    state = table.leader._machine._state
    seen = field64().centered(field64().add(state.total, share))
    exact = field64().centered(field64().embed(table.total.view(np.int64)))
    signed = np.where(exact > 1 << 61, exact - (1 << 62), exact)
    assert ratio(plan, seen - signed) == pytest.approx(1.0, abs=0.15)
    table.leader.receive(THIRD, reply)
    result = table.leader.next_event()
    own = result.total - seen
    assert ratio(plan, own) == pytest.approx(1.0, abs=0.15)
    assert abs(np.corrcoef(own, seen - signed)[0, 1]) < 0.1


def test_a_resumed_helper_adds_the_same_noise_again() -> None:
    """Two draws for one sum would average out."""
    table = Table(plan_of())
    machine = table.machine()
    machine._durable = False
    saved = machine.snapshot()
    shares = []
    for _ in range(2):
        again = table.resumed(saved)
        again.receive(SERVER, table.collect)
        while again.next_event() is not None:
            pass
        again.snapshot()
        shares.append(again.to_send()[-1][1])
    assert shares[0] == shares[1]
    other = table.resumed(saved)
    endpoint = table.plan.scheme._endpoint(table.invitation.round, table.people.server, SERVER)
    other.receive(SERVER, endpoint.seal(THIRD, Collect(accepted=ids([1, 2, 3]))))
    while other.next_event() is not None:
        pass
    other.snapshot()
    one, two = (
        field64().decode(decode(Sum, frame[45:-64], table.plan.scheme.limits).share)
        for frame in (shares[0], other.to_send()[-1][1])
    )
    assert one.tolist() != two.tolist()


def test_the_mean_is_that_of_the_updates_within_the_noise() -> None:
    plan = plan_of(AggregatorNoise(multiplier=0.01))
    updates = {client: (tree(0.1 * client / 64), 1) for client in CLIENTS}
    outcome = run_round(plan, updates, third=HelperKeeper.generate(), drops={2: "reports"})
    assert outcome.result is not None
    assert outcome.result.included == frozenset({1, 3, 4, 5})
    assert outcome.deviation < 0.02
    assert outcome.result.total_weight == 4


@pytest.mark.slow
@pytest.mark.parametrize("noise", [Skellam, DiscreteGaussian])
def test_noise_of_either_law_is_in_the_sum(noise: Any) -> None:
    plan = plan_of(AggregatorNoise(multiplier=1.0, noise=noise))
    outcome = run_round(plan, zeros(), third=HelperKeeper.generate())
    assert outcome.result is not None
    assert outcome.result.total.any()
    assert outcome.exact


def test_a_bound_for_each_leaf_and_the_count_of_the_clipped_go_along() -> None:
    clip = LeafClip({"['a']": 0.5, "['b']": 0.5})
    plan = plan_of(AggregatorNoise(multiplier=0.1, counts_clipped=True), clip=clip)
    outcome = run_round(plan, zeros(), third=HelperKeeper.generate())
    assert outcome.result is not None
    assert outcome.result.within == pytest.approx(1.0, abs=0.5)


def test_a_client_with_a_ledger_pays_for_each_round() -> None:
    plan, people = plan_of(), Population.generate(CLIENTS)
    roster = HelperKeeper.generate().enrolled(people.roster)
    ledger = PrivacyLedger(epsilon=6.0, delta=1e-5)
    for number in (1, 2):
        invitation = Invitation(
            plan=plan, session=bytes(16), number=number, model=bytes(32), roster=roster
        )
        client = ClientRound(
            invitation, people.clients[1], 1, journal=ClientJournal(), ledger=ledger
        )
        if number == 1:
            client.submit(tree(0.0), 1)
            assert 3 < ledger.spent() < 6
        else:
            with pytest.raises(BudgetExceeded):
                client.submit(tree(0.0), 1)
            assert client.to_send() == []


# -- what fits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "privacy", [DistributedNoise(multiplier=1.0), CentralNoise(multiplier=1.0)]
)
def test_other_noise_is_refused_with_two_aggregators(privacy: Any) -> None:
    with pytest.raises(ParameterError, match="noise of clients has none: AggregatorNoise"):
        plan_of(privacy)


def test_aggregators_noise_is_refused_with_other_schemes() -> None:
    with pytest.raises(ParameterError, match="AggregatorNoise is that of TwoAggregators"):
        RoundPlan.for_update(np.zeros(D), clients=5, clip=NormClip(1.0), privacy=NOISE)
    plain = RoundPlan.for_update(
        np.zeros(D), clients=5, clip=NormClip(1.0), privacy=CentralNoise(multiplier=1.0)
    )
    assert isinstance(plain.scheme, SecAggPlus)


def test_noise_beside_a_screen_is_refused() -> None:
    with pytest.raises(ParameterError, match="no budget counts them"):
        plan_of(screen=ExactNormScreen())
    scheme = plan_of().scheme
    fields = {"clients": 5, "length": D, "width": 62, "bound": 1000, "minimum": 3, "corrupt": 0.0}
    assert isinstance(scheme, TwoAggregators)
    assert TwoAggregators(**fields, noise=scheme.noise).noise == scheme.noise
    with pytest.raises(ParameterError, match="not what a screen opens: take one"):
        TwoAggregators(**fields, noise=scheme.noise, screen=PineScreen(norm=True))
    with pytest.raises(ParameterError, match="noise is a Noise, got float"):
        TwoAggregators(**fields, noise=1.0)
    with pytest.raises(ParameterError, match="noise is a Noise, got ABCMeta"):
        TwoAggregators(**fields, noise=Skellam)


def test_scheme_and_encoding_have_one_noise() -> None:
    plan, other = plan_of(), plan_of(AggregatorNoise(multiplier=1.0, noise=Skellam))
    with pytest.raises(ParameterError, match=r"scheme.noise == that of the plan|scheme.bound"):
        RoundPlan(scheme=other.scheme, quantize=plan.quantize, structure=plan.structure)
    assert plan.digest != other.digest
    assert plan_of().digest == plan.digest


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"multiplier": 0.0}, "noise_multiplier"),
        ({"multiplier": 1.0, "noise": int}, "noise: a law"),
        ({"multiplier": 1.0, "error": 2.0}, "0 < error < 1"),
    ],
)
def test_impossible_noise_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        AggregatorNoise(**options)


def test_an_audit_without_a_helper_is_refused() -> None:
    with pytest.raises(ParameterError, match="no second aggregator"):
        audit_noise(plan_of())
