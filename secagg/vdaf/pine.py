"""PINE [ROCT23], [PINE, draft 01]: sums of vectors whose Euclidean norm is exactly bounded.

Beside the norm of a vector, or instead of it, the range of each entry of another can be proven,
which follows it in an encoded measurement: `secagg.vdaf.entries`.

`Pine` is the function; a `Suite` says in which bytes its streams start and what they absorb.
`DRAFT` and `DRAFT_HMAC` are those of the draft, for its published vectors, and `secagg.vdaf.suite`
has the one that rounds use. The names are the specification's: shard, verify_init,
verifier_shares_to_message, verify_next, aggregate, unshard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError, InputRefused, ParameterError, ReportRefused
from secagg.primitives.field import Elements, Field
from secagg.primitives.xof import draw_elements
from secagg.vdaf.angle import AngleBound, AngleChecks
from secagg.vdaf.circuit import Circuit
from secagg.vdaf.claim import claim, report
from secagg.vdaf.entries import Bits, EntryBound
from secagg.vdaf.flp import Flp, FlpOfScaled
from secagg.vdaf.function import Function, Sizes
from secagg.vdaf.norm import Checks, NormBound, NormEquality
from secagg.vdaf.share import (
    HelperShare,
    LeaderShare,
    Usage,
    VerifierShare,
    VerifyState,
    cut,
    split,
)
from secagg.vdaf.suite import Suite

__all__ = ["NONCE_SIZE", "Pine"]

NONCE_SIZE = 16
_DRAWN = 1 << 22  # bytes of ternary coefficients in memory at a time
_BEYOND = "the norm is out of bounds, or the vector wraps around"
_REFUTED: dict[type[Circuit], str] = {
    NormEquality: "the norm is not the claimed one",
    Checks: _BEYOND,
    AngleChecks: f"{_BEYOND}, or the angle is too wide",
    Bits: "an entry is out of its range",
}


@dataclass(frozen=True, kw_only=True)
class Pine(Function):
    """One function. Aggregator 0 is the leader.

    limits, entries: of the norm of the first entries of a vector, and of each of the others; either
    may be None, and then a vector has no such. chunk, norm_chunk: how many products and squares one
    gadget call of the two circuits of a norm adds up. norm_proofs: of the norm equality. proofs: of
    each circuit with joint randomness. shares: aggregators.
    """

    limits: NormBound | None
    suite: Suite
    chunk: int = 1
    norm_chunk: int = 1
    shares: int = 2
    proofs: int = 3
    norm_proofs: int = 1
    entries: EntryBound | None = None

    def __post_init__(self) -> None:
        if self.limits is None and self.entries is None:
            raise ParameterError("limits or entries must be given: nothing is proven otherwise")
        if self.limits and self.entries and self.limits.field.modulus != self.entries.field.modulus:
            raise ParameterError("limits and entries must have one field: one sharing has both")
        if not 2 <= self.shares < 256:
            raise ParameterError(f"2 <= shares < 256 must hold, got {self.shares}")
        if not (1 <= self.proofs < 256 and 1 <= self.norm_proofs < 256):
            raise ParameterError(
                "1 <= proofs < 256 and 1 <= norm_proofs < 256 must hold, got "
                f"{self.proofs} and {self.norm_proofs}"
            )

    @property
    def field(self) -> Field:
        some = self.limits or self.entries
        assert some is not None, "checked when it was made"
        return some.field

    @cached_property
    def sizes(self) -> Sizes:
        normed, ranged = self.limits, self.entries
        return Sizes(
            output=self._dimension + (ranged.count if ranged else 0),
            meas=(normed.length if normed else 0) + (ranged.length if ranged else 0),
            proofs=sum(flp.proof for flp in self.flps),
            verifiers=sum(flp.verifier for flp in self.flps),
            seed=self.suite.seed_size,
            seeds=2,
            blinds=2,
        )

    @property
    def rand_size(self) -> int:
        """Bytes of randomness of `shard`: four seeds a helper, two the leader, one the prover."""
        return (4 * (self.shares - 1) + 3) * self.suite.seed_size

    @cached_property
    def flps(self) -> tuple[Flp, ...]:
        """The proof system of each proof, in order."""
        found: tuple[Flp, ...] = ()
        if self.limits is not None:
            found += self._flps_of_norm(self.limits)
        if self.entries is not None:
            found += (FlpOfScaled(Bits(self.entries), self.suite.basis),) * self.proofs
        return found

    def _flps_of_norm(self, limits: NormBound) -> tuple[Flp, ...]:
        equality = Flp(NormEquality(limits, self.norm_chunk), self.suite.basis)
        circuit = (
            AngleChecks(limits, self.chunk)
            if isinstance(limits, AngleBound)
            else Checks(limits, self.chunk)
        )
        checks = Flp(circuit, self.suite.basis)
        return (equality,) * self.norm_proofs + (checks,) * self.proofs

    @property
    def _dimension(self) -> int:
        """Entries whose norm is proven."""
        return self.limits.dimension if self.limits else 0

    @property
    def _claimed(self) -> int:
        """Elements that the draws of the wrap-around checks depend on."""
        return self.limits.claimed if self.limits else 0

    def _statements(self, meas: Elements, results: Elements) -> list[Elements]:
        """What each proof is about, in order: all of the norm's, or the bits of entries."""
        length = self.limits.length if self.limits else 0
        of_norm = np.concatenate([meas[:length], results])
        count = self.norm_proofs + self.proofs if self.limits else 0
        return [of_norm] * count + [meas[length:]] * (len(self.flps) - count)

    def _output(self, meas: Elements) -> Elements:
        """(output,): what is added up, of an encoded measurement; linear."""
        if self.entries is None:
            return meas[: self._dimension]
        entries = self.entries.weigh(meas[len(meas) - self.entries.length :])
        return np.concatenate([meas[: self._dimension], entries])

    # -- client -----------------------------------------------------------------------------

    def shard(
        self, vector: NDArray[np.int64], nonce: bytes, rand: bytes
    ) -> tuple[tuple[bytes, ...], list[LeaderShare | HelperShare]]:
        """The public share and one input share for each aggregator, of int64 (output,).

        Raises `InputRefused` for a vector over a bound, `ValueError` for a nonce or randomness of
        another length.
        """
        if len(nonce) != NONCE_SIZE or len(rand) != self.rand_size:
            raise ValueError(f"a nonce has {NONCE_SIZE} bytes, randomness {self.rand_size}")
        if vector.shape != (self.sizes.output,):
            raise InputRefused(f"a vector has shape ({self.sizes.output},), got {vector.shape}")
        normed, ranged = np.split(vector, [self._dimension])
        claimed = claim(self.limits, normed) if self.limits else self.field.zeros(0)
        bits = self.entries.encode(ranged) if self.entries else self.field.zeros(0)
        return self.shard_claim(claimed, nonce, rand, bits)

    def shard_claim(
        self, claimed: Elements, nonce: bytes, rand: bytes, bits: Elements | None = None
    ) -> tuple[tuple[bytes, ...], list[LeaderShare | HelperShare]]:
        """`shard` of what `claim` returned, or a liar made up: (limits.claimed,).

        bits: of the entries whose range is proven, (entries.length,).
        """
        length = self._claimed
        helpers, blinds, prove_seed = self._seeds(rand)
        expanded = [self._meas_share(at, helper) for at, helper in enumerate(helpers, 1)]
        owners = [((), blinds), *((helper.seeds, helper.blinds) for helper in helpers)]
        head = self._less(claimed, [share[:length] for share in expanded])
        absorbed = [
            self.suite.begin(self.field, seeds, share[:length])
            for (seeds, _), share in zip(owners, [head, *expanded], strict=True)
        ]
        wrap_parts = self._parts(0, nonce, owners, absorbed)
        results = self._results(claimed, self._seed(0, wrap_parts))
        reported = report(self.limits, results) if self.limits else results
        reported = reported if bits is None else np.concatenate([reported, bits])
        tail = self._less(reported, [share[length:] for share in expanded])
        rests = [tail, *(share[length:] for share in expanded)]
        absorbed = [
            self.suite.extend(self.field, seeds, begun, rest)
            for (seeds, _), begun, rest in zip(owners, absorbed, rests, strict=True)
        ]
        parts = self._parts(1, nonce, owners, absorbed)
        meas = np.concatenate([claimed, reported])
        proofs = self._less(
            self._prove(self._statements(meas, results), prove_seed, self._seed(1, parts)),
            [self._proofs_share(at, helper) for at, helper in enumerate(helpers, 1)],
        )
        leader = LeaderShare(meas=np.concatenate([head, tail]), proofs=proofs, blinds=blinds)
        return (*wrap_parts, *parts), [leader, *helpers]

    def _prove(self, statements: list[Elements], seed: bytes, joint_seed: bytes) -> Elements:
        binder = bytes((self.norm_proofs, self.proofs))
        rands = self._draw(
            seed, Usage.PROVE_RANDOMNESS, binder, [flp.prove_rand for flp in self.flps]
        )
        each = zip(self.flps, statements, rands, self._joints(joint_seed), strict=True)
        found: list[Elements] = []
        for flp, run in groupby(each, key=itemgetter(0)):
            _, about, drawn, joints = zip(*run, strict=True)
            found += flp.prove_each(about[0], drawn, joints)
        return np.concatenate(found)

    # -- aggregators ------------------------------------------------------------------------

    def verify_init(
        self,
        verify_key: bytes,
        agg_id: int,
        nonce: bytes,
        public: tuple[bytes, ...],
        share: LeaderShare | HelperShare,
    ) -> tuple[VerifyState, VerifierShare]:
        """What aggregator `agg_id` keeps, and what it shows the others."""
        meas, proofs = self._expanded(agg_id, share)
        parts = self._own_parts(agg_id, nonce, share, meas)
        seeds = tuple(self._corrected(kind, agg_id, public, parts[kind]) for kind in (0, 1))
        results = self._results(meas, seeds[0])
        binder = bytes((self.norm_proofs, self.proofs)) + nonce
        sizes = [flp.query_rand for flp in self.flps]
        rands = self._draw(verify_key, Usage.QUERY_RANDOMNESS, binder, sizes)
        pieces = cut(proofs, [flp.proof for flp in self.flps])
        statements, joints = self._statements(meas, results), self._joints(seeds[1])
        each = zip(self.flps, statements, pieces, rands, joints, strict=True)
        verifiers = [
            flp.query(about, proof, rand, joint, self.shares)
            for flp, about, proof, rand, joint in each
        ]
        state = VerifyState(output=self._output(meas), seeds=seeds)
        return state, VerifierShare(verifiers=np.concatenate(verifiers), parts=parts)

    def verifier_shares_to_message(self, shares: Sequence[VerifierShare]) -> tuple[bytes, ...]:
        """The verifier message; `ReportRefused`, saying which, if a proof does not verify."""
        verifier = self._sum([share.verifiers for share in shares])
        pieces = cut(verifier, [flp.verifier for flp in self.flps])
        for flp, piece in zip(self.flps, pieces, strict=True):
            if not flp.decide(piece):
                what = _REFUTED[type(flp.circuit)]
                raise ReportRefused(f"a proof does not verify: {what}")
        return tuple(self._seed(kind, tuple(s.parts[kind] for s in shares)) for kind in (0, 1))

    def unshard(self, shares: Sequence[Elements]) -> NDArray[np.int64]:
        """The exact sum, as signed integers, from the aggregate shares of all aggregators."""
        return self.field.centered(self.aggregate(shares))

    # -- bytes ------------------------------------------------------------------------------

    @property
    def input_sizes(self) -> tuple[int, int]:
        """Bytes of the leader's input share, and of another aggregator's."""
        elements = self.sizes.meas + self.sizes.proofs
        return elements * self.field.size + 2 * self.suite.seed_size, 4 * self.suite.seed_size

    def decode_public_share(self, data: bytes) -> tuple[bytes, ...]:
        """The parts of all aggregators, for the checks and then for the proofs.

        Raises `DecodeError` too where there is no norm, and so no check, and a part of one is not
        zero: nothing would notice that the aggregators disagree on it but their comparing it.
        """
        parts = split(data, self.suite.seed_size, 2 * self.shares)
        if self.limits is None and any(map(any, parts[: self.shares])):
            raise DecodeError("a part of checks that there are not is not zero")
        return parts

    @property
    def verifier_size(self) -> int:
        """Bytes of a verifier share."""
        return self.sizes.verifiers * self.field.size + 2 * self.suite.seed_size

    # -- streams ----------------------------------------------------------------------------

    def _draw(self, seed: bytes, usage: Usage, binder: bytes, sizes: list[int]) -> list[Elements]:
        stream = self.suite.xof(seed, self.suite.tag(usage), binder)
        return cut(draw_elements(stream, self.field, sum(sizes)), sizes)

    def _joints(self, seed: bytes) -> list[Elements]:
        """The joint randomness of each proof."""
        sizes = [flp.circuit.joint for flp in self.flps]
        return self._draw(seed, Usage.JOINT_RANDOMNESS, bytes((self.proofs,)), sizes)

    def _seeds(self, rand: bytes) -> tuple[list[HelperShare], tuple[bytes, ...], bytes]:
        """Four seeds for each helper, the leader's two blinds, the prover's seed."""
        size = self.suite.seed_size
        seeds = split(rand, size, self.rand_size // size)
        helpers = [
            HelperShare(seeds=seeds[at : at + 2], blinds=seeds[at + 2 : at + 4])
            for at in range(0, 4 * (self.shares - 1), 4)
        ]
        return helpers, seeds[-3:-1], seeds[-1]

    def output_of_seed(self, agg_id: int, seed: bytes) -> Elements:
        """The output share of aggregator `agg_id` whose first seed this is."""
        length = self.sizes.meas if self.entries else self._dimension  # entries come last
        return self._output(self._of_seed(agg_id, seed, length))

    def claimed_of_seed(self, agg_id: int, seed: bytes) -> Elements:
        """Its share of vector and norm, (limits.claimed,)."""
        return self._of_seed(agg_id, seed, self._claimed)

    def _meas_share(self, agg_id: int, share: HelperShare) -> Elements:
        return self._of_seed(agg_id, share.seeds[0], self.sizes.meas)

    def _of_seed(self, agg_id: int, seed: bytes, length: int) -> Elements:
        return self._draw(seed, Usage.MEAS_SHARE, bytes((agg_id,)), [length])[0]

    def _proofs_share(self, agg_id: int, share: HelperShare) -> Elements:
        binder = bytes((self.norm_proofs, self.proofs, agg_id))
        sizes = [self.sizes.proofs]
        return self._draw(share.seeds[1], Usage.PROOF_SHARE, binder, sizes)[0]

    def _expanded(self, agg_id: int, share: LeaderShare | HelperShare) -> tuple[Elements, Elements]:
        if isinstance(share, LeaderShare):
            return share.meas, share.proofs
        return self._meas_share(agg_id, share), self._proofs_share(agg_id, share)

    def _part(self, kind: int, agg_id: int, blind: bytes, nonce: bytes, absorbed: bytes) -> bytes:
        if self.limits is None and kind == 0:
            return bytes(self.suite.seed_size)
        usage = (Usage.WRAP_RAND_PART, Usage.JOINT_RAND_PART)[kind]
        stream = self.suite.xof(blind, self.suite.tag(usage), bytes((agg_id,)) + nonce, absorbed)
        return stream.read(self.suite.seed_size)

    def _parts(
        self,
        kind: int,
        nonce: bytes,
        owners: Sequence[tuple[tuple[bytes, ...], tuple[bytes, ...]]],
        absorbed: Sequence[bytes],
    ) -> tuple[bytes, ...]:
        """Every aggregator's part of one kind: 0 for the checks, 1 for the proofs."""
        return tuple(
            self._part(kind, at, blinds[kind], nonce, absorbed[at])
            for at, (_, blinds) in enumerate(owners)
        )

    def _own_parts(
        self, agg_id: int, nonce: bytes, share: LeaderShare | HelperShare, meas: Elements
    ) -> tuple[bytes, ...]:
        seeds = share.seeds if isinstance(share, HelperShare) else ()
        length = self._claimed
        begun = self.suite.begin(self.field, seeds, meas[:length])
        ended = self.suite.extend(self.field, seeds, begun, meas[length:])
        return tuple(
            self._part(kind, agg_id, share.blinds[kind], nonce, (begun, ended)[kind])
            for kind in (0, 1)
        )

    def _seed(self, kind: int, parts: tuple[bytes, ...]) -> bytes:
        usage = (Usage.WRAP_RAND_SEED, Usage.JOINT_RAND_SEED)[kind]
        zero = bytes(self.suite.seed_size)
        return self.suite.xof(zero, self.suite.tag(usage), *parts).read(self.suite.seed_size)

    def _corrected(self, kind: int, agg_id: int, public: tuple[bytes, ...], part: bytes) -> bytes:
        """The seed with this aggregator's part in place of what the client claims."""
        parts = public[kind * self.shares : (kind + 1) * self.shares]
        return self._seed(kind, (*parts[:agg_id], part, *parts[agg_id + 1 :]))

    def _results(self, meas: Elements, seed: bytes) -> Elements:
        """(checks,): of the wrap-around checks, a ternary combination of the vector each."""
        if self.limits is None:
            return self.field.zeros(0)
        vector = meas[: self.limits.dimension]
        stream = self.suite.xof(seed, self.suite.tag(Usage.WRAP_RANDOMNESS), b"")
        width, left = -(-len(vector) // 4), self.limits.checks
        found = []
        while left:
            rows = min(left, max(1, _DRAWN // width))
            draws = np.frombuffer(stream.read(rows * width), np.uint8).reshape(rows, width)
            found.append(self.field.ternary(vector, draws))
            left -= rows
        return np.concatenate(found)
