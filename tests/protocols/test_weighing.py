"""Robust weights inside the secure sum: exact, bound to the context, and for nobody more."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import GroupScreen, RoundPlan, SketchScreen, observed
from protocols.journal import ClientJournal
from protocols.round import ClientRound, Invitation
from protocols.simulate import Outcome, Population, run_round
from protocols.weighing import Carried, PublicWeights, drawn, selected, weights_of
from robust.errors import ObservationError
from robust.observe import Array, GroupSketches, Public, Sketches
from robust.reputation import Record, Reputation, ReputationRule, Standing
from robust.weigh import Mean, Weigher, scale
from robust.weigh_clipping import CenteredClipping
from robust.weigh_krum import Krum, MultiKrum
from robust.weigh_mixing import NearestNeighborMixing
from secagg.errors import InputRefused, ParameterError
from secagg.event import Statistics
from secagg.quantize import FixedPoint, HalfEven, NormClip
from secagg.scheme import Floors
from secagg.structure import flatten

SIZE, CLIENTS, MOST, EXAMPLES = 600, 10, 8, 5
IDS = tuple(range(1, CLIENTS + 1))
SCREEN = SketchScreen(rows=64, tables=5, buckets=256)
WEIGHTS = st.one_of(st.just(0.0), st.floats(1e-150, 1))
NNM = NearestNeighborMixing(corrupt=3, base=Mean())


def make(**options: Any) -> RoundPlan:
    given = {
        "clients": CLIENTS, "clip": NormClip(1.0), "max_weight": MOST * EXAMPLES,
        "screen": SCREEN, "rounding": HalfEven(), "dropout": 0.3, "corrupt": 0.1,
    }  # fmt: skip
    return RoundPlan.for_update({"w": np.zeros(SIZE)}, **{**given, **options})


def vectors(seed: int = 0, odd: int = 3) -> dict[int, Array]:
    """Updates of norm 0.8 that have half in common; the last `odd` clients send the opposite."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=SIZE)
    found = {}
    for client in IDS:
        step = common * (-1 if client > CLIENTS - odd else 1) + 0.3 * rng.normal(size=SIZE)
        found[client] = 0.8 * step / np.linalg.norm(step)
    return found


def play(
    plan: RoundPlan, public: PublicWeights, updates: dict[int, Array], **options: Any
) -> Outcome:
    trees = {i: ({"w": row}, public.weight(i, 1 + i % EXAMPLES)) for i, row in updates.items()}
    return run_round(plan, trees, judge=public.accepted, model=public.bind(bytes(32)), **options)


def sketches(rows: object, number: int = 0) -> Sketches:
    found = np.asarray(rows, dtype=np.float64)
    clients = tuple(range(1, len(found) + 1))
    public = Public.nothing(found.shape[1])
    return Sketches(number=number, clients=clients, rows=found, public=public)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixed(Weigher):
    """These weights, whatever the matrix."""

    name = "fixed"
    weights: tuple[float, ...]

    def weigh(self, gram: Any) -> Array:
        return np.array(self.weights)


def fixed(*weights: float) -> tuple[Weigher, Sketches]:
    return Fixed(weights=weights), sketches(np.eye(len(weights)))


# -- weights that are public before anybody masks ----------------------------------------------


def test_the_mean_is_the_weighted_one_bit_for_bit() -> None:
    plan, updates = make(), vectors()
    public = PublicWeights(
        clients=IDS, values=(8, 7, 3, 1, 0, 2, 5, 4, 0, 6), most=MOST, examples=EXAMPLES
    )
    public.check(plan)
    outcome = play(plan, public, updates)
    assert outcome.exact
    result = outcome.result
    assert result is not None
    assert result.included == set(IDS) - {5, 9}
    assert result.refused == {5, 9}
    quantize = plan.quantize
    assert isinstance(quantize, FixedPoint)
    weights = {i: public.by_client[i] * (1 + i % EXAMPLES) for i in result.included}
    integers = sum(quantize.quantize(updates[i], weights[i], no_rand)[1:] for i in weights)
    total = sum(weights.values())
    assert result.total_weight == total
    due = integers / np.ldexp(total, quantize.fraction_bits)
    assert np.array_equal(flatten(result.mean)[0], due)
    plain = sum(weights[i] * updates[i] for i in weights) / total
    assert np.abs(due - plain).max() <= CLIENTS * 2.0**-quantize.fraction_bits / total


