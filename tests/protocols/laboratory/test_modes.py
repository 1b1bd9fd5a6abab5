"""What a plan opens, as the laboratory sees it, and what that tells of a client."""

from __future__ import annotations

from copy import copy
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.audit.measure import Figure, Interval
from protocols import RoundPlan
from protocols.federation.data import digits, split
from protocols.laboratory.modes import NOTHING, Kind, Mode, clipped
from protocols.laboratory.opened import Seen, advantage, measured, one_map, strongest
from protocols.laboratory.references import own, signs, telling
from protocols.laboratory.statistics import Clients, clients, link_trials, norm
from protocols.planfile import PlanFile, Quantizer, SchemeChoice
from protocols.presets import two_aggregators
from protocols.screening import (
    CosineProof,
    CosineScreen,
    ExactNormScreen,
    GroupScreen,
    NormScreen,
    SketchScreen,
)
from secagg.errors import ParameterError
from secagg.quantize import NormClip
from secagg.schemes.pine import Reference, TwoAggregators
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.sketch import slack

SIZE = 3000


def sketch(numbers: int, **options: Any) -> Mode:
    return Mode(kind=Kind.SKETCH, numbers=numbers, **options)


def groups(size: int) -> Mode:
    return Mode(kind=Kind.GROUPS, numbers=64, group=size)


def proof(least: float) -> Mode:
    return Mode(kind=Kind.PROOF, least=least)


EXACT, COSINE = Mode(kind=Kind.EXACT), Mode(kind=Kind.COSINE)
REFERENCE = Reference(np.ones(SIZE, np.int64))


@pytest.mark.parametrize(
    ("screen", "due"),
    [
        (None, NOTHING),
        (NormScreen(rows=64), Mode(kind=Kind.NORM, numbers=64)),
        (SketchScreen(rows=128, noise=0.5), sketch(128, noise=0.5)),
        (GroupScreen(rows=64, size=5), groups(5)),
    ],
)
def test_every_screen_of_a_plan_is_a_mode_that_plans_offer(screen: Any, due: Mode) -> None:
    plan = RoundPlan.for_update(
        np.zeros(SIZE), clients=14, clip=NormClip(1.0), corrupt=0.1, screen=screen
    )
    assert Mode.of(plan) == due
    assert due.offered


@pytest.mark.parametrize(
    ("screen", "due"),
    [
        (None, Mode(kind=Kind.BIT)),
        (ExactNormScreen(), EXACT),
        (CosineScreen(reference=REFERENCE), COSINE),
        (CosineProof(reference=REFERENCE, least=Fraction(1, 4)), proof(0.25)),
        (SketchScreen(rows=64), sketch(64)),
        (GroupScreen(rows=64, size=5), groups(5)),
    ],
)
def test_what_two_aggregators_open_is_a_mode_too(screen: Any, due: Mode) -> None:
    plan = two_aggregators(
        np.zeros(SIZE), clients=14, clip=NormClip(1.0), corrupt=0.1, screen=screen
    )
    assert Mode.of(plan) == due
    assert due.offered


def test_proven_ranges_of_entries_are_the_bit_that_honest_clients_pass() -> None:
    choice = SchemeChoice(name="pine", clients=14, corrupt=0.1)
    plan = PlanFile(scheme=choice, quantize=Quantizer(entry_bits=3)).plan(np.zeros(SIZE))
    assert isinstance(plan.scheme, TwoAggregators)
    assert plan.scheme.entries is not None
    assert Mode.of(plan) == Mode(kind=Kind.BIT)


def test_what_no_mode_stands_for_is_refused_and_not_left_out() -> None:
    class Louder:
        """A screen that these attacks do not know."""

    plan = RoundPlan.for_update(np.zeros(SIZE), clients=14, clip=NormClip(1.0))
    assert Mode.of(plan) == NOTHING
    with pytest.raises(ParameterError, match="no mode says what Louder opens"):
        Mode.of(with_field(plan, "screen", Louder()))

    class Talking(SecAggPlus):
        @property
        def opened(self) -> int:
            return 3

    scheme = Talking(clients=14, length=plan.scheme.length, width=plan.scheme.width)
    with pytest.raises(ParameterError, match="no mode says what Talking opens"):
        Mode.of(with_field(plan, "scheme", scheme))


def with_field(plan: RoundPlan, name: str, value: Any) -> RoundPlan:
    """The same plan with something in it that its own checks know nothing of."""
    changed = copy(plan)
    object.__setattr__(changed, name, value)
    return changed


