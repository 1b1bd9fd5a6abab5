"""Rounds of a plan with a screen: what comes out, who is left out, and who is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.serverapp.strategy import FedAdam, FedAvg

from protocols.adapters.flower.leakage import LeakageFile
from protocols.adapters.flower.refusal import OPENED, SPENT
from protocols.adapters.flower.terms import SecurePlan
from protocols.round import ClientRound
from protocols.screening import NormScreen, SketchScreen
from protocols.testing import Arrays, Local
from robust.decide import Cascade, Screening, Verdicts
from robust.features import orthonormal, residuals
from robust.observe import Norms, Observation, Sketches
from secagg.errors import Aborted, ParameterError
from secagg.quantize import NormClip
from secagg.schemes.secagg_plus.verified.client import VerifiedClient

EVERYBODY = frozenset(range(1, 9))
SIZE = 600
MODEL: Arrays = {
    "w": np.zeros((20, SIZE // 20), np.float32),
    "b": np.zeros(3),
    "n": np.array(7, np.int64),
}
HONEST = ["adverts", "shares", "train", "screen", "consent", "unmask"]
Run = Callable[..., Any]


def change(party: int) -> np.ndarray:
    """An update of norm 1; the weights of clients are 10, 20, …"""
    vector = np.random.default_rng(party).normal(size=MODEL["w"].shape)
    return np.asarray(vector / np.linalg.norm(vector))


def trained(party: int, model: Arrays) -> Local:
    arrays = {"w": model["w"] + change(party), "b": model["b"] + party / 8, "n": model["n"] + 2}
    typed = {name: np.asarray(array, MODEL[name].dtype) for name, array in arrays.items()}
    return Local(typed, {"loss": party / 4}, 10 * party)


def mean_of(parties: Iterable[int], before: Arrays = MODEL) -> dict[str, np.ndarray]:
    locals_ = [trained(party, before) for party in parties]
    total = sum(local.weight for local in locals_)
    return {
        name: sum(x.weight * x.arrays[name].astype(np.float64) for x in locals_) / total
        for name in before
    }


def check_mean(found: Arrays, parties: Iterable[int], before: Arrays = MODEL) -> None:
    for name, expected in mean_of(parties, before).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)


def stages(grid: Any) -> list[str]:
    return [found[0] for found in grid.exchanges if found]


def reasons(grid: Any) -> list[str]:
    return [str(reply.error.reason) for reply in grid.replies if reply.has_error()]


def node(party: int) -> int:
    return 1000 + 7 * party


def losing(stage: str, *parties: int) -> Callable[[str, Any], Any]:
    nodes = {node(party) for party in parties}

    def intercept(at: str, message: Any) -> Any:
        return None if at == stage and message.metadata.dst_node_id in nodes else message

    return intercept


# -- what comes out ---------------------------------------------------------------------------


def test_three_rounds_of_eight_are_the_mean_of_all(screened: Run, screened_grid: Any) -> None:
    grid = screened_grid(trained)
    run = screened(grid, MODEL, rounds=3, metrics={"loss": 9.0})
    assert not run.strategy.failures
    for before, after in zip(run.models, run.models[1:], strict=False):
        check_mean(after, EVERYBODY, before)
    assert stages(grid) == HONEST * 3
    assert [report.exchanges for report in run.strategy.reports.values()] == [6, 6, 6]
    for report in run.strategy.reports.values():
        assert (report.included, report.refused) == (EVERYBODY, frozenset())
        assert report.sent > 0
        assert report.received > 8 * 4 * SIZE
    assert not reasons(grid)
    assert not run.strategy.verdicts
    assert not run.strategy.proofs


def test_some_nodes_of_the_roster_are_asked_who_they_are(screened: Run, screened_grid: Any) -> None:
    grid = screened_grid(trained)
    del grid.contexts[node(8)]
    run = screened(grid, MODEL, rounds=2)
    assert stages(grid) == ["hello", *HONEST, *HONEST]
    check_mean(run.models[1], EVERYBODY - {8})
    check_mean(run.models[2], EVERYBODY - {8}, run.models[1])


def test_metrics_come_out_and_the_clip_binds(screened: Run, screened_grid: Any) -> None:
    run = screened(screened_grid(trained), MODEL, clip=NormClip(0.25), metrics={"loss": 9.0})
    flat = np.concatenate([run.models[1]["w"].ravel(), run.models[1]["b"]])
    assert 0 < np.linalg.norm(flat) <= 0.2501
    assert run.models[1]["n"] == 9, "the clip spares integers"


# -- who is left out --------------------------------------------------------------------------


def multiplied(monkeypatch: pytest.MonkeyPatch, party: int, factor: int) -> None:
    """That client submits so many times its clipped update; its weight is true."""
    encode = ClientRound.encode

    def encoded(self: ClientRound, tree: Any, weight: int) -> Any:
        vector = encode(self, tree, weight)
        if self.me == party:
            vector[1:] *= vector.dtype.type(factor)
        return vector

    monkeypatch.setattr(ClientRound, "encode", encoded)


@pytest.mark.parametrize("screen", [SketchScreen(rows=64), NormScreen(rows=64)])
def test_a_client_that_ignores_the_clip_is_left_out_and_the_rest_is_exact(
    screen: Any,
    screened: Run,
    screened_grid: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    multiplied(monkeypatch, 3, 100)
    run = screened(screened_grid(trained), MODEL, rounds=2, screen=screen)
    assert not run.strategy.failures
    check_mean(run.models[1], EVERYBODY - {3})
    check_mean(run.models[2], EVERYBODY - {3}, run.models[1])
    for report in run.strategy.reports.values():
        assert (report.included, report.refused) == (EVERYBODY - {3}, {3})
    assert "beyond the bounds, and left out: [3]" in caplog.text


def test_a_client_just_within_the_clip_is_not(
    screened: Run, screened_grid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive twin: the bound is 4, and no update is longer than 1.4."""
    multiplied(monkeypatch, 3, 2)
    run = screened(screened_grid(trained), MODEL)
    assert run.strategy.reports[1].included == EVERYBODY
    assert not run.strategy.reports[1].refused


