"""What a round of secagg_plus or pine costs one client, computed from its parameters.

`simulate.run_round` measures the same numbers; the tests hold the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from secagg.frame import OVERHEAD
from secagg.primitives.ring import packed_size
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest
from secagg.schemes.secagg_plus.messages import Consents
from secagg.wire import Limits, Message, size_bound

__all__ = ["Cost", "client_cost"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One client's part of a round in which nobody drops out, signatures and headers included.

    Attributes
    ----------
    up, down: bytes of the frames it sends and receives.
    vector: bytes that its update alone takes in them; with two aggregators the sealed share of it,
        which has the proofs too.
    mask_keys: keys whose streams it adds to its update: one per neighbour, and its own.
    shares: secret shares that it deals: two per neighbour, or one per aggregator.
    """

    up: int
    down: int
    vector: int
    mask_keys: int
    shares: int


def client_cost(scheme: SecAggPlus | SecAggPlusSemiHonest | TwoAggregators) -> Cost:
    """The cost of `scheme`; dropouts only lower it."""
    if isinstance(scheme, TwoAggregators):
        up = sum(_frame(kind, scheme.limits) for kind in scheme.server_messages)
        return Cost(up=up, down=0, vector=scheme.limits.vector, mask_keys=0, shares=2)
    near, limits = scheme.neighbourhood.degree, scheme.limits
    # Where nobody is missing every list is as long as it can be, except that of the consents.
    quorum = replace(limits, parties=scheme.quorum)
    return Cost(
        up=sum(_frame(kind, limits) for kind in scheme.server_messages),
        down=sum(
            _frame(kind, quorum if kind is Consents else limits) for kind in scheme.client_messages
        ),
        vector=packed_size(scheme.length, scheme.width),
        mask_keys=near + 1,
        shares=2 * near,
    )


def _frame(kind: type[Message], limits: Limits) -> int:
    return OVERHEAD + size_bound(kind, limits)
