"""Every exception of the package, in one tree."""

from __future__ import annotations

__all__ = [
    "AgreementUnreadable",
    "ApiwatchError",
    "ChangedMeanwhile",
    "DataMissing",
    "LogUnreadable",
    "ParameterError",
    "ProfileMismatch",
    "ProfileUnreadable",
    "RoundFailed",
    "StoryFailed",
]


class ApiwatchError(Exception):
    """The root: catch it to catch all of them."""


class ParameterError(ApiwatchError, ValueError):
    """A parameter out of its range; the message states the inequality."""


class ChangedMeanwhile(ApiwatchError):
    """Another command has written a file since it was read; nothing was written over it."""


class LogUnreadable(ApiwatchError):
    """A log, or one line of it, is not what its format says."""


class ProfileMismatch(ApiwatchError):
    """Two tables that were not made under the same settings, or do not hold what is taken away."""


class ProfileUnreadable(ApiwatchError):
    """A profile file that is truncated, changed, or of another version."""


class AgreementUnreadable(ApiwatchError):
    """A file of an agreement or a key that is not one."""


class RoundFailed(ApiwatchError):
    """A secure sum ended without output; the cause is the library's own error."""


class DataMissing(ApiwatchError):
    """A data set that a benchmark needs is not there."""


class StoryFailed(ApiwatchError):
    """The demonstration could not go on."""