def test_a_judge_excludes_a_client(
    screened: Run, screened_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Observation] = []

    def judge(observation: Observation) -> set[int]:
        seen.append(observation)
        return {5}

    run = screened(screened_grid(trained), MODEL, rounds=3, options={"judge": judge})
    assert run.strategy.verdicts == {number: {5} for number in (1, 2, 3)}
    for number, report in run.strategy.reports.items():
        check_mean(run.models[number], EVERYBODY - {5}, run.models[number - 1])
        assert report.refused == {5}
    assert [observation.number for observation in seen] == [1, 2, 3]
    assert "client 5 is left out by the judge" in caplog.text


def test_a_judge_sees_sketches_of_the_updates_and_of_what_is_public(
    screened: Run, screened_grid: Any
) -> None:
    """Norms and cosines come out to about 1/sqrt(rows); known are the last six means, the model,
    and the one integer.
    """
    seen: list[Sketches] = []

    def judge(observation: Observation) -> set[int]:
        assert isinstance(observation, Sketches)
        seen.append(observation)
        return set()

    def root(model: Arrays) -> Arrays:
        return {"w": change(2), "b": np.full(3, 0.25), "n": np.array(2)}

    def classes(model: Arrays) -> list[Arrays]:
        assert list(model) == list(MODEL)
        return [root(model), {name: 0 * array for name, array in model.items()}]

    run = screened(
        screened_grid(trained),
        MODEL,
        rounds=8,
        options={"judge": judge, "root": root, "classes": classes},
        screen=SketchScreen(rows=75),
    )
    assert not run.strategy.failures
    assert [len(each.public.known) for each in seen] == [2, 3, 4, 5, 6, 7, 8, 8]
    third = seen[2]
    true = [np.sqrt(1 + 3 * (party / 8) ** 2) for party in range(1, 9)]
    np.testing.assert_allclose(third.norms, true, rtol=0.5)
    assert third.public.root is not None
    assert third.public.classes is not None
    # the second client's own update but for its integers; the model has another direction
    apart = np.linalg.norm(third.rows[1] - third.public.root)
    assert apart < 0.1
    np.testing.assert_allclose(third.public.classes[0], third.public.root)
    assert not third.public.classes[1].any()
    models = run.models
    moved = np.concatenate([(models[2][name] - models[1][name]).ravel() for name in ("w", "b")])
    assert np.linalg.norm(third.public.known[1]) == pytest.approx(np.linalg.norm(moved), rel=0.4)


def test_a_norm_screen_shows_norms_only(screened: Run, screened_grid: Any) -> None:
    seen: list[Observation] = []

    def judge(observation: Observation) -> set[int]:
        seen.append(observation)
        return set()

    screened(screened_grid(trained), MODEL, options={"judge": judge}, screen=NormScreen())
    assert [type(each) for each in seen] == [Norms]


