"""Groups, robust weights and audit rounds: what comes out, and who refuses what."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.app import Message, RecordDict

from protocols.adapters.flower import CarriedWeights, Drawn, SecurePlan, Selected
from protocols.adapters.flower.call import Call
from protocols.adapters.flower.refusal import OPENED
from protocols.audit_rounds import AuditRounds
from protocols.round import ClientRound
from protocols.screening import GroupScreen, NormScreen, SketchScreen
from protocols.testing import Arrays, Local
from protocols.weighing import Carried, PublicWeights
from robust.decide import Cascade, Screening
from robust.detect import Detector, Scores
from robust.detect_direction import Direction
from robust.group_suspicion import GroupSuspicion, Suspects
from robust.observe import GroupSketches, Observation, Sketches
from robust.weigh_fltrust import FLTrust
from robust.weigh_krum import Krum, MultiKrum
from secagg.errors import Aborted, DecodeError, IntegrityError, ParameterError
from secagg.event import GroupStatistics
from secagg.quantize import NormClip

EVERYBODY = frozenset(range(1, 9))
NODE = 1007
MODEL: Arrays = {"w": np.full((20, 30), 0.5, np.float32), "n": np.array(7, np.int64)}
GROUPS: Mapping[str, Any] = {"screen": GroupScreen(rows=64, size=3), "least_clients": 8}
GROUPED = {"secagg-floor-opened-of": 3}
WEIGHED = {"secagg-most-weight": 4}
AUDITED = {"secagg-most-audit": 1.0}
Run = Callable[..., Any]


def change(party: int) -> np.ndarray:
    """An update of norm 1, half of which all have in common; client 8 goes the other way."""
    common, own = np.random.default_rng(0), np.random.default_rng(party)
    vector = common.normal(size=MODEL["w"].shape) + own.normal(size=MODEL["w"].shape)
    return np.asarray((-1 if party == 8 else 1) * vector / np.linalg.norm(vector))


def trained(party: int, model: Arrays) -> Local:
    arrays = {"w": np.asarray(model["w"] + change(party), np.float32), "n": model["n"]}
    return Local(arrays, {}, 10 + party)


def check_mean(found: Arrays, weights: Mapping[int, int], before: Arrays = MODEL) -> None:
    total = sum(weights.values())
    expected = before["w"] + sum(weights[i] * change(i) for i in weights) / total
    np.testing.assert_allclose(found["w"], expected, atol=1e-5)


def own(parties: Any) -> dict[int, int]:
    return {party: 10 + party for party in parties}


def reasons(grid: Any) -> list[str]:
    return [str(reply.error.reason) for reply in grid.replies if reply.has_error()]


def edited(
    stages: Collection[str], edit: Callable[[dict[str, Any]], None]
) -> Callable[[str, Message], Message]:
    """The server says something else in the calls of these stages to one client."""

    def intercept(at: str, message: Message) -> Message:
        if at in stages and message.metadata.dst_node_id == NODE:
            call = json.loads(str(message.content["secagg"]["call"]))
            edit(call)
            message.content["secagg"]["call"] = json.dumps(call)
        return message

    return intercept


def multiplied(monkeypatch: pytest.MonkeyPatch, party: int, factor: int, first: int = 1) -> None:
    """That client submits its vector with all from index `first` on multiplied."""
    encode = ClientRound.encode

    def encoded(self: ClientRound, tree: Any, weight: int) -> Any:
        vector = encode(self, tree, weight)
        if self.me == party and self.invitation.number == 1:
            vector[first:] *= vector.dtype.type(factor)
        return vector

    monkeypatch.setattr(ClientRound, "encode", encoded)


# -- groups -----------------------------------------------------------------------------------


def test_a_judge_of_groups_sees_sums_and_excludes_from_the_next_round(
    screened: Run, screened_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Observation] = []

    def judge(observation: Observation) -> set[int]:
        seen.append(observation)
        return {5}

    run = screened(
        screened_grid(trained, **GROUPED), MODEL, rounds=2, **GROUPS, options={"judge": judge}
    )
    assert not run.strategy.failures
    check_mean(run.models[1], own(EVERYBODY))
    assert [type(each) for each in seen] == [GroupSketches] * 2
    first = seen[0]
    assert isinstance(first, GroupSketches)
    assert all(len(group) >= 3 for group in first.groups)
    assert first.public.known.shape == (2, 64), "the model and its integer"
    assert isinstance(run.strategy.groups[1], GroupStatistics)
    assert run.strategy.verdicts == {1: {5}, 2: {5}}
    assert "client 5 is left out of the next round by the judge" in caplog.text
    # those whose group has too few left without it are left out with it
    included = run.strategy.reports[2].included
    assert 5 not in included
    check_mean(run.models[2], own(included), run.models[1])


class Length(Detector[Sketches]):
    """The longer, the more suspicious; it needs no more than two groups."""

    name = "length"
    sees = Sketches

    def score(self, seen: Sketches) -> Scores:
        return Scores(detector=self.name, clients=seen.clients, suspicion=seen.norms)


def test_a_suspicion_ranks_and_excludes_nobody(screened: Run, screened_grid: Any) -> None:
    options = {"judge": GroupSuspicion(Length())}
    run = screened(screened_grid(trained, **GROUPED), MODEL, **GROUPS, options=options)
    assert not run.strategy.failures
    check_mean(run.models[1], own(EVERYBODY))
    ranking = run.strategy.verdicts[1]
    assert isinstance(ranking, Suspects)
    assert ranking.clients == tuple(sorted(EVERYBODY))


def test_a_detector_that_abstains_is_no_verdict(screened: Run, screened_grid: Any) -> None:
    """Two groups are too few for directions."""
    options = {"judge": GroupSuspicion(Direction())}
    run = screened(screened_grid(trained, **GROUPED), MODEL, **GROUPS, options=options)
    assert run.strategy.reports[1].included == EVERYBODY
    assert not run.strategy.verdicts


def test_a_group_beyond_the_bounds_withholds_the_sum_of_that_round(
    screened: Run,
    screened_grid: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    multiplied(monkeypatch, 3, 100)
    run = screened(screened_grid(trained, **GROUPED), MODEL, rounds=2, **GROUPS)
    assert isinstance(run.strategy.failures.pop(1), IntegrityError)
    assert not run.strategy.failures
    groups = run.strategy.groups[1]
    beyond = [group for group, fits in zip(groups.groups, groups.within, strict=True) if not fits]
    assert [3 in group for group in beyond] == [True]
    assert f"a group is beyond the bounds, and the sum withheld: {beyond[0]}" in caplog.text
    np.testing.assert_array_equal(run.models[1]["w"], MODEL["w"])
    check_mean(run.models[2], own(EVERYBODY))


def test_a_client_opens_sums_of_so_many_clients_only(
    screened: Run, screened_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    grid = screened_grid(trained, **GROUPED)
    grid.contexts[NODE].node_config["secagg-floor-opened-of"] = 4
    run = screened(grid, MODEL, **GROUPS)
    assert run.strategy.reports[1].included == EVERYBODY - {1}
    assert reasons(grid) == [OPENED]
    assert "a plan opens sums over 3 clients, 4 allowed" in caplog.text


def test_a_screen_of_clients_is_refused_by_who_opens_sums_only(
    screened: Run, screened_grid: Any
) -> None:
    grid = screened_grid(trained, **GROUPED)
    run = screened(grid, MODEL, screen=SketchScreen(rows=64))
    assert isinstance(run.strategy.failures[1], Aborted)
    assert reasons(grid) == [OPENED] * 8


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"screen": {"group": {"size": 2}}}, "ParameterError: group >= corrupt + 2 = 3 must hold"),
        ({"screen": {"group": {"size": 2}}, "corrupt": 0.0}, "ParameterError: corrupt >= 0.2"),
    ],
)
def test_a_server_that_declares_smaller_groups_to_one_client_loses_it(
    terms: dict[str, Any], reason: str, screened: Run, screened_grid: Any
) -> None:
    def smaller(call: dict[str, Any]) -> None:
        call["plan"]["screen"]["group"] |= terms["screen"]["group"]
        call["plan"]["corrupt"] = terms.get("corrupt", call["plan"]["corrupt"])

    grid = screened_grid(trained, **{"secagg-floor-opened-of": 2})
    grid.intercept = edited(["adverts"], smaller)
    run = screened(grid, MODEL, **GROUPS)
    assert run.strategy.reports[1].included == EVERYBODY - {1}
    (found,) = reasons(grid)
    assert found.startswith(reason)


def test_groups_that_change_after_masking_are_another_round(
    screened: Run, screened_grid: Any
) -> None:
    """Sizes are in what every frame and snapshot is bound to."""
    grid = screened_grid(trained, **GROUPED)
    grid.intercept = edited(["screen"], lambda call: call["plan"].update(dropout=0.2))
    run = screened(grid, MODEL, **GROUPS)
    assert 1 not in run.strategy.reports[1].included
    assert "DecodeError: the snapshot belongs to another party, round or scheme" in reasons(grid)


@pytest.mark.parametrize("judge", [Cascade(), Screening(Cascade())])
def test_judges_of_clients_and_of_groups_are_not_exchanged(
    judge: Any, screened: Run, screened_grid: Any
) -> None:
    grid = screened_grid(trained)
    with pytest.raises(ParameterError, match="a Screening judges clients"):
        screened(grid, MODEL, **GROUPS, options={"judge": judge})
    with pytest.raises(ParameterError, match="a GroupSuspicion needs a plan with a GroupScreen"):
        screened(grid, MODEL, options={"judge": GroupSuspicion(Direction())})
    with pytest.raises(ParameterError, match="a judge is one of robust's or a function, got set"):
        screened(grid, MODEL, options={"judge": {3}})


# -- weights of the same round ----------------------------------------------------------------


def test_the_mean_is_that_of_multi_krum(screened: Run, screened_grid: Any) -> None:
    options = {"weights": Selected(rule=MultiKrum(corrupt=1))}
    run = screened(screened_grid(trained), MODEL, options=options, max_weight=18)
    assert not run.strategy.failures
    report = run.strategy.reports[1]
    assert (report.included, report.refused) == (EVERYBODY - {8}, {8})
    assert not report.weights
    check_mean(run.models[1], own(EVERYBODY - {8}))


def test_a_judge_and_a_rule_both_leave_out(screened: Run, screened_grid: Any) -> None:
    options = {"weights": Selected(rule=MultiKrum(corrupt=1)), "judge": lambda seen: {2}}
    run = screened(screened_grid(trained), MODEL, options=options)
    assert run.strategy.reports[1].refused == {2, 8}
    assert dict(run.metrics[1]) == {"secagg.included": 6, "secagg.refused": 2}
    check_mean(run.models[1], own(EVERYBODY - {2, 8}))


def test_a_rule_with_a_root_draws_whom_to_accept(screened: Run, screened_grid: Any) -> None:
    """Who goes against the server's own update has no chance, and the others nearly all."""
    shape = (64, 64)

    def step(party: int) -> np.ndarray:
        common, own = np.random.default_rng(0), np.random.default_rng(party)
        vector = common.normal(size=shape) + (party > 0) * own.normal(size=shape)
        return np.asarray((-1 if party == 8 else 1) * vector / np.linalg.norm(vector))

    def train(party: int, model: Arrays) -> Local:
        return Local({"w": np.asarray(model["w"] + step(party), np.float32)}, {}, 1)

    run = screened(
        screened_grid(train),
        {"w": np.zeros(shape, np.float32)},
        options={
            "weights": Drawn(rule=FLTrust(), rooted=True),
            "root": lambda model: {"w": step(0)},
        },
        screen=SketchScreen(rows=256),
        dropout=0.4,
        least_clients=8,
    )
    assert not run.strategy.failures
    included = run.strategy.reports[1].included
    assert included < EVERYBODY
    assert 8 not in included
    mean = sum(step(party) for party in included) / len(included)
    # every client rounds by less than one unit
    np.testing.assert_allclose(run.models[1]["w"], mean, atol=2.0**-16)


