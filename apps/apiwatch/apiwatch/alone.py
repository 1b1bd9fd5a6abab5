"""What a site has learned alone, kept beside the profile that it shares: the report compares them.

It is a file of its own, for a shared profile may be handed on, and the counters of one site may
not. It names the profile that it was learned beside; beside any other it is not used.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from apiwatch.calibration import Calibration
from apiwatch.detector import Detector
from apiwatch.event import Field
from apiwatch.store import Profile
from apiwatch.table import Table
from apiwatch.work import learnt

__all__ = ["alone_file", "keep_alone", "learnt_alone", "pooled_digest"]


def alone_file(profile: Path) -> Path:
    """Where it is, beside the file of the shared profile."""
    return profile.with_name(f"{profile.name}.alone")


def keep_alone(
    shared: Profile,
    file: Path,
    counts: Counter[Field],
    *,
    pooled: str = "",
    before: Profile | None = None,
) -> None:
    """Learn from a site's own fields, and write it beside `file`, that of the shared profile.

    pooled: the digest of the profile of all requests in one place; "" where nobody has them.
    before: what it had learned alone before.
    """
    own = learnt(counts, shared.table.settings, before)
    own.beside, own.pooled = shared.detector.digest, pooled
    own.save(alone_file(file))


def learnt_alone(shared: Profile, file: Path) -> Profile | None:
    """What was learned alone, or None where nothing is there or it belongs to another profile.

    Raises `ProfileUnreadable` for a file that is no profile.
    """
    path = alone_file(file)
    own = Profile.load(path) if path.is_file() else None
    return own if own is not None and own.beside == shared.detector.digest else None


def pooled_digest(counts: Counter[Field], shared: Profile) -> str:
    """The digest of the profile that these fields give in one place, under the same settings."""
    table = Table.learn(counts, shared.table.settings)
    return Detector(table, Calibration.learn(counts, table)).digest
