"""Private rounds: the noise that is promised is in the sum, whatever a server does."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dp.account_reduction import ReductionAccountant
from dp.errors import BudgetExceeded, RandomnessError, UnknownEvent
from dp.mechanism import ByClients, ByServer
from dp.noise import IntegerNoise, shown
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from protocols import (
    CentralNoise,
    ClientJournal,
    ClientRound,
    DistributedNoise,
    Invitation,
    LeafClip,
    PrivacyLedger,
    RoundPlan,
    ServerRound,
    model_digest,
)
from protocols.private import Private
from protocols.simulate import Population, run_round
from secagg.errors import (
    Aborted,
    InputRefused,
    IntegrityError,
    LocalProtocolError,
    ParameterError,
)
from secagg.machine import Failed
from secagg.quantize import FixedPoint, NormClip, RangeClip
from secagg.scheme import Floors
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest

CLIENTS = 8
SCHEMES = (SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest, PlainInsecure)
MODEL = {"w": np.zeros((9, 10)), "b": np.zeros(7)}


def update(seed: int, norm: float = 0.9) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=97)
    vector *= norm / np.linalg.norm(vector)
    return {"w": vector[:90].reshape(9, 10), "b": vector[90:]}


def plan(privacy: Any = None, scheme: Any = SecAggPlus, **options: Any) -> RoundPlan:
    fractions = {} if scheme is PlainInsecure else {"corrupt": 0.13}
    return RoundPlan.for_update(
        MODEL,
        clients=CLIENTS,
        clip=options.pop("clip", NormClip(1.0)),
        scheme=scheme,
        privacy=DistributedNoise(multiplier=1.0) if privacy is None else privacy,
        dropout=0.26,
        **fractions,
        **options,
    )


def cohort(norm: float = 0.9) -> dict[int, tuple[Any, int]]:
    return {i: (update(i, norm), 1) for i in range(1, CLIENTS + 1)}


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([tree["w"].ravel(), tree["b"]])


# -- the plan ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_shares_of_the_noise_are_those_of_the_honest(scheme: Any) -> None:
    private = plan(scheme=scheme)
    noise = private.quantize.mechanism.noise
    assert isinstance(noise, ByClients)
    assert noise.parts == private.scheme.honest_inputs < CLIENTS
    assert private.scheme.length == private.quantize.mechanism.length == 128
    event = private.event
    assert event is not None
    total = event.noise.summed(event.parts)[0]
    assert math.sqrt(total.variance) >= event.sensitivity.l2
    assert ReductionAccountant().epsilon(event, 1e-5) <= 4.3772


def test_more_shares_than_honest_clients_are_refused() -> None:
    """Noise is calibrated to what is left when everybody has dropped out or colluded who may."""
    good = plan()
    mechanism = good.quantize.mechanism
    noise = mechanism.noise
    for parts, fits in ((noise.parts - 1, True), (noise.parts + 1, False)):
        changed = dataclasses.replace(noise, parts=parts)
        quantize = Private(dataclasses.replace(mechanism, noise=changed))
        if fits:
            RoundPlan(scheme=good.scheme, quantize=quantize, structure=good.structure)
            continue
        with pytest.raises(
            ParameterError, match=r"noise\.parts <= scheme\.honest_inputs must hold"
        ):
            RoundPlan(scheme=good.scheme, quantize=quantize, structure=good.structure)


def test_a_server_cannot_lower_what_a_client_insists_on() -> None:
    """More parts mean less noise from each client; they need a scheme that promises less."""
    people = Population.generate(range(1, CLIENTS + 1))
    trusting = RoundPlan.for_update(
        MODEL, clients=CLIENTS, clip=NormClip(1.0), corrupt=0.0, dropout=0.0,
        privacy=DistributedNoise(multiplier=1.0),
    )  # fmt: skip
    assert trusting.quantize.mechanism.noise.parts == CLIENTS

    def join(plan: RoundPlan) -> ClientRound:
        invitation = Invitation(
            plan=plan, session=bytes(16), number=1, model=bytes(32), roster=people.roster
        )
        floors = Floors(corrupt=0.12)
        return ClientRound(invitation, people.clients[1], 1, journal=ClientJournal(), floors=floors)

    join(plan())
    with pytest.raises(ParameterError, match="corrupt"):
        join(trusting)


def test_the_noise_is_part_of_the_plan() -> None:
    kinds = [
        DistributedNoise(multiplier=1.0),
        DistributedNoise(multiplier=1.001),
        DistributedNoise(multiplier=1.0, counts_clipped=True),
        CentralNoise(multiplier=1.0),
        CentralNoise(multiplier=1.0, noise=Skellam),
    ]
    assert len({plan(kind).digest for kind in kinds}) == len(kinds)
    assert plan(kinds[0]) == plan(kinds[0])


def test_a_plan_without_noise_costs_no_epsilon_it_has_none() -> None:
    exact = RoundPlan.for_update(MODEL, clients=CLIENTS, clip=NormClip(1.0))
    assert exact.event is None
    assert isinstance(exact.quantize, FixedPoint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_weight": 2}, "takes no max_weight"),
        ({"fraction_bits": 10}, "takes no fraction_bits"),
        ({"clip": RangeClip(1.0)}, "needs a NormClip"),
        ({"width": 5}, r"needed|width >="),
    ],
)
def test_bad_private_plans_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        plan(**options)


NO_NUMBERS: tuple[Any, ...] = ("1", None, [1.0], True, math.nan, math.inf, np.array(0.5), -1.0)
WRONG_NOISE: list[tuple[str, Any, str]] = [
    *(("multiplier", wrong, "<= noise_multiplier <=") for wrong in (*NO_NUMBERS, 0.0, 10**400)),
    *(("error", wrong, "0 < error < 1") for wrong in (*NO_NUMBERS, 0.0, 1.0, 10**5000)),
    *(("wrap", wrong, "<= wrap <= 0.5") for wrong in (*NO_NUMBERS, 0.0, 0.6, 10**400)),
    *(("counts_clipped", wrong, "counts_clipped: a bool") for wrong in (math.nan, None, 1, "x")),
    *(("noise", wrong, "noise: a law") for wrong in (math.nan, None, int, Skellam(1))),
    ("noise", IntegerNoise, "noise: a law"),  # none that can be drawn
]


@pytest.mark.parametrize("kind", [DistributedNoise, CentralNoise])
@pytest.mark.parametrize(("name", "wrong", "message"), WRONG_NOISE, ids=shown)
def test_noise_that_cannot_be_is_refused_at_once(
    kind: Any, name: str, wrong: Any, message: str
) -> None:
    assert kind(multiplier=1).multiplier == 1.0
    with pytest.raises(ParameterError, match=message):
        kind(**{"multiplier": 1.0, name: wrong})


def test_numbers_of_noise_become_floats() -> None:
    """Whatever they were: what a call carries is JSON."""
    noise = DistributedNoise(multiplier=np.int64(1), error=np.float32(0.5), wrap=Fraction(1, 4))
    assert noise == DistributedNoise(multiplier=1.0, error=0.5, wrap=0.25)
    assert {type(number) for number in (noise.multiplier, noise.error, noise.wrap)} == {float}


@pytest.mark.parametrize("wrong", [math.nan, None, 1, "x"])
def test_removal_is_said_by_a_bool(wrong: Any) -> None:
    assert DistributedNoise(multiplier=1.0, removal=True).removal
    with pytest.raises(ParameterError, match="removal: a bool"):
        DistributedNoise(multiplier=1.0, removal=wrong)


def test_clients_add_noise_that_divides_only() -> None:
    assert CentralNoise(multiplier=1.0, noise=DiscreteGaussian).noise is DiscreteGaussian
    with pytest.raises(ParameterError, match="DivisibleNoise"):
        DistributedNoise(multiplier=1.0, noise=DiscreteGaussian)


@pytest.mark.parametrize("wrong", [math.nan, None, "x", plan().quantize])
def test_only_a_mechanism_is_private(wrong: Any) -> None:
    mechanism = plan().quantize.mechanism
    assert Private(mechanism).mechanism is mechanism
    with pytest.raises(ParameterError, match=r"mechanism: a dp\.Mechanism"):
        Private(wrong)


# -- a round -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", [DistributedNoise, CentralNoise])
def test_a_round_releases_a_noisy_mean_of_an_exact_sum(scheme: Any, kind: Any) -> None:
    private = plan(kind(multiplier=0.05), scheme=scheme)
    outcome = run_round(private, cohort(), drops={3: "masked"} if scheme is SecAggPlus else {})
    assert outcome.exact
    result = outcome.result
    assert result is not None
    assert result.total_weight == len(result.included)
    truth = sum(flat(update(i)) for i in result.included) / len(result.included)
    error = flat(result.mean) - truth
    copies = len(result.included) if kind is DistributedNoise else 1
    parts = private.quantize.mechanism.noise.parts if kind is DistributedNoise else 1
    expected = private.quantize.noise_deviation * math.sqrt(copies / parts) / len(result.included)
    assert 0.7 < np.std(error) / expected < 1.4
    assert result.mean["w"].shape == (9, 10)


def test_noise_is_fresh_in_every_round_and_the_rotation_too() -> None:
    private = plan(DistributedNoise(multiplier=1.0))
    one, two = (run_round(private, cohort()).result for _ in range(2))
    assert one is not None
    assert two is not None
    assert not np.array_equal(one.total, two.total)


def test_updates_beyond_the_bound_are_clipped_and_counted() -> None:
    private = plan(CentralNoise(multiplier=0.02, counts_clipped=True))
    updates = {i: (update(i, 5.0 if i <= 2 else 0.5), 1) for i in range(1, CLIENTS + 1)}
    result = run_round(private, updates).result
    assert result is not None
    assert result.within == pytest.approx(6 / 8, abs=0.3)
    clipped = sum(flat(update(i, 1.0 if i <= 2 else 0.5)) for i in updates) / CLIENTS
    np.testing.assert_allclose(flat(result.mean), clipped, atol=2e-2)


def test_every_client_counts_as_one() -> None:
    updates = {**cohort(), 5: (update(5), 2)}
    with pytest.raises(InputRefused, match=r"the weight is not an int in \[1, 1\]"):
        run_round(plan(), updates)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_leaves(bad: float) -> None:
    spoiled = update(1)
    spoiled["w"][3, 4] = bad
    with pytest.raises(InputRefused, match="not finite"):
        run_round(plan(), {**cohort(), 1: (spoiled, 1)})


def test_garbage_in_the_sum_is_withheld() -> None:
    """A client may send any vector; one that no honest client can send shows in the norm."""
    private = plan()
    rng = np.random.default_rng(0)
    width = private.scheme.width
    words = rng.integers(0, 1 << width, private.scheme.length, np.uint64)
    garbage = words.astype(f"<u{4 if width > 16 else 2}")
    outcome = run_round(private, cohort(), vectors={4: garbage})
    assert isinstance(outcome.failure, IntegrityError)
    assert outcome.result is None


def test_a_server_that_drops_more_than_it_may_gets_no_sum() -> None:
    """60 % gone on purpose would leave less noise than was promised: nobody unmasks."""
    gone = dict.fromkeys(range(1, 6), "masked")
    outcome = run_round(plan(), cohort(), drops=gone)
    assert outcome.result is None
    assert isinstance(outcome.failure, Aborted)


# -- the ledger of a client --------------------------------------------------------------------


@pytest.fixture
def people() -> Population:
    return Population.generate(range(1, CLIENTS + 1))


@pytest.fixture
def join(people: Population) -> Callable[..., ClientRound]:
    def joined(private: RoundPlan, number: int, **options: Any) -> ClientRound:
        invitation = Invitation(
            plan=private, session=bytes(16), number=number,
            model=model_digest(MODEL), roster=people.roster,
        )  # fmt: skip
        options.setdefault("journal", ClientJournal())
        return ClientRound(invitation, people.clients[1], 1, **options)

    return joined


def test_a_client_stops_where_its_budget_ends(join: Callable[..., ClientRound]) -> None:
    private = plan()
    ledger = PrivacyLedger(epsilon=7.0, delta=1e-5)
    journal = ClientJournal()
    join(private, 1, ledger=ledger, journal=journal).submit(update(1), 1)
    client = join(private, 2, ledger=ledger, journal=journal)
    client.submit(update(1), 1)
    client = join(private, 3, ledger=ledger, journal=journal)
    with pytest.raises(BudgetExceeded, match="this release would make it"):
        client.submit(update(1), 1)
    assert ledger.releases == 2
    assert client.phase == "adverts", "the client is as it was, and has said nothing of its update"


@pytest.mark.parametrize("removal", [False, True])
def test_randomness_that_breaks_its_contract_is_named_as_such(
    removal: bool, join: Callable[..., ClientRound]
) -> None:
    """`secagg` has no error of that meaning, so that of `dp` comes as it is."""
    given = [3, 32]

    def flaky(size: int) -> bytes:
        return os.urandom(min(size, given[0]))

    ledger = PrivacyLedger(epsilon=100.0, delta=1e-5)
    private = plan(DistributedNoise(multiplier=1.0, removal=removal))
    client = join(private, 1, ledger=ledger)
    client._rand = flaky
    before = client.phase
    with pytest.raises(RandomnessError, match="must return 32 bytes"):
        client.submit(update(1), 1)
    assert (ledger.releases, client.phase) == (0, before)
    given.pop(0)
    client.submit(update(1), 1)
    assert ledger.releases == 1


def test_a_law_without_a_bound_is_named_as_such() -> None:
    """By the ledger alone; a plan of such noise can be made and run."""

    class Loud(Skellam):
        """A law of a user's own."""

    event = plan(DistributedNoise(multiplier=1.0, noise=Loud)).event
    assert event is not None
    ledger = PrivacyLedger(epsilon=100.0, delta=1e-5)
    assert ledger.charge(b"known", plan().event) > 0
    with pytest.raises(UnknownEvent, match="Loud"):
        ledger.charge(b"unknown", event)
    assert ledger.releases == 1