def no_rand(size: int) -> bytes:
    raise AssertionError("HalfEven draws nothing")


def test_equal_public_weights_are_the_plain_mean() -> None:
    plan, updates = make(max_weight=3), vectors()
    public = PublicWeights.of(np.full(CLIENTS, 0.1), IDS, most=3)
    outcome = run_round(
        plan,
        {i: ({"w": row}, public.weight(i)) for i, row in updates.items()},
        judge=public.accepted,
    )
    assert outcome.result is not None
    assert outcome.result.included == set(IDS)
    mean = np.mean(list(updates.values()), axis=0)
    assert np.abs(flatten(outcome.result.mean)[0] - mean).max() < 1e-5


@pytest.mark.parametrize(
    ("sent", "included"),
    [(2, True), (4, True), (10, True), (3, False), (1, False), (12, False), (40, False)],
)
def test_a_weight_that_is_no_multiple_is_left_out(sent: int, included: bool) -> None:
    """Client 4 has 2, thus may send 2, 4 … 10; all of these are within the plan's own bounds."""
    plan, updates = make(), vectors()
    values = tuple(2 if i == 4 else 3 for i in IDS)
    public = PublicWeights(clients=IDS, values=values, most=MOST, examples=EXAMPLES)
    rand = np.random.default_rng(0).bytes
    outcome = play(
        plan,
        public,
        updates,
        vectors={4: plan.encode({"w": updates[4]}, sent, rand, bytes(32))},
    )
    assert outcome.exact
    assert outcome.statistics is not None
    assert 4 in outcome.statistics.eligible
    assert outcome.result is not None
    assert (4 in outcome.result.included) is included


def test_a_norm_beyond_the_share_of_its_weight_is_left_out() -> None:
    """A vector of weight 16 and the coordinates of weight 40 is over the norm of its share."""
    plan, updates = make(), vectors()
    public = PublicWeights(clients=IDS, values=(8,) * 10, most=MOST, examples=EXAMPLES)
    rand = np.random.default_rng(0).bytes
    cheating = plan.encode({"w": updates[4] * 1.2}, MOST * EXAMPLES, rand, bytes(32))
    fair = plan.encode({"w": updates[5] * 1.2}, MOST * 2, rand, bytes(32))
    cheating[0] = MOST * 1
    outcome = play(plan, public, updates, vectors={4: cheating, 5: fair})
    assert outcome.result is not None
    assert outcome.exact
    assert outcome.result.included == set(IDS) - {4}


def test_other_public_weights_are_another_context() -> None:
    plan = make()
    one = PublicWeights(clients=IDS, values=(1,) * 10, most=MOST, examples=EXAMPLES)
    people = Population.generate(IDS)

    def context(public: PublicWeights) -> bytes:
        invitation = Invitation(
            plan=plan,
            session=bytes(16),
            number=1,
            model=public.bind(bytes(32)),
            roster=people.roster,
        )
        floors = Floors(opened=plan.scheme.opened)
        return ClientRound(
            invitation, people.clients[1], 1, journal=ClientJournal(), floors=floors
        ).context

    others = [
        dataclasses.replace(one, values=(2,) + (1,) * 9),
        dataclasses.replace(one, most=MOST + 1),
        dataclasses.replace(one, examples=EXAMPLES - 1),
        dataclasses.replace(one, clients=(*IDS[:-1], 99)),
    ]
    assert context(one) == context(dataclasses.replace(one))
    assert len({context(one), *map(context, others)}) == 5
    assert one.bind(bytes(32)) != one.bind(b"m" * 32)


