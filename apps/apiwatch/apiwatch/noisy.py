"""What sums with noise have in common: how much noise, who adds it, and what was released.

A site adds its share of the noise, so that the honest sites that are certainly in a sum carry all
that is promised [Kairouz21].
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from dp import Composed, ReductionAccountant, Release, Sensitivity, Skellam, noise_multiplier
from numpy.typing import NDArray
from secagg import Rand
from secagg.schemes.secagg_plus import SecAggPlus

from apiwatch.errors import ParameterError
from apiwatch.ledger import Ledger, Sent
from apiwatch.secure import Members, Summed, secure_sum
from apiwatch.settings import require

__all__ = ["NoisySums", "honest_parts", "releases_within"]

_MOST = 1 << 36  # of noise that `dp` draws
_Integers = NDArray[np.int64]


def honest_parts(sites: int, corrupt: float, dropout: float) -> int:
    """Honest sites that are in every sum that is opened, but for one: whoever of them reads the
    sum knows its own noise.
    """
    scheme = SecAggPlus(clients=sites, length=1, width=32, corrupt=corrupt, dropout=dropout)
    return min(scheme.honest_inputs, scheme.survivors - 1)


def releases_within(
    epsilon: float, delta: float, charged: Sequence[tuple[Sensitivity, float]], parts: int
) -> tuple[Release, ...]:
    """Releases that cost epsilon together at most, by the accountant of `dp`.

    charged: of each, what is protected adds at most, and its share of the budget. parts: sites
    whose noise is counted on. Raises `ParameterError` where no noise is enough, or too much.
    """
    multiplier = noise_multiplier(epsilon, delta)
    for hair in (1.0, 1.001, 1.01, 1.1):  # integers cost a little more than a Gaussian
        found = tuple(
            _release(bound, multiplier * hair / share**0.5, parts) for bound, share in charged
        )
        if ReductionAccountant().epsilon(Composed.of(*found), delta) <= epsilon:
            return found
    raise ParameterError(f"epsilon <= {epsilon} cannot be reached with these clips")


def _release(bound: Sensitivity, multiplier: float, parts: int) -> Release:
    variance = Fraction(bound.l2 * multiplier) ** 2
    # a multiple of 1/2**20 in each part: what a plan can print
    each = Fraction(-(-variance * (1 << 20) // parts), 1 << 20)
    require(each <= _MOST, "sigma**2 <= 2**36 at each site", float(each))
    return Release(Skellam(each), parts, bound)


class NoisySums:
    """Secure sums of the same sites, none of which is ever opened without noise.

    corrupt, dropout: fractions of the cohort whose noise is not counted on. rounds: the sums.
    included: the sites that are in all of them. ledger: what was released, with its epsilon.
    """

    def __init__(
        self,
        sites: Sequence[int],
        *,
        model: bytes,
        corrupt: float,
        dropout: float,
        rand: Rand = os.urandom,
    ) -> None:
        self.members = Members.generate(sites, rand)
        self.rounds: list[Summed] = []
        self.ledger = Ledger()
        self.included = frozenset(sites)
        self._model, self._corrupt, self._dropout, self._rand = model, corrupt, dropout, rand

    def add(
        self,
        what: str,
        vectors: Mapping[int, _Integers],
        releases: Sequence[Release],
        *,
        room: int,
        drops: Mapping[int, str] | None = None,
    ) -> _Integers:
        """The sum of the sites' vectors and of their noise.

        releases: of the parts of a vector, one after another. room: what no integer of a site
        reaches with its noise, on both sides of zero. drops: sites and the phase in which they fall
        silent. Raises `ParameterError` for an integer beyond the room, and `RoundFailed`.
        """
        noised = {site: self._noised(vector, releases, room) for site, vector in vectors.items()}
        summed = secure_sum(
            noised,
            self.members.only(frozenset(vectors)),
            bound=2 * room,
            model=self._model,
            drops=drops,
            corrupt=self._corrupt,
            dropout=self._dropout,
            rand=self._rand,
        )
        self.rounds.append(summed)
        event = releases[0] if len(releases) == 1 else Composed.of(*releases)
        self.ledger += Ledger((Sent.of(what, summed, event),))
        self.included &= summed.included
        return summed.total - room * len(summed.included)

    def deviation(self, release: Release) -> float:
        """Of the noise in the last sum: all that were in it added theirs."""
        return math.sqrt(release.noise.sigma_squared * len(self.rounds[-1].included))

    def _noised(self, vector: _Integers, releases: Sequence[Release], room: int) -> _Integers:
        """Around `room`, as a secure sum knows no sign."""
        noise = [part.noise.sample(part.sensitivity.coordinates, self._rand) for part in releases]
        noisy = vector + np.concatenate(noise)
        require(int(np.abs(noisy).max()) < room, f"noisy integers < {room}", "more")
        return noisy + room
