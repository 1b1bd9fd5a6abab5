"""Rounds in which suspected triggers are looked for and unlearned, in a loop of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from protocols.federation import unlearning as module
from protocols.federation.mending import Mending
from protocols.federation.model import Network, Training
from protocols.federation.testing import clustered
from protocols.federation.unlearning import Unlearned, Unlearning, transposed
from protocols.helper import HelperKeeper
from protocols.plan import RoundPlan
from protocols.screening import NormScreen, PlanScreen, SketchScreen, observed
from protocols.simulate import run_round
from protocols.trial.statistics import opened
from robust.attacks.attack import Examples
from robust.attacks.trigger import Trigger
from robust.errors import ObservationError
from robust.errors import ParameterError as OutOfRange
from robust.observe import Array, Pulls
from robust.triggers import Suspect, TriggerSearch
from secagg.errors import ParameterError
from secagg.event import Statistics
from secagg.quantize import NormClip
from secagg.schemes.ckks import KeyAuthority
from secagg.schemes.pine import TwoAggregators

FEATURES, CLASSES, CLIENTS, ATTACKERS, ROWS = 12, 3, 8, 3, 64
ALL = frozenset(range(1, 100))
NETWORK = Network(inputs=FEATURES, hidden=32, classes=CLASSES)
TRIGGER = Trigger(indices=(1, 6, 9), value=5.0, target=2)
SCREEN = SketchScreen(rows=ROWS, tables=4, buckets=1 << 11)


class Data(NamedTuple):
    root: Examples
    test: Examples
    cohort: tuple[Examples, ...]
    start: Array


@cache
def data(attackers: int = ATTACKERS) -> Data:
    rng = np.random.default_rng(0)
    drawn = clustered(FEATURES, CLASSES, rng)
    root, test = drawn(60), drawn(600)
    cohort = [drawn(90) for _ in range(CLIENTS)]
    cohort[:attackers] = [TRIGGER.planted(one, 0.5, rng) for one in cohort[:attackers]]
    return Data(root, test, tuple(cohort), NETWORK.fresh(rng))


@cache
def plan_of(size: int = NETWORK.size, screen: PlanScreen | None = SCREEN, **changes: Any) -> Any:
    tree = {"update": np.zeros(NETWORK.size), "side": np.zeros(size - NETWORK.size)}
    return RoundPlan.for_update(
        tree if size > NETWORK.size else np.zeros(size),
        clients=CLIENTS,
        clip=NormClip(6.0),
        screen=screen,
        **changes,
    )


def updates(weights: Array, number: int) -> Array:
    streams = [np.random.default_rng([1, number, client]) for client in range(CLIENTS)]
    return NETWORK.trained(weights, data().cohort, Training(steps=15), streams)


def statistics_of(plan: RoundPlan, rows: Sequence[Any], number: int = 0) -> Statistics:
    rng = np.random.default_rng([2, number])
    vectors = [plan.encode(row, 1, rng.bytes, bytes(32)) for row in rows]
    return opened(plan, range(1, CLIENTS + 1), vectors, rng.bytes(32))


def unlearning_of(**options: Any) -> Unlearning:
    return Unlearning(model=NETWORK, root=data().root, **options)


def one_round(
    unlearning: Unlearning | None, weights: Array, number: int
) -> tuple[Array, Unlearned | None]:
    plan, sent = plan_of(), updates(weights, number)
    after = weights + sent.mean(axis=0)
    if unlearning is None:
        return after, None
    unlearning.look(plan, statistics_of(plan, sent, number), number, weights, summed=ALL)
    found = unlearning.mended(after, np.random.default_rng([3, number]))
    return found.weights, found


def rounds(unlearning: Unlearning | None, first: int, last: int, weights: Array) -> Array:
    for number in range(first, last):
        weights, _ = one_round(unlearning, weights, number)
    return weights


@cache
def spoiled() -> Array:
    """The model after five rounds in which nothing was unlearned."""
    return rounds(None, 0, 5, data().start)


def success(weights: Array) -> float:
    return NETWORK.attack_success(weights, data().test, TRIGGER)


class Recording(TriggerSearch):
    """Finds what the usual one does, and shows of what."""

    def suspects(self, past: Sequence[Pulls]) -> tuple[Suspect, ...]:
        object.__setattr__(self, "past", tuple(past))
        return super().suspects(past)


def pulls_after(look: Callable[[Unlearning], None]) -> Pulls:
    search: Any = Recording()
    one = unlearning_of(search=search)
    look(one)
    one.mended(data().start, np.random.default_rng(0))
    (found,) = search.past
    assert isinstance(found, Pulls)
    return found


# -- what it does -----------------------------------------------------------------------------


def test_a_backdoor_that_succeeds_without_it_does_not_with_it() -> None:
    one, test = data(), data().test
    assert success(spoiled()) > 0.8
    unlearning = unlearning_of()
    weights = one.start
    commanded: set[tuple[Any, ...]] = set()
    for number in range(5):
        weights, found = one_round(unlearning, weights, number)
        assert found is not None
        assert set(found.commanded) <= set(found.suspects)
        commanded |= {(each.features, each.signs, each.target) for each in found.commanded}
    # all of the trigger, and perhaps a feature more
    due = {(1, 1), (6, 1), (9, 1)}
    assert any(
        set(zip(features, signs, strict=True)) >= due and target == 2 and len(features) <= 4
        for features, signs, target in commanded
    )
    assert success(weights) < 0.2
    assert NETWORK.accuracy(weights, test) > NETWORK.accuracy(spoiled(), test) - 0.03


def test_the_same_rounds_end_in_the_same_model() -> None:
    ends = [rounds(unlearning_of(), 0, 2, data().start) for _ in range(2)]
    np.testing.assert_array_equal(*ends)


def test_pulls_are_those_of_the_updates_up_to_what_a_sketch_adds() -> None:
    plan, start, root = plan_of(), data().start, data().root
    directions = NETWORK.pulls(start, root.inputs, np.eye(NETWORK.size))
    sent = updates(start, 0)
    sent[4] = 0.1 * sent[4] + directions[:, 3, 1]
    statistics = statistics_of(plan, sent)
    found = pulls_after(lambda one: one.look(plan, statistics, 0, start, summed=ALL))
    assert found.clients == tuple(range(1, CLIENTS + 1))
    assert found.pulls.shape == (CLIENTS, FEATURES, CLASSES)
    assert (found.examples, found.number) == (20, 0)
    # what is sent, less what the three class updates explain of it
    classes = unlearning_of().classes(start)
    rest = sent[4] - np.linalg.lstsq(classes.T, sent[4], rcond=None)[0] @ classes
    due = NETWORK.pulls(start, root.inputs, rest[None])[0, :-1]
    noise = np.sqrt(found.noise[4, 4])
    assert np.abs(found.pulls[4] - due).max() < 6 * noise
    assert found.pulls[4, 3, 1] == np.abs(found.pulls[4]).max() > 5 * noise


def test_class_updates_are_steps_on_the_examples_of_each() -> None:
    start, root = data().start, data().root
    found = unlearning_of(training=Training(steps=4, rate=0.2)).classes(start)
    assert found.shape == (CLASSES, NETWORK.size)
    for label, row in enumerate(found):
        after, own = start, root.inputs[root.labels == label]
        for _ in range(3):
            after = NETWORK.step(after, own, np.tile(np.eye(CLASSES)[label], (20, 1)), 0.2)
        np.testing.assert_array_equal(row, after - start)


def test_looking_at_a_plan_is_seeing_its_sketches() -> None:
    plan, start = plan_of(), data().start
    statistics = statistics_of(plan, updates(start, 0))
    classes = unlearning_of().classes(start)
    sketches: Any = observed(plan, statistics, 0, classes=list(classes))
    back = transposed(plan, statistics)
    seen = pulls_after(lambda one: one.see(sketches, back=back, weights=start, classes=classes))
    looked = pulls_after(lambda one: one.look(plan, statistics, 0, start, summed=ALL))
    for name in ("pulls", "pushes", "noise", "spread"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(looked, name))


def test_estimates_that_are_too_large_for_memory_are_made_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, start, held = plan_of(), data().start, []
    statistics = statistics_of(plan, updates(start, 0))
    whole = pulls_after(lambda one: one.look(plan, statistics, 0, start, summed=ALL))
    pulls = Network.pulls

    def watched(self: Network, weights: Array, inputs: Array, rows: Array) -> Array:
        held.append(len(rows))
        return pulls(self, weights, inputs, rows)

    monkeypatch.setattr(Network, "pulls", watched)
    monkeypatch.setattr(module, "_MOST_NUMBERS", 3 * NETWORK.size)
    parts = pulls_after(lambda one: one.look(plan, statistics, 0, start, summed=ALL))
    assert held == [CLASSES, 3, 3, 2]
    np.testing.assert_allclose(parts.pulls, whole.pulls, atol=1e-12)


@pytest.mark.parametrize("loud", [0.0, 4.0])
def test_what_stands_beside_the_update_is_taken_off(loud: float) -> None:
    """As loud as metrics in Flower's vectors are, and larger than the updates."""
    start, sides = data().start, 8
    sent = updates(start, 0)
    plan = plan_of(NETWORK.size + sides)
    rng = np.random.default_rng(5)
    trees = [
        {"update": row, "side": loud * rng.choice([-1.0, 1.0], sides) / np.sqrt(sides)}
        for row in sent
    ]
    statistics = statistics_of(plan, trees)
    place = slice(0, NETWORK.size)
    found = pulls_after(lambda one: one.look(plan, statistics, 0, start, place=place, summed=ALL))
    classes = unlearning_of().classes(start)
    rest = sent - (np.linalg.lstsq(classes.T, sent.T, rcond=None)[0]).T @ classes
    # a sketch of 64 numbers without eight of them
    noise = np.linalg.norm(rest, axis=1) / np.sqrt(ROWS)
    due = NETWORK.pulls(start, data().root.inputs, rest)[:, :-1]
    deviations = (found.pulls - due) / noise[:, None, None]
    assert 0.5 < np.sqrt((deviations**2).mean()) < 1.3
    assert np.abs(deviations).max() < 6
    assert found.noise.max() < 1.3 * noise.max()


