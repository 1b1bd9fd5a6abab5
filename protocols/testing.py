"""The test suite that every adapter inherits: a federation in one process, and what may befall it.

    class TestFlower(AdapterConformance):
        def federation(self, **options): return FlowerFederation(**options)

The author writes `federation`, which runs the adapter under its framework's own interfaces with
messages that are copied, lost and changed as `Fault`s say. Run it with pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from secagg.errors import Aborted, SecAggError
from secagg.frame import parse_header
from secagg.identity import PartyId

__all__ = [
    "AdapterConformance",
    "Arrays",
    "Fault",
    "Federation",
    "Local",
    "Reply",
    "RoundOutcome",
    "Train",
]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Local:
    """What one client's training returns: the whole model after it, metrics, and its weight."""

    arrays: Arrays
    metrics: Mapping[str, float]
    weight: float


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, for one client in one exchange of one round (from 1).

    kind: "lost", the message does not arrive; "late", its reply does not; "twice", it arrives a
    second time and the second reply counts; "garbled", one bit of its frame is changed on the way
    to the client; "forged", one of the reply; "forgotten", the client's state is gone before it;
    "stale", the state is what it was one message before; "model", it carries another model.
    """

    kind: str
    stage: str
    party: PartyId
    round: int = 1


@dataclass(frozen=True)
class Reply:
    """A reply as the framework carries it. `records` has every value in it, by a name."""

    stage: str
    party: PartyId
    error: str | None
    records: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class RoundOutcome:
    """The model after a round, the metrics it released, and why it released nothing."""

    model: Arrays
    metrics: Mapping[str, float] | None
    error: SecAggError | None


class Federation(Protocol):
    """What an adapter's author builds. `replies` and `exchanges` grow as rounds run."""

    replies: Sequence[Reply]
    exchanges: Sequence[str]

    def run(self, model: Arrays, rounds: int) -> list[RoundOutcome]:
        """Rounds of averaging without evaluation, from `model`."""

    def ordinary(self, kind: str, model: Arrays) -> Mapping[str, Any]:
        """The metrics of one client's reply to an ordinary "train" or "evaluate" message."""


Train = Callable[[PartyId, Arrays], Local]

CLIENTS = 5
MODEL: Arrays = {
    "weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "bias": np.arange(4, dtype=np.float64) / 8,
    "half": np.linspace(0, 1, 5, dtype=np.float16),
    "empty": np.zeros((0, 3), np.float32),
    "scale": np.array(0.5, np.float32),
    "running_mean": np.full(3, 0.25, np.float32),
    "batches": np.array(7, np.int64),
    "small": np.array([1, 2], np.int32),
}


def trained(party: PartyId, model: Arrays) -> Local:
    """A change of every array that differs between clients; weights 10, 20, …"""
    step = {"f": 0.25 * party, "i": 3 * party, "u": party}
    arrays = {k: np.asarray(a + np.asarray(step[a.dtype.kind], a.dtype)) for k, a in model.items()}
    return Local(arrays, {"loss": 1.5 * party, "accuracy": party / 10}, 10 * party)


def mean_of(parties: Sequence[PartyId], model: Arrays, train: Train = trained) -> dict[str, Any]:
    """The weighted mean in the clear, in float64."""
    locals_ = [train(party, model) for party in parties]
    total = sum(local.weight for local in locals_)
    return {
        name: sum(local.weight * local.arrays[name].astype(np.float64) for local in locals_) / total
        for name in model
    }


def mean_metrics(parties: Sequence[PartyId]) -> dict[str, float]:
    """The same of the metrics."""
    locals_ = [trained(party, MODEL) for party in parties]
    total = sum(local.weight for local in locals_)
    names = locals_[0].metrics
    return {name: sum(x.weight * x.metrics[name] for x in locals_) / total for name in names}