def test_weights_that_are_no_selection_fail_the_round_by_name(
    screened: Run, screened_grid: Any
) -> None:
    def root(model: Arrays) -> Arrays:
        return {"w": change(1), "n": np.array(0)}

    options = {"weights": Selected(rule=FLTrust(), rooted=True), "root": root}
    run = screened(screened_grid(trained), MODEL, options=options)
    error = run.strategy.failures[1]
    assert isinstance(error, Aborted)
    assert "fltrust finds no weights: the weights of fltrust are no selection" in str(error)


def test_weights_that_do_not_fit_are_refused(screened: Run, screened_grid: Any) -> None:
    rule = MultiKrum(corrupt=1)
    for options, terms, reason in (
        ({"weights": Selected(rule=rule)}, {"screen": NormScreen()}, "need a plan with a SketchSc"),
        ({"weights": Selected(rule=rule)}, {"screen": None}, "need a plan with a SketchScreen"),
        ({"weights": Selected(rule=rule, rooted=True)}, {}, "rooted weights need a root"),
        ({"weights": CarriedWeights(rule=rule, most=101)}, {}, "most <= max_weight = 100"),
    ):
        with pytest.raises(ParameterError, match=reason):
            screened(screened_grid(trained), MODEL, options=options, **terms)
    with pytest.raises(ParameterError, match="most >= 2"):
        CarriedWeights(rule=rule, most=1)


