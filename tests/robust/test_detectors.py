"""Every detector passes the kit; the kit fails what it should."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from robust.detect import Abstained, Detector, Reason, Scores
from robust.detect_class_residual import ClassResidual
from robust.detect_clone import Clone
from robust.detect_cluster import Cluster
from robust.detect_copy import CopiedTraining
from robust.detect_direction import Direction
from robust.detect_evidence import EvidenceOfTraining
from robust.detect_norm import NormOutlier
from robust.detect_reference import Reference
from robust.errors import ObservationError, ParameterError
from robust.observe import Norms, Public, Sketches
from robust.testing import DetectorConformance, sketches, with_rows

SKETCH_DETECTORS: tuple[Detector[Sketches], ...] = (
    EvidenceOfTraining(),
    CopiedTraining(),
    Clone(),
    Direction(),
    ClassResidual(),
    Reference(),
    Cluster(),
)


class TestEvidence(DetectorConformance):
    def detector(self) -> Detector[Any]:
        return EvidenceOfTraining()


class TestUntrimmedEvidence(DetectorConformance):
    def detector(self) -> Detector[Any]:
        return EvidenceOfTraining(trim=0.0, directions=256)


class TestCopy(DetectorConformance):
    def detector(self) -> Detector[Any]:
        return CopiedTraining()


class TestClone(DetectorConformance):
    def detector(self) -> Detector[Any]:
        return Clone()


class TestNorm(DetectorConformance):
    def detector(self) -> Detector[Any]:
        return NormOutlier()


class TestDirection(DetectorConformance):
    def detector(self) -> Detector[Any]:
        return Direction()


class TestClassResidual(DetectorConformance):
    def detector(self) -> Detector[Any]:
        return ClassResidual()


class TestReference(DetectorConformance):
    def detector(self) -> Detector[Any]:
        return Reference()


class TestCluster(DetectorConformance):
    def detector(self) -> Detector[Any]:
        return Cluster()

    def observation(self, seed: int) -> Sketches:
        """A cluster of twelve, and four elsewhere."""
        rng = np.random.default_rng(seed)
        center = 4.0 * rng.standard_normal((16, 64))
        center[:12] = center[0]
        return sketches(center + rng.standard_normal((16, 64)))


# -- what each abstains on, and what each is for -----------------------------------------------


def rows(count: int = 12, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 32)) + rng.standard_normal(32)


@pytest.mark.parametrize("detector", SKETCH_DETECTORS, ids=lambda detector: detector.name)
def test_one_client_is_too_few_but_for_a_reference(detector: Detector[Sketches]) -> None:
    result = detector.score(sketches(rows(1)))
    if detector.name == "reference":
        assert isinstance(result, Scores)
    else:
        assert result == detector.abstain(Reason.TOO_FEW_CLIENTS)


@pytest.mark.parametrize("detector", SKETCH_DETECTORS, ids=lambda detector: detector.name)
def test_zero_rows_have_no_variation(detector: Detector[Sketches]) -> None:
    assert detector.score(sketches(np.zeros((8, 32)))) == detector.abstain(Reason.NO_VARIATION)


@pytest.mark.parametrize("detector", [Direction(), ClassResidual()], ids=lambda d: d.name)
def test_equal_rows_have_no_variation(detector: Detector[Sketches]) -> None:
    equal = np.tile(rows(1), (8, 1))
    assert detector.score(sketches(equal)) == detector.abstain(Reason.NO_VARIATION)


def test_equal_rows_are_clones_of_each_other_and_copies() -> None:
    seen = sketches(np.tile(rows(1), (8, 1)))
    clone, copy = Clone().score(seen), CopiedTraining().score(seen)
    assert isinstance(clone, Scores)
    assert isinstance(copy, Scores)
    assert clone.suspicion == pytest.approx(np.ones(8))
    assert (copy.figures["share"] <= 0).all()


@pytest.mark.parametrize("detector", [Reference(), ClassResidual()], ids=lambda d: d.name)
def test_without_a_root_set_there_is_no_reference(detector: Detector[Sketches]) -> None:
    seen = sketches(rows(), references=False)
    assert detector.score(seen) == detector.abstain(Reason.NO_REFERENCE)
    assert isinstance(detector.score(sketches(rows())), Scores)


@pytest.mark.parametrize(
    "detector", [EvidenceOfTraining(), CopiedTraining(), Clone()], ids=lambda d: d.name
)
def test_public_history_that_fills_the_sketch_leaves_too_few_rows(
    detector: Detector[Sketches],
) -> None:
    known = np.random.default_rng(9).standard_normal((25, 32))
    assert detector.score(sketches(rows(), known=known)) == detector.abstain(Reason.TOO_FEW_ROWS)
    assert isinstance(detector.score(sketches(rows(), known=known[:24])), Scores)


def test_class_updates_that_fill_the_sketch_leave_too_few_rows() -> None:
    public = Public(
        known=np.empty((0, 32)), classes=np.random.default_rng(0).standard_normal((25, 32))
    )
    seen = Sketches(number=0, clients=tuple(range(12)), rows=rows(), public=public)
    assert ClassResidual().score(seen) == ClassResidual().abstain(Reason.TOO_FEW_ROWS)


def test_a_clone_a_long_update_and_a_flipped_one_stand_out() -> None:
    seen = rows(20)
    cloned, flipped = seen.copy(), seen.copy()
    cloned[3], flipped[7] = 2.0 * cloned[11], -flipped[7]
    found = Clone().score(sketches(cloned))
    assert isinstance(found, Scores)
    assert set(np.argsort(found.suspicion)[-2:]) == {3, 11}
    assert found.figures["neighbor"][3] == 11
    found = Direction().score(sketches(flipped))
    assert isinstance(found, Scores)
    assert np.argmax(found.suspicion) == 7
    norms = np.ones(20)
    norms[[2, 5]] = 5.0, 0.05
    found = NormOutlier().score(Norms(number=0, clients=tuple(range(20)), norms=norms))
    assert isinstance(found, Scores)
    assert set(np.flatnonzero(found.suspicion > 1.0)) == {2, 5}


def test_a_reference_and_a_cluster_see_who_points_elsewhere() -> None:
    rng = np.random.default_rng(3)
    aim = rng.standard_normal(32)
    seen = 3.0 * aim + rng.standard_normal((12, 32))
    seen[10:] *= -1.0
    public = Public(known=np.empty((0, 32)), root=aim)
    for detector in (Reference(), Cluster()):
        found = detector.score(
            Sketches(number=0, clients=tuple(range(12)), rows=seen, public=public)
        )
        assert isinstance(found, Scores)
        assert set(np.argsort(found.suspicion)[-2:]) == {10, 11}


def test_a_crowd_with_an_aim_of_its_own_stands_out_off_the_class_directions() -> None:
    rng = np.random.default_rng(4)
    classes, aim = rng.standard_normal((5, 64)), rng.standard_normal(64)
    seen = 3.0 * rng.dirichlet(np.full(5, 0.3), size=30) @ classes
    seen += 0.3 * rng.standard_normal((30, 64))
    seen[:4] += 0.5 * aim
    public = Public(known=np.empty((0, 64)), classes=classes)
    found = ClassResidual().score(
        Sketches(number=0, clients=tuple(range(30)), rows=seen, public=public)
    )
    assert isinstance(found, Scores)
    assert set(np.argsort(found.suspicion)[-4:]) == {0, 1, 2, 3}


def test_too_few_norms_and_norms_of_zero() -> None:
    few = Norms(number=0, clients=(1, 2), norms=np.ones(2))
    zero = Norms(number=0, clients=(1, 2, 3), norms=np.array([0.0, 0.0, 1.0]))
    assert NormOutlier().score(few) == NormOutlier().abstain(Reason.TOO_FEW_CLIENTS)
    assert NormOutlier().score(zero) == NormOutlier().abstain(Reason.NO_VARIATION)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"secagg\[robust\]"):
        Cluster().score(sketches(rows()))


WRONG: tuple[Callable[[], object], ...] = (
    lambda: EvidenceOfTraining(trim=0.9),
    lambda: EvidenceOfTraining(trim=-0.1),
    lambda: EvidenceOfTraining(trim=float("nan")),
    lambda: EvidenceOfTraining(directions=255),
    lambda: EvidenceOfTraining(typical=1.0),
    lambda: Direction(corrupt=0.5),
    lambda: Direction(part=0.0),
    lambda: ClassResidual(nearest=0),
    lambda: ClassResidual(corrupt=-0.1),
    lambda: NormOutlier(factor=1.0),
    lambda: NormOutlier(fraction=1.0),
)


@pytest.mark.parametrize("make", WRONG)
def test_parameters_are_checked(make: Callable[[], object]) -> None:
    with pytest.raises(ParameterError, match="must hold"):
        make()


# -- the kit fails what it should --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ByPlace(Detector[Sketches]):
    """Suspects whoever comes first."""

    name: ClassVar[str] = "place"
    sees: ClassVar[type[Sketches]] = Sketches

    def score(self, seen: Sketches) -> Scores | Abstained:
        places = np.arange(float(len(seen.clients)))
        return Scores(detector=self.name, clients=seen.clients, suspicion=places)


@dataclass(frozen=True, kw_only=True)
class ByEntry(Detector[Sketches]):
    """Depends on the unit."""

    name: ClassVar[str] = "entry"
    sees: ClassVar[type[Sketches]] = Sketches

    def score(self, seen: Sketches) -> Scores | Abstained:
        return Scores(detector=self.name, clients=seen.clients, suspicion=seen.rows[:, 0])


def kit(detector: Detector[Any]) -> DetectorConformance:
    class Kit(DetectorConformance):
        def detector(self) -> Detector[Any]:
            return detector

    return Kit()


def test_the_kit_sees_labels_and_units() -> None:
    with pytest.raises(AssertionError):
        kit(ByPlace()).test_relabeling_clients_relabels_scores()
    kit(ByEntry()).test_relabeling_clients_relabels_scores()
    with pytest.raises(AssertionError):
        kit(ByEntry()).test_the_unit_does_not_matter()
    kit(ByPlace()).test_the_unit_does_not_matter()


def test_scores_must_be_finite_and_of_one_length() -> None:
    good = Scores(detector="x", clients=(1, 2), suspicion=np.zeros(2), p_values=np.ones(2))
    assert not good.suspicion.flags.writeable
    for suspicion, p in ((np.zeros(3), None), (np.full(2, np.nan), None), (np.zeros(2), -1.0)):
        with pytest.raises(ObservationError):
            Scores(
                detector="x",
                clients=(1, 2),
                suspicion=suspicion,
                p_values=None if p is None else np.full(2, p),
            )


def test_a_client_that_is_new_changes_no_row_of_the_others() -> None:
    seen = sketches(rows(12))
    assert with_rows(seen, seen.rows[:5]).clients == (0, 1, 2, 3, 4)
