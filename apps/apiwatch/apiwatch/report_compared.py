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
    requests = [[one.request for one in part] for part in (usual, attacks)]
    scores = {
        name: (one.detector.scores(requests[0]), one.detector.scores(requests[1]))
        for name, one in (profiles | dict(others)).items()
    }
    note = _NOTE.format(attacks=len(attacks), usual=len(usual))
    told = note if alone is None else f"{note} {_pooled(digest, alone.pooled)}"
    return f"{curves(scores)}{misses(scores)}<p class=note>{told}</p>"


def _pooled(shared: str, pooled: str) -> str:
    if pooled == shared:
        return (
            f"The requests of all sites in one place gave a profile with the same SHA-256, "
            f"{shared[:16]}…: the curve of the pooled is that of the sites together."
        )
    if pooled:
        return "The profile of the pooled requests is another, as counters need support here."
    return "Nobody has the pooled requests. Sums are exact: they would give what the sites share."
