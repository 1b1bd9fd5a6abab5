"""What travels between a client and aggregators, and between aggregators: Prio3's and PINE's."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from secagg.errors import DecodeError
from secagg.primitives.field import Elements

__all__ = ["HelperShare", "LeaderShare", "Usage", "VerifierShare", "VerifyState", "cut", "split"]


class Usage(enum.IntEnum):
    """What a stream is for, in its tag: [VDAF, §7.2], and from 8 on [PINE]."""

    MEAS_SHARE = 1
    PROOF_SHARE = 2
    JOINT_RANDOMNESS = 3
    PROVE_RANDOMNESS = 4
    QUERY_RANDOMNESS = 5
    JOINT_RAND_SEED = 6
    JOINT_RAND_PART = 7
    WRAP_RANDOMNESS = 8
    WRAP_RAND_SEED = 9
    WRAP_RAND_PART = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class LeaderShare:
    """The first aggregator's share, written out. blinds: none, one, or PINE's two."""

    meas: Elements = field(repr=False)
    proofs: Elements = field(repr=False)
    blinds: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class HelperShare:
    """Any other's: seeds, one for Prio3 and two for PINE, that give the same."""

    seeds: tuple[bytes, ...] = field(repr=False)
    blinds: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class VerifierShare:
    """What an aggregator shows the others. parts: its parts of the joint randomness."""

    verifiers: Elements = field(repr=False)
    parts: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class VerifyState:
    """What an aggregator keeps. seeds: of the joint randomness, as this aggregator computed it."""

    output: Elements = field(repr=False)
    seeds: tuple[bytes, ...]


def split(data: bytes, size: int, count: int) -> tuple[bytes, ...]:
    """`data` in `count` pieces of `size`; `DecodeError` unless it has just that length."""
    if len(data) != size * count:
        raise DecodeError(f"{len(data)} bytes where {size * count} are due")
    return tuple(data[at * size : (at + 1) * size] for at in range(count))


def cut(vector: Elements, sizes: Sequence[int]) -> list[Elements]:
    """`vector` in pieces of these sizes."""
    return np.split(vector, np.cumsum(np.array(sizes, np.intp))[:-1])