# -- public weights ---------------------------------------------------------------------------


def carried() -> dict[str, Any]:
    return {"weights": CarriedWeights(rule=MultiKrum(corrupt=1), most=4)}


def test_public_weights_follow_from_the_rounds_before(screened: Run, screened_grid: Any) -> None:
    grid = screened_grid(trained, **WEIGHED)
    run = screened(grid, MODEL, rounds=2, options=carried())
    assert not run.strategy.failures
    first, second = (report.weights for report in run.strategy.reports.values())
    assert first == dict.fromkeys(EVERYBODY, 4), "who was never seen starts as anybody"
    assert second == {**first, 8: 2}
    for number, weights in ((1, first), (2, second)):
        products = {party: weights[party] * (10 + party) for party in EVERYBODY}
        check_mean(run.models[number], products, run.models[number - 1])
    assert run.strategy.reports[2].total_weight == sum(products.values())
    assert run.strategy.carried.means[8] == pytest.approx(0.25)


def test_a_tiny_update_does_not_take_the_weight_of_all_others(
    screened: Run, screened_grid: Any
) -> None:
    """FLTrust weighs by the inverse of a length: after three rounds all others counted for 0, no
    round could have such weights, and none could change them any more.
    """

    def train(party: int, model: Arrays) -> Local:
        step = change(party) * (1e-4 if party == 3 else 1)
        return Local({"w": np.asarray(model["w"] + step, np.float32), "n": model["n"]}, {}, 1)

    def root(model: Arrays) -> Arrays:
        return {"w": change(0), "n": np.array(0)}

    run = screened(
        screened_grid(train, **WEIGHED),
        {**MODEL, "w": np.zeros_like(MODEL["w"])},
        rounds=5,
        options={"weights": CarriedWeights(rule=FLTrust(), most=4, rooted=True), "root": root},
    )
    assert not run.strategy.failures
    last = run.strategy.reports[5].weights
    assert last[3] == 4
    assert sum(weight == 1 for weight in last.values()) == 6
    assert last[8] == 0, "it goes against the server's own update"


