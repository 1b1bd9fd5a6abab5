"""In which bytes PINE's streams start, and what the joint randomness absorbs.

`Draft` reproduces the published vectors. `Production` is what rounds use: it differs where that
is cheaper or safer, and in nothing else, as docs/spec/pine.md states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from secagg.primitives.digest import Label, digest
from secagg.primitives.field import Elements, Field
from secagg.primitives.xof import HmacAes, MakeXof
from secagg.vdaf.flp import Basis, Lagrange, Monomial
from secagg.vdaf.share import Usage

__all__ = ["Draft", "Production", "Suite"]

DRAFT_VERSION = 1


class Suite(ABC):
    """xof, seed_size: the stream and its seeds. basis: of the gadget polynomials."""

    xof: MakeXof
    seed_size: int
    basis: ClassVar[Basis]

    @abstractmethod
    def tag(self, usage: Usage) -> bytes:
        """What separates streams of one seed."""

    @abstractmethod
    def begin(self, field: Field, seeds: tuple[bytes, ...], head: Elements) -> bytes:
        """What a part of the checks' randomness absorbs of a share: its vector and norm.

        seeds: of which a helper's share is made; none for the leader's.
        """

    @abstractmethod
    def extend(self, field: Field, seeds: tuple[bytes, ...], begun: bytes, tail: Elements) -> bytes:
        """What a part of the proofs' randomness absorbs: `begin`, and the rest of the share."""


@dataclass(frozen=True, kw_only=True)
class Draft(Suite):
    """[PINE, draft 01], which rests on [VDAF, draft 11]: shares are absorbed as they are."""

    xof: MakeXof
    seed_size: int
    algorithm: int
    basis: ClassVar[Basis] = Monomial()

    def tag(self, usage: Usage) -> bytes:
        number = self.algorithm.to_bytes(4, "big")
        return bytes((DRAFT_VERSION,)) + number + usage.to_bytes(2, "big")

    def begin(self, field: Field, seeds: tuple[bytes, ...], head: Elements) -> bytes:
        return field.encode(head)

    def extend(self, field: Field, seeds: tuple[bytes, ...], begun: bytes, tail: Elements) -> bytes:
        return begun + field.encode(tail)


@dataclass(frozen=True, kw_only=True)
class Production(Suite):
    """Context and parameters enter every tag; the leader's share is hashed once, by BLAKE2b.

    A helper's share is a function of its seed and the tag, so its seed is absorbed in its place.

    context: 32 bytes of the round, over all its public parameters.
    """

    context: bytes
    xof: MakeXof = field(default=HmacAes, repr=False)
    seed_size: int = HmacAes.seed_size
    basis: ClassVar[Basis] = Lagrange()

    def tag(self, usage: Usage) -> bytes:
        return Label.VDAF.value + bytes((usage,)) + self.context

    def begin(self, field: Field, seeds: tuple[bytes, ...], head: Elements) -> bytes:
        return seeds[0] if seeds else digest(Label.VDAF_SHARE, field.encode(head))

    def extend(self, field: Field, seeds: tuple[bytes, ...], begun: bytes, tail: Elements) -> bytes:
        return begun if seeds else digest(Label.VDAF_SHARE, begun, field.encode(tail))