class AdapterConformance:
    """Inherit, and implement `federation`. `stages` are the adapter's names of the exchanges."""

    stages = ("deal", "train", "unmask")
    max_weight = 100

    def federation(
        self,
        *,
        train: Train,
        faults: Sequence[Fault],
        clients: int,
        clip: float,
        max_weight: int,
        metrics: Mapping[str, float],
        corrupt: float,
        dropout: float,
    ) -> Federation:
        """Enrolled clients 1 … `clients`, a server, and an L2 norm clip."""
        raise NotImplementedError("inherit AdapterConformance and return your federation here")

    def make(self, *faults: Fault, train: Train = trained, clip: float = 100.0) -> Federation:
        """Five clients, of which one may drop out."""
        return self.federation(
            train=train,
            faults=faults,
            clients=CLIENTS,
            clip=clip,
            max_weight=self.max_weight,
            metrics={"loss": 20.0, "accuracy": 1.0},
            corrupt=0.2,
            dropout=0.2,
        )

    # -- what comes out -----------------------------------------------------------------------

    def test_the_model_is_the_weighted_mean_in_every_dtype(self) -> None:
        (outcome,) = self.make().run(MODEL, 1)
        self.check_mean(outcome, everybody())

    def test_the_arrays_come_back_as_they_were(self) -> None:
        (outcome,) = self.make().run(MODEL, 1)
        assert list(outcome.model) == list(MODEL)
        for name, array in MODEL.items():
            back = outcome.model[name]
            assert (back.dtype, back.shape) == (array.dtype, array.shape), name

    def test_metrics_are_the_weighted_mean(self) -> None:
        (outcome,) = self.make().run(MODEL, 1)
        assert outcome.metrics is not None
        assert_metrics(outcome.metrics, everybody())

    def test_the_clip_bounds_the_update_and_spares_metrics_and_integers(self) -> None:
        (outcome,) = self.make(clip=0.01).run(MODEL, 1)
        change = [
            np.ravel(outcome.model[name].astype(np.float64) - array)
            for name, array in MODEL.items()
            if array.dtype in (np.float64, np.float32)
        ]
        assert 0 < np.linalg.norm(np.concatenate(change)) <= 0.0101
        assert outcome.metrics is not None
        assert_metrics(outcome.metrics, everybody())
        assert outcome.model["batches"] == np.rint(mean_of(everybody(), MODEL)["batches"])

    def test_rounds_go_on_from_the_last_model(self) -> None:
        outcomes = self.make().run(MODEL, 3)
        before: Arrays = MODEL
        for outcome in outcomes:
            self.check_mean(outcome, everybody(), before)
            before = outcome.model

    # -- how it gets there --------------------------------------------------------------------

    def test_three_exchanges_in_the_first_round_and_two_in_the_others(self) -> None:
        federation = self.make()
        federation.run(MODEL, 3)
        deal, train, unmask = self.stages
        assert list(federation.exchanges) == [deal, train, unmask, train, unmask, train, unmask]

    def test_nothing_but_protocol_frames_leaves_a_client(self) -> None:
        federation = self.make()
        federation.run(MODEL, 2)
        replies = [reply for reply in federation.replies if reply.error is None]
        assert {reply.stage for reply in replies} == set(self.stages)
        for reply in replies:
            for name, value in reply.records.items():
                if name == "stage":
                    assert value == reply.stage
                else:
                    assert parse_header(value).sender == reply.party, name

    def test_a_message_without_the_protocol_passes_untouched(self) -> None:
        federation = self.make()
        assert federation.ordinary("evaluate", MODEL) == {"score": 0.75}
        assert federation.ordinary("train", MODEL)["loss"] == 1.5

    # -- losses -------------------------------------------------------------------------------

    def test_a_client_lost_in_any_exchange(self) -> None:
        for stage in self.stages:
            for kind in ("lost", "late"):
                outcomes = self.make(Fault(kind, stage, 2)).run(MODEL, 2)
                summed = everybody() if stage == self.stages[-1] else everybody(but={2})
                self.check_mean(outcomes[0], summed)
                self.check_mean(outcomes[1], everybody(), outcomes[0].model)

    def test_a_client_whose_training_fails(self) -> None:
        def train(party: PartyId, model: Arrays) -> Local:
            if party == 3:
                raise ZeroDivisionError("no example")
            return trained(party, model)

        federation = self.make(train=train)
        outcomes = federation.run(MODEL, 2)
        self.check_mean(outcomes[0], everybody(but={3}))
        self.check_mean(outcomes[1], everybody(but={3}), outcomes[0].model)
        errors = [reply.error for reply in federation.replies if reply.error]
        assert len(errors) == 2
        for error in errors:
            assert "no example" not in error, "texts of the user's exceptions may hold data"
            assert "ZeroDivisionError" not in error

    def test_too_many_losses_release_nothing_and_the_next_round_works(self) -> None:
        for stage in self.stages:
            outcomes = self.make(Fault("lost", stage, 1), Fault("lost", stage, 2)).run(MODEL, 2)
            assert isinstance(outcomes[0].error, Aborted), stage
            assert_same(outcomes[0].model, MODEL)
            self.check_mean(outcomes[1], everybody())

    def test_lost_and_stale_state_is_a_loss_of_that_client(self) -> None:
        _, train, unmask = self.stages
        # With the state before unmasking, the deal of the next round is gone as well.
        for fault, first, second in (
            (Fault("forgotten", train, 4), everybody(but={4}), everybody()),
            (Fault("forgotten", unmask, 4), everybody(), everybody(but={4})),
            (Fault("stale", train, 4), everybody(but={4}), everybody()),
            (Fault("stale", unmask, 4), everybody(), everybody(but={4})),
        ):
            federation = self.make(fault)
            outcomes = federation.run(MODEL, 3)
            self.check_mean(outcomes[0], first)
            self.check_mean(outcomes[1], second, outcomes[0].model)
            self.check_mean(outcomes[2], everybody(), outcomes[1].model)
            assert any("LocalProtocolError" in (reply.error or "") for reply in federation.replies)

    # -- attacks ------------------------------------------------------------------------------

    def test_a_changed_frame_is_a_loss_of_its_client(self) -> None:
        for stage in self.stages:
            for kind in ("garbled", "forged"):
                if (kind, stage) == ("garbled", self.stages[0]):
                    continue  # no frame goes down before a deal
                outcomes = self.make(Fault(kind, stage, 5)).run(MODEL, 2)
                summed = everybody() if stage == self.stages[-1] else everybody(but={5})
                self.check_mean(outcomes[0], summed)
                self.check_mean(outcomes[1], everybody(), outcomes[0].model)

    def test_a_message_that_is_sent_again_gives_no_second_update(self) -> None:
        _, train, unmask = self.stages
        for stage in (train, unmask):
            federation = self.make(Fault("twice", stage, 2))
            outcomes = federation.run(MODEL, 2)
            self.check_mean(outcomes[0], everybody(but={2} if stage == train else ()))
            second = [r for r in federation.replies if r.party == 2 and r.stage == stage][1]
            assert "LocalProtocolError" in str(second.error)
            assert not second.records
            self.check_mean(outcomes[1], everybody(), outcomes[0].model)

    def test_two_models_shown_to_two_groups_release_nothing(self) -> None:
        train = self.stages[1]
        outcomes = self.make(*(Fault("model", train, party) for party in (1, 2))).run(MODEL, 1)
        assert isinstance(outcomes[0].error, Aborted)
        assert_same(outcomes[0].model, MODEL)

    def test_a_client_that_was_shown_another_model_is_not_in_the_sum(self) -> None:
        (outcome,) = self.make(Fault("model", self.stages[1], 1)).run(MODEL, 1)
        self.check_mean(outcome, everybody(but={1}))

    def test_weights_out_of_range_are_refused(self) -> None:
        for weight in (self.max_weight + 1, 0, -1, 2.5):

            def train(party: PartyId, model: Arrays, weight: float = weight) -> Local:
                local = trained(party, model)
                return Local(local.arrays, local.metrics, weight) if party == 5 else local

            federation = self.make(train=train)
            (outcome,) = federation.run(MODEL, 1)
            self.check_mean(outcome, everybody(but={5}))
            (error,) = (reply.error for reply in federation.replies if reply.error)
            assert "InputRefused" in str(error)
            assert str(weight) not in str(error).replace(str(self.max_weight), "")

    def test_values_that_are_no_numbers_are_refused(self) -> None:
        def train(party: PartyId, model: Arrays) -> Local:
            local = trained(party, model)
            if party != 5:
                return local
            broken = {**local.arrays, "bias": np.full(4, np.nan)}
            return Local(broken, local.metrics, local.weight)

        (outcome,) = self.make(train=train).run(MODEL, 1)
        self.check_mean(outcome, everybody(but={5}))

    # -- parts --------------------------------------------------------------------------------

    def check_mean(
        self, outcome: RoundOutcome, parties: Sequence[PartyId], before: Arrays = MODEL
    ) -> None:
        """The model is the mean of these clients' updates, to the rounding of each dtype."""
        assert outcome.error is None, outcome.error
        for name, expected in mean_of(parties, before).items():
            found = outcome.model[name]
            if found.dtype.kind == "f":
                close = max(1e-4, 2 * float(np.finfo(found.dtype).eps))
                np.testing.assert_allclose(found, expected, rtol=close, atol=close, err_msg=name)
            else:
                np.testing.assert_allclose(found, expected, atol=0.501, err_msg=name)


def everybody(but: Sequence[PartyId] | set[PartyId] = ()) -> list[PartyId]:
    """The clients, without some."""
    return [party for party in range(1, CLIENTS + 1) if party not in but]


def assert_metrics(found: Mapping[str, float], parties: Sequence[PartyId]) -> None:
    """The metrics are the mean of these clients'."""
    expected = mean_metrics(parties)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-3, err_msg=name)


def assert_same(found: Arrays, expected: Arrays) -> None:
    """Bit for bit."""
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
