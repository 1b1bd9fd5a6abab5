"""Learning with differential privacy: both sums bounded and noised before they leave a site.

    Privacy(epsilon=3.0)          what is promised, by which clips, about a request or a site
    PrivateFederation.learn()     counters, then calibration on the noisy counters

What one request adds to a sum is an integer vector within a norm, exactly; the noise is that of
`noisy`. What follows from a noisy sum costs nothing more: counters that noise could have made are
dropped.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property

import numpy as np
from dp import Release, Sensitivity
from numpy.typing import NDArray
from secagg import Rand

from apiwatch.calibration import Calibration
from apiwatch.contributions import counted, limited, measured, sums_of
from apiwatch.detector import Detector
from apiwatch.event import Request
from apiwatch.ledger import Ledger
from apiwatch.noisy import NoisySums, honest_parts, releases_within
from apiwatch.secure import Summed
from apiwatch.settings import Settings, require
from apiwatch.table import Table

__all__ = ["Privacy", "PrivateFederation", "Protects"]

_UNITS = 16  # integers to 1: what rounding costs is below what clipping does
_SHARE = 0.55  # of the budget, for the counters; the rest is for the calibration
_ROOM = 1 << 29  # on both sides of zero, for a site's integers with noise
_VISIBLE = 2.0  # deviations of noise that a counter must exceed
_Integers = NDArray[np.int64]


class Protects(StrEnum):
    """Whose presence or absence both sums hide."""

    REQUEST = "request"
    SITE = "site"


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What is promised of both sums together, and how.

    epsilon, delta: by the accountant of `dp`, of neighbors that differ in one request, or in all
    requests of a site. counters, calibration: the L2 norms that what is protected is scaled down
    to. corrupt, dropout: fractions of the cohort whose noise is not counted on.

    Raises `ParameterError` unless 0 < epsilon <= 100, 0 < delta < 1 and 1 <= clips <= 2**20.
    """

    epsilon: float
    delta: float = 1e-5
    protects: Protects = Protects.REQUEST
    counters: float = 14.0
    calibration: float = 8.0
    corrupt: float = 0.1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.epsilon <= 100, "0 < epsilon <= 100", self.epsilon)
        require(0 < self.delta < 1, "0 < delta < 1", self.delta)
        for clip in (self.counters, self.calibration):
            require(1 <= clip <= 1 << 20, "1 <= clip <= 2**20", clip)

    @property
    def units(self) -> int:
        """Integers to 1; a site's norm is large enough without."""
        return _UNITS if self.protects is Protects.REQUEST else 1

    def releases(self, settings: Settings, sites: int) -> tuple[Release, Release]:
        """What is charged for each sum. Raises `ParameterError` where no noise is enough."""
        charged = (
            (self._bound(self.counters, 1 << settings.cells), _SHARE),
            (self._bound(self.calibration, sums_of(settings)), 1 - _SHARE),
        )
        parts = honest_parts(sites, self.corrupt, self.dropout)
        first, second = releases_within(self.epsilon, self.delta, charged, parts)
        return first, second

    def _bound(self, clip: float, size: int) -> Sensitivity:
        squared = (Fraction(clip) * self.units) ** 2
        return Sensitivity(squared=squared, coordinates=size, integral=True)


class PrivateFederation:
    """All sites in one process, as `Federation`, and no exact sum is ever opened.

    After `learn`: `shared`, `included`, `rounds`, and the `ledger` with its epsilon. Support of
    several sites is a third sum and not among what is promised: `settings.support` must be 1.
    """

    def __init__(
        self,
        sites: Mapping[int, Sequence[Request]],
        settings: Settings,
        privacy: Privacy,
        rand: Rand = os.urandom,
    ) -> None:
        require(settings.support == 1, "support == 1 with noise", settings.support)
        self.settings, self.privacy = settings, privacy
        self.releases = privacy.releases(settings, len(sites))
        self._sums = NoisySums(
            list(sites),
            model=settings.digest,
            corrupt=privacy.corrupt,
            dropout=privacy.dropout,
            rand=rand,
        )
        self._requests = dict(sites)

    def learn(self, drops: Mapping[int, str] | None = None) -> None:
        """Both sums. drops: sites and the phase of each sum in which they fall silent."""
        units, privacy = self.privacy.units, self.privacy
        vectors = {
            site: counted(requests, self.settings, privacy.counters if self._each else None, units)
            for site, requests in self._requests.items()
        }
        total = self._sum("counters", vectors, self.releases[0], privacy.counters, drops)
        visible = total > _VISIBLE * self._sums.deviation(self.releases[0])
        counts = np.where(visible, np.rint(total / units), 0).astype(np.int64)
        self.total = Table(self.settings, counts)
        vectors = {
            site: measured(requests, self.total, privacy.calibration if self._each else None, units)
            for site, requests in self._requests.items()
        }
        total = self._sum("calibration", vectors, self.releases[1], privacy.calibration, drops)
        least = _VISIBLE * self._sums.deviation(self.releases[1])
        self.calibration = Calibration.of_noisy(self.settings, total / units, least / units)

    @cached_property
    def shared(self) -> Detector:
        """The detector that everybody can build from the two sums."""
        return Detector(self.total, self.calibration)

    @property
    def rounds(self) -> list[Summed]:
        """Both sums, as they came about."""
        return self._sums.rounds

    @property
    def included(self) -> frozenset[int]:
        """The sites that are in both."""
        return self._sums.included

    @property
    def ledger(self) -> Ledger:
        """What was released."""
        return self._sums.ledger

    @property
    def epsilon(self) -> float:
        """Of all that was released, by the accountant of `dp`."""
        return self.ledger.epsilon(self.privacy.delta)

    @property
    def _each(self) -> bool:
        return self.privacy.protects is Protects.REQUEST

    def _sum(
        self,
        what: str,
        vectors: dict[int, _Integers],
        release: Release,
        clip: float,
        drops: Mapping[int, str] | None,
    ) -> _Integers:
        if not self._each:
            vectors = {site: limited(vector, clip) for site, vector in vectors.items()}
        return self._sums.add(what, vectors, (release,), room=_ROOM, drops=drops)
