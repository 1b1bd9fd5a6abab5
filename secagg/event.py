"""What a machine reports: how the round ended, and what went wrong on the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from secagg.errors import Aborted, IntegrityError
from secagg.identity import PartyId
from secagg.primitives.ring import Words

__all__ = [
    "Aggregate",
    "Discarded",
    "Event",
    "Failed",
    "Finished",
    "FraudProven",
    "GroupStatistics",
    "PeerRejected",
    "Statistics",
]


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """What a round releases.

    total: ring vector of the scheme's length, the exact sum of the inputs of `included`.
    included: the clients whose inputs are in the sum.
    dropped: per phase, the clients that were lost in it. A client lost after its input arrived is
        both included and listed.
    refused: in a scheme that screens, the clients of which statistics were due, and whose inputs
        are not in the sum: beyond the bounds, not accepted, or convicted of a lie.
    """

    total: Words
    included: frozenset[PartyId]
    dropped: Mapping[str, frozenset[PartyId]]
    refused: frozenset[PartyId] = frozenset()


@dataclass(frozen=True)
class Finished:
    """The round ended well. A client's `aggregate` is None: only servers learn the sum.

    included: of a client, whose inputs are in the sum that it helped to open; None where it gave
    its input and learned no more.
    """

    aggregate: Aggregate | None = None
    included: frozenset[PartyId] | None = None


@dataclass(frozen=True)
class Failed:
    """The round ended without output."""

    error: Aborted | IntegrityError


@dataclass(frozen=True)
class PeerRejected:
    """An authenticated peer broke the protocol and is no longer listened to in this round.

    What it contributed before, if anything, stays in the sum.
    """

    peer: PartyId
    phase: str
    reason: str


@dataclass(frozen=True)
class FraudProven(PeerRejected):
    """A peer signed what its own commitments contradict.

    proof: an encoded `FraudProof`, which convinces whoever knows the roster and the plan.
    """

    proof: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """What a screening scheme opened before the sum. The caller decides whose input is summed.

    Where groups are opened, nothing is yet: there are no weights, and arrays have no columns.

    clients: of the rows, ascending. eligible: who is within the bounds of the plan, and may be
    accepted. weights: (n,) int64, or None where vectors have none. products: (n, q) int64, with
    the references. rows: (n, k) int64, the sketches, noise included. seed: draws the map.
    """

    clients: tuple[PartyId, ...]
    eligible: frozenset[PartyId]
    weights: NDArray[np.int64] | None
    products: NDArray[np.int64]
    rows: NDArray[np.int64]
    seed: bytes
    norms: NDArray[np.int64] | None = None

    @classmethod
    def unopened(
        cls, clients: Collection[PartyId], eligible: Collection[PartyId], seed: bytes
    ) -> Self:
        """Of `clients` nothing is known yet: groups of whom are opened with the sum."""
        nothing = np.zeros((len(clients), 0), np.int64)
        return cls(
            clients=tuple(sorted(clients)),
            eligible=frozenset(eligible),
            weights=None,
            products=nothing,
            rows=nothing,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupStatistics:
    """What a screening scheme opened of groups of clients, together with the sum.

    groups: whose vectors are summed in each, ascending; together, who is in the sum. within: (g,)
    bool, whether what was opened of a group is within the bounds of the plan; if any is not, the
    sum is withheld. weights: (g,) int64, or None where vectors have none. products: (g, q) int64.
    rows: (g, k) int64, sketches of the sums, noise included. seed: draws the map.
    """

    groups: tuple[tuple[PartyId, ...], ...]
    within: NDArray[np.bool_]
    weights: NDArray[np.int64] | None
    products: NDArray[np.int64]
    rows: NDArray[np.int64]
    seed: bytes


@dataclass(frozen=True)
class Discarded:
    """Bytes were thrown away without blame: not authentic, or too late.

    `count` messages of one sender are reported together, with the reason for the first.
    """

    sender: PartyId
    reason: str
    count: int = 1


Event = Finished | Failed | PeerRejected | Discarded | Statistics | GroupStatistics
