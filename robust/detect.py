"""What a detector is: an observation of one round -> how suspicious each client is.

A detector holds no state and decides nothing: `robust.decide` does, over rounds and over several
detectors. One that cannot tell anything abstains and says why; it never guesses a number.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Generic, TypeVar

import numpy as np

from robust.errors import ObservationError
from robust.observe import Array, Observation

__all__ = ["Abstained", "Detector", "O", "Reason", "Scores"]

O = TypeVar("O", bound=Observation)  # noqa: E741 -- one letter, as type variables are


class Reason(enum.Enum):
    """Why a detector abstains."""

    TOO_FEW_CLIENTS = "too few clients to compare with each other"
    NO_VARIATION = "the rows do not differ, or are zero, so that nothing can be compared"
    NO_REFERENCE = "the server gave no update of its own to compare with"
    TOO_FEW_ROWS = "too few numbers in a sketch are left after the public directions are removed"


@dataclass(frozen=True, kw_only=True)
class Abstained:
    """The detector cannot tell anything about this round."""

    detector: str
    reason: Reason


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What one detector says of one round.

    Attributes
    ----------
    detector: its name.
    clients: ids, as in the observation.
    suspicion: (n,), higher is more suspicious; comparable within a round.
    p_values: (n,) in [0, 1] under the null hypothesis that the detector documents, or None. It may
        be one that honest clients *reject* (`EvidenceOfTraining`), so never combine p-values of
        detectors without reading it.
    figures: name -> (n,), what explanations quote.

    Raises `ObservationError` for shapes that do not agree and for what is not finite.
    """

    detector: str
    clients: tuple[int, ...]
    suspicion: Array
    p_values: Array | None = None
    figures: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = len(self.clients)
        object.__setattr__(self, "suspicion", _column("suspicion", self.suspicion, size))
        figures = {name: _column(name, value, size) for name, value in self.figures.items()}
        object.__setattr__(self, "figures", MappingProxyType(figures))
        if self.p_values is not None:
            p = _column("p_values", self.p_values, size)
            if not bool(((p >= 0) & (p <= 1)).all()):
                raise ObservationError("p_values: 0 <= p <= 1 must hold")
            object.__setattr__(self, "p_values", p)


class Detector(ABC, Generic[O]):
    """A rule that compares the clients of one round.

    A new one inherits this as a frozen dataclass whose fields are its parameters, and its test
    inherits `robust.testing.DetectorConformance`. Relabeling clients must relabel the scores and
    change nothing else.

    Attributes
    ----------
    name: one word, in findings and explanations.
    sees: the kind of observation that it reads.
    """

    name: ClassVar[str]
    sees: ClassVar[type[Observation]]

    @abstractmethod
    def score(self, seen: O) -> Scores | Abstained:
        """Scores of every client seen, or the reason why there are none."""

    def abstain(self, reason: Reason) -> Abstained:
        """What `score` returns where it cannot tell."""
        return Abstained(detector=self.name, reason=reason)


def _column(name: str, value: Array, size: int) -> Array:
    column = np.array(value, dtype=np.float64)
    if column.shape != (size,) or not bool(np.isfinite(column).all()):
        raise ObservationError(f"{name} must be {size} finite numbers, got shape {column.shape}")
    column.setflags(write=False)
    return column