def test_a_round_that_leaves_weight_to_too_few_fails_and_is_not_carried(
    screened: Run, screened_grid: Any
) -> None:
    """With decay 0 the one that Krum takes has all weight."""
    carried = Carried(decay=0.0)
    options = {"weights": CarriedWeights(rule=Krum(corrupt=1), most=4, carried=carried)}
    run = screened(screened_grid(trained, **WEIGHED), MODEL, rounds=2, options=options)
    assert run.strategy.carried == carried
    for error in run.strategy.failures.values():
        assert isinstance(error, Aborted), "the next round is asked all the same"
        assert re.search(r"krum finds no weights: values > 0 >= scheme\.survivors", str(error))
    assert len(run.strategy.failures) == 2


def test_a_client_weighs_nothing_unless_it_says_so(screened: Run, screened_grid: Any) -> None:
    grid = screened_grid(trained, **WEIGHED)
    grid.contexts[NODE].node_config["secagg-most-weight"] = 3
    run = screened(grid, MODEL, options=carried())
    assert run.strategy.reports[1].included == EVERYBODY - {1}
    (reason,) = reasons(grid)
    assert reason.startswith("ParameterError: most <= 3 must hold of public weights")
    del grid.contexts[NODE].node_config["secagg-most-weight"]
    screened(grid, MODEL, options=carried())
    assert "ParameterError: most <= 0 must hold of public weights" in reasons(grid)[1]


@pytest.mark.parametrize("stage", ["train", "screen", "consent"])
def test_a_server_that_changes_weights_after_the_first_message_loses_the_client(
    stage: str, screened: Run, screened_grid: Any
) -> None:
    def heavier(call: dict[str, Any]) -> None:
        call["weights"]["values"] = [4, 1, 1, 1, 1, 1, 1, 1]

    grid = screened_grid(trained, **WEIGHED)
    grid.intercept = edited([stage], heavier)
    run = screened(grid, MODEL, options=carried())
    summed = EVERYBODY if stage == "consent" else EVERYBODY - {1}
    assert run.strategy.reports[1].included == summed
    assert reasons(grid)[0] == "DecodeError: the snapshot belongs to another party, round or scheme"


