"""Calibration: how scores of this deployment are distributed while nobody attacks.

A score without a null law becomes a p-value by its rank among the scores of warm-up rounds, pooled
over clients and rounds: p = (r + 1)/(m + 1), with r the number of the m scores at least as large.
Were a new score exchangeable with them, p would be uniform or larger. It is so only approximately:
clients differ persistently, and a model that converges changes what is usual. So warm up again
after a change of model, data or cohort. Attackers in a warm-up make p-values larger: they cost
power, not honest clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robust.detect import Abstained, Detector
from robust.errors import ObservationError, ParameterError
from robust.features import LOWER_PART, standardized, whole_number
from robust.observe import Array, Sketches
from robust.window import Memory

__all__ = ["Calibration", "standard_score"]


def standard_score(detector: Detector[Sketches], seen: Sketches) -> Array | Abstained:
    """Suspicions (n,), centered and scaled by the least suspicious 35 % of the round."""
    scores = detector.score(seen)
    return scores if isinstance(scores, Abstained) else standardized(scores.suspicion, LOWER_PART)


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Sorted warm-up scores of some detectors.

    Attributes
    ----------
    window: most rounds that a score is averaged over, >= 1.
    values: name -> `window` arrays, ascending; the w-th holds means over w rounds.
    """

    window: int
    values: Mapping[str, tuple[Array, ...]]

    def __post_init__(self) -> None:
        whole_number("window", self.window, 1)
        kept = {name: tuple(map(_sorted, arrays)) for name, arrays in self.values.items()}
        if any(len(arrays) != self.window for arrays in kept.values()):
            raise ParameterError("one array of warm-up scores for each window length must hold")
        object.__setattr__(self, "values", kept)

    @classmethod
    def collect(
        cls, rounds: Iterable[Sketches], detectors: Sequence[Detector[Sketches]], window: int = 10
    ) -> Calibration:
        """From warm-up rounds, in order. Raises `ObservationError` if a detector never scored."""
        whole_number("window", window, 1)
        memory = {detector.name: Memory(window) for detector in detectors}
        values: dict[str, list[list[Array]]] = {
            detector.name: [[] for _ in range(window)] for detector in detectors
        }
        for seen in rounds:
            for detector in detectors:
                score = standard_score(detector, seen)
                if not isinstance(score, Abstained):
                    memory[detector.name].add(seen.number, seen.clients, {"score": score})
                    _gather(values[detector.name], memory[detector.name], seen.clients)
        return cls(window=window, values={name: _pooled(name, v) for name, v in values.items()})

    def p_values(self, name: str, means: Array, rounds: Array) -> Array:
        """(n,) means over `rounds` (n,) in 1..window -> (n,) p-values; 1 where rounds is 0."""
        found = np.ones_like(means)
        for length, pool in enumerate(self.values[name], start=1):
            at = rounds == length
            larger = len(pool) - np.searchsorted(pool, means[at], side="left")
            found[at] = (larger + 1.0) / (len(pool) + 1.0)
        return found

    def smallest(self, name: str) -> float:
        """The smallest p-value that a full window can have."""
        return 1.0 / (len(self.values[name][-1]) + 1.0)

    def export(self) -> dict[str, object]:
        """Lists and numbers, fit for JSON."""
        values = {name: [pool.tolist() for pool in pools] for name, pools in self.values.items()}
        return {"window": self.window, "values": values}

    @classmethod
    def load(cls, document: object) -> Calibration:
        """What `export` gave. Raises `ObservationError` for anything else."""
        if not isinstance(document, dict) or set(document) != {"window", "values"}:
            raise ObservationError("a calibration must have window and values")
        window, values = document["window"], document["values"]
        if not isinstance(values, dict) or not all(isinstance(v, list) for v in values.values()):
            raise ObservationError("values of a calibration must be lists by name")
        try:
            return cls(window=window, values={name: tuple(v) for name, v in values.items()})
        except ParameterError as wrong:
            raise ObservationError(f"a calibration does not load: {wrong}") from wrong


def _gather(values: list[list[Array]], memory: Memory, clients: tuple[int, ...]) -> None:
    """Adds each client's means over its last 1, 2, ... rounds, as far as it has them."""
    for length, pool in enumerate(values, start=1):
        past = memory.past(clients, length)
        pool.append(past.mean("score")[past.counts("score") == length])


def _pooled(name: str, values: list[list[Array]]) -> tuple[Array, ...]:
    if not values[-1]:
        raise ObservationError(f"{name} scored no warm-up round")
    return tuple(np.concatenate(pool) for pool in values)


def _sorted(values: object) -> Array:
    try:
        found = np.sort(np.array(values, dtype=np.float64))
    except (TypeError, ValueError) as wrong:
        raise ParameterError("warm-up scores: numbers must hold") from wrong
    if found.ndim != 1 or not bool(np.isfinite(found).all()):
        raise ParameterError("warm-up scores: finite numbers must hold")
    found.setflags(write=False)
    return found
