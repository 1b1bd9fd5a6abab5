"""Plans with a screen: what is opened, what detectors see, and who is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import DistributedNoise, NormScreen, RoundPlan, SketchScreen, observed
from protocols.simulate import run_round
from robust.observe import Norms, Sketches
from secagg.errors import Aborted, InputRefused, ParameterError
from secagg.event import Statistics
from secagg.primitives.ring import Words, word
from secagg.quantize import FixedPoint, NormClip, RangeClip
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief
from secagg.schemes.secagg_plus.verified import Reference, Screen, SecAggPlusVerified
from secagg.structure import flatten
from secagg.testing.network import run

SIZE, CLIENTS = 600, 8
TEMPLATE = {"w": np.zeros((20, 20)), "b": np.zeros(200)}
SCREEN = SketchScreen(rows=64, tables=5, buckets=256)
Updates = Mapping[int, tuple[Any, int]]


def make(**options: Any) -> RoundPlan:
    given = {"clients": CLIENTS, "clip": NormClip(1.0), "max_weight": 9, "screen": SCREEN}
    return RoundPlan.for_update(TEMPLATE, **{**given, **options})


def updates(seed: int = 0, weight: int = 3) -> dict[int, tuple[Any, int]]:
    rng = np.random.default_rng(seed)
    found = {}
    for client in range(1, CLIENTS + 1):
        vector = rng.normal(size=SIZE) * 0.9 / np.sqrt(SIZE)
        found[client] = (
            {"w": vector[:400].reshape(20, 20), "b": vector[400:]},
            weight + client % 3,
        )
    return found


def flat(tree: Any) -> Any:
    return flatten(tree)[0]


def test_who_is_accepted_is_summed_exactly() -> None:
    plan, given = make(), updates()
    outcome = run_round(plan, given, judge=lambda statistics: statistics.eligible - {2, 5})
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == {1, 3, 4, 6, 7, 8}
    assert outcome.result.refused == {2, 5}
    assert outcome.deviation < 1e-5


def test_without_a_judge_all_within_the_bounds_are_accepted() -> None:
    outcome = run_round(make(), updates())
    assert outcome.result is not None
    assert outcome.result.included == set(range(1, CLIENTS + 1))
    assert not outcome.result.refused


def test_what_is_opened_are_the_sketches_of_the_very_inputs() -> None:
    """Rows, weights and products of the statistics, by the map that their seed draws."""
    plan, given = make(), updates()
    outcome = run_round(plan, given)
    statistics = outcome.statistics
    assert statistics is not None
    assert statistics.weights is not None
    assert statistics.weights.tolist() == [weight for _, weight in given.values()]
    seen = observed(plan, statistics, 4)
    assert isinstance(seen, Sketches)
    assert isinstance(plan.scheme, SecAggPlusVerified)
    sketch = plan.scheme.opened_map(statistics.seed).sketch
    true = sketch.of_reals(np.stack([flat(tree) for tree, _ in given.values()]))
    assert np.abs(seen.rows - true).max() < 1e-4  # rounding of the updates, and nothing else
    assert (seen.number, seen.clients, seen.noise) == (4, tuple(range(1, CLIENTS + 1)), 0.0)


def test_public_trees_are_sketched_by_the_same_map() -> None:
    plan, given = make(), updates()
    statistics = run_round(plan, given).statistics
    assert statistics is not None
    tree = given[1][0]
    seen = observed(plan, statistics, 0, known=[tree, tree], root=tree, classes=[given[2][0]])
    assert isinstance(seen, Sketches)
    assert np.abs(seen.public.known - seen.rows[0]).max() < 1e-4
    assert seen.public.root is not None
    assert np.abs(seen.public.root - seen.rows[0]).max() < 1e-4
    assert seen.public.classes is not None
    assert np.abs(seen.public.classes - seen.rows[1]).max() < 1e-4
    with pytest.raises(InputRefused, match="structure"):
        observed(plan, statistics, 0, known=[{"w": np.zeros(3)}])


def test_a_norm_screen_shows_norms_and_takes_the_noise_off() -> None:
    plan, given = make(screen=NormScreen(rows=64, tables=5, buckets=256, noise=0.05)), updates()
    outcome = run_round(plan, given)
    assert outcome.exact
    assert outcome.statistics is not None
    seen = observed(plan, outcome.statistics, 0)
    assert isinstance(seen, Norms)
    true = [float(np.linalg.norm(flat(tree))) for tree, _ in given.values()]
    weights = np.array([weight for _, weight in given.values()])
    noise = 64 * (0.05 * 9 / weights) ** 2  # energy: noise is of the bound of the largest weight
    # the estimate of an energy, noise included, has a relative deviation of sqrt(2/64)
    most = 6 * np.sqrt(2 / 64) * (np.square(true) + noise)
    assert (np.abs(seen.norms**2 - np.square(true)) < most).all()
    assert seen.bound == 1.0


@pytest.mark.slow
def test_noise_is_in_what_is_opened_and_not_in_the_mean() -> None:
    quiet, noisy = make(), make(screen=dataclasses.replace(SCREEN, noise=0.5))
    assert noisy.scheme.length == quiet.scheme.length + SCREEN.rows
    outcome = run_round(noisy, updates())
    assert outcome.exact
    assert outcome.deviation < 1e-5
    assert outcome.statistics is not None
    seen = observed(noisy, outcome.statistics, 0)
    assert isinstance(seen, Sketches)
    assert seen.noise > 0
    # rows of norm 0.9 at most, and 64 numbers with noise of half of the bound over sqrt(64) …
    assert seen.norms.min() > 1.5


@pytest.mark.parametrize("spikes", [1, 2, 64, SIZE])
def test_what_is_beyond_the_bound_is_left_out_and_the_rest_is_exact(spikes: int) -> None:
    """Half of the ring at some coordinates: their double is zero, and a sign alone sees nothing."""
    plan = make()
    width = plan.scheme.width
    vector = np.zeros(plan.scheme.length, word(width))
    vector[0] = 3
    vector[1 : 1 + spikes] = 1 << (width - 1)
    outcome = run_round(plan, updates(), vectors={4: vector})
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.refused == {4}


@pytest.mark.parametrize("weight", [0, 10, 1 << 20, -1, -3])
def test_a_client_submits_no_weight_out_of_range(weight: int) -> None:
    plan, given = make(), updates()
    width = plan.scheme.width
    rand = np.random.default_rng(0).bytes
    inputs: dict[int, Words] = {
        client: plan.encode(tree, count, rand, bytes(32)) for client, (tree, count) in given.items()
    }
    assert run(plan.scheme, inputs).aggregate is not None
    inputs[3][0] = weight % (1 << width)
    with pytest.raises(InputRefused, match="no weight"):
        run(plan.scheme, inputs)


def test_the_ring_has_room_for_cheaters_up_to_the_soft_bound() -> None:
    plan = make()
    assert isinstance(plan.scheme, SecAggPlusVerified)
    screen = plan.scheme.screen
    assert CLIENTS * screen.most_norm < 1 << (plan.scheme.width - 1)
    assert 4 * screen.row_bound < 1 << (plan.scheme.width - 1)


def test_the_ring_has_room_for_what_colluders_share() -> None:
    """Many of them make its steps coarser."""
    bits = []
    for corrupt in (0.45, 0.1):
        tall = SketchScreen(rows=64, tables=16, buckets=8)
        plan = make(screen=tall, clients=60, dropout=0.1, corrupt=corrupt)
        assert isinstance(plan.scheme, SecAggPlusVerified)
        assert isinstance(plan.quantize, FixedPoint)
        shared = plan.scheme.corrupt_count * plan.scheme.screen.root
        assert 4 * shared < 1 << (plan.scheme.width - 1)
        bits.append(plan.quantize.fraction_bits)
    assert bits[0] < bits[1]


def test_plans_that_open_different_things_differ() -> None:
    plans = [
        make(),
        make(screen=None),
        make(screen=SketchScreen(rows=65, tables=5, buckets=256)),
        make(screen=NormScreen(rows=64, tables=5, buckets=256)),
        make(screen=SketchScreen(rows=64, tables=5, buckets=256, noise=0.1)),
    ]
    assert len({plan.digest for plan in plans}) == len(plans)


def test_refusals_of_plans() -> None:
    with pytest.raises(ParameterError, match="8 \\* numbers opened <= d"):
        make(screen=SketchScreen(rows=76, tables=5, buckets=256))
    with pytest.raises(ParameterError, match="take a NormClip"):
        make(clip=RangeClip(1.0))
    with pytest.raises(ParameterError, match="rows >= 64"):
        make(screen=SketchScreen(rows=63, tables=5, buckets=256))
    with pytest.raises(ParameterError, match="log2"):
        make(screen=SketchScreen(rows=64, tables=4, buckets=256))
    with pytest.raises(ParameterError, match="needs SecAggPlus"):
        make(scheme=SecAggPlusBrief)
    with pytest.raises(ParameterError, match="no budget counts them"):
        make(privacy=DistributedNoise(multiplier=1.0), max_weight=1)
    with pytest.raises(ParameterError, match="screen must be"):
        make(screen=64)
    plan = make()
    with pytest.raises(ParameterError, match="opens something else"):
        dataclasses.replace(plan, screen=SketchScreen(rows=70, tables=5, buckets=256))
    with pytest.raises(ParameterError, match="opens something else"):
        dataclasses.replace(plan, screen=None)
    with pytest.raises(ParameterError, match="opens nothing"):
        observed(make(screen=None), _statistics(), 0)
    assert type(make(screen=None).scheme) is SecAggPlus


def _statistics() -> Statistics:
    found = run_round(make(), updates()).statistics
    assert found is not None
    return found


@given(
    rows=st.one_of(st.integers(-2, 0), st.floats(), st.just(True)),
    noise=st.one_of(st.just(float("nan")), st.just(-1.0), st.just(101), st.just("1")),
)
def test_refusals_of_screens(rows: Any, noise: Any) -> None:
    with pytest.raises(ParameterError):
        SketchScreen(rows=rows)
    with pytest.raises(ParameterError):
        NormScreen(noise=noise)


def test_a_judge_may_accept_only_who_is_eligible() -> None:
    def all_and_one_more(statistics: Statistics) -> Collection[int]:
        return statistics.eligible | {99}

    with pytest.raises(InputRefused, match="within the bounds"):
        run_round(make(), updates(), judge=all_and_one_more)


def test_too_few_accepted_end_the_round() -> None:
    outcome = run_round(make(), updates(), judge=lambda _: [1])
    assert outcome.result is None
    assert isinstance(outcome.failure, Aborted)
    assert outcome.failure.phase == "decide"
    assert outcome.statistics is not None


def test_a_reference_that_reads_a_coordinate_is_refused() -> None:
    spike = np.zeros(SIZE, np.int64)
    spike[3] = 1
    large = np.ones(SIZE, np.int64) * 4096
    with pytest.raises(ParameterError, match="single coordinates"):
        Reference(spike)
    with pytest.raises(ParameterError, match="-1, 0 and 1"):
        Reference(large + spike)
    even = Reference(np.ones(SIZE, np.int64))
    scheme = SecAggPlusVerified(
        clients=4,
        length=SIZE,
        width=40,
        corrupt=0.0,
        dropout=0.25,
        screen=Screen(bound=1 << 12, reference=even),
    )
    inputs = np.random.default_rng(0).integers(0, 5, (4, SIZE)).astype(np.uint64)
    result = run(scheme, inputs)
    (found,) = (e for e in result.events[0] if isinstance(e, Statistics))
    assert found.products[:, 0].tolist() == inputs.sum(axis=1).tolist()
    assert found.weights is None


def test_noise_leaves_no_row_exact_modulo_anything() -> None:
    """Where noise is drawn in steps, the bits below are uniform: they confirm no guess."""
    noisy = make(screen=dataclasses.replace(SCREEN, noise=1.0))
    assert isinstance(noisy.scheme, SecAggPlusVerified)
    screen = noisy.scheme.screen
    step = 1 << max(0, int(np.frexp(screen.noise)[1]) - 16)
    assert step > 1
    zeros = np.zeros(1, word(noisy.scheme.width))
    rand = np.random.default_rng(0).bytes
    drawn = np.concatenate(
        [SCREEN.extended(zeros, screen, noisy.scheme.width, rand)[1:] % step for _ in range(200)]
    )
    counts = np.bincount(drawn.astype(np.int64) * 8 // step, minlength=8)
    assert np.abs(counts / drawn.size - 1 / 8).max() < 0.02