def test_a_client_that_was_told_other_weights_is_not_in_the_sum(
    screened: Run, screened_grid: Any
) -> None:
    """Its context is another one, so that nobody takes its messages."""
    grid = screened_grid(trained, **WEIGHED)
    grid.intercept = edited(
        ["adverts"], lambda call: call["weights"].update(values=[4, 1, 1, 1, 1, 1, 1, 1])
    )
    run = screened(grid, MODEL, options=carried())
    assert run.strategy.reports[1].included == EVERYBODY - {1}


def test_a_client_that_counts_more_than_its_public_weight_is_left_out(
    screened: Run, screened_grid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = ClientRound.encode

    def encoded(self: ClientRound, tree: Any, weight: int) -> Any:
        return encode(self, tree, weight + (self.me == 3))

    monkeypatch.setattr(ClientRound, "encode", encoded)
    run = screened(screened_grid(trained, **WEIGHED), MODEL, options=carried())
    assert run.strategy.reports[1].refused == {3}
    check_mean(run.models[1], own(EVERYBODY - {3}))


def test_too_few_above_zero_are_refused_before_anybody_is_asked() -> None:
    """One client of weight 4 among zeros would be a sum of its own."""
    plan = SecurePlan(clip=NormClip(4.0), max_weight=100, screen=SketchScreen(rows=64))
    of_round = plan.round_plan(8, 600, 0)
    ids = tuple(range(1, 9))
    least = of_round.scheme.survivors
    enough = (4,) + (1,) * (least - 1) + (0,) * (8 - least)
    PublicWeights(clients=ids, values=enough, most=4, examples=25).check(of_round)
    alone = PublicWeights(clients=ids, values=(4,) + (0,) * 7, most=4, examples=25)
    with pytest.raises(ParameterError, match=r"scheme\.survivors"):
        alone.check(of_round)


# -- audit rounds -----------------------------------------------------------------------------


def test_an_audit_round_is_trained_from_a_moved_model_and_not_applied(
    screened: Run, screened_grid: Any
) -> None:
    seen: list[Sketches] = []
    models: list[dict[str, Arrays]] = [{}, {}, {}]

    def judge(observation: Observation) -> set[int]:
        assert isinstance(observation, Sketches)
        seen.append(observation)
        return set()

    def train(party: int, model: Arrays) -> Local:
        models[len(seen)][str(party)] = model
        return trained(party, model)

    run = screened(
        screened_grid(train, **AUDITED),
        MODEL,
        rounds=3,
        options={"judge": judge},
        audit=AuditRounds(every=2, relative=0.5),
    )
    assert not run.strategy.failures
    assert [report.audit for report in run.strategy.reports.values()] == [False, True, False]
    assert dict(run.metrics[1]) == {"secagg.included": 8, "secagg.refused": 0}
    assert dict(run.metrics[2]) == {**run.metrics[1], "secagg.audit": 1}
    check_mean(run.models[1], own(EVERYBODY))
    np.testing.assert_array_equal(run.models[2]["w"], run.models[1]["w"])
    check_mean(run.models[3], own(EVERYBODY), run.models[2])
    moved = {name: model["w"] for name, model in models[1].items()}
    assert len(moved) == 8
    np.testing.assert_allclose(np.abs(moved["1"] / run.models[1]["w"] - 1), 0.5, atol=1e-5)
    assert all(np.array_equal(each, moved["1"]) for each in moved.values())
    assert all(model["n"] == 7 for model in models[1].values()), "integers stay"
    # the perturbation is public; the mean of the audit is not
    assert [each.public.known.shape[0] for each in seen] == [2, 4, 3]
    added = float(np.linalg.norm(moved["1"] - run.models[1]["w"]))
    assert np.linalg.norm(seen[1].public.known[2]) == pytest.approx(added, rel=0.4)
    np.testing.assert_allclose(seen[1].norms, 1, rtol=0.5)


@pytest.mark.parametrize("most", [None, 0.4])
def test_a_client_trains_in_audits_only_as_far_as_it_says(
    most: float | None, screened: Run, screened_grid: Any
) -> None:
    grid = screened_grid(trained, **AUDITED)
    del grid.contexts[NODE].node_config["secagg-most-audit"]
    if most is not None:
        grid.contexts[NODE].node_config["secagg-most-audit"] = most
    audit = AuditRounds(every=5, relative=0.5)
    run = screened(grid, MODEL, options={"judge": lambda seen: set()}, audit=audit)
    assert run.strategy.reports[1].included == EVERYBODY - {1}
    (reason,) = reasons(grid)
    assert reason.startswith(f"ParameterError: relative <= {most or 0.0} must hold of audit rounds")


@pytest.mark.parametrize("stages", [("train",), ("adverts", "shares", "train")])
def test_a_server_that_perturbs_without_agreement_loses_the_client(
    stages: tuple[str, ...], screened: Run, screened_grid: Any
) -> None:
    """What an audit adds is in what the round is bound to: one client cannot be told another."""
    parties: list[int] = []

    def train(party: int, model: Arrays) -> Local:
        parties.append(party)
        return trained(party, model)

    def perturbs(call: dict[str, Any]) -> None:
        call["plan"]["audit"] = {"every": 1, "relative": 1.0}

    grid = screened_grid(train, **AUDITED)
    grid.intercept = edited(stages, perturbs)
    run = screened(grid, MODEL)
    assert run.strategy.reports[1].included == EVERYBODY - {1}
    assert 1 not in parties
    wanted = "ParameterError: the model is not the one that this round was opened for"
    assert reasons(grid) == [wanted]


def test_a_server_that_sends_a_moved_model_in_its_place_loses_the_client(
    screened: Run, screened_grid: Any, to_record: Any
) -> None:
    def moved(stage: str, message: Message) -> Message:
        if (stage, message.metadata.dst_node_id) == ("train", NODE):
            message.content["arrays"] = to_record({**MODEL, "w": 2 * MODEL["w"]})
        return message

    grid = screened_grid(trained, **AUDITED)
    grid.intercept = moved
    options = {"judge": lambda seen: set()}
    run = screened(grid, MODEL, options=options, audit=AuditRounds(every=1))
    assert run.strategy.reports[1].included == EVERYBODY - {1}
    assert run.strategy.reports[1].audit


def test_audits_are_for_somebody_who_looks(screened: Run, screened_grid: Any) -> None:
    audit = AuditRounds(every=2)
    plan = SecurePlan(clip=NormClip(4.0), max_weight=1, screen=SketchScreen(rows=64), audit=audit)
    assert plan.audit == audit
    with pytest.raises(ParameterError, match="audit rounds need a screen"):
        SecurePlan(clip=NormClip(4.0), max_weight=1, audit=audit)
    with pytest.raises(ParameterError, match="audit: AuditRounds, got int"):
        SecurePlan(clip=NormClip(4.0), max_weight=1, screen=SketchScreen(rows=64), audit=3)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="audit rounds are for a judge or weights"):
        screened(screened_grid(trained), MODEL, audit=audit)


