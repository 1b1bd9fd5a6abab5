"""Prio3 [VDAF, §7]: a measurement that satisfies a circuit, shared among aggregators.

The functions have the specification's names: shard, verify_init, verifier_shares_to_message,
verify_next, aggregate, unshard.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from secagg.errors import ParameterError, ReportRefused
from secagg.primitives.field import FIELD128, Elements, Field
from secagg.primitives.field64 import field64
from secagg.primitives.xof import MakeXof, draw_elements
from secagg.vdaf.circuits import Count, Histogram, Measured, Sum, SumVec
from secagg.vdaf.flp import Flp, Lagrange
from secagg.vdaf.function import Function, Sizes
from secagg.vdaf.share import (
    HelperShare,
    LeaderShare,
    Usage,
    VerifierShare,
    VerifyState,
    cut,
    split,
)

__all__ = ["NONCE_SIZE", "Prio3", "count", "histogram", "sum_vec", "sum_vec_multiproof", "total"]

NONCE_SIZE = 16
SEED_SIZE = 32
VERSION = 18
"""What draft 20 puts in its tags."""


class Prio3(Function):
    """One function, fixed by its circuit, number of aggregators and number of proofs.

    rand_size: bytes of randomness of `shard`. Aggregator 0 is the leader.
    """

    def __init__(
        self, algorithm: int, circuit: Measured, xof: MakeXof, shares: int, proofs: int = 1
    ) -> None:
        if not 2 <= shares < 256 or not 1 <= proofs < 256:
            raise ParameterError(
                f"2 <= shares < 256 and 1 <= proofs < 256 must hold, got {shares} and {proofs}"
            )
        self.circuit, self.shares, self.proofs = circuit, shares, proofs
        self.flp = Flp(circuit, Lagrange())
        self._xof = xof
        self._joint = int(circuit.joint > 0)
        self._head = bytes((VERSION, 0)) + algorithm.to_bytes(4, "big")
        self.rand_size = shares * SEED_SIZE * (1 + self._joint)

    @property
    def field(self) -> Field:
        return self.circuit.field

    @cached_property
    def sizes(self) -> Sizes:
        return Sizes(
            output=self.circuit.width,
            meas=self.circuit.length,
            proofs=self.flp.proof * self.proofs,
            verifiers=self.flp.verifier * self.proofs,
            seed=SEED_SIZE,
            seeds=1,
            blinds=self._joint,
        )

    def shard(
        self, ctx: bytes, measurement: object, nonce: bytes, rand: bytes
    ) -> tuple[tuple[bytes, ...], list[LeaderShare | HelperShare]]:
        """The public share and one input share for each aggregator.

        Raises `InputRefused` for an invalid measurement, `ValueError` for a nonce or randomness of
        another length.
        """
        if len(nonce) != NONCE_SIZE or len(rand) != self.rand_size:
            raise ValueError(f"a nonce has {NONCE_SIZE} bytes, randomness {self.rand_size}")
        meas = self.circuit.encode(measurement)
        helpers, blind, prove_seed = self._seeds(rand)
        numbered = list(enumerate(helpers, 1))
        leader = self._less(meas, [self._meas_share(ctx, at, h.seeds[0]) for at, h in numbered])
        parts = self._parts(ctx, nonce, leader, blind, helpers)
        proofs = self._less(
            self._prove(ctx, meas, prove_seed, parts),
            [self._proofs_share(ctx, at, h.seeds[0]) for at, h in numbered],
        )
        return parts, [LeaderShare(meas=leader, proofs=proofs, blinds=blind), *helpers]

    def verify_init(
        self,
        verify_key: bytes,
        ctx: bytes,
        agg_id: int,
        nonce: bytes,
        public: tuple[bytes, ...],
        share: LeaderShare | HelperShare,
    ) -> tuple[VerifyState, VerifierShare]:
        """What aggregator `agg_id` keeps, and what it shows the others."""
        meas, proofs = self._expanded(ctx, agg_id, share)
        part, seed = self._own_part(ctx, agg_id, nonce, public, share, meas)
        joint = self._joint_rands(ctx, seed)
        query = self._draw(
            verify_key,
            self._tag(Usage.QUERY_RANDOMNESS, ctx),
            self.flp.query_rand,
            bytes((self.proofs,)) + nonce,
        )
        verifiers = [
            self.flp.query(meas, *inputs, self.shares)
            for inputs in zip(
                cut(proofs, [self.flp.proof] * self.proofs), query, joint, strict=True
            )
        ]
        state = VerifyState(output=self.circuit.truncate(meas), seeds=seed)
        return state, VerifierShare(verifiers=np.concatenate(verifiers), parts=part)

    def verifier_shares_to_message(
        self, ctx: bytes, shares: Sequence[VerifierShare]
    ) -> tuple[bytes, ...]:
        """The verifier message; `ReportRefused` if a proof does not verify."""
        verifier = self._sum([share.verifiers for share in shares])
        for one in cut(verifier, [self.flp.verifier] * self.proofs):
            if not self.flp.decide(one):
                raise ReportRefused("a proof does not verify")
        return self._seed_of(ctx, tuple(part for share in shares for part in share.parts))

    def unshard(self, shares: Sequence[Elements]) -> list[int]:
        """The aggregate result, from the aggregate shares of all aggregators."""
        return [int(value) for value in self.aggregate(shares)]

    # -- bytes ------------------------------------------------------------------------------

    def decode_public_share(self, data: bytes) -> tuple[bytes, ...]:
        """The parts of all aggregators, or none; `DecodeError` if malformed."""
        return split(data, SEED_SIZE, self._joint * self.shares)

    def decode_verifier_message(self, data: bytes) -> tuple[bytes, ...]:
        """A verifier message; `DecodeError` if malformed."""
        return split(data, SEED_SIZE, self._joint)

    # -- streams ----------------------------------------------------------------------------

    def _tag(self, usage: Usage, ctx: bytes) -> bytes:
        return self._head + usage.to_bytes(2, "big") + ctx

    def _draw(self, seed: bytes, tag: bytes, length: int, binder: bytes) -> list[Elements]:
        """`length` elements for each proof."""
        if not length:
            return [self.field.zeros(0)] * self.proofs
        drawn = draw_elements(self._xof(seed, tag, binder), self.field, length * self.proofs)
        return list(drawn.reshape(self.proofs, length))

    def _seeds(self, rand: bytes) -> tuple[list[HelperShare], tuple[bytes, ...], bytes]:
        """Helpers' seeds and blinds in turn, the leader's blind, the prover's seed."""
        seeds = split(rand, SEED_SIZE, self.rand_size // SEED_SIZE)
        step = 1 + self._joint
        helpers = [
            HelperShare(seeds=seeds[at : at + 1], blinds=seeds[at + 1 : at + step])
            for at in range(0, step * (self.shares - 1), step)
        ]
        return helpers, seeds[step * (self.shares - 1) : -1], seeds[-1]

    def _meas_share(self, ctx: bytes, agg_id: int, seed: bytes) -> Elements:
        stream = self._xof(seed, self._tag(Usage.MEAS_SHARE, ctx), bytes((agg_id,)))
        return draw_elements(stream, self.field, self.circuit.length)

    def _proofs_share(self, ctx: bytes, agg_id: int, seed: bytes) -> Elements:
        binder = bytes((self.proofs, agg_id))
        drawn = self._draw(seed, self._tag(Usage.PROOF_SHARE, ctx), self.flp.proof, binder)
        return np.concatenate(drawn)

    def _expanded(
        self, ctx: bytes, agg_id: int, share: LeaderShare | HelperShare
    ) -> tuple[Elements, Elements]:
        if isinstance(share, LeaderShare):
            return share.meas, share.proofs
        (seed,) = share.seeds
        return self._meas_share(ctx, agg_id, seed), self._proofs_share(ctx, agg_id, seed)

    def _part(self, ctx: bytes, agg_id: int, blind: bytes, nonce: bytes, meas: Elements) -> bytes:
        tag = self._tag(Usage.JOINT_RAND_PART, ctx)
        encoded = self.field.encode(meas)
        return self._xof(blind, tag, bytes((agg_id,)) + nonce, encoded).read(SEED_SIZE)

    def _parts(
        self,
        ctx: bytes,
        nonce: bytes,
        leader: Elements,
        blind: tuple[bytes, ...],
        helpers: Sequence[HelperShare],
    ) -> tuple[bytes, ...]:
        if not self._joint:
            return ()
        shares = [(blind[0], leader)]
        shares += [
            (helper.blinds[0], self._meas_share(ctx, at, helper.seeds[0]))
            for at, helper in enumerate(helpers, 1)
        ]
        return tuple(self._part(ctx, at, b, nonce, meas) for at, (b, meas) in enumerate(shares))

    def _own_part(
        self,
        ctx: bytes,
        agg_id: int,
        nonce: bytes,
        public: tuple[bytes, ...],
        share: LeaderShare | HelperShare,
        meas: Elements,
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """This aggregator's part, and the seed with it in place of what the client claims."""
        if not self._joint:
            return (), ()
        part = self._part(ctx, agg_id, share.blinds[0], nonce, meas)
        return (part,), self._seed_of(ctx, (*public[:agg_id], part, *public[agg_id + 1 :]))

    def _seed_of(self, ctx: bytes, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        if not self._joint:
            return ()
        tag = self._tag(Usage.JOINT_RAND_SEED, ctx)
        return (self._xof(bytes(SEED_SIZE), tag, *parts).read(SEED_SIZE),)

    def _joint_rands(self, ctx: bytes, seed: tuple[bytes, ...]) -> list[Elements]:
        tag = self._tag(Usage.JOINT_RANDOMNESS, ctx)
        one = seed[0] if seed else b""
        return self._draw(one, tag, self.circuit.joint, bytes((self.proofs,)))

    def _prove(self, ctx: bytes, meas: Elements, seed: bytes, parts: tuple[bytes, ...]) -> Elements:
        tag = self._tag(Usage.PROVE_RANDOMNESS, ctx)
        rands = self._draw(seed, tag, self.flp.prove_rand, bytes((self.proofs,)))
        joints = self._joint_rands(ctx, self._seed_of(ctx, parts))
        proofs = [self.flp.prove(meas, *each) for each in zip(rands, joints, strict=True)]
        return np.concatenate(proofs)


def count(xof: MakeXof, shares: int = 2) -> Prio3:
    """Prio3Count: how many measurements are 1."""
    return Prio3(1, Count(field64()), xof, shares)


def total(xof: MakeXof, most: int, shares: int = 2) -> Prio3:
    """Prio3Sum of integers in [0, most]."""
    return Prio3(2, Sum(field64(), most), xof, shares)


def sum_vec(xof: MakeXof, entries: int, most: int, chunk: int, shares: int = 2) -> Prio3:
    """Prio3SumVec: sums of vectors of integers in [0, most], over the larger field."""
    return Prio3(3, SumVec(FIELD128, entries, most, chunk), xof, shares)


def histogram(xof: MakeXof, buckets: int, chunk: int, shares: int = 2) -> Prio3:
    """Prio3Histogram: how many measurements fall into each bucket."""
    return Prio3(4, Histogram(FIELD128, buckets, chunk), xof, shares)


def sum_vec_multiproof(
    xof: MakeXof,
    entries: int,
    most: int,
    chunk: int,
    shares: int = 2,
    proofs: int = 3,
    field: Field | None = None,
) -> Prio3:
    """Prio3SumVecWithMultiproof: the smaller field, with proofs that make up for its size."""
    circuit = SumVec(field or field64(), entries, most, chunk)
    return Prio3(0xFFFFFFFF, circuit, xof, shares, proofs)