def test_a_replayed_round_is_not_sent_again(join: Callable[..., ClientRound]) -> None:
    """A client whose journal was lost still has its ledger."""
    private, ledger = plan(), PrivacyLedger(epsilon=100.0, delta=1e-5)
    join(private, 1, ledger=ledger).submit(update(1), 1)
    with pytest.raises(LocalProtocolError, match="was charged before"):
        join(private, 1, ledger=ledger).submit(update(1), 1)
    assert ledger.releases == 1


def test_what_is_refused_is_not_charged(join: Callable[..., ClientRound]) -> None:
    ledger = PrivacyLedger(epsilon=100.0, delta=1e-5)
    client = join(plan(), 1, ledger=ledger)
    with pytest.raises(InputRefused):
        client.submit({"w": np.zeros(3)}, 1)
    with pytest.raises(InputRefused):
        client.submit(update(1), 2)
    assert ledger.releases == 0
    client.submit(update(1), 1)
    assert ledger.releases == 1


def test_no_budget_affords_an_exact_sum(join: Callable[..., ClientRound]) -> None:
    exact = RoundPlan.for_update(MODEL, clients=CLIENTS, clip=NormClip(1.0), corrupt=0.13)
    ledger = PrivacyLedger(epsilon=100.0, delta=1e-5)
    with pytest.raises(ParameterError, match="this plan adds no noise"):
        join(exact, 1, ledger=ledger)
    journal = ClientJournal()
    join(exact, 1, journal=journal)
    assert journal.joined, "without a ledger it goes on"


