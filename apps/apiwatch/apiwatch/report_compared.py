"""The section of the report that compares profiles on known attacks: together, alone, pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apiwatch.detector import Judged
from apiwatch.plots import curves, misses
from apiwatch.store import Profile

__all__ = ["compared"]

_NOTE = (
    "{attacks:,} known attacks and {usual:,} requests that are taken to be usual. Above: the share "
    "of attacks found, below: the share missed, each by the share of usual requests that alert."
)


def compared(
    profile: Profile,
    alone: Profile | None,
    others: Mapping[str, Profile],
    usual: Sequence[Judged],
    attacks: Sequence[Judged],
) -> str:
    """How each profile tells these attacks from usual requests, in two pictures of the same."""
    digest = profile.detector.digest
    if alone is None:
        profiles = {"this profile": profile}
    else:
        both = "together = pooled" if alone.pooled == digest else "sites together"
        profiles = {both: profile, "this site alone": alone}
    profiles |= _renamed(others, set(profiles))
    requests = [[one.request for one in part] for part in (usual, attacks)]
    scores = {
        name: (one.detector.scores(requests[0]), one.detector.scores(requests[1]))
        for name, one in profiles.items()
    }
    note = _NOTE.format(attacks=len(attacks), usual=len(usual))
    if alone is not None:
        note += f" {_pooled(digest, alone.pooled, profile.table.settings.support)}"
    return f"{curves(scores)}{misses(scores)}<p class=note>{note}</p>"


def _renamed(others: Mapping[str, Profile], taken: set[str]) -> dict[str, Profile]:
    """No other profile takes the curve of these, whatever its file is called."""
    return {f"other: {name}" if name in taken else name: one for name, one in others.items()}


def _pooled(shared: str, pooled: str, support: int) -> str:
    if pooled == shared:
        return (
            f"The requests of all sites in one place gave a profile with the same SHA-256, "
            f"{shared[:16]}…: the curve of the pooled is that of the sites together."
        )
    if pooled:
        why = "need support" if support > 1 else "are scaled to the norm that sites prove"
        return f"The profile of the pooled requests is another, as counters {why} here."
    told = "Nobody has the pooled requests. Counters are exact sums of what sites gave"
    return f"{told}, and count where {support} sites agree." if support > 1 else f"{told}."
