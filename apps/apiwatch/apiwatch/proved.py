"""Sums in which each site proves that its vector is within a norm: two aggregators, one message.

    proved_sum(vectors, members, bound=...)   like `secure_sum`; who is beyond the bound is left out

A site scales its counters down to the bound (`contributions.limited`), so that however much it
repeats a request, it adds no more than the bound to any set of counters. What lies is named and not
in the sum [spec/pine.md]. A norm says nothing of single counters: a site within it can still put
all of it into one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from secagg import SERVER, Identity, InputRefused, Machine, Rand, Roster, Round
from secagg.primitives.ring import centered, word
from secagg.schemes.pine import HELPER, TwoAggregators

from apiwatch.secure import Members, Summed, ended
from apiwatch.settings import require

__all__ = ["proved_sum"]

_Integers = NDArray[np.int64]


def proved_sum(
    vectors: Mapping[int, _Integers],
    members: Members,
    *,
    bound: int,
    model: bytes,
    minimum: int,
    corrupt: float = 0.2,
    silent: frozenset[int] = frozenset(),
    rand: Rand = os.urandom,
) -> Summed:
    """The sum of the vectors of all sites that prove theirs.

    vectors: (d,) int64 of each member. bound: of the Euclidean norm of each. minimum: fewest sites
    in a sum. silent: sites that say nothing. `Summed.refused` has those that are over the bound:
    an honest site's own machine refuses, and says nothing.

    Raises `ParameterError` for parameters that the scheme has no proof for, and `RoundFailed` where
    fewer than `minimum` are left.
    """
    require(vectors.keys() == members.sites.keys(), "sites with vectors == members", set(vectors))
    require(HELPER not in vectors, f"site ids != {HELPER}", HELPER)
    sizes = {vector.size for vector in vectors.values()}
    require(len(sizes) == 1, "vectors have one length", sizes)
    width = (2 * bound * len(vectors)).bit_length() + 1
    scheme = TwoAggregators(
        clients=len(vectors),
        length=sizes.pop(),
        width=width,
        bound=bound,
        minimum=minimum,
        corrupt=corrupt,
    )
    helper = Identity.generate(rand)
    this = Round(session=rand(16), number=0, model=model, roster=_roster(members, helper))
    server = scheme.server(this, members.server, rand=rand)
    second = scheme.helper(this, helper, rand=rand)
    sent, refused = dict.fromkeys(vectors, 0), set()
    for site in sorted(vectors.keys() - silent):
        machine = scheme.client(this, members.sites[site], site, rand=rand)
        try:
            machine.submit(vectors[site].astype(word(width)))
        except InputRefused:
            refused.add(site)
            continue
        for _, frame in machine.to_send():
            sent[site] += len(frame)
            server.receive(site, frame)
        _relay(server, second)
    server.deadline()
    _relay(server, second)
    aggregate = ended(server)
    return Summed(
        total=centered(aggregate.total, width).astype(np.int64),
        included=aggregate.included,
        bytes_up=sent,
        refused=frozenset(refused) | aggregate.refused,
    )


def _roster(members: Members, helper: Identity) -> Roster:
    parties = {**members.sites, HELPER: helper}
    return Roster(
        members.server.public,
        {i: key.public for i, key in parties.items()},
        {i: key.share_key for i, key in parties.items()},
        members.server.share_key,
    )


def _relay(server: Machine[Any], helper: Machine[Any]) -> None:
    """Frames between the aggregators until both are quiet; nobody else is sent anything."""
    moved = True
    while moved:
        moved = False
        for to, frame in server.to_send():
            if to == HELPER:
                helper.receive(SERVER, frame)
                moved = True
        for _, frame in helper.to_send():
            server.receive(HELPER, frame)
            moved = True
