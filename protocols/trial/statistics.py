"""What the server of a screened round sees and sums, bit for bit, without the cryptography.

    updates --quantize (honest), round (attackers)--> residues
    residues --the map that a seed draws--> `Statistics` --`observed`--> `Sketches`
    residues of the accepted --sum, decode--> mean

Honest clients clip, as `ClientRound` does. Attackers do not: whoever is beyond the bounds of the
plan is not eligible, as in the scheme. Where the seed is that of a real round, so are all numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress

import numpy as np

from protocols.federation.federation import RoundData
from protocols.plan import RoundPlan
from protocols.screening import SketchScreen, observed
from robust.observe import Array, Sketches
from secagg.errors import IntegrityError, ParameterError
from secagg.event import Statistics
from secagg.identity import PartyId
from secagg.primitives.ring import Words, reduce, word
from secagg.quantize import FixedPoint, NormClip
from secagg.rand import Rand
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified

__all__ = ["encoded", "opened", "plan_for", "released", "seen", "unclipped"]

_NO_CONTEXT = bytes(32)
"""A plan without noise does not use it."""

_MOST_UNITS = 2.0**62


def plan_for(size: int, *, clients: int, clip: float, rows: int = 256) -> RoundPlan:
    """The plan of rounds over updates (size,). Raises `ParameterError` as `for_update` does."""
    screen = SketchScreen(rows=rows, tables=4, buckets=1 << 11)
    return RoundPlan.for_update(np.zeros(size), clients=clients, clip=NormClip(clip), screen=screen)


def encoded(plan: RoundPlan, data: RoundData, rand: Rand) -> list[Words]:
    """The ring vector of each client, every one with weight 1."""
    return [
        plan.encode(row, 1, rand, _NO_CONTEXT) if honest else unclipped(plan, row)
        for row, honest in zip(data.updates, data.honest.tolist(), strict=True)
    ]


def unclipped(plan: RoundPlan, update: Array) -> Words:
    """What a client sends that does not clip: it follows no rule but the ring's."""
    units = np.clip(np.rint(update / _quantize(plan).resolution), -_MOST_UNITS, _MOST_UNITS)
    residues = np.concatenate([[1], units.astype(np.int64)]).astype(word(plan.scheme.width))
    return reduce(residues, plan.scheme.width)


def opened(
    plan: RoundPlan, clients: Sequence[PartyId], vectors: Sequence[Words], seed: bytes
) -> Statistics:
    """What a round opens of these vectors when its map is drawn from `seed`, 32 bytes."""
    scheme = plan.scheme
    if not isinstance(scheme, SecAggPlusVerified):
        raise ParameterError("this plan opens nothing: give it a screen")
    screen = scheme.screen
    signed = screen.signed(scheme.opened_map(seed).of_words(vectors), scheme.width)
    at = screen.opened - screen.rows
    return Statistics(
        clients=tuple(clients),
        eligible=frozenset(compress(clients, screen.within(signed))),
        weights=signed[:, 0] if screen.head else None,
        products=signed[:, screen.head : at],
        rows=signed[:, at:],
        seed=seed,
    )


def seen(
    plan: RoundPlan,
    statistics: Statistics,
    data: RoundData,
    *,
    window: int = 6,
    imitates: bool = False,
) -> Sketches | None:
    """What a detector sees of those within the bounds; None where nobody is.

    Public vectors are the last `window` global updates and the weights that clients started from;
    the server has its own update, and one for each class. imitates: and made-up clients.
    """
    if not statistics.eligible:
        return None
    known = [*data.history[max(len(data.history) - window, 0) :], data.weights]
    found = observed(
        plan,
        statistics,
        data.number,
        known=known,
        root=data.root,
        classes=list(data.classes),
        imitate=data.imitate if imitates else None,
    )
    if not isinstance(found, Sketches):
        raise ParameterError("screen: a SketchScreen must hold")
    return found


def released(
    plan: RoundPlan,
    clients: Sequence[PartyId],
    vectors: Sequence[Words],
    accepted: Collection[PartyId],
) -> Array | None:
    """The mean (d,) of the accepted; None where nobody is, or the sum cannot be honest."""
    chosen = [one for client, one in zip(clients, vectors, strict=True) if client in accepted]
    if not chosen:
        return None
    total = reduce(np.sum(chosen, axis=0, dtype=chosen[0].dtype), plan.scheme.width)
    try:
        # decoding draws no randomness where no noise is added
        decoded = plan.decode(total, len(chosen), bytes, _NO_CONTEXT)
    except IntegrityError:
        return None
    return np.asarray(decoded.mean, dtype=np.float64)


def _quantize(plan: RoundPlan) -> FixedPoint:
    assert isinstance(plan.quantize, FixedPoint), "only exact plans have a screen"
    return plan.quantize