def test_what_class_updates_explain_is_explained_beside_side_values_too() -> None:
    start, plan = data().start, plan_of(NETWORK.size + 8)
    sent = updates(start, 0)
    sent[2] = 2.0 * unlearning_of().classes(start)[1]
    trees = [{"update": row, "side": np.full(8, 1.0)} for row in sent]
    place = slice(0, NETWORK.size)
    statistics = statistics_of(plan, trees)
    found = pulls_after(lambda one: one.look(plan, statistics, 0, start, place=place, summed=ALL))
    noise = np.sqrt(np.diag(found.noise))
    assert noise[2] < 1e-3 < 1e-2 < np.delete(noise, 2).min()


def shared_plan() -> RoundPlan:
    screen = SketchScreen(rows=ROWS, buckets=256)
    plan = plan_of(screen=screen, scheme=TwoAggregators, minimum=4, corrupt=0.0)
    assert isinstance(plan, RoundPlan)
    return plan


@pytest.mark.parametrize("make", [plan_of, shared_plan])
def test_estimates_are_the_transpose_of_what_is_opened(make: Callable[[], Any]) -> None:
    """Of a plan with pairwise masks, and of one with two aggregators."""
    plan, rng = make(), np.random.default_rng(0)
    statistics = replace(statistics_of(plan_of(), updates(data().start, 0)), seed=bytes(32))
    vectors, rows = rng.standard_normal((4, NETWORK.size)), rng.standard_normal((5, ROWS))
    sketches = plan.scheme.opened_map(bytes(32)).sketch.of_reals(vectors)
    back = transposed(plan, statistics)
    np.testing.assert_allclose(sketches @ rows.T, vectors @ back(rows).T, atol=1e-9)


