"""What Prio3 and PINE have in common: their bytes, and what verification ends with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from secagg.errors import DecodeError, ReportRefused
from secagg.primitives.field import Elements, Field
from secagg.vdaf.share import HelperShare, LeaderShare, VerifierShare, VerifyState, cut, split

__all__ = ["Function", "Sizes"]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a function's shares.

    output, meas, proofs, verifiers: elements of an output share, an encoded measurement, all its
    proofs, and all their verifiers. seed: bytes of one. seeds, blinds: how many a helper's share
    has; the leader's has as many blinds, and so has a verifier share parts.
    """

    output: int
    meas: int
    proofs: int
    verifiers: int
    seed: int
    seeds: int
    blinds: int


class Function(ABC):
    """A verifiable distributed aggregation function. Aggregator 0 is the leader."""

    @property
    @abstractmethod
    def field(self) -> Field:
        """That of every vector here."""

    @property
    @abstractmethod
    def sizes(self) -> Sizes:
        """What the shares measure."""

    def verify_next(self, state: VerifyState, message: tuple[bytes, ...]) -> Elements:
        """The output share; `ReportRefused` if the proof was made with other randomness."""
        if message != state.seeds:
            raise ReportRefused("the joint randomness is not that of the shares")
        return state.output

    def aggregate(self, outputs: Sequence[Elements]) -> Elements:
        """The sum of output shares, an aggregate share."""
        return self._sum([self.field.zeros(self.sizes.output), *outputs])

    def encode_input_share(self, share: LeaderShare | HelperShare) -> bytes:
        """The bytes of [VDAF, §7.2.7.2], [PINE, §6]."""
        if isinstance(share, HelperShare):
            return b"".join((*share.seeds, *share.blinds))
        vectors = (self.field.encode(share.meas), self.field.encode(share.proofs))
        return b"".join((*vectors, *share.blinds))

    def decode_input_share(self, agg_id: int, data: bytes) -> LeaderShare | HelperShare:
        """The input share of aggregator `agg_id`; `DecodeError` if malformed."""
        sizes = self.sizes
        if agg_id:
            seeds = split(data, sizes.seed, sizes.seeds + sizes.blinds)
            return HelperShare(seeds=seeds[: sizes.seeds], blinds=seeds[sizes.seeds :])
        vector, blinds = self._divided(data, sizes.meas + sizes.proofs)
        meas, proofs = cut(vector, [sizes.meas, sizes.proofs])
        return LeaderShare(meas=meas, proofs=proofs, blinds=blinds)

    def encode_verifier_share(self, share: VerifierShare) -> bytes:
        """The bytes of [VDAF, §7.2.7.3], [PINE, §6]."""
        return b"".join((self.field.encode(share.verifiers), *share.parts))

    def decode_verifier_share(self, data: bytes) -> VerifierShare:
        """A verifier share; `DecodeError` if malformed."""
        verifiers, parts = self._divided(data, self.sizes.verifiers)
        return VerifierShare(verifiers=verifiers, parts=parts)

    def _divided(self, data: bytes, elements: int) -> tuple[Elements, tuple[bytes, ...]]:
        size, sizes = elements * self.field.size, self.sizes
        if len(data) != size + sizes.blinds * sizes.seed:
            raise DecodeError(f"{len(data)} bytes are not those of a share")
        return self.field.decode(data[:size]), split(data[size:], sizes.seed, sizes.blinds)

    def _sum(self, vectors: Sequence[Elements]) -> Elements:
        total, *rest = vectors
        for vector in rest:
            total = self.field.add(total, vector)
        return total

    def _less(self, vector: Elements, shares: Sequence[Elements]) -> Elements:
        for share in shares:
            vector = self.field.sub(vector, share)
        return vector
