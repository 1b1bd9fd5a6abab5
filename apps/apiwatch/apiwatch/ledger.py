"""What left a site, sum by sum: how much, with whom, and what it costs of a privacy budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dp import Composed, ReductionAccountant
from dp.events import Event, event_of

from apiwatch.secure import Summed
from apiwatch.settings import require

__all__ = ["Ledger", "Sent"]


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One sum that a site took part in.

    what: in a word or two. coordinates: integers of a site's vector. bytes_up: frames of the site
    that sent most. sites: in the sum. lost: invited and not in it. event: what an accountant is
    charged, or None for a sum without noise.
    """

    what: str
    coordinates: int
    bytes_up: int
    sites: int
    lost: int
    event: Event | None = None

    def __post_init__(self) -> None:
        for name in ("coordinates", "bytes_up", "sites", "lost"):
            require(getattr(self, name) >= 0, f"{name} >= 0", getattr(self, name))

    @classmethod
    def of(cls, what: str, summed: Summed, event: Event | None = None) -> Sent:
        """The entry of a sum that has just ended."""
        return cls(
            what=what,
            coordinates=summed.total.size,
            bytes_up=max(summed.bytes_up.values()),
            sites=len(summed.included),
            lost=len(summed.bytes_up) - len(summed.included),
            event=event,
        )


@dataclass(frozen=True)
class Ledger:
    """All sums in their order."""

    sent: tuple[Sent, ...] = ()

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(self.sent + other.sent)

    def epsilon(self, delta: float) -> float:
        """For which all sums together are (epsilon, delta)-DP; infinite if one had no noise."""
        events = [entry.event for entry in self.sent]
        noisy = [event for event in events if event is not None]
        if len(noisy) < len(events) or not events:
            return float("inf") if events else 0.0
        return ReductionAccountant().epsilon(Composed.of(*noisy), delta)

    @property
    def document(self) -> list[dict[str, Any]]:
        """JSON types, from which `read` makes the ledger again."""
        return [
            {name: getattr(entry, name) for name in _NUMBERS}
            | {"what": entry.what, "event": entry.event.document() if entry.event else None}
            for entry in self.sent
        ]

    @classmethod
    def read(cls, document: Sequence[dict[str, Any]]) -> Ledger:
        """The inverse of `document`."""
        return cls(
            tuple(
                Sent(
                    what=str(row["what"]),
                    event=event_of(row["event"]) if row["event"] else None,
                    **{name: int(row[name]) for name in _NUMBERS},
                )
                for row in document
            )
        )


_NUMBERS = ("coordinates", "bytes_up", "sites", "lost")