def test_plans_offer_no_fewer_numbers_than_hold_a_norm() -> None:
    assert sketch(64).offered
    assert not sketch(63).offered
    with pytest.raises(ParameterError, match="rows >= 64"):
        RoundPlan.for_update(
            np.zeros(SIZE), clients=14, clip=NormClip(1.0), screen=SketchScreen(rows=63)
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": Kind.SKETCH}, "1 <= numbers <= 16384"),
        ({"kind": Kind.BIT, "numbers": 1}, "numbers = 0"),
        ({"kind": Kind.NOTHING, "noise": 1.0}, "noise = 0"),
        ({"kind": Kind.SKETCH, "numbers": 1, "noise": 101.0}, "0 <= noise <= 100"),
        ({"kind": Kind.SKETCH, "numbers": 1, "group": 2}, "group = 1"),
        ({"kind": Kind.GROUPS, "numbers": 1}, r"2 <= group <= 2\*\*20"),
        ({"kind": Kind.EXACT, "numbers": 1}, "numbers = 0"),
        ({"kind": Kind.COSINE, "least": 0.5}, "least = 0 must hold"),
        ({"kind": Kind.PROOF}, "0 < least <= 1"),
        ({"kind": Kind.PROOF, "least": 1.1}, "0 < least <= 1"),
    ],
)
def test_modes_that_mean_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Mode(**options)


def test_names_tell_modes_apart() -> None:
    modes = [NOTHING, Mode(kind=Kind.BIT), sketch(1), sketch(2), sketch(2, noise=0.1), groups(3)]
    modes += [EXACT, COSINE, proof(0.1), proof(0.2)]
    assert len({mode.name for mode in modes}) == len(modes)
    assert sketch(1).name == "sketch, 1 number"


def test_clipping_shortens_what_is_longer_and_nothing_else() -> None:
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    np.testing.assert_allclose(clipped(rows, 1.0), [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]])


@given(st.floats(0.1, 100), st.integers(1, 30))
def test_who_clips_passes(bound: float, seed: int) -> None:
    rows = clipped(np.random.default_rng(seed).standard_normal((5, 7)), bound)
    opened = Mode(kind=Kind.BIT).opened(rows, None, bound, np.random.default_rng(0))
    assert opened.tolist() == [[1.0]] * 5


def test_who_is_far_beyond_the_bound_does_not() -> None:
    bit = Mode(kind=Kind.BIT).opened(np.full((1, 4), 1.0), None, 1.0, np.random.default_rng(0))
    assert bit.tolist() == [[0.0]]
    mode, most = sketch(64), (1 + slack(64)) ** 2
    assert mode.within(np.array([0.99 * most, 1.01 * most]), 1.0).tolist() == [True, False]
    assert groups(3).within(np.array([0.99 * 9 * most]), 1.0).tolist() == [True]


def test_exact_modes_open_norms_over_the_bound_and_cosines() -> None:
    rows, rng = np.array([[3.0, 4.0], [-1.5, 0.0], [0.0, 0.0]]), np.random.default_rng(0)
    np.testing.assert_allclose(EXACT.opened(rows, None, 5.0, rng), [[1.0], [0.3], [0.0]])
    found = COSINE.opened(rows, np.array([[1.0, 0.0]]), 5.0, rng)
    np.testing.assert_allclose(found, [[1.0, 0.6], [0.3, -1.0], [0.0, 0.0]])


def test_a_proof_is_of_norm_and_cosine() -> None:
    rows, rng = np.array([[3.0, 4.0], [3.1, 4.0], [-3.0, 4.0]]), np.random.default_rng(0)
    for least, due in ((0.59, [[1.0], [0.0], [0.0]]), (0.61, [[0.0]] * 3)):
        found = proof(least).opened(rows, np.array([[1.0, 0.0]]), 5.0, rng)
        assert found.tolist() == due


@pytest.mark.parametrize("mode", [sketch(4), COSINE, proof(0.1)])
def test_without_map_or_reference_nothing_of_the_kind_is_opened(mode: Mode) -> None:
    with pytest.raises(ParameterError, match="needs a map or a reference"):
        mode.opened(np.ones((1, 4)), None, 1.0, np.random.default_rng(0))


def test_noise_has_the_deviation_that_it_says() -> None:
    rows, projection = np.zeros((400, 50)), np.zeros((64, 50))
    for mode, due in ((sketch(64, noise=0.5), 1.0), (sketch(64), 0.0)):
        opened = mode.opened(rows, projection, 2.0, np.random.default_rng(1))
        assert opened.std() == pytest.approx(due, rel=0.02)
    group = Mode(kind=Kind.GROUPS, numbers=64, group=4, noise=0.5)
    opened = group.opened(rows, projection, 2.0, np.random.default_rng(1))
    assert opened.std() == pytest.approx(2.0, rel=0.02)