def test_public_weights_that_could_wrap_are_refused_when_the_plan_is_made() -> None:
    with pytest.raises(ParameterError, match="2 \\* clients \\* max_weight"):
        make(max_weight=1 << 30, width=32)
    plan = make()
    PublicWeights(clients=IDS, values=(1,) * 10, most=MOST, examples=EXAMPLES).check(plan)
    for most, examples in ((MOST + 1, EXAMPLES), (MOST, EXAMPLES + 1)):
        wrong = PublicWeights(clients=IDS, values=(1,) * 10, most=most, examples=examples)
        with pytest.raises(ParameterError, match="most \\* examples <= max_weight = 40"):
            wrong.check(plan)


def test_refusals_of_public_weights() -> None:
    plan = make()
    good = PublicWeights(clients=IDS, values=(1,) * 10, most=MOST, examples=EXAMPLES)
    few = dataclasses.replace(good, values=(1,) * (plan.scheme.survivors - 1) + (0,) * 4)
    with pytest.raises(
        ParameterError, match=r"values > 0 >= scheme.survivors = 7 must hold, got 6"
    ):
        few.check(plan)
    with pytest.raises(ParameterError, match=r"len\(clients\) == scheme\.clients"):
        dataclasses.replace(good, clients=IDS[:9], values=(1,) * 9).check(plan)
    with pytest.raises(ParameterError, match="a plan with a screen"):
        good.check(make(screen=None))
    groups = make(screen=GroupScreen(size=3, rows=64, tables=5, buckets=256))
    with pytest.raises(ParameterError, match="the weight of each client"):
        good.check(groups)
    for wrong in (
        {"values": (1,) * 9}, {"values": (-1,) * 10}, {"values": (9,) * 10},
        {"values": (1.0,) * 10}, {"clients": IDS[::-1]}, {"clients": (1,) * 10},
        {"clients": (0, *IDS[1:])}, {"clients": (1.0, *IDS[1:])}, {"clients": (True, *IDS[1:])},
        {"clients": (*IDS[:-1], 1 << 32)}, {"clients": (*IDS[:-1], "9")},
        {"clients": (), "values": ()}, {"most": 0}, {"most": 1 << 33}, {"examples": 0},
        {"examples": True},
    ):  # fmt: skip
        with pytest.raises(ParameterError, match="must hold"):
            dataclasses.replace(good, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputRefused, match="no public weight"):
        good.weight(11)
    for examples in (0, EXAMPLES + 1, 1.0, -1):
        with pytest.raises(InputRefused, match="not an int in"):
            good.weight(1, examples)  # type: ignore[arg-type]
    assert good.weight(1, EXAMPLES) == EXAMPLES
    bare = Statistics(
        clients=IDS, eligible=frozenset(IDS), weights=None, products=np.zeros((10, 0), np.int64),
        rows=np.zeros((10, 64), np.int64), seed=bytes(32),
    )  # fmt: skip
    with pytest.raises(ParameterError, match="statistics with weights"):
        good.accepted(bare)


def test_reputation_becomes_public_weights() -> None:
    standings = {1: Standing.EXCLUDED, 2: Standing.PROBATION}
    records = {one: Record(score=0.5, standing=how) for one, how in standings.items()}
    reputation = Reputation(rule=ReputationRule(), number=3, records=records)
    public = PublicWeights.of(reputation.weights(IDS), IDS, most=2)
    assert public.values == (0, 1, *(2,) * 8)
    assert (public.weight(1), public.weight(2), public.weight(3)) == (1, 1, 2)


