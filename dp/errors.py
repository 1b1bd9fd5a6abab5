"""Every exception of `dp`, in one tree.

    DPError
    ├── ParameterError   a parameter breaks an inequality; nothing was drawn
    ├── InputRefused     the caller's update; nothing was drawn and nothing left the client
    ├── IntegrityError   a total that honest clients do not sum to; it was withheld
    ├── DecodeError      a document that no event has; nothing was built from it
    ├── UnknownEvent     an event or a noise that this accountant has no bound for
    ├── BudgetExceeded   a release that the budget does not afford; it was not made
    └── RandomnessError  the source of randomness broke its contract; nothing was returned

No message carries a noise value, a byte of a seed or a coordinate of an update or total.
"""

from __future__ import annotations

__all__ = [
    "BudgetExceeded",
    "DPError",
    "DecodeError",
    "InputRefused",
    "IntegrityError",
    "ParameterError",
    "RandomnessError",
    "UnknownEvent",
    "require",
]


class DPError(Exception):
    """Root of the tree."""


class ParameterError(DPError, ValueError):
    """A parameter breaks an inequality that the mechanism needs. The message states it."""


class InputRefused(DPError, ValueError):
    """An update cannot be encoded: NaN, infinity, wrong shape or dtype. No value is named."""


class IntegrityError(DPError):
    """A total is none that honest clients sum to, but with a probability that the check states."""


class DecodeError(DPError, ValueError):
    """A document is none that an event has. The message names the field."""


class UnknownEvent(DPError, TypeError):
    """No bound is known for this event or noise; an accountant never guesses one."""


class BudgetExceeded(DPError):
    """A release would spend more than the budget. Nothing of it was charged, and nothing left."""


class RandomnessError(DPError, RuntimeError):
    """A `Rand` returned something else than the number of bytes that it was asked for."""


def require(holds: bool, inequality: str) -> None:
    """Raises `ParameterError`, which says that `inequality` must hold, unless it `holds`."""
    if not holds:
        raise ParameterError(f"{inequality} must hold")
