"""Suspected triggers are unlearned in Flower: what comes out, what is said of it, what fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'secagg[torch]'")

import torch
from flwr.serverapp.strategy import FedAdam, FedAvg
from torch import nn

from protocols.adapters.flower import SecureAggregation
from protocols.audit_rounds import AuditRounds
from protocols.federation.model import Network, Training
from protocols.federation.model_torch import TorchModel
from protocols.federation.testing import clustered
from protocols.federation.unlearning import Unlearned, Unlearning
from protocols.screening import GroupScreen, NormScreen, SketchScreen
from protocols.testing import Arrays, Local, Train
from robust.attacks.attack import Examples
from robust.attacks.trigger import Trigger
from robust.errors import ObservationError
from robust.observe import Array, Pulls
from robust.triggers import Suspect, TriggerSearch
from secagg.errors import Aborted, InputRefused, IntegrityError, ParameterError
from secagg.quantize import NormClip
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified
from secagg.schemes.secagg_plus.verified.client import VerifiedClient
from secagg.testing import SeededRand

FEATURES, CLASSES, CLIENTS, ATTACKERS = 12, 3, 8, 3
NETWORK = Network(inputs=FEATURES, hidden=64, classes=CLASSES)
TRIGGER = Trigger(indices=(1, 6, 9), value=5.0, target=2)
SCREEN = SketchScreen(rows=128, tables=4, buckets=1 << 10)
NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")
Run = Callable[..., Any]


class Data(NamedTuple):
    root: Examples
    test: Examples
    cohort: tuple[Examples, ...]


@cache
def data() -> Data:
    rng = np.random.default_rng(0)
    drawn = clustered(FEATURES, CLASSES, rng)
    root, test = drawn(60), drawn(600)
    cohort = [drawn(90) for _ in range(CLIENTS)]
    cohort[:ATTACKERS] = [TRIGGER.planted(one, 0.5, rng) for one in cohort[:ATTACKERS]]
    return Data(root, test, tuple(cohort))


def module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def model() -> dict[str, np.ndarray]:
    return {name: each.numpy().copy() for name, each in module().state_dict().items()}


def in_numpy(arrays: Arrays) -> Array:
    """In the order of `Network`, whose matrices stand the other way."""
    return np.concatenate([arrays[name].astype(np.float64).T.ravel() for name in NAMES])


def trained(party: int, arrays: Arrays) -> Local:
    """Fifteen steps of SGD on the client's examples; those of the first three have the trigger."""
    weights = in_numpy(arrays)
    training, seed = Training(steps=15), int(1e6 * abs(weights[0]))
    streams = [np.random.default_rng([seed, party])]
    (row,) = NETWORK.trained(weights, [data().cohort[party - 1]], training, streams)
    parts = [(weights + row)[part] for part in NETWORK.layers.values()]
    shapes = [arrays[name].T.shape for name in NAMES]
    after = [part.reshape(shape).T for part, shape in zip(parts, shapes, strict=True)]
    found = {name: np.asarray(each, np.float32) for name, each in zip(NAMES, after, strict=True)}
    return Local(found, {"loss": party / 4}, 10)


def mean_of_all(arrays: Arrays) -> dict[str, np.ndarray]:
    """What a round in the clear makes of the model."""
    sent = [trained(party, arrays).arrays for party in range(1, CLIENTS + 1)]
    means = {name: np.mean([one[name] for one in sent], axis=0) for name in NAMES}
    return {name: np.asarray(each, np.float32) for name, each in means.items()}


def success(arrays: Arrays) -> float:
    return NETWORK.attack_success(in_numpy(arrays), data().test, TRIGGER)


def accuracy(arrays: Arrays) -> float:
    return NETWORK.accuracy(in_numpy(arrays), data().test)


def unlearning_of(kind: type[Unlearning] = Unlearning, **options: Any) -> Unlearning:
    return kind(model=TorchModel(module(), shape=(FEATURES,)), root=data().root, **options)


class Shifting(Unlearning):
    """What comes of a round is the model, and a quarter. It notes what it is given."""

    looks: list[int]
    given: Array

    def look(self, *given: Any, **place: Any) -> None:
        super().look(*given, **place)
        self.looks = [*getattr(self, "looks", []), self.last]

    def mended(self, weights: Array, rng: np.random.Generator) -> Unlearned:
        self.given = weights
        return Unlearned(weights=weights + 0.25, suspects=(), commanded=())


