"""Canaries through real rounds: a correct plan is never convicted, and three defects are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dp.audit.epsilon import LowerBounds, Scores
from dp.calibrate import noise_multiplier
from dp.mechanism import Mechanism
from protocols import AggregatorNoise, CentralNoise, DistributedNoise, RoundPlan
from protocols.federation.data import digits, owners_iid, split
from protocols.federation.federation import Federation
from protocols.laboratory.epsilon import EpsilonAudit, audit_epsilon
from protocols.presets import two_aggregators
from protocols.private import Private
from secagg.errors import ParameterError
from secagg.quantize import NormClip
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.testing.rand import SeededRand

CLIENTS, SIZE, DELTA = 32, 64, 1e-5
ERROR = 1e-6  # a correct plan must not be convicted, by chance either


def plan(epsilon: float = 1.0, rounds: int = 1, *, scheme: Any = PlainInsecure) -> RoundPlan:
    noise = DistributedNoise(multiplier=noise_multiplier(epsilon, DELTA, rounds=rounds))
    return RoundPlan.for_update(
        {"update": np.zeros(SIZE)}, clients=CLIENTS, clip=NormClip(1.0), privacy=noise,
        scheme=scheme, dropout=0.1,
    )  # fmt: skip


def audited(subject: RoundPlan, **options: Any) -> EpsilonAudit:
    settings = {
        "delta": DELTA, "rng": np.random.default_rng(3), "runs": 8, "error": ERROR,
        "rand": SeededRand(5),
    }  # fmt: skip
    return audit_epsilon(subject, **{**settings, **options})


class Forgotten(Mechanism):
    """Clients add no noise, and claim it."""

    def _client_noise(self, rand: Any, layer_key: Any) -> int:
        return 0


class Misscaled(Mechanism):
    """Clients divide the deviation by how many they are, where its square was meant."""

    def _client_noise(self, rand: Any, layer_key: Any) -> NDArray[np.int64]:
        noise = np.asarray(super()._client_noise(rand, layer_key))
        return np.rint(noise / np.sqrt(self.clients)).astype(np.int64)


class Unclipped(Mechanism):
    """Clients take the update as it comes; no rotation, so that it is easy to say."""

    def encode(self, vector: Any, *, seed: bytes, rand: Any, layer_key: Any = None) -> Any:
        units = np.rint(vector * self.units / self.clip).astype(np.int64)
        return units + self._client_noise(rand, layer_key)

    def _check_norm(self, total: Any, clients: int) -> None:
        """The server would notice: this is about what the canaries notice."""


def with_defect(kind: type[Mechanism], **options: Any) -> RoundPlan:
    honest = plan(**options)
    assert isinstance(honest.quantize, Private)
    fields = {
        f.name: getattr(honest.quantize.mechanism, f.name) for f in dataclasses.fields(Mechanism)
    }
    if kind is Unclipped:
        fields["rotate"], fields["width"] = False, 40
    mechanism = kind(**fields)
    scheme = dataclasses.replace(honest.scheme, length=mechanism.length, width=mechanism.width)
    return dataclasses.replace(honest, quantize=Private(mechanism), scheme=scheme)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_a_correct_plan_is_not_convicted(epsilon: float) -> None:
    audit = audited(plan(epsilon))
    assert audit.passed
    assert audit.claimed == pytest.approx(epsilon, rel=1e-3)
    assert audit.scores.canaries == 8 * CLIENTS


def test_nor_is_one_whose_canaries_send_more_than_the_clip_allows() -> None:
    audit = audited(plan(), scale=30.0)
    assert audit.passed
    assert audit.scores.inside.mean() == pytest.approx(1.0, abs=1.0)


@pytest.mark.parametrize(("kind", "scale"), [(Forgotten, 1.0), (Misscaled, 1.0), (Unclipped, 30.0)])
def test_a_defect_is_caught(kind: type[Mechanism], scale: float) -> None:
    audit = audited(with_defect(kind), scale=scale, runs=24, error=0.01)
    assert audit.claimed == pytest.approx(1.0, rel=1e-3)
    assert audit.found.gaussian_run > audit.claimed
    assert not audit.passed


def test_a_skipped_clip_is_not_seen_by_canaries_within_it() -> None:
    assert audited(with_defect(Unclipped), scale=1.0).passed


def test_several_rounds_are_claimed_and_seen_together() -> None:
    audit = audited(plan(2.0, 4), rounds=4)
    assert audit.claimed == pytest.approx(2.0, rel=1e-3)
    assert audit.passed
    assert audit.scores.inside.mean() == pytest.approx(4.0, abs=1.0)
    assert not audited(with_defect(Forgotten, epsilon=1.0, rounds=4), rounds=4).passed


def test_the_noise_of_a_server_is_audited_too() -> None:
    noise = CentralNoise(multiplier=noise_multiplier(1.0, DELTA))
    central = RoundPlan.for_update(
        {"update": np.zeros(SIZE)}, clients=CLIENTS, clip=NormClip(1.0), privacy=noise,
        scheme=PlainInsecure,
    )  # fmt: skip
    assert audited(central).passed


def test_the_noise_of_two_aggregators_is_audited_too() -> None:
    noise = AggregatorNoise(multiplier=noise_multiplier(1.0, DELTA))
    shared = two_aggregators(
        {"update": np.zeros(SIZE)}, clients=CLIENTS, clip=NormClip(1.0), privacy=noise
    )
    found = audited(shared, runs=2, error=0.05)
    assert found.passed
    assert found.claimed == pytest.approx(1.0, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "passes"), [(Mechanism, True), (Forgotten, False)])
def test_through_the_real_scheme_beside_clients_that_train(
    kind: type[Mechanism], passes: bool
) -> None:
    parts = split(digits(), np.random.default_rng(1))
    trainers = Federation(
        split=parts, owners=owners_iid(parts.train, 4, np.random.default_rng(2)), seed=1, hidden=4
    )
    noise = DistributedNoise(multiplier=noise_multiplier(0.2, DELTA, rounds=2))
    honest = RoundPlan.for_update(
        trainers.weights, clients=4 + 20, clip=NormClip(1.0), privacy=noise, scheme=SecAggPlus
    )
    assert isinstance(honest.quantize, Private)
    fields = {
        f.name: getattr(honest.quantize.mechanism, f.name) for f in dataclasses.fields(Mechanism)
    }
    subject = dataclasses.replace(honest, quantize=Private(kind(**fields)))
    audit = audit_epsilon(
        subject,
        delta=DELTA,
        rng=np.random.default_rng(4),
        rounds=2,
        runs=2,
        federation=trainers,
        error=0.01,
    )
    assert trainers.number == 4
    assert audit.scores.canaries == 40
    assert audit.passed == passes


def test_it_is_the_worst_sound_bound_that_decides() -> None:
    def audit(one: float, gaussian: float) -> EpsilonAudit:
        found = LowerBounds(
            delta=DELTA, error=0.05, one_run=one, gaussian_run=gaussian, separate=9.0, estimate=9.0
        )
        return EpsilonAudit(claimed=2.0, found=found, scores=Scores(np.ones(1), np.ones(1)))

    assert audit(1.0, 2.0).passed
    assert not audit(2.1, 1.0).passed
    assert not audit(1.0, 2.1).passed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rounds": 0}, "rounds >= 1"),
        ({"runs": 0}, "runs >= 1"),
        ({"scale": 0.0}, "0 < scale < infinity"),
        ({"scale": np.inf}, "0 < scale < infinity"),
        ({"error": 0.0}, "error < 1"),
    ],
)
def test_parameters_are_checked(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        audited(plan(), **options)


def test_an_audit_that_every_plan_would_pass_is_refused() -> None:
    """Even one without any noise: 32 canaries are too few for so sure a verdict."""
    for subject in (plan(), with_defect(Forgotten)):
        with pytest.raises(ParameterError, match="32 canaries refute an epsilon of 0 at most"):
            audited(subject, runs=1)
    with pytest.raises(ParameterError, match="and 8 is claimed; make more runs"):
        audited(plan(8.0))
    assert not audited(with_defect(Forgotten), runs=2, error=0.05).passed


def test_a_plan_without_noise_cannot_be_audited() -> None:
    exact = RoundPlan.for_update({"u": np.zeros(SIZE)}, clients=4, clip=NormClip(1.0))
    with pytest.raises(ParameterError, match="adds no noise"):
        audited(exact)


def test_more_canaries_than_coordinates_are_refused() -> None:
    short = RoundPlan.for_update(
        {"u": np.zeros(3)}, clients=8, clip=NormClip(1.0), privacy=DistributedNoise(multiplier=1.0)
    )
    with pytest.raises(ParameterError, match="canaries <= coordinates"):
        audited(short)
