"""In what an update differs from what a plan says it looks like."""

from __future__ import annotations

from secagg.structure import Leaf, Structure

__all__ = ["difference"]


def difference(expected: Structure, found: Structure) -> str:
    """The first leaf in which two structures differ, by its path."""
    wanted = {leaf.path: leaf for leaf in expected.describe()}
    given = {leaf.path: leaf for leaf in found.describe()}
    if missing := wanted.keys() - given.keys():
        return f"{min(missing, key=list(wanted).index)} is missing"
    if extra := given.keys() - wanted.keys():
        return f"{min(extra, key=list(given).index)} is not in the plan"
    for want, have in zip(wanted.values(), given.values(), strict=True):
        if (want.path, want.dtype, want.shape) != (have.path, have.dtype, have.shape):
            return f"{_shown(have)} where the plan has {_shown(want)}"
    return "the leaves agree, but lists, tuples or dicts around them do not"


def _shown(leaf: Leaf) -> str:
    return f"{leaf.path} {leaf.dtype} {leaf.shape}"