class Recording(TriggerSearch):
    """Finds what the usual one does, and keeps of what."""

    past: list[tuple[Pulls, ...]]

    def suspects(self, seen: Sequence[Pulls]) -> tuple[Suspect, ...]:
        object.__setattr__(self, "past", [*getattr(self, "past", []), tuple(seen)])
        return super().suspects(seen)


def suspect(score: float, *clients: int, sign: int = 1) -> Suspect:
    return Suspect(features=(1, 4), signs=(1, sign), target=2, score=score, clients=clients)


@pytest.fixture
def start(screened: Run, screened_grid: Any) -> Run:
    """Rounds of the model here; `unlearning` None for none."""

    def started(
        unlearning: Unlearning | None,
        *,
        rounds: int = 1,
        grid: Any = None,
        options: dict[str, Any] | None = None,
        **terms: Any,
    ) -> Any:
        return screened(
            grid or screened_grid(trained),
            terms.pop("model", None) or model(),
            rounds=rounds,
            options={"unlearning": unlearning, **(options or {})},
            clip=NormClip(6.0),
            screen=terms.pop("screen", SCREEN),
            **terms,
        )

    return started


# -- what comes out ---------------------------------------------------------------------------


def test_a_backdoor_that_succeeds_without_it_does_not_with_it(
    start: Run,
    screened_grid: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And clients open no number more: these allow 129 of each update, which the plan opens.

    Maps and batches are the same in each run of the test: how soon a trigger is found is chance.
    """
    drawn, maps = SecAggPlusVerified.opened_map, dict[bytes, bytes]()

    def repeated(scheme: SecAggPlusVerified, seed: bytes) -> Any:
        return drawn(scheme, maps.setdefault(seed, bytes([len(maps)]) * 32))

    monkeypatch.setattr(SecAggPlusVerified, "opened_map", repeated)
    clear = [model()]
    for _ in range(4):
        clear.append(mean_of_all(clear[-1]))
    grids = [screened_grid(trained, **{"secagg-floor-opened": 129}) for _ in range(2)]
    plain = start(None, grid=grids[0])
    for name, array in plain.models[1].items():
        np.testing.assert_allclose(array, clear[1][name], atol=1e-5)
    assert success(clear[4]) > 0.8
    seeded = {"rand": SeededRand("mending")}
    mended = start(unlearning_of(), rounds=4, grid=grids[1], options=seeded)
    assert not mended.strategy.failures
    assert success(mended.models[4]) < 0.2
    assert accuracy(mended.models[4]) > accuracy(clear[4]) - 0.05
    assert grids[1].exchanges == 4 * grids[0].exchanges
    reports = mended.strategy.reports
    assert {(1, 6, 9)} <= {one.features for each in reports.values() for one in each.unlearned}
    for number, report in reports.items():
        assert mended.metrics[number]["secagg.unlearned"] == len(report.unlearned)
        assert report.received == pytest.approx(plain.strategy.reports[1].received, rel=0.01)
        assert not report.refused, "nobody is accused"
    assert "unlearned: features 1 large, 6 large, 9 large commanded class 2, score" in caplog.text
    assert {each.dtype for each in mended.models[4].values()} == {np.dtype(np.float32)}
    assert "secagg.unlearned" not in plain.metrics[1]
    assert not plain.strategy.reports[1].unlearned


def test_integers_metrics_and_buffers_stay_what_they_are(screened: Run, screened_grid: Any) -> None:
    """A model with a normalization layer, whose running means are mended around, not away."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(FEATURES, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))
    arrays = {name: each.numpy().copy() for name, each in net.state_dict().items()}
    wrapped = TorchModel(net, shape=(FEATURES,))

    def train(party: int, given: Arrays) -> Local:
        weights = np.concatenate([given[name].ravel() for name in wrapped.layers])
        own = data().cohort[party - 1]
        for _ in range(5):
            weights = wrapped.step(weights, own.inputs, np.eye(3)[own.labels], 0.5)
        found = {name: given[name].copy() for name in given}
        for name, part in wrapped.layers.items():
            found[name] = np.asarray(weights[part].reshape(given[name].shape), np.float32)
        found["1.running_mean"] = found["1.running_mean"] + np.float32(0.125)
        found["1.num_batches_tracked"] = given["1.num_batches_tracked"] + 5
        return Local(found, {"loss": party / 4}, 10)

    search: Any = Recording()
    unlearning = Unlearning(model=wrapped, root=data().root, search=search)
    run = screened(
        screened_grid(train), arrays, rounds=2, options={"unlearning": unlearning},
        clip=NormClip(20.0), metrics={"loss": 9.0}, screen=SCREEN,
    )  # fmt: skip
    assert not run.strategy.failures
    assert run.models[2]["1.num_batches_tracked"] == 10
    np.testing.assert_allclose(run.models[2]["1.running_mean"], 0.25, atol=1e-4)
    assert run.metrics[2]["loss"] == pytest.approx(9 / 8, abs=1e-3)
    check_pulls(search.past[0][0], wrapped, arrays, train)
    labels = wrapped.probabilities(wrapped.flat(_state(run.models[2])), data().test.inputs)
    assert (labels.argmax(axis=1) == data().test.labels).mean() > 0.9


def check_pulls(found: Pulls, wrapped: TorchModel, arrays: Arrays, train: Train) -> None:
    """Those of the first round are those of what was sent, up to what a sketch adds."""
    start = wrapped.flat(_state(arrays))
    parties = range(1, CLIENTS + 1)
    sent = np.stack([wrapped.flat(_state(train(one, arrays).arrays)) - start for one in parties])
    classes = Unlearning(model=wrapped, root=data().root).classes(start)
    rest = sent - np.linalg.lstsq(classes.T, sent.T, rcond=None)[0].T @ classes
    due = wrapped.pulls(start, data().root.inputs, rest)[:, :-1]
    noise = np.linalg.norm(rest, axis=1) / np.sqrt(SCREEN.rows)
    assert 0.5 < np.sqrt((((found.pulls - due) / noise[:, None, None]) ** 2).mean()) < 1.5


def _state(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(each) for name, each in arrays.items()}


@pytest.mark.parametrize("inner", [FedAvg, FedAdam])
def test_the_model_is_what_was_mended_whatever_the_optimizer(
    inner: type[FedAvg], start: Run
) -> None:
    shifting: Any = unlearning_of(Shifting)
    run = start(shifting, inner=inner(fraction_evaluate=0.0))
    mean = np.concatenate([each.ravel() for each in mean_of_all(model()).values()])
    apart = float(np.abs(shifting.given - mean).max())
    assert apart < 1e-5 if inner is FedAvg else apart > 0.01
    released = np.concatenate([each.ravel() for each in run.models[1].values()])
    np.testing.assert_allclose(released, shifting.given + 0.25, atol=1e-6)
    begun = np.concatenate([each.ravel() for each in model().values()])
    np.testing.assert_allclose(shifting.own, begun, atol=1e-7)


def test_what_commanded_is_reported_and_names_nobody(
    start: Run, caplog: pytest.LogCaptureFixture
) -> None:
    found = (suspect(30.0, 5), suspect(9.5, 6, sign=-1))

    class Found(Shifting):
        def mended(self, weights: Array, rng: np.random.Generator) -> Unlearned:
            return Unlearned(weights=weights, suspects=found, commanded=found)

    with caplog.at_level(logging.INFO):
        run = start(unlearning_of(Found))
    assert run.strategy.reports[1].unlearned == found
    assert run.metrics[1]["secagg.unlearned"] == 2
    said = [record.message for record in caplog.records if "unlearned:" in record.message]
    assert said == [
        "secagg: unlearned: features 1 large, 4 large commanded class 2, score 30.0",
        "secagg: unlearned: features 1 large, 4 small commanded class 2, score 9.5",
    ]
    assert "Suspected triggers are unlearned (experimental)" in caplog.text


def test_patterns_are_drawn_from_the_server_s_randomness(start: Run) -> None:
    """Two runs unlearn with other batches, as clients must not know them before."""
    drawn: list[float] = []

    class Drawing(Shifting):
        def mended(self, weights: Array, rng: np.random.Generator) -> Unlearned:
            drawn.append(rng.random())
            return super().mended(weights, rng)

    start(unlearning_of(Drawing))
    start(unlearning_of(Drawing))
    assert len(set(drawn)) == 2


# -- rounds that are lost or left out ---------------------------------------------------------


@pytest.mark.parametrize("lost_in", ["train", "consent"])
def test_a_round_without_enough_clients_changes_nothing_and_the_next_goes_on(
    lost_in: str, start: Run, screened_grid: Any
) -> None:
    """Also where they are lost when the sketches are known: those of no sum are not looked at."""
    lost = {1000 + 7 * party for party in (1, 2, 3, 4)}
    failing = [True]

    def intercept(stage: str, message: Any) -> Any:
        gone = failing[0] and stage == lost_in and message.metadata.dst_node_id in lost
        return None if gone else message

    grid = screened_grid(trained)
    grid.intercept = intercept
    shifting: Any = unlearning_of(Shifting)

    class Healing(FedAvg):
        def configure_train(self, number: int, *given: Any) -> Any:
            failing[0] = number == 1
            return super().configure_train(number, *given)

    run = start(shifting, grid=grid, rounds=2, inner=Healing(fraction_evaluate=0.0))
    assert isinstance(run.strategy.failures.pop(1), Aborted)
    assert not run.strategy.failures
    for name, array in model().items():
        np.testing.assert_array_equal(run.models[1][name], array)
        assert np.abs(run.models[2][name] - array).min() > 0.01
    assert shifting.looks == [2]


def test_whom_a_judge_leaves_out_is_not_looked_at(start: Run) -> None:
    """It teaches the model nothing, and could only have something unlearned."""
    search: Any = Recording()
    judged = {"judge": lambda seen: {1, 2}}
    run = start(unlearning_of(search=search), rounds=2, options=judged)
    assert run.strategy.reports[2].refused == {1, 2}
    assert [[one.number for one in each] for each in search.past] == [[1], [1, 2]]
    assert search.past[1][1].clients == tuple(range(3, CLIENTS + 1))


def lying_of_its_own_mask(monkeypatch: pytest.MonkeyPatch, party: int) -> None:
    """What it then has opened as its sketch is no sketch of what it sends."""
    values = VerifiedClient._values

    def said(self: VerifiedClient, *given: Any) -> Any:
        table = values(self, *given)
        if self.me != party:
            return table
        width = self._params.width // 8
        cells = table.by_peer("value")
        rows = {peer: np.frombuffer(cell, f"u{width}").copy() for peer, cell in cells.items()}
        rows[party][-1] += rows[party].dtype.type(5)
        return self._params.values(rows)

    monkeypatch.setattr(VerifiedClient, "_values", said)


def test_who_turns_out_to_have_lied_is_not_looked_at(
    start: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted, and is not in the sum: what it made up would stay for a window."""
    lying_of_its_own_mask(monkeypatch, 3)
    search: Any = Recording()
    run = start(unlearning_of(search=search))
    assert not run.strategy.failures
    assert [proof.peer for proof in run.strategy.proofs[1]] == [3]
    included = run.strategy.reports[1].included
    assert included == set(range(1, CLIENTS + 1)) - {3}
    assert search.past[0][0].clients == tuple(sorted(included))


def test_audit_rounds_are_not_looked_at_and_not_mended(start: Run, screened_grid: Any) -> None:
    shifting: Any = unlearning_of(Shifting)
    grid = screened_grid(trained, **{"secagg-most-audit": 1.0})
    judged = {"judge": lambda seen: set()}
    run = start(shifting, rounds=2, grid=grid, audit=AuditRounds(every=2), options=judged)
    assert not run.strategy.failures
    audits = [report.audit for report in run.strategy.reports.values()]
    assert audits == [False, True]
    assert shifting.looks == [1]
    assert "secagg.unlearned" in run.metrics[2]
    for name, array in run.models[1].items():
        np.testing.assert_array_equal(run.models[2][name], array)


def test_a_strategy_that_starts_again_goes_on_with_the_window(start: Run) -> None:
    """A session counts from 1 again; the rounds of the holder ascend all the same."""
    shifting: Any = unlearning_of(Shifting)
    start(shifting, rounds=2)
    start(shifting)
    assert shifting.looks == [1, 2, 3]


# -- what is refused --------------------------------------------------------------------------


def test_a_round_that_cannot_be_looked_at_or_mended_fails_by_name(start: Run) -> None:
    class Blind(Shifting):
        def look(self, *given: Any, **place: Any) -> None:
            super().look(*given, **place)
            if self.last == 1:
                raise ObservationError("gradients of the model on the root set must be finite")

    class Stuck(Shifting):
        def mended(self, weights: Array, rng: np.random.Generator) -> Unlearned:
            if self.last == 1:
                raise ObservationError("mended weights must be finite and (1027,)")
            return super().mended(weights, rng)

    for kind, error, text in (
        (Blind, IntegrityError, "unlearning sees nothing: gradients"),
        (Stuck, IntegrityError, "the model cannot be mended: mended weights"),
    ):
        run = start(unlearning_of(kind), rounds=2)
        failed = run.strategy.failures.pop(1)
        assert isinstance(failed, error)
        assert text in str(failed)
        assert not run.strategy.failures
        for name, array in model().items():
            np.testing.assert_array_equal(run.models[1][name], array)
            assert np.abs(run.models[2][name] - array).max() > 0.1


def test_an_inner_strategy_whose_model_is_not_finite_is_not_mended(start: Run) -> None:
    class Broken(FedAvg):
        def aggregate_train(self, number: int, replies: Any) -> Any:
            arrays, metrics = super().aggregate_train(number, replies)
            if number == 1:
                array = arrays["0.bias"].numpy().copy()
                array[0] = np.nan
                arrays["0.bias"] = type(arrays["0.bias"])(array)
            return arrays, metrics

    run = start(unlearning_of(), inner=Broken(fraction_evaluate=0.0), rounds=2)
    assert "not finite" in str(run.strategy.failures.pop(1))
    assert not run.strategy.failures
    assert np.isfinite(run.models[2]["0.bias"]).all()


@pytest.mark.parametrize(
    "changed",
    [
        lambda given: dict(reversed(given.items())),
        lambda given: {name.replace("2.", "3."): each for name, each in given.items()},
        lambda given: {**given, "4.bias": np.zeros(3, np.float32)},
        lambda given: {**given, "0.weight": np.zeros((65, FEATURES), np.float32)},
        lambda given: {str(at): each for at, each in enumerate(given.values())},
    ],
)
def test_a_model_of_other_arrays_is_refused_before_anybody_is_asked(
    changed: Callable[[Any], Any], start: Run, screened_grid: Any
) -> None:
    grid = screened_grid(trained)
    message = "unlearning is for a model of the arrays .'0.weight', '0.bias'"
    with pytest.raises(InputRefused, match=message):
        start(unlearning_of(), model=changed(model()), grid=grid)
    assert not [stages for stages in grid.exchanges if stages]


@pytest.mark.parametrize(
    ("screen", "message"),
    [
        (NormScreen(rows=64), "unlearning needs a plan with a SketchScreen"),
        (None, "unlearning needs a plan with a SketchScreen"),
        (GroupScreen(rows=64, size=4), "unlearning needs a plan with a SketchScreen"),
    ],
)
def test_plans_without_a_sketch_of_clients_are_refused(
    screen: Any, message: str, start: Run
) -> None:
    terms = {"least_clients": 12} if isinstance(screen, GroupScreen) else {}
    with pytest.raises(ParameterError, match=message):
        start(unlearning_of(), screen=screen, **terms)


def test_more_classes_than_numbers_are_refused(start: Run, eight: Any) -> None:
    torch.manual_seed(0)
    wide = TorchModel(nn.Linear(FEATURES, 128), shape=(FEATURES,))
    labels = np.arange(256) % 128
    inputs = np.random.default_rng(0).standard_normal((256, FEATURES))
    unlearning = Unlearning(model=wide, root=Examples(inputs, labels, 128))
    with pytest.raises(ParameterError, match="classes < rows must hold, got 128 and 128"):
        start(unlearning)
    arrays = {
        name: np.zeros(each, np.float32)
        for name, each in (("weight", (128, FEATURES)), ("bias", 128))
    }
    room = SketchScreen(rows=129)
    assert isinstance(start(unlearning, screen=room, rounds=0).strategy, SecureAggregation)
    with pytest.raises(InputRefused, match="metrics < rows must hold, got 129 and 129"):
        start(unlearning, screen=room, model=arrays, metrics={"loss": 9.0})