def test_noise_bounds_what_is_told_and_nothing_else_does() -> None:
    assert sketch(64).mu() is None
    mu = sketch(64, noise=2.0).mu()
    assert mu == pytest.approx((1 + slack(64)) / 2)
    assert sketch(64, noise=2.0).mu(4) == pytest.approx(2 * mu)


# -- what it tells -----------------------------------------------------------------------------


@cache
def population() -> tuple[Clients, float]:
    rng = np.random.default_rng(1)
    found = clients(split(digits(), rng), rng, count=100, imitated=300)
    return found, float(np.linalg.norm(found.updates, axis=1).max())


WAYS = ("the server's own update", "a reference that tells labels apart")


def told(mode: Mode) -> list[Seen]:
    return list(measured(mode, *population(), np.random.default_rng(2)))


def test_more_numbers_tell_more_and_groups_and_noise_tell_less() -> None:
    few, many, noisy, grouped = (
        strongest(told(mode)).advantage.value
        for mode in (sketch(4), sketch(64), sketch(64, noise=2.0), groups(10))
    )
    assert few < many
    assert max(noisy, grouped) < many / 2


def test_a_fresh_map_does_not_keep_clients_apart_from_their_labels() -> None:
    links = {one.how: one.figure for one in told(sketch(64)) if one.how}
    assert links["mixes of labels"].found.low > 0.1
    assert links["mixes of labels"].found.low > links["numbers carried to the new map"].found.value
    same = one_map(sketch(64), *population(), np.random.default_rng(2))
    assert same.figure.leaks
    assert same.how == "if rounds had one map"


def test_a_norm_tells_little_a_cosine_more_and_a_chosen_reference_most() -> None:
    norm_alone = strongest(told(EXACT)).advantage.value
    ways = {how: [one for one in told(COSINE) if one.how == how] for how in WAYS}
    least, most = (strongest(ways[how]).advantage.value for how in WAYS)
    assert norm_alone < least < most
    assert most < strongest(told(sketch(64))).advantage.value
    assert strongest(told(COSINE)).advantage.value == most
    assert any(one.figure.leaks for one in ways[WAYS[1]])


def test_references_are_what_a_plan_takes() -> None:
    found = population()[0]
    for each in (own(found), telling(found), signs(-found.root)):
        taken = Reference(each[0].astype(np.int64))
        assert np.count_nonzero(taken.vector) >= 64
    assert (own(found) * found.root > 0).sum() == np.count_nonzero(found.root)
    assert (telling(found) != own(found)).any()


@pytest.mark.parametrize("mode", [NOTHING, Mode(kind=Kind.BIT)])
def test_nothing_and_a_bit_that_all_honest_clients_pass_tell_nothing(mode: Mode) -> None:
    assert not any(one.figure.leaks for one in told(mode))


def test_with_noise_no_attack_is_beyond_its_bound() -> None:
    figures = [one.figure for one in told(sketch(64, noise=2.0))]
    assert all(one.bound is not None and one.bound < 1 for one in figures[:2])
    assert not any(one.exceeds for one in figures)


def test_links_of_groups_need_a_generator() -> None:
    found = population()[0]
    assert len(link_trials(found, norm, group=2, rng=np.random.default_rng(0))) == 100
    for wrong in (0, 101):
        with pytest.raises(ParameterError, match="1 <= group <= 100"):
            link_trials(found, norm, group=wrong, rng=np.random.default_rng(0))
    with pytest.raises(ParameterError, match="rng for groups"):
        link_trials(found, norm, group=2)


def figure(found: float, control: float) -> Figure:
    around = Interval(value=found, low=max(found - 0.1, 0), high=min(found + 0.1, 1))
    nothing = Interval(value=control, low=control, high=control)
    return Figure(attack="a", metric="success", found=around, control=nothing, bound=None, trials=9)


@given(st.floats(0, 1), st.floats(0, 0.99))
def test_an_advantage_is_between_nothing_and_certainty(found: float, control: float) -> None:
    share = advantage(figure(found, control))
    assert 0 <= share.low <= share.value <= share.high <= 1
    assert (share.value == 0) is (found <= control)


def test_the_strongest_is_not_the_one_with_the_highest_figure() -> None:
    seen = [Seen("one", "", figure(0.9, 0.85)), Seen("other", "", figure(0.6, 0.1))]
    assert strongest(seen).seen.question == "other"
    assert advantage(figure(1.0, 1.0)).value == 0
