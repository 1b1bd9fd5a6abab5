"""A rule: a detector's figures over some rounds -> whom to exclude, by which figure, in words.

A detector scores a round; a rule says what it takes to exclude. Its threshold follows from a level:
the probability with which it may exclude an honest client, under the model of honest clients that
the rule's docstring states. All rules are one-sided: nothing makes a client look better than
innocent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic

from robust.detect import Abstained, O
from robust.observe import Array, Mask, Norms, Observation, Sketches
from robust.window import Past

__all__ = ["Finding", "Found", "Rule", "Seen", "view"]

Seen = Sketches | Norms


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one rule found of one client in one round.

    Attributes
    ----------
    test: name of the rule.
    figure: what was measured, over the window.
    threshold: what it was compared with; on which side is bad, the words say.
    excludes: whether it was beyond.
    p_value: of the null hypothesis that the rule documents, or None.
    in_words: one sentence for somebody who knows nothing of statistics.
    """

    test: str
    figure: float
    threshold: float
    excludes: bool
    p_value: float | None
    in_words: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a rule found of all clients: figure, threshold, excludes (n,), p_values (n,) or None.

    neighbors: (n,), ids of clients that the words name, or None.
    """

    figure: Array
    threshold: Array
    excludes: Mask
    p_values: Array | None = None
    neighbors: Array | None = None

    def p_at(self, at: int) -> float | None:
        """The p-value at a position."""
        return None if self.p_values is None else float(self.p_values[at])

    def neighbor_at(self, at: int) -> str:
        """Whom the words name."""
        return "another client" if self.neighbors is None else f"client {self.neighbors[at]:.0f}"


class Rule(ABC, Generic[O]):
    """One test of a cascade; a frozen dataclass whose fields are its parameters.

    Attributes
    ----------
    name: one word, in findings.
    sees: the kind of observation that it reads.
    """

    name: ClassVar[str]
    sees: ClassVar[type[Observation]]

    @abstractmethod
    def measure(self, seen: O) -> Mapping[str, Array] | Abstained:
        """Figures (n,) of this round, to be remembered; NaN where there is none."""

    @abstractmethod
    def find(self, past: Past, level: float) -> Found:
        """Whom to exclude, of the clients in `past`, at a level in (0, 1/2)."""

    def remembered(self, _found: Found) -> Mapping[str, Array]:
        """Figures (n,) of a finding that later rounds need, beside those of `measure`: none."""
        return {}

    @abstractmethod
    def words(self, found: Found, at: int) -> str:
        """One sentence about the client at position `at`."""

    def check(self, level: float, window: int) -> None:
        """Raises `ParameterError` where the rule could never exclude anybody at this level."""

    def finding(self, found: Found, at: int) -> Finding:
        """The finding of the client at position `at`."""
        return Finding(
            test=self.name,
            figure=float(found.figure[at]),
            threshold=float(found.threshold[at]),
            excludes=bool(found.excludes[at]),
            p_value=found.p_at(at),
            in_words=self.words(found, at),
        )


def view(seen: Seen, kind: type[Observation]) -> Seen | None:
    """`seen` as an observation of `kind`; None where it does not tell that much."""
    if isinstance(seen, kind):
        return seen
    if kind is Norms and isinstance(seen, Sketches):
        return seen.as_norms()
    return None