def test_a_restored_client_still_charges(
    join: Callable[..., ClientRound], people: Population
) -> None:
    private, ledger, journal = plan(), PrivacyLedger(epsilon=100.0, delta=1e-5), ClientJournal()
    snapshot = join(private, 1, ledger=ledger, journal=journal).snapshot()
    invitation = Invitation(
        plan=private, session=bytes(16), number=1, model=model_digest(MODEL), roster=people.roster
    )
    restored = ClientRound.restore(
        snapshot, invitation, people.clients[1], 1, journal=journal, ledger=ledger
    )
    restored.submit(update(1), 1)
    assert ledger.releases == 1


def test_the_server_adds_its_noise_to_nothing_that_failed(people: Population) -> None:
    private = plan(CentralNoise(multiplier=1.0))
    assert isinstance(private.quantize.mechanism.noise, ByServer)
    assert isinstance(private.quantize.mechanism.noise.noise, DiscreteGaussian)
    invitation = Invitation(
        plan=private, session=os.urandom(16), number=1, model=bytes(32), roster=people.roster
    )
    server = ServerRound(invitation, people.server)
    server.deadline()
    assert isinstance(server.next_event(), Failed)


# -- a bound for each leaf ---------------------------------------------------------------------


LEAVES = {"['w']": 0.3, "['b']": 0.4}


