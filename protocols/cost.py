"""What a round costs one client, computed from its scheme's parameters.

`simulate.run_round` measures the same numbers; the tests hold the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from secagg.frame import OVERHEAD
from secagg.primitives.ring import packed_size
from secagg.scheme import Scheme
from secagg.schemes.ckks import EncryptedExact
from secagg.schemes.ckks.layout import layout
from secagg.schemes.ckks.messages import Upload
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest
from secagg.schemes.secagg_plus.messages import Consents
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified
from secagg.schemes.secagg_plus.verified.messages import Closing, Dispute, Edges, Sketches, Strike
from secagg.wire import Limits, Message, size_bound

__all__ = ["Cost", "client_cost", "encrypted_cost"]

_OF_LIES = (Dispute, Edges, Strike)

Masking = SecAggPlus | SecAggPlusSemiHonest | SecAggPlusBrief | SecAggPlusVerified


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One client's part of a round in which nobody drops out or lies, signatures and headers
    included.

    Attributes
    ----------
    messages: that it sends.
    up, down: bytes of the frames it sends and receives.
    vector: bytes that its update alone takes in them; with two aggregators the sealed share of it,
        which has the proofs too.
    mask_keys: keys whose streams it adds to its update: one per neighbour, and its own.
    shares: secret shares that it deals: two per neighbour, or one per aggregator.
    """

    messages: int
    up: int
    down: int
    vector: int
    mask_keys: int = 0
    shares: int = 0


def client_cost(scheme: Scheme) -> Cost:
    """The cost of `scheme`, one of pairwise masks, two aggregators or encryption; dropouts only
    lower it.
    """
    if isinstance(scheme, TwoAggregators):
        return _spoken_once(scheme.server_messages, scheme.limits, shares=2)
    if isinstance(scheme, EncryptedExact):
        return encrypted_cost(scheme.clients, scheme.length, scheme.width)
    assert isinstance(scheme, Masking), "no other scheme has a cost here"
    return _masking(scheme)


def encrypted_cost(clients: int, length: int, width: int) -> Cost:
    """Of `EncryptedExact` with parameters of these sizes; its keys do not matter.

    Raises `ParameterError` where no ring holds the sum.
    """
    size = layout(clients, length, width).size
    return _spoken_once((Upload,), Limits(parties=clients, vector=size, blob=size), shares=0)


def _spoken_once(kinds: tuple[type[Message], ...], limits: Limits, shares: int) -> Cost:
    up = sum(_frame(kind, limits) for kind in kinds)
    return Cost(messages=len(kinds), up=up, down=0, vector=limits.vector, shares=shares)


def _masking(scheme: Masking) -> Cost:
    near, sizes = scheme.neighbourhood.degree, _Sizes.of(scheme)
    sent = [kind for kind in scheme.server_messages if kind not in _OF_LIES]
    taken = [kind for kind in scheme.client_messages if kind not in _OF_LIES]
    return Cost(
        messages=len(sent),
        up=sum(map(sizes.frame, sent)),
        down=sum(map(sizes.frame, taken)),
        vector=packed_size(scheme.length, scheme.width),
        mask_keys=near + 1,
        shares=2 * near,
    )


@dataclass(frozen=True)
class _Sizes:
    """Where nobody is missing every list is as long as it can be, but for consents and liars.

    quorum: of consents. values: masks of which a client says what the sketch makes of them; all
    but those of its own group, where there are groups.
    """

    limits: Limits
    quorum: int
    values: int

    @classmethod
    def of(cls, scheme: Masking) -> Self:
        limits = scheme.limits
        if not isinstance(scheme, SecAggPlusVerified):
            return cls(limits, scheme.quorum, 0)
        group, values = scheme.screen.group, limits.near
        if group:
            values = scheme.clients - scheme.clients // (scheme.clients // group)
        return cls(replace(limits, near=scheme.neighbourhood.degree), scheme.quorum, values)

    def frame(self, kind: type[Message]) -> int:
        if kind is Closing:
            nobody = replace(self.limits, parties=0)
            most = (
                codec.most(nobody if name == "proofs" else self.limits)
                for name, codec in kind.codecs()
            )
            return OVERHEAD + sum(most)
        limits = self.limits
        if kind is Consents:
            limits = replace(limits, parties=self.quorum)
        elif kind is Sketches:
            limits = replace(limits, near=self.values)
        return _frame(kind, limits)


def _frame(kind: type[Message], limits: Limits) -> int:
    return OVERHEAD + size_bound(kind, limits)