@given(
    st.lists(WEIGHTS, min_size=2, max_size=30).filter(any),
    st.integers(1, 1 << 20),
)
def test_rounding_is_within_what_as_integers_says(weights: list[float], most: int) -> None:
    found = np.array(weights)
    public = PublicWeights.of(found, range(1, len(weights) + 1), most=most)
    off = np.abs(np.array(public.values) / scale(found, most) - found)
    assert (off <= found.max() / (2 * most) * (1 + 1e-9) + 1e-199).all()


def test_sketches_of_groups_give_no_client_a_weight() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 16))
    groups = GroupSketches(
        number=0,
        clients=tuple(range(1, 13)),
        groups=tuple((at, at + 6) for at in range(1, 7)),
        rows=rows,
        public=Public.nothing(16),
    )
    wrong: Any = groups
    for use in (weights_of, selected, lambda rule, seen: drawn(rule, seen, bytes(32))):
        assert len(use(Mean(), sketches(rows)))
        with pytest.raises(InputRefused, match="Sketches of each client, got GroupSketches"):
            use(Mean(), wrong)


# -- carried from rounds before ----------------------------------------------------------------


def test_weights_are_carried_over_rounds_and_attackers_lose_theirs() -> None:
    plan, carried = make(), Carried(decay=0.25)
    for number in range(4):
        public = PublicWeights.of(carried.weights(IDS), IDS, most=MOST, examples=EXAMPLES)
        outcome = play(plan, public, vectors(number), number=number)
        assert outcome.exact
        assert outcome.statistics is not None
        seen = observed(plan, outcome.statistics, number)
        assert isinstance(seen, Sketches)
        carried = carried.after(NNM, seen)
    last = dict(zip(public.clients, public.values, strict=True))
    assert max(last[i] for i in (8, 9, 10)) < min(last[i] for i in range(1, 8))


def test_carried_weights_are_an_exponential_mean() -> None:
    rule, seen = fixed(0.5, 0.25, 0.0)
    before = Carried(decay=0.5)
    once = before.after(rule, seen)
    assert once.means == pytest.approx({1: 1.0, 2: 0.75, 3: 0.5})
    assert once.after(rule, seen).means == pytest.approx({1: 1.0, 2: 0.625, 3: 0.25})
    assert Carried(decay=0.0).after(rule, seen).means == pytest.approx({1: 1.0, 2: 0.5, 3: 0.0})
    assert once.weights([3, 7]).tolist() == [0.5, 1.0]
    huge, seen = fixed(1e6, 1.0, 0.0)
    bounded = before.after(huge, seen, most=4, least=2)
    assert bounded.means == pytest.approx({1: 1.0, 2: 0.625, 3: 0.5}), "1 of 4, and 0"
    public = PublicWeights.of(np.array([1e6, 1.0, 0.0]), (1, 2, 3), most=4, least=2)
    assert public.values == (4, 1, 0)
    assert not before.means
    for wrong in (
        {"decay": 1.0},
        {"decay": -0.1},
        {"start": 1.5},
        {"start": True},
        {"means": {1: 2}},
    ):
        with pytest.raises(ParameterError, match="must hold"):
            Carried(**wrong)  # type: ignore[arg-type]


# -- selected: in the same round ---------------------------------------------------------------


def test_multi_krum_selects_in_the_round_and_its_mean_is_exact() -> None:
    plan, updates = make(), vectors()
    rule = MultiKrum(corrupt=3, keep=7)

    def judge(statistics: Statistics) -> frozenset[int]:
        seen = observed(plan, statistics, 0)
        assert isinstance(seen, Sketches)
        return selected(rule, seen)

    outcome = run_round(plan, {i: ({"w": row}, 1) for i, row in updates.items()}, judge=judge)
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == set(range(1, 8))
    quantize = plan.quantize
    assert isinstance(quantize, FixedPoint)
    integers = sum(quantize.quantize(updates[i], 1, no_rand)[1:] for i in range(1, 8))
    due = integers / np.ldexp(7, quantize.fraction_bits)
    assert np.array_equal(flatten(outcome.result.mean)[0], due)


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        ((1.0, 0.0, 1.0), {1, 3}),
        ((0.2, 0.2, 0.2, 0.2, 0.2), {1, 2, 3, 4, 5}),
        ((0.5, 0.25, 0.25), {1}),
        ((0.25, 0.25, 0.5 / 3, 0.5 / 3, 0.5 / 3), {1, 2}),
        ((0.0, 0.0), set()),
    ],
)
def test_a_selection_is_whoever_has_a_place_alone(
    weights: tuple[float, ...], chosen: set[int]
) -> None:
    assert selected(*fixed(*weights)) == chosen


