"""What surprise is usual in each context: sums of integers again, so a second secure sum gives it.

Surprise is counted in sixteenths of a bit and capped, so that its square cannot overflow. The
sums are those of the held-out surprises of a site's own fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from apiwatch.errors import ParameterError, ProfileMismatch
from apiwatch.event import Field
from apiwatch.features import Events
from apiwatch.hashing import mix
from apiwatch.settings import Settings
from apiwatch.surprise import KINDS, surprises
from apiwatch.table import Table, in_batches

__all__ = ["CAPPED_BITS", "MOST_FIELDS", "WEIGHTS", "Calibration", "spread_of", "total"]

_UNITS = 16
_CAP = 1 << 16  # of one surprise, in units: 4096 bits
MOST_FIELDS = 1 << 25
"""Of one site: 2**25 squares of 2**32 leave room for 64 sites in 63 bits."""

WEIGHTS = np.array([1.0, 1.0, 0.25, 0.5, 0.5, 0.5, 1.5])
"""Of the kinds: usual requests have strange shapes and neighborhoods more often than they have
strange lengths and characters, by as many standard deviations. Chosen on half of CSIC 2010."""

CAPPED_BITS = 32.0
"""Of one surprise where noise is added: a larger one would need more."""

_PRIOR = 2.0  # fields that the average over all contexts is worth
_SPREAD, _SPREAD_ATOM = 1.0, 0.1  # least variances, in bits squared: structure hardly varies
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Per context: how many fields, and the sum and the sum of squares of each surprise.

    sums: (2**slots, 1 + 2 * 7) int64, in units and units squared.
    """

    settings: Settings
    sums: _Integers

    def __post_init__(self) -> None:
        shape = (1 << self.settings.slots, 1 + 2 * len(KINDS))
        if self.sums.shape != shape or self.sums.dtype != np.int64:
            raise ParameterError(f"sums.shape == {shape} of int64 must hold")
        if self.sums.min() < 0:
            raise ParameterError("0 <= sums must hold")

    @classmethod
    def learn(cls, counts: Mapping[Field, int], table: Table) -> Self:
        """Of fields that are part of `table`, each left out in turn.

        Raises `ParameterError` for more than `MOST_FIELDS` fields.
        """
        settings = table.settings
        total = sum(counts.values())
        if total > MOST_FIELDS:
            raise ParameterError(f"fields of one site <= {MOST_FIELDS} must hold, got {total}")
        sums = np.zeros((1 << settings.slots, 1 + 2 * len(KINDS)), np.int64)
        for found, cells, weight in in_batches(counts, settings):
            bits = surprises(found, cells, table, held_out=True)
            units = np.minimum(np.rint(bits * _UNITS), _CAP).astype(np.int64)
            rows = np.concatenate([np.ones((len(found), 1), np.int64), units, units**2], axis=1)
            np.add.at(sums, slots_of(found, settings), rows * weight[:, None])
        return cls(settings, sums)

    @classmethod
    def of_noisy(cls, settings: Settings, sums: _Floats, least: float) -> Self:
        """From sums of `contributions.measured`, in fields, with noise.

        least: fields that a context must have more of; others count as never seen.
        """
        rows = sums.reshape(1 << settings.slots, -1)
        bits = CAPPED_BITS / 4.0 * _UNITS
        scale = np.repeat([1.0, bits, bits**2], [1, len(KINDS), len(KINDS)])
        known = np.where(rows[:, :1] > least, np.maximum(rows, 0.0) * scale, 0.0)
        return cls(settings, np.rint(known).astype(np.int64))

    def __add__(self, other: Calibration) -> Calibration:
        if other.settings != self.settings:
            raise ProfileMismatch("two calibrations under different settings do not add up")
        return Calibration(self.settings, self.sums + other.sums)

    def standardized(self, bits: _Floats, found: Events) -> _Floats:
        """(f, 7): by how many standard deviations each surprise is above what is usual there, by
        the weight of its kind; 0 for what is below.
        """
        slots = slots_of(found, self.settings)
        mean, variance = self.moments
        least = np.where(found.atom, spread_of(atom=True), spread_of(atom=False))[:, None]
        scores: _Floats = (bits - mean[slots]) / np.sqrt(variance[slots] + least)
        weighted: _Floats = np.maximum(scores, 0.0) * WEIGHTS
        return weighted

    @cached_property
    def moments(self) -> tuple[_Floats, _Floats]:
        """(2**slots, 7) each: mean and variance of the surprise in each slot, in bits."""
        kinds = len(KINDS)
        n = self.sums[:, :1].astype(np.float64)
        first = self.sums[:, 1 : 1 + kinds] / _UNITS
        second = self.sums[:, 1 + kinds :] / _UNITS**2
        fields = max(float(n.sum()), 1.0)
        everywhere, everywhere_squared = first.sum(0) / fields, second.sum(0) / fields
        mean = (first + _PRIOR * everywhere) / (n + _PRIOR)
        square = (second + _PRIOR * everywhere_squared) / (n + _PRIOR)
        return mean, np.maximum(square - mean**2, 0.0)


def total(scores: _Floats) -> _Floats:
    """(f, 7) by kind -> (f,): their Euclidean norm, so that kinds that agree weigh more."""
    norm: _Floats = np.sqrt((scores**2).sum(axis=1))
    return norm


def slots_of(found: Events, settings: Settings) -> _Integers:
    """(f,) the slot of each field's context."""
    return (mix(found.levels[0]) >> np.uint64(64 - settings.slots)).astype(np.int64)


def spread_of(*, atom: bool) -> float:
    """The least variance that a kind of field is given, in bits squared."""
    return _SPREAD_ATOM if atom else _SPREAD