@pytest.mark.slow
def test_a_round_of_two_aggregators_opens_as_much() -> None:
    plan = shared_plan()
    start, seen = data().start, []
    sent = updates(start, 0)

    def judge(statistics: Statistics) -> frozenset[int]:
        seen.append(statistics)
        return statistics.eligible

    given = {client: (row, 1) for client, row in enumerate(sent, 1)}
    outcome = run_round(plan, given, third=HelperKeeper.generate(), judge=judge)
    assert outcome.exact
    found = pulls_after(lambda one: one.look(plan, seen[0], 0, start, summed=ALL))
    due = NETWORK.pulls(start, data().root.inputs, sent)[:, :-1]
    assert np.abs(found.pulls - due).max() < 0.5 * np.linalg.norm(sent, axis=1).max()
    assert len(found.clients) == CLIENTS


def test_few_clients_make_no_suspects() -> None:
    plan, start = plan_of(), data().start
    statistics = statistics_of(plan, updates(start, 0))
    for eligible, count in (({4, 7}, 2), (set(), 0)):
        one = unlearning_of()
        some = replace(statistics, eligible=frozenset(eligible))
        one.look(plan, some, 5, start, summed=ALL)
        assert one.last == (5 if count else -1)
        if count:
            found = one.mended(start, np.random.default_rng(0))
            assert (found.suspects, found.commanded) == ((), ())
            assert found.weights is start
        else:
            with pytest.raises(ObservationError, match="a round must have been looked at"):
                one.mended(start, np.random.default_rng(0))


