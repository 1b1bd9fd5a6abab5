"""Every exception of `robust`, in one tree.

    RobustError
    ├── ParameterError     the configuration breaks an inequality; nothing was computed
    └── ObservationError   what was seen in a round is malformed; state that met it is unchanged

A detector that cannot tell anything raises nothing: it abstains and names the reason.
No message carries an entry of a row.
"""

from __future__ import annotations

__all__ = ["ObservationError", "ParameterError", "RobustError", "require"]


class RobustError(Exception):
    """Root of the tree."""


class ParameterError(RobustError, ValueError):
    """A parameter breaks an inequality that the method needs. The message states it."""


class ObservationError(RobustError, ValueError):
    """An observation, or a stored state, is malformed: NaN, wrong shape, ids out of order."""


def require(holds: bool, inequality: str) -> None:
    """Raises `ParameterError`, which says that `inequality` must hold, unless it `holds`."""
    if not holds:
        raise ParameterError(f"{inequality} must hold")