@pytest.mark.parametrize("kind", [Cascade, lambda: Screening(Cascade())])
def test_the_cascade_of_robust_finds_copies(
    kind: Any, screened: Run, screened_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Two clients that send one update under two names."""

    def train(party: int, model: Arrays) -> Local:
        """What is common to all is of this round: what was common before is public."""
        number = int(model["r"])
        common = np.random.default_rng([99, number]).normal(size=(64, 64)) / 64
        own = np.random.default_rng([min(party, 7), number]).normal(size=(64, 64)) / 64
        step = np.asarray(common + 0.6 * own, np.float32)
        return Local({"w": model["w"] + step, "r": model["r"] + 1}, {}, 1)

    model = {"w": np.zeros((64, 64), np.float32), "r": np.array(0)}
    run = screened(
        screened_grid(train),
        model,
        rounds=3,
        options={"judge": kind()},
        screen=SketchScreen(rows=256),
    )
    assert not run.strategy.failures
    verdicts = run.strategy.verdicts[3]
    assert isinstance(verdicts, Verdicts)
    assert set(verdicts.excluded) == {7, 8}
    assert [found.number for found in run.strategy.verdicts.values()] == [1, 2, 3]
    assert run.strategy.reports[3].refused == {7, 8}
    reason = verdicts.by_client[8].reasons[0].in_words
    assert f"client 8 is left out: {reason}" in caplog.text


def test_a_judge_that_leaves_too_few_fails_the_round_only(
    screened: Run, screened_grid: Any
) -> None:
    def judge(observation: Observation) -> set[int]:
        return {1, 2, 3} if observation.number == 1 else set()

    run = screened(screened_grid(trained), MODEL, rounds=2, options={"judge": judge})
    error = run.strategy.failures.pop(1)
    assert isinstance(error, Aborted)
    assert "3 clients are excluded" in str(error)
    assert not run.strategy.failures
    np.testing.assert_array_equal(run.models[1]["w"], MODEL["w"])
    check_mean(run.models[2], EVERYBODY)
    assert run.strategy.verdicts == {1: {1, 2, 3}, 2: frozenset()}


@pytest.mark.parametrize("returned", [None, 5, {"5"}, [None]])
def test_a_judge_that_returns_no_ids_ends_the_run(
    returned: Any, screened: Run, screened_grid: Any
) -> None:
    with pytest.raises(ParameterError, match="a judge returns a collection of client ids"):
        screened(screened_grid(trained), MODEL, options={"judge": lambda seen: returned})


def test_a_judge_needs_a_screen(screened: Run, screened_grid: Any) -> None:
    grid = screened_grid(trained)
    with pytest.raises(ParameterError, match="a judge needs a plan with a screen"):
        screened(grid, MODEL, options={"judge": Screening(Cascade())}, screen=None)
    for name in ("root", "classes"):
        with pytest.raises(ParameterError, match="for a judge, and there is none"):
            screened(grid, MODEL, options={name: lambda model: model})


# -- liars ------------------------------------------------------------------------------------


def lying(monkeypatch: pytest.MonkeyPatch, party: int, about: Callable[[int, int], bool]) -> None:
    """That client says something false of its masks with those peers, itself for the self mask."""
    values = VerifiedClient._values

    def said(self: VerifiedClient, state: Any, screen: bytes, uploads: list[int]) -> Any:
        table = values(self, state, screen, uploads)
        if self.me != party:
            return table
        width = self._params.width // 8
        rows = {
            peer: np.frombuffer(cell, f"u{width}").copy()
            for peer, cell in table.by_peer("value").items()
        }
        for peer, row in rows.items():
            if about(self.me, peer):
                row[-1] += row.dtype.type(5)
        return self._params.values(rows)

    monkeypatch.setattr(VerifiedClient, "_values", said)


def test_a_lie_about_a_common_mask_is_disputed_and_proven(
    screened: Run,
    screened_grid: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lying(monkeypatch, 3, lambda me, peer: peer == 1)
    grid = screened_grid(trained)
    run = screened(grid, MODEL)
    assert stages(grid) == [*HONEST[:4], "dispute", *HONEST[4:]]
    assert grid.exchanges[4] == ["dispute"] * 2, "only the two that disagree"
    check_mean(run.models[1], EVERYBODY - {3})
    (proof,) = run.strategy.proofs[1]
    assert (proof.peer, len(proof.proof) > 64) == (3, True)
    assert "FraudProven(peer=3" in caplog.text
    assert run.strategy.reports[1].exchanges == 7


def test_a_lie_about_its_own_mask_is_found_at_the_end_and_struck(
    screened: Run, screened_grid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(monkeypatch, 3, lambda me, peer: peer == me)
    grid = screened_grid(trained)
    run = screened(grid, MODEL, rounds=2)
    assert not run.strategy.failures
    assert stages(grid) == [*HONEST, "strike"] * 2
    check_mean(run.models[1], EVERYBODY - {3})
    assert [proof.peer for proof in run.strategy.proofs[1]] == [3]
    assert 3 in run.strategy.reports[1].refused


@pytest.mark.parametrize("liar_stage", ["dispute", "strike"])
def test_a_node_lost_in_an_exchange_for_liars(
    liar_stage: str, screened: Run, screened_grid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(monkeypatch, 3, lambda me, peer: peer == (1 if liar_stage == "dispute" else me))
    grid = screened_grid(trained)
    grid.intercept = losing(liar_stage, 1)
    run = screened(grid, MODEL)
    assert not run.strategy.failures
    # asked for the secret and silent, it is as good as gone; its shares of a key are only one
    summed = EVERYBODY - ({1, 3} if liar_stage == "dispute" else {3})
    check_mean(run.models[1], summed)


# -- who is lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", HONEST)
@pytest.mark.parametrize("kind", ["lost", "late"])
def test_a_node_lost_at_any_stage(stage: str, kind: str, screened: Run, screened_grid: Any) -> None:
    grid = screened_grid(trained)
    taken = [True]

    def first(at: str, message: Any) -> Any:
        nodes = (message.metadata.dst_node_id, message.metadata.src_node_id)
        if at == stage and node(2) in nodes and taken:
            taken.clear()
            return None
        return message

    if kind == "lost":
        grid.intercept = first
    else:
        grid.on_reply = first
    rounds = 2 if kind == "lost" else 1
    run = screened(grid, MODEL, rounds=rounds)
    assert not taken
    assert not run.strategy.failures
    summed = EVERYBODY if stage in ("consent", "unmask") else EVERYBODY - {2}
    check_mean(run.models[1], summed)
    check_mean(run.models[rounds], summed if rounds == 1 else EVERYBODY, run.models[rounds - 1])
    assert not run.strategy.reports[1].refused


@pytest.mark.parametrize("stage", HONEST)
def test_too_many_losses_release_nothing_and_the_next_round_works(
    stage: str, screened: Run, screened_grid: Any
) -> None:
    grid = screened_grid(trained)
    lose, lost = losing(stage, 1, 2, 3), []

    def first_round(at: str, message: Any) -> Any:
        kept = lose(at, message) if len(lost) < 3 else message
        lost.extend([at] if kept is None else [])
        return kept

    grid.intercept = first_round
    run = screened(grid, MODEL, rounds=2)
    assert isinstance(run.strategy.failures.pop(1), Aborted)
    assert not run.strategy.failures
    np.testing.assert_array_equal(run.models[1]["w"], MODEL["w"])
    check_mean(run.models[2], EVERYBODY)


def test_a_training_that_fails_is_a_loss(screened: Run, screened_grid: Any) -> None:
    def train(party: int, model: Arrays) -> Local:
        if party == 4:
            raise ZeroDivisionError("no example")
        return trained(party, model)

    run = screened(screened_grid(train), MODEL, rounds=2)
    check_mean(run.models[1], EVERYBODY - {4})
    check_mean(run.models[2], EVERYBODY - {4}, run.models[1])


@pytest.mark.parametrize("stage", HONEST[1:])
def test_a_restarted_node_is_lost_and_comes_back(
    stage: str, screened: Run, screened_grid: Any
) -> None:
    """Its journal is there and its state is not: it takes no other step of the round."""
    grid = screened_grid(trained)
    met: list[str] = []

    def restarted(at: str, message: Any) -> Any:
        if at == stage and message.metadata.dst_node_id == node(2) and not met:
            met.append(at)
            grid.restart(node(2), node(2))
        return message

    grid.intercept = restarted
    run = screened(grid, MODEL, rounds=2)
    assert not run.strategy.failures
    check_mean(run.models[1], EVERYBODY if stage in ("consent", "unmask") else EVERYBODY - {2})
    check_mean(run.models[2], EVERYBODY, run.models[1])
    lost = "round 1 is not screened here: the state is stale, lost, or used already"
    assert set(reasons(grid)) == {f"LocalProtocolError: {lost}"}


# -- what a client allows ---------------------------------------------------------------------


def test_a_client_that_opens_nothing_refuses_with_a_fixed_text(
    screened: Run, screened_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    parties: list[int] = []

    def train(party: int, model: Arrays) -> Local:
        parties.append(party)
        return trained(party, model)

    grid = screened_grid(train)
    grid.contexts[node(6)].node_config["secagg-floor-opened"] = 64  # the plan opens a weight too
    run = screened(grid, MODEL)
    check_mean(run.models[1], EVERYBODY - {6})
    assert reasons(grid) == [OPENED]
    assert 6 not in parties
    assert "a plan opens 65 numbers of each update, 64 allowed" in caplog.text


def test_unless_it_says_so_a_client_opens_nothing(screened: Run, screened_grid: Any) -> None:
    grid = screened_grid(trained)
    for context in grid.contexts.values():
        del context.node_config["secagg-floor-opened"]
    run = screened(grid, MODEL)
    assert isinstance(run.strategy.failures[1], Aborted)
    assert reasons(grid) == [OPENED] * 8
    assert stages(grid) == ["adverts"]


def test_a_ledger_of_what_was_opened_ends_a_client(
    screened: Run, screened_grid: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    parties: list[int] = []

    def train(party: int, model: Arrays) -> Local:
        parties.append(party)
        return trained(party, model)

    grid = screened_grid(train)
    limit = {"secagg-most-opened": 2 * 65, "secagg-leakage": str(tmp_path / "leakage")}
    grid.contexts[node(6)].node_config.update(limit)
    run = screened(grid, MODEL, rounds=3)
    included = [report.included for report in run.strategy.reports.values()]
    assert included == [EVERYBODY, EVERYBODY, EVERYBODY - {6}]
    assert parties.count(6) == 2
    assert reasons(grid) == [SPENT]
    assert "130 numbers were opened" in caplog.text
    # another server, another session, and a node that has lost everything but the file
    grid.restart(node(6), node(6))
    run = screened(grid, MODEL)
    assert run.strategy.reports[1].included == EVERYBODY - {6}
    assert parties.count(6) == 2


def test_what_is_opened_is_on_the_disk_before_the_update_leaves(
    screened: Run, screened_grid: Any, tmp_path: Any
) -> None:
    grid = screened_grid(trained, **{"secagg-most-opened": 65})
    for party in EVERYBODY:
        path = str(tmp_path / f"leakage-{party}")
        grid.contexts[node(party)].node_config["secagg-leakage"] = path
    spent: list[int] = []

    def left(stage: str, reply: Any) -> Any:
        if stage in ("shares", "train"):
            spent.append(LeakageFile(tmp_path / "leakage-1", most=65).spent)
        return reply

    grid.on_reply = left
    screened(grid, MODEL, inner=FedAvg(fraction_evaluate=0.0))
    assert spent == [0] * 8 + [65] * 8


def test_a_plan_with_too_many_rows_for_the_model_is_named(
    screened: Run, screened_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "flwr")
    screen = SketchScreen(rows=76)  # of 604 coordinates
    run = screened(screened_grid(trained), MODEL, screen=screen)
    error = run.strategy.failures[1]
    assert isinstance(error, ParameterError)
    assert "8 * numbers opened <= d = 604 must hold, got 608" in str(error)


def test_the_summary_says_what_is_opened(
    screened: Run, screened_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flwr")
    screened(screened_grid(trained), MODEL).strategy.summary()
    assert "Secure aggregation (six exchanges a round):" in caplog.text
    assert "Opened of each update: SketchScreen(rows=64, " in caplog.text
    caplog.clear()
    screened(screened_grid(trained), MODEL, screen=None).strategy.summary()
    assert "Secure aggregation (two exchanges a round, the first three):" in caplog.text
    assert "Opened" not in caplog.text


# -- metrics, weights and what is left behind -------------------------------------------------


def fresh(party: int, model: Arrays, *, loss: float = 2.5) -> Local:
    """Small updates, half of which all have in common in a round; a loss like everybody's."""
    number = int(np.abs(model["w"]).sum() * 1e6) % 1000  # another direction in every round
    common = np.random.default_rng(number).normal(size=MODEL["w"].shape)
    own = np.random.default_rng([number, party]).normal(size=MODEL["w"].shape)
    step = common + own
    arrays = {**model, "w": model["w"] + 0.3 * step / np.linalg.norm(step)}
    typed = {name: np.asarray(array, MODEL[name].dtype) for name, array in arrays.items()}
    return Local(typed, {"loss": loss + party / 100}, 10)


def test_metrics_do_not_make_honest_clients_look_alike(screened: Run, screened_grid: Any) -> None:
    """Under the clip a metric is as heavy as an update at the bound, and these are far within."""
    options = {"judge": Screening(Cascade(rounds=20))}
    run = screened(screened_grid(fresh), MODEL, rounds=3, options=options, metrics={"loss": 4.0})
    assert not run.strategy.failures
    for report in run.strategy.reports.values():
        assert report.included == EVERYBODY


def test_a_metric_is_no_evidence_of_training(screened: Run, screened_grid: Any) -> None:
    """A client that changes nothing, and reports a loss like everybody's."""

    def trains(party: int, model: Arrays) -> Local:
        local = fresh(party, model)
        return Local(dict(model), local.metrics, local.weight) if party == 3 else local

    options = {"judge": Screening(Cascade(rounds=20))}
    run = screened(screened_grid(trains), MODEL, rounds=9, options=options, metrics={"loss": 4.0})
    assert not run.strategy.failures
    assert 3 in run.strategy.reports[9].refused
    assert run.strategy.reports[9].refused <= {3}


def test_what_an_optimizer_makes_of_the_mean_is_public_history(
    screened: Run, screened_grid: Any
) -> None:
    """Client 3 has no data: it sends the last change of the model, which no mean of FedAdam is."""
    models: list[Arrays] = []
    found: list[tuple[int, np.ndarray]] = []

    def train(party: int, model: Arrays) -> Local:
        if party == 1:
            models.append(model)
        if party != 3 or len(models) < 2:
            return trained(party, model)
        step = {name: model[name] + (model[name] - models[-2][name]) for name in model}
        typed = {name: np.asarray(array, MODEL[name].dtype) for name, array in step.items()}
        return Local(typed, {}, 30)

    def judge(seen: Observation) -> set[int]:
        assert isinstance(seen, Sketches)
        left = residuals(seen.rows, orthonormal(seen.public.known))
        shares = np.linalg.norm(left, axis=1) / np.linalg.norm(seen.rows, axis=1)
        found.append((len(seen.public.known), shares))
        return set()

    inner = FedAdam(fraction_evaluate=0.0, tau=1e-9)
    model = {**MODEL, "w": np.float32(change(99))}
    run = screened(screened_grid(train), model, rounds=2, inner=inner, options={"judge": judge})
    assert not run.strategy.failures
    for _, shares in found[1:]:
        assert shares[2] < 1e-2
        assert np.delete(shares, 2).min() > 0.2
    # a mean and a change for each round before, the model and its integer
    assert [known for known, _ in found] == [2, 4]
    found.clear()
    screened(screened_grid(trained), MODEL, rounds=2, options={"judge": judge})
    assert [known for known, _ in found] == [2, 3], "FedAvg applies the mean"


def test_a_screening_goes_on_in_another_run(screened: Run, screened_grid: Any) -> None:
    first = Screening(Cascade(rounds=20))
    screened(screened_grid(fresh), MODEL, rounds=2, options={"judge": first})
    again = Screening.load(first.cascade, first.export())
    run = screened(screened_grid(fresh), MODEL, rounds=2, options={"judge": again})
    assert not run.strategy.failures
    assert again.last == first.last + 2


def test_too_many_side_values_for_a_sketch_are_refused() -> None:
    names = {f"m{number}": 1.0 for number in range(9)}
    with pytest.raises(ParameterError, match="8 \\* side <= rows"):
        SecurePlan(clip=NormClip(1.0), max_weight=1, screen=SketchScreen(rows=64), metrics=names)
    names.popitem()
    SecurePlan(clip=NormClip(1.0), max_weight=1, screen=SketchScreen(rows=64), metrics=names)


def test_a_weight_of_another_name_is_refused(screened: Run, screened_grid: Any) -> None:
    """It would be opened, exactly, whatever it is."""
    inner = FedAvg(fraction_evaluate=0.0, weighted_by_key="positives")
    grid = screened_grid(trained)
    run = screened(grid, MODEL, inner=inner)
    assert run.strategy.failures
    assert all("another metric than this client's own" in reason for reason in reasons(grid))
    own = screened_grid(trained, **{"secagg-weight": "positives"})
    assert screened(own, MODEL, inner=inner).strategy.failures  # the app reports num-examples
    assert not any("another metric than this client's own" in reason for reason in reasons(own))