# -- what is kept -------------------------------------------------------------------------------


def test_what_commanded_is_looked_at_again_for_a_window_and_no_longer() -> None:
    class Once(TriggerSearch):
        def suspects(self, past: Sequence[Pulls]) -> tuple[Suspect, ...]:
            numbers = [one.number for one in past]
            assert numbers == sorted(set(numbers))
            assert len(numbers) <= 2
            return super().suspects(past) if past[-1].number == 5 else ()

    unlearning = unlearning_of(search=Once(), window=2)

    def after(number: int, weights: Array) -> Unlearned:
        plan, sent = plan_of(), updates(data().start, number)
        unlearning.look(plan, statistics_of(plan, sent, number), number, data().start, summed=ALL)
        return unlearning.mended(weights, np.random.default_rng(number))

    first = after(5, spoiled())
    assert first.commanded
    # as long as they command again they are remembered, and two rounds more
    assert after(6, spoiled()).commanded == after(7, spoiled()).commanded == first.commanded
    for number in (8, 9):
        kept = after(number, first.weights)
        assert set(kept.suspects) == set(first.commanded)
        assert kept.commanded == ()
    assert after(10, spoiled()).suspects == ()


def test_a_server_that_starts_again_must_bring_its_own_model() -> None:
    """Else what commands the model already passes for natural, for a while."""
    first = unlearning_of()
    rounds(first, 0, 1, data().start)
    kept = first.own
    assert kept is not None
    assert np.abs(kept - data().start).max() > 0.01
    assert NETWORK.accuracy(kept, data().test) > 0.9
    again = rounds(unlearning_of(own=kept), 5, 7, spoiled())
    without = rounds(unlearning_of(), 5, 7, spoiled())
    assert success(again) < 0.2
    assert success(without) > 0.8


def test_its_own_model_is_a_copy() -> None:
    begun, seen = unlearning_of(own=data().start), unlearning_of()
    weights, plan = data().start.copy(), plan_of()
    seen.look(plan, statistics_of(plan, updates(weights, 0)), 0, weights, summed=ALL)
    weights[:] = np.nan
    for one in (begun, seen):
        own = one.own
        assert own is not None
        own[:] = np.nan
        np.testing.assert_array_equal(one.own, data().start)
    assert unlearning_of().own is None


# -- what is refused --------------------------------------------------------------------------


def test_class_updates_of_another_model_are_refused() -> None:
    plan, start = plan_of(), data().start
    statistics, classes = statistics_of(plan, updates(start, 0)), unlearning_of().classes(start)
    seen: Any = observed(plan, statistics, 0, classes=list(classes))
    one, back = unlearning_of(), transposed(plan, statistics)
    for wrong in (classes[:, 1:], classes[1:], classes[0], np.full_like(classes, np.nan)):
        with pytest.raises(ObservationError, match=f"classes must be finite and .3, {len(start)}"):
            one.see(seen, back=back, weights=start, classes=wrong)
        assert one.last == -1
    one.see(seen, back=back, weights=start, classes=classes)
    assert one.last == 0


