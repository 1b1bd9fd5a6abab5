"""The one exception of the reference: something is not as the specification says."""

from __future__ import annotations

__all__ = ["Refused", "require"]


class Refused(Exception):
    """A rule does not hold. The text names it; inputs here are test data, so it may show them."""


def require(holds: bool, rule: str) -> None:
    """Raise `Refused` with the rule unless it holds."""
    if not holds:
        raise Refused(rule)
