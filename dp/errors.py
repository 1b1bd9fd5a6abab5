"""Every exception of `dp`, in one tree.

    DPError
    ├── ParameterError   a parameter breaks an inequality; nothing was drawn
    └── RandomnessError  the source of randomness broke its contract; nothing was returned

No message carries a noise value or a byte of a seed.
"""

from __future__ import annotations

__all__ = ["DPError", "ParameterError", "RandomnessError"]


class DPError(Exception):
    """Root of the tree."""


class ParameterError(DPError, ValueError):
    """A parameter breaks an inequality that the mechanism needs. The message states it."""


class RandomnessError(DPError, RuntimeError):
    """A `Rand` returned something else than the number of bytes that it was asked for."""