def test_a_root_set_of_which_no_pattern_can_be_made_is_refused_at_once() -> None:
    root = data().root
    with pytest.raises(ObservationError, match="1 % of the root set's entries"):
        Unlearning(model=NETWORK, root=Examples(0 * root.inputs, root.labels, CLASSES))


def test_rounds_must_ascend() -> None:
    plan, start = plan_of(), data().start
    statistics = statistics_of(plan, updates(start, 0))
    one = unlearning_of()
    one.look(plan, statistics, 3, start, summed=ALL)
    for number in (3, 2):
        with pytest.raises(ObservationError, match=f"rounds must ascend: {number} comes after 3"):
            one.look(plan, statistics, number, start, summed=ALL)
    one.look(plan, statistics, 4, start, summed=ALL)
    assert one.last == 4


def test_weights_that_are_not_finite_are_refused_and_change_nothing() -> None:
    plan, start = plan_of(), data().start
    statistics = statistics_of(plan, updates(start, 0))
    gone = np.where(np.arange(NETWORK.size) == 3, np.nan, start)
    rng = np.random.default_rng
    for wrong in (gone, start[1:], np.full_like(start, np.inf)):
        one = unlearning_of()
        with pytest.raises(ObservationError, match="weights must be finite and"):
            one.look(plan, statistics, 0, wrong, summed=ALL)
        assert (one.last, one.own) == (-1, None)
        one.look(plan, statistics, 0, start, summed=ALL)
        with pytest.raises(ObservationError, match="weights must be finite and"):
            one.mended(wrong, rng(0))
        np.testing.assert_array_equal(one.own, start)
        with pytest.raises(ObservationError, match="own must be finite and"):
            unlearning_of(own=wrong)
        twin = unlearning_of()
        twin.look(plan, statistics, 0, start, summed=ALL)
        found, due = one.mended(spoiled(), rng(0)), twin.mended(spoiled(), rng(0))
        np.testing.assert_array_equal(found.weights, due.weights)


def test_a_model_that_says_nothing_is_refused() -> None:
    """Its weights are finite, and what it says is not; a NaN would be below every threshold."""
    plan, start = plan_of(), data().start
    one, statistics = unlearning_of(), statistics_of(plan, updates(start, 0))
    with pytest.raises(ObservationError, match="weights: what the model says of the root set"):
        one.look(plan, statistics, 0, 1e200 * spoiled(), summed=ALL)
    assert one.last == -1
    one.look(plan, statistics, 0, start, summed=ALL)
    with pytest.raises(ObservationError, match="weights: what the model says of the root set"):
        one.mended(1e200 * spoiled(), np.random.default_rng(0))
    np.testing.assert_array_equal(one.own, start)
    assert np.isfinite(one.mended(10 * spoiled(), np.random.default_rng(0)).weights).all()


def test_a_model_of_its_own_that_runs_away_is_refused() -> None:
    """What it says is what a pattern must exceed: a NaN would let every pattern pass."""
    plan, start = plan_of(), data().start
    statistics, classes = statistics_of(plan, updates(start, 0)), unlearning_of().classes(start)
    seen: Any = observed(plan, statistics, 0, classes=list(classes))
    fast, usual = (unlearning_of(training=Training(steps=9, rate=rate)) for rate in (1e200, 0.1))
    for one in (fast, usual):
        back = transposed(plan, statistics)
        one.see(seen, back=back, weights=start, classes=classes)
    with np.errstate(all="ignore"), pytest.raises(ObservationError, match=r"^own"):
        fast.mended(spoiled(), np.random.default_rng(0))
    np.testing.assert_array_equal(fast.own, start)
    assert np.isfinite(usual.mended(spoiled(), np.random.default_rng(0)).weights).all()


