"""What a client accepts: kinds and bounds of clips, sizes, floors; settings of a simulation."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.app import Context, RecordDict

from protocols.adapters.flower import (
    ClientSettings,
    SecurePlan,
    load_identity,
    load_roster,
    mod_from,
    simulated_settings,
)
from protocols.private import DistributedNoise
from protocols.testing import Arrays, Local
from protocols.weighing import PublicWeights
from secagg.errors import ParameterError
from secagg.quantize import Clip, NormClip, RangeClip
from secagg.scheme import Floors


def trained(party: int, model: Arrays) -> Local:
    return Local({"w": model["w"] + np.float32(0.125)}, {}, 10)


def settings(enrolled: Path, **given: Any) -> ClientSettings:
    return ClientSettings(
        identity=load_identity(enrolled / "client-1.key"),
        roster=load_roster(enrolled / "roster.json"),
        **given,
    )


def from_node(enrolled: Path, **given: Any) -> ClientSettings:
    config = {
        "secagg-identity": str(enrolled / "client-1.key"),
        "secagg-roster": str(enrolled / "roster.json"),
        **{f"secagg-{name.replace('_', '-')}": value for name, value in given.items()},
    }
    return ClientSettings.from_node_config(config)


def plan(clip: Clip) -> SecurePlan:
    return SecurePlan(clip=clip, max_weight=10)


@pytest.mark.parametrize("make", [settings, from_node])
@pytest.mark.parametrize(
    ("given", "accepted", "refused"),
    [
        ({}, [NormClip(1e9), RangeClip(1e9)], []),
        ({"most_clip": 2.0}, [NormClip(2.0)], [NormClip(2.1), RangeClip(0.1)]),
        ({"most_range": 2.0}, [RangeClip(2.0)], [RangeClip(2.1), NormClip(0.1)]),
        (
            {"most_clip": 2.0, "most_range": 0.5},
            [NormClip(2.0), RangeClip(0.5)],
            [NormClip(2.1), RangeClip(0.6)],
        ),
    ],
)
def test_a_bound_is_of_one_kind_of_clip(
    make: Any, given: dict[str, Any], accepted: list[Clip], refused: list[Clip], enrolled: Path
) -> None:
    mine = make(enrolled, **given)
    for clip in accepted:
        mine.check(plan(clip), (1, 0))
    for clip in refused:
        kind = type(clip).__name__
        with pytest.raises(ParameterError, match=rf"{kind}.*this client's setting|for {kind}"):
            mine.check(plan(clip), (1, 0))


@pytest.mark.parametrize("name", ["most_clip", "most_range", "most_parameters"])
def test_a_bound_is_positive(name: str, enrolled: Path) -> None:
    assert getattr(from_node(enrolled, **{name: 3}), name) == 3
    for bound in (0, -1):
        with pytest.raises(ParameterError, match="> 0 must hold"):
            from_node(enrolled, **{name: bound})


def test_a_bound_that_is_no_number_accepts_nothing(enrolled: Path) -> None:
    with pytest.raises(ParameterError, match="must be a number"):
        from_node(enrolled, most_clip="2")
    with pytest.raises(ParameterError, match="> 0 must hold, got nan"):
        from_node(enrolled, most_clip=float("nan"))
    with pytest.raises(ParameterError, match="clip <= nan must hold"):
        settings(enrolled, most_clip=float("nan")).check(plan(NormClip(1.0)), (1, 0))


def test_update_and_side_count_together(enrolled: Path) -> None:
    mine = from_node(enrolled, most_parameters=10)
    mine.check(plan(NormClip(1.0)), (7, 3))
    with pytest.raises(ParameterError, match=r"parameters <= 10 must hold .* the call has 11"):
        mine.check(plan(NormClip(1.0)), (7, 4))


def test_a_colluding_fifth_is_the_least_unless_the_client_says_less(enrolled: Path) -> None:
    assert SecurePlan(clip=NormClip(1.0), max_weight=1).corrupt == 0.2
    for made in (settings(enrolled), from_node(enrolled)):
        assert made.floors == Floors(corrupt=0.2)
    assert from_node(enrolled, floor_clients=4).floors == Floors(clients=4, corrupt=0.2)
    assert from_node(enrolled, floor_corrupt=0.05).floors == Floors(corrupt=0.05)
    assert from_node(enrolled, floor_corrupt=0).floors == Floors()


def test_the_template_of_a_plan_takes_no_memory_of_its_own(enrolled: Path) -> None:
    """One vector while the structure is read, not two."""
    chosen, size = plan(NormClip(1.0)), 1 << 20
    chosen.round_plan(5, 1, 1)
    tracemalloc.start()
    chosen.round_plan(5, size, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * 8 * size


def test_simulated_settings_are_those_of_the_partition(enrolled: Path) -> None:
    for partition in range(5):
        context = Context(7, 100 + partition, {"partition-id": partition}, RecordDict(), {})
        made = simulated_settings(enrolled)(context)
        assert (made.me, made.journal, made.floors.corrupt) == (partition + 1, None, 0.2)


def test_a_simulation_with_them(run: Any, local_grid: Any, enrolled: Path) -> None:
    grid = local_grid(trained, mods=(mod_from(simulated_settings(str(enrolled))),))
    for number, context in enumerate(grid.contexts.values()):
        context.node_config = {"partition-id": number}
    strategy = run(grid, rounds=2)
    assert not strategy.failures
    assert [set(report.included) for report in strategy.reports.values()] == [{1, 2, 3, 4, 5}] * 2


def test_what_a_screened_round_may_do_comes_from_the_node_configuration(enrolled: Path) -> None:
    mine = from_node(enrolled, floor_opened_of=4, most_weight=3, most_audit=0.5)
    assert (mine.floors.opened_of, mine.most_weight, mine.most_audit) == (4, 3, 0.5)
    silent = from_node(enrolled)
    assert (silent.floors.opened_of, silent.most_weight, silent.most_audit) == (1, 0, 0.0)
    for wrong in ({"most_weight": 1.5}, {"most_audit": "all"}, {"floor_opened_of": True}):
        with pytest.raises(ParameterError, match="must be a number"):
            from_node(enrolled, **wrong)
    with pytest.raises(ParameterError, match="secagg-most-weight > 0 must hold"):
        from_node(enrolled, most_weight=0)


def test_a_simulation_says_what_a_screened_round_may_do(enrolled: Path) -> None:
    context = Context(7, 100, {"partition-id": 0}, RecordDict(), {})
    terms = {"opened": 129, "opened_of": 4, "most_weight": 3, "most_audit": 0.5}
    mine = simulated_settings(enrolled, **terms)(context)
    assert (mine.floors.opened, mine.floors.opened_of) == (129, 4)
    assert (mine.most_weight, mine.most_audit) == (3, 0.5)
    mine.check_terms(plan(NormClip(1.0)), None)


@pytest.mark.parametrize("make", [settings, from_node])
def test_a_bound_on_the_weight_is_no_question_about_it(make: Any, enrolled: Path) -> None:
    """Refused whatever the weight is: else who drops out is above the bound."""
    mine = make(enrolled, least_max_weight=10, most_weight=4)
    sizes = (6, 0)
    weights = PublicWeights(clients=(1, 2), values=(4, 1), most=4, examples=10)
    mine.check(plan(NormClip(1.0)), sizes)
    mine.check_terms(plan(NormClip(1.0)), weights)
    reason = "max_weight >= 10 must hold by this client's setting, the round has 9"
    with pytest.raises(ParameterError, match=reason):
        mine.check(replace(plan(NormClip(1.0)), max_weight=9), sizes)
    with pytest.raises(ParameterError, match=reason):
        mine.check_terms(plan(NormClip(1.0)), replace(weights, examples=9))
    noisy = SecurePlan(
        clip=NormClip(1.0), max_weight=1, privacy=DistributedNoise(multiplier=1.0), least_clients=9
    )
    mine.check(noisy, sizes)  # everybody counts as one


@pytest.mark.parametrize(("most", "accepted"), [(0, False), (3, False), (4, True)])
def test_public_weights_are_within_what_a_client_accepts(
    most: int, accepted: bool, enrolled: Path
) -> None:
    mine = settings(enrolled, most_weight=most)
    weights = PublicWeights(clients=(1, 2), values=(4, 1), most=4)
    if accepted:
        mine.check_terms(plan(NormClip(1.0)), weights)
    else:
        with pytest.raises(ParameterError, match=f"most <= {most} must hold of public weights"):
            mine.check_terms(plan(NormClip(1.0)), weights)