# -- calls and metrics ------------------------------------------------------------------------


def parsed(call: Call, **edits: Any) -> Call:
    record = call.record()
    document = json.loads(str(record["call"]))
    document["plan"] |= edits.pop("plan", {})
    record["call"] = json.dumps(document | edits)
    return Call.of(Message(RecordDict({"secagg": record}), 1, "train"))


def call() -> Call:
    plan = SecurePlan(
        clip=NormClip(4.0), max_weight=100, screen=SketchScreen(rows=64), audit=AuditRounds(every=3)
    )
    weights = PublicWeights(clients=(1, 2, 3), values=(4, 2, 1), most=4, examples=25)
    return Call(
        stage="train",
        session=bytes(16),
        number=1,
        cohort=(1, 2, 3),
        plan=plan,
        sizes=(600, 0),
        weighted_by="n",
        model=bytes(32),
        weights=weights,
    )


def test_weights_and_audits_arrive_as_they_were() -> None:
    assert parsed(call()) == call()


@pytest.mark.parametrize(
    "edits",
    [
        {"weights": None},
        {"weights": {}},
        {"weights": {"values": [4, 2], "most": 4, "examples": 25}},
        {"weights": {"values": [5, 2, 1], "most": 4, "examples": 25}},
        {"weights": {"values": [4, 2, 1], "most": True, "examples": 25}},
        {"weights": {"values": [4, 2, 1.0], "most": 4, "examples": 25}},
        {"weights": {"values": [4, 2, 1], "most": 4, "examples": 25, "clients": [1]}},
        {"plan": {"audit": None}},
        {"plan": {"audit": {"every": 0, "relative": 1.0}}},
        {"plan": {"audit": {"every": 3, "relative": 1.5}}},
        {"plan": {"audit": {"every": 3}}},
        {"plan": {"audit": {"every": 3, "relative": 1.0, "seed": 1}}},
    ],
)
def test_hostile_weights_and_audits_are_refused(edits: dict[str, Any]) -> None:
    parsed(call())
    with pytest.raises((DecodeError, ParameterError)):
        parsed(call(), **edits)