def test_unlearning_that_runs_away_is_refused_and_changes_nothing() -> None:
    class Runaway(Mending):
        def mended(self, *given: Any) -> tuple[Array, tuple[Suspect, ...]]:
            weights, guilty = super().mended(*given)
            return np.where(np.arange(len(weights)) == 7, np.inf, weights), guilty

    plan, start = plan_of(), data().start
    statistics = statistics_of(plan, updates(start, 0))
    broken, usual = (unlearning_of(mending=kind(), own=start) for kind in (Runaway, Mending))
    for one in (broken, usual):
        one.look(plan, statistics, 0, start, summed=ALL)
    with pytest.raises(ObservationError, match="mended weights must be finite"):
        broken.mended(spoiled(), np.random.default_rng(0))
    np.testing.assert_array_equal(broken.own, start)
    found = usual.mended(spoiled(), np.random.default_rng(0))
    assert found.suspects
    assert np.isfinite(found.weights).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda root: Examples(root.inputs[:, 1:], root.labels, CLASSES), "12 and 3, not 11 and 3"),
        (lambda root: Examples(root.inputs, root.labels, CLASSES + 1), "12 and 3, not 12 and 4"),
        (lambda root: root.take(np.flatnonzero(root.labels)), "an example of each class"),
        (lambda root: root.take(np.arange(CLASSES)), "two examples of a class"),
        (lambda root: Examples(root.inputs * np.nan, root.labels, CLASSES), "must be finite"),
    ],
)
def test_a_root_set_that_does_not_fit_is_refused(
    changed: Callable[[Examples], Examples], message: str
) -> None:
    with pytest.raises(ObservationError, match=message):
        Unlearning(model=NETWORK, root=changed(data().root))
    assert Unlearning(model=NETWORK, root=data().root).last == -1


def test_the_window_is_checked() -> None:
    for window in (0, 1.5, True):
        with pytest.raises(OutOfRange, match="window >= 1"):
            unlearning_of(window=window)


def test_plans_of_other_updates_are_refused() -> None:
    start, one = data().start, unlearning_of()
    plan = plan_of(NETWORK.size + 8)
    trees = [{"update": row, "side": np.zeros(8)} for row in updates(start, 0)]
    statistics = statistics_of(plan, trees)
    for place, count in ((slice(None), 523), (slice(0, 500), 500)):
        with pytest.raises(ParameterError, match=f"515 coordinates, .* got {count}"):
            one.look(plan, statistics, 0, start, place=place, summed=ALL)
    one.look(plan, statistics, 0, start, place=slice(0, NETWORK.size), summed=ALL)
    assert one.last == 0


def test_more_beside_the_update_than_a_sketch_can_tell_is_refused() -> None:
    start, place = data().start, slice(0, NETWORK.size)
    for sides in (ROWS - CLASSES, ROWS - CLASSES - 1):
        one, plan = unlearning_of(), plan_of(NETWORK.size + sides)
        trees = [{"update": row, "side": np.zeros(sides)} for row in updates(start, 0)]
        statistics = statistics_of(plan, trees)
        if sides == ROWS - CLASSES:
            with pytest.raises(ParameterError, match=r"beside the update < rows .* 64 and 64"):
                one.look(plan, statistics, 0, start, place=place, summed=ALL)
        else:
            one.look(plan, statistics, 0, start, place=place, summed=ALL)
        assert one.last == (0 if sides < ROWS - CLASSES else -1)


def test_plans_without_a_sketch_are_refused() -> None:
    start, one = data().start, unlearning_of()
    plan = plan_of(screen=NormScreen(rows=ROWS))
    with pytest.raises(ParameterError, match="needs a plan with a SketchScreen"):
        one.look(plan, statistics_of(plan, updates(start, 0)), 0, start, summed=ALL)
    with pytest.raises(ParameterError, match="needs a plan with a SketchScreen"):
        transposed(plan_of(screen=None), statistics_of(plan_of(), updates(start, 0)))


def test_an_encrypted_plan_is_refused() -> None:
    pytest.importorskip("tenseal")
    scheme = KeyAuthority.generate().scheme
    plan = RoundPlan.for_update(
        np.zeros(2500), clients=CLIENTS, clip=NormClip(1.0), scheme=scheme, screen=SketchScreen(),
        corrupt=0.0, dropout=0.4,
    )  # fmt: skip
    statistics = statistics_of(plan_of(), updates(data().start, 0))
    with pytest.raises(ParameterError, match="whose sketch has a transpose: not CKKS"):
        transposed(plan, statistics)
