"""The test kit: what every detector must satisfy.

A detector is tested by a class that inherits `DetectorConformance` and gives `detector`. Where the
default rounds do not suit it, it overrides `observation`.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.errors import ObservationError
from robust.observe import Array, Norms, Observation, Public, Sketches

__all__ = ["DetectorConformance", "sketches", "with_rows"]

Result = Scores | Abstained


def sketches(
    rows: Array, *, known: Array | None = None, references: bool = True, number: int = 0
) -> Sketches:
    """A round of `rows` (n, k); with references, a root update and three classes."""
    size = rows.shape[1]
    rng = np.random.Generator(np.random.PCG64(size))
    public = Public(
        known=np.empty((0, size)) if known is None else known,
        root=rng.standard_normal((1, size))[0] if references else None,
        classes=rng.standard_normal((3, size)) if references else None,
    )
    return Sketches(number=number, clients=tuple(range(len(rows))), rows=rows, public=public)


def with_rows(seen: Sketches, rows: Array) -> Sketches:
    """The same round with other rows, for as many clients as there are rows."""
    return Sketches(
        number=seen.number, clients=tuple(range(len(rows))), rows=rows, public=seen.public
    )


class DetectorConformance:
    """What every `Detector` promises.

    Attributes
    ----------
    scale_equivariant: multiplying everything that was seen by a positive number changes no score.
    tolerance: of comparisons between scores that should agree but for rounding.
    """

    scale_equivariant = True
    tolerance = 1e-6

    @abstractmethod
    def detector(self) -> Detector[Any]:
        """The detector under test."""

    def observation(self, seed: int) -> Sketches:
        """A round that it can score: 16 clients with something in common, 64 numbers each."""
        rng = np.random.default_rng(seed)
        common = rng.standard_normal((3, 64))
        rows = rng.standard_normal((16, 3)) @ common + rng.standard_normal((16, 64)) + common[0]
        return sketches(rows, known=rng.standard_normal((4, 64)))

    def scored(self, seen: Sketches) -> Result:
        """The detector's result for what it sees of a round; a warning fails the test."""
        detector = self.detector()
        part: Observation = seen.as_norms() if detector.sees is Norms else seen
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return detector.score(part)

    def test_it_has_a_name_and_says_what_it_sees(self) -> None:
        detector = self.detector()
        assert detector.name
        assert issubclass(detector.sees, Observation)

    def test_it_scores_an_ordinary_round(self) -> None:
        for seed in range(3):
            seen = self.observation(seed)
            scores = self.scored(seen)
            assert isinstance(scores, Scores)
            assert scores.detector == self.detector().name
            assert scores.clients == seen.clients
            assert np.ptp(scores.suspicion) > 0

    def test_the_same_input_gives_the_same_output(self) -> None:
        seen = self.observation(1)
        self.same(self.scored(seen), self.scored(seen), 0.0)

    def test_it_leaves_its_input_alone(self) -> None:
        seen = self.observation(2)
        before = seen.rows.copy(), seen.public.known.copy()
        self.scored(seen)
        assert not seen.rows.flags.writeable
        assert (seen.rows == before[0]).all()
        assert (seen.public.known == before[1]).all()

    def test_relabeling_clients_relabels_scores(self) -> None:
        for seed in range(3):
            seen = self.observation(seed)
            order = np.random.default_rng(seed).permutation(len(seen.clients))
            scores, other = self.scored(seen), self.scored(with_rows(seen, seen.rows[order]))
            assert isinstance(scores, Scores)
            assert isinstance(other, Scores)
            self.close(scores.suspicion[order], other.suspicion)
            if scores.p_values is not None and other.p_values is not None:
                self.close(scores.p_values[order], other.p_values)

    def test_the_unit_does_not_matter(self) -> None:
        if not self.scale_equivariant:
            return
        seen = self.observation(3)
        for factor in (1e-6, 7.0, 1e6):
            scores, other = self.scored(seen), self.scored(scaled(seen, factor))
            self.same(scores, other, self.tolerance)

    def test_what_is_not_finite_never_reaches_it(self) -> None:
        seen = self.observation(4)
        for wrong in (np.nan, np.inf, -np.inf, 1e101):
            rows = seen.rows.copy()
            rows[3, 5] = wrong
            try:
                with_rows(seen, rows)
            except ObservationError:
                continue
            raise AssertionError(f"{wrong} was accepted")

    def test_few_clients_are_scored_or_named(self) -> None:
        seen = self.observation(5)
        for count in (1, 2, 3, 4, 5):
            self.finite_or_named(self.scored(with_rows(seen, seen.rows[:count])))

    def test_one_client_alone_cannot_be_compared(self) -> None:
        seen = self.observation(5)
        result = self.scored(with_rows(seen, seen.rows[:1]))
        if isinstance(result, Abstained):
            assert result.reason is Reason.TOO_FEW_CLIENTS

    def test_equal_and_zero_rows_are_scored_or_named(self) -> None:
        seen = self.observation(6)
        equal = np.tile(seen.rows[0], (len(seen.rows), 1))
        one_zero, one_only = seen.rows.copy(), np.zeros_like(seen.rows)
        one_zero[0], one_only[0] = 0.0, seen.rows[0]
        for rows in (equal, np.zeros_like(equal), one_zero, one_only):
            self.finite_or_named(self.scored(with_rows(seen, rows)))

    def test_equal_clients_are_equally_suspicious(self) -> None:
        seen = self.observation(7)
        rows = seen.rows.copy()
        rows[1] = rows[0]
        scores = self.scored(with_rows(seen, rows))
        assert isinstance(scores, Scores)
        self.close(scores.suspicion[:1], scores.suspicion[1:2])

    def finite_or_named(self, result: Result) -> None:
        """`Scores` are finite by construction; anything else must be a named reason."""
        if isinstance(result, Abstained):
            assert result.detector == self.detector().name
            assert isinstance(result.reason, Reason)
        else:
            assert isinstance(result, Scores)

    def same(self, one: Result, other: Result, tolerance: float) -> None:
        """Both are the same but for `tolerance`."""
        assert isinstance(one, Scores)
        assert isinstance(other, Scores)
        assert np.allclose(one.suspicion, other.suspicion, rtol=tolerance, atol=tolerance)

    def close(self, one: Array, other: Array) -> None:
        """Both are the same but for rounding."""
        assert np.allclose(one, other, rtol=self.tolerance, atol=self.tolerance)


def scaled(seen: Sketches, factor: float) -> Sketches:
    """The same round in another unit."""
    public = seen.public
    return Sketches(
        number=seen.number,
        clients=seen.clients,
        rows=factor * seen.rows,
        public=Public(
            known=factor * public.known,
            root=None if public.root is None else factor * public.root,
            classes=None if public.classes is None else factor * public.classes,
        ),
        noise=factor * seen.noise,
    )