@pytest.mark.parametrize("weights", [(0.6, 0.4), (0.5, 0.3, 0.2), (0.5, 0.5, 0.1)])
def test_weights_that_are_no_selection_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputRefused, match="no selection: take drawn, or PublicWeights"):
        selected(*fixed(*weights))


def test_clones_that_tie_for_the_last_place_do_not_end_a_round() -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(6, 64)), np.repeat(rng.normal(size=(1, 64)), 2, 0) * 9])
    chosen = selected(MultiKrum(corrupt=1, keep=7, margin=1), sketches(rows))
    assert chosen == set(range(1, 7))
    assert selected(Krum(corrupt=1), sketches(rows)) <= set(range(1, 9))


def test_weight_on_a_public_row_is_refused() -> None:
    seen = sketches(np.eye(4))
    public = Public(known=np.ones((1, 4)))
    seen = dataclasses.replace(seen, public=public)
    rule = CenteredClipping(radius=0.1, center=0)
    with pytest.raises(InputRefused, match="weight to a public row"):
        weights_of(rule, seen)
    assert weights_of(dataclasses.replace(rule, center=None), seen).shape == (4,)
    with pytest.raises(ObservationError, match="n > 2 corrupt"):
        weights_of(MultiKrum(corrupt=2), seen)


# -- drawn: any weights, in the same round -----------------------------------------------------


def test_who_is_drawn_is_summed_exactly() -> None:
    plan, updates = make(), vectors(odd=1)

    def judge(statistics: Statistics) -> frozenset[int]:
        seen = observed(plan, statistics, 0)
        assert isinstance(seen, Sketches)
        return drawn(
            NearestNeighborMixing(corrupt=1, base=CenteredClipping(radius=2.0)),
            seen,
            statistics.seed,
        )

    outcome = run_round(plan, {i: ({"w": row}, 1) for i, row in updates.items()}, judge=judge)
    assert outcome.exact
    assert outcome.result is not None
    assert len(outcome.result.included) >= 7


@given(
    st.lists(WEIGHTS, min_size=1, max_size=40).filter(any),
    st.binary(min_size=32, max_size=32),
)
def test_their_number_is_the_sum_of_chances_rounded(weights: list[float], seed: bytes) -> None:
    rule, seen = fixed(*weights)
    chances = np.array(weights) / max(weights)
    chosen = drawn(rule, seen, seed)
    total = float(chances.sum())
    assert np.floor(total - 1e-9) <= len(chosen) <= np.ceil(total + 1e-9)
    assert {i for i, chance in enumerate(chances, 1) if chance == 1} <= chosen
    assert not {i for i, weight in enumerate(weights, 1) if weight == 0} & chosen
    assert chosen == drawn(rule, seen, seed)


def test_chances_are_in_proportion_to_weights() -> None:
    rule, seen = fixed(0.1, 0.05, 0.025, 0.0, 0.1, 0.075)
    seeds = [number.to_bytes(32, "little") for number in range(4000)]
    counts = np.zeros(6)
    for seed in seeds:
        counts[[i - 1 for i in drawn(rule, seen, seed)]] += 1
    due = np.array([1.0, 0.5, 0.25, 0.0, 1.0, 0.75])
    # five standard deviations of a binomial share of 4,000
    assert (np.abs(counts / 4000 - due) <= 5 * np.sqrt(due * (1 - due) / 4000)).all()