def test_each_leaf_is_cut_to_its_own_bound() -> None:
    private = plan(CentralNoise(multiplier=0.02), clip=LeafClip(LEAVES))
    assert private.quantize.mechanism.clip == pytest.approx(0.5)
    assert private.digest != plan(CentralNoise(multiplier=0.02), clip=NormClip(0.5)).digest
    long = {"w": np.full((9, 10), 5.0), "b": np.full(7, 0.01)}
    result = run_round(private, dict.fromkeys(range(1, CLIENTS + 1), (long, 1))).result
    assert result is not None
    assert np.linalg.norm(result.mean["w"]) == pytest.approx(0.3, abs=0.03)
    np.testing.assert_allclose(result.mean["b"], 0.01, atol=0.01)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"['w']": 0.3}, r"a bound for each leaf must be given; wrong are \[\"\['b'\]\"\]"),
        ({**LEAVES, "['c']": 1.0}, "wrong are"),
        ({**LEAVES, "['b']": 0.0}, "bound of leaf"),
        ({**LEAVES, "['b']": math.nan}, "bound of leaf"),
        ({}, "wrong are"),
    ],
)
def test_bounds_that_do_not_fit_the_leaves_are_refused(bounds: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        plan(clip=LeafClip(bounds))


def test_a_bound_for_each_leaf_is_for_private_plans() -> None:
    with pytest.raises(ParameterError, match="a LeafClip is for private plans"):
        RoundPlan.for_update(MODEL, clients=CLIENTS, clip=LeafClip(LEAVES))
