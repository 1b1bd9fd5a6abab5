"""Learning with differential privacy: both sums bounded and noised before they leave a site.

    Privacy(epsilon=3.0)          what is promised, by which clips, about a request or a site
    PrivateFederation.learn()     counters, then calibration on the noisy counters

What one request adds to a sum is an integer vector within a norm, exactly; a site adds its share
of the noise, so that the honest sites that are certainly in a sum carry all that is promised
[Kairouz21]. What follows from a noisy sum costs nothing more: counters that noise could have made
are dropped.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property

import numpy as np
from dp import Composed, Event, ReductionAccountant, Release, Sensitivity, Skellam, noise_multiplier
from numpy.typing import NDArray
from secagg import Rand
from secagg.schemes.secagg_plus import SecAggPlus

from apiwatch.calibration import Calibration
from apiwatch.contributions import counted, limited, measured, sums_of
from apiwatch.detector import Detector
from apiwatch.errors import ParameterError
from apiwatch.event import Request
from apiwatch.ledger import Ledger, Sent
from apiwatch.secure import Members, Summed, secure_sum
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
        for hair in (1.0, 1.001, 1.01, 1.1):  # integers cost a little more than a Gaussian
            found = self._releases(settings, self._parts(sites), hair)
            if ReductionAccountant().epsilon(_both(found), self.delta) <= self.epsilon:
                return found
        raise ParameterError(f"epsilon <= {self.epsilon} cannot be reached with these clips")

    def _parts(self, sites: int) -> int:
        """Honest sites that are in every sum that is opened."""
        scheme = SecAggPlus(
            clients=sites, length=1, width=32, corrupt=self.corrupt, dropout=self.dropout
        )
        return scheme.honest_inputs

    def _releases(self, settings: Settings, parts: int, hair: float) -> tuple[Release, Release]:
        budget = noise_multiplier(self.epsilon, self.delta) * hair
        cells, slots = 1 << settings.cells, sums_of(settings)
        return (
            self._release(self.counters, budget / _SHARE**0.5, cells, parts),
            self._release(self.calibration, budget / (1 - _SHARE) ** 0.5, slots, parts),
        )

    def _release(self, clip: float, multiplier: float, size: int, parts: int) -> Release:
        norm = Fraction(clip) * self.units
        variance = Fraction(float(norm) * multiplier) ** 2
        # a multiple of 1/2**20 in each part: what a plan can print
        each = Fraction(-(-variance * (1 << 20) // parts), 1 << 20)
        bound = Sensitivity(squared=norm**2, coordinates=size, integral=True)
        return Release(Skellam(each), parts, bound)


def _both(releases: Sequence[Release]) -> Event:
    return Composed(tuple((release, 1) for release in releases))


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
        self.members = Members.generate(sites, rand)
        self.releases = privacy.releases(settings, len(sites))
        self.rounds: list[Summed] = []
        self.ledger = Ledger()
        self.included = frozenset(sites)
        self._requests = dict(sites)
        self._rand = rand

    def learn(self, drops: Mapping[int, str] | None = None) -> None:
        """Both sums. drops: sites and the phase of each sum in which they fall silent."""
        units, privacy = self.privacy.units, self.privacy
        vectors = {
            site: counted(requests, self.settings, privacy.counters if self._each else None, units)
            for site, requests in self._requests.items()
        }
        total = self._sum("counters", vectors, self.releases[0], privacy.counters, drops)
        visible = total > _VISIBLE * self._deviation(self.releases[0])
        counts = np.where(visible, np.rint(total / units), 0).astype(np.int64)
        self.total = Table(self.settings, counts)
        vectors = {
            site: measured(requests, self.total, privacy.calibration if self._each else None, units)
            for site, requests in self._requests.items()
        }
        total = self._sum("calibration", vectors, self.releases[1], privacy.calibration, drops)
        least = _VISIBLE * self._deviation(self.releases[1])
        self.calibration = Calibration.of_noisy(self.settings, total / units, least / units)

    @cached_property
    def shared(self) -> Detector:
        """The detector that everybody can build from the two sums."""
        return Detector(self.total, self.calibration)

    @property
    def epsilon(self) -> float:
        """Of all that was released, by the accountant of `dp`."""
        return self.ledger.epsilon(self.privacy.delta)

    @property
    def _each(self) -> bool:
        return self.privacy.protects is Protects.REQUEST

    def _deviation(self, release: Release) -> float:
        """Of the noise in the last sum: all that were in it added theirs."""
        return math.sqrt(release.noise.sigma_squared * len(self.rounds[-1].included))

    def _sum(
        self,
        what: str,
        vectors: dict[int, _Integers],
        release: Release,
        clip: float,
        drops: Mapping[int, str] | None,
    ) -> _Integers:
        """Noise of each site, the sum, and everything back around zero."""
        if not self._each:
            vectors = {site: limited(vector, clip) for site, vector in vectors.items()}
        noised = {site: self._noised(vector, release) for site, vector in vectors.items()}
        summed = secure_sum(
            noised,
            self.members,
            bound=2 * _ROOM,
            model=self.settings.digest,
            drops=drops,
            corrupt=self.privacy.corrupt,
            dropout=self.privacy.dropout,
            rand=self._rand,
        )
        self.rounds.append(summed)
        self.ledger += Ledger((Sent.of(what, summed, release),))
        self.included &= summed.included
        return summed.total - _ROOM * len(summed.included)

    def _noised(self, vector: _Integers, release: Release) -> _Integers:
        noisy = vector + release.noise.sample(vector.size, self._rand)
        require(int(np.abs(noisy).max()) < _ROOM, f"noisy integers < {_ROOM}", "more")
        return noisy + _ROOM
