"""Where the coordinates of a vector go: into limbs, lanes, slots and blocks, and back.

A *limb* is a coordinate, or half of one that is too wide. A *lane* is a limb with room for the
carries of as many summands as there are clients. A *slot* holds `lanes` of them beside each other,
a *block* is one ciphertext of as many slots as its degree. Each block ends with coordinates that
are zero: a sum in which they are not is not the sum of what honest clients sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError
from secagg.primitives.ring import Words, reduce, word
from secagg.schemes.ckks.ring import (
    MOST_BITS,
    MOST_PLAIN_BITS,
    MOST_PRIME_BITS,
    SPECIAL_BITS,
    KeyRing,
    PlainRing,
    next_prime,
)

__all__ = ["CHECK_BITS", "Layout", "Slots", "layout"]

Slots = NDArray[np.uint64]
"""(blocks, degree): plaintexts below the plaintext prime."""

CHECK_BITS = 64
"""Of zeros at the end of each block: what is not the sum passes with probability 2**-64."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to encrypt vectors of `length` residues of `width` bits, summed over `clients`.

    limbs: per coordinate; 2 only where 1 does not fit a slot. lanes: per slot. ring: of the
    ciphertexts.
    """

    clients: int
    length: int
    width: int
    limbs: int
    lanes: int
    ring: PlainRing

    @property
    def limb_bits(self) -> int:
        """Bits of a limb."""
        return -(-self.width // self.limbs)

    @property
    def lane_bits(self) -> int:
        """Bits of a lane: n limbs below 2^b sum to less than 2^(b + ceil(log2 n))."""
        return self.limb_bits + (self.clients - 1).bit_length()

    @property
    def zeros(self) -> int:
        """Coordinates at the end of each block that must sum to zero."""
        return -(-CHECK_BITS // self.width)

    @property
    def room(self) -> int:
        """Coordinates of a block, its zeros included."""
        return self.ring.keys.degree * self.lanes // self.limbs

    @property
    def blocks(self) -> int:
        """Ciphertexts of a vector."""
        return -(-self.length // (self.room - self.zeros))

    @property
    def padded(self) -> int:
        """Coordinates of all blocks, zeros included: what is masked and encrypted."""
        return self.blocks * self.room

    @cached_property
    def words(self) -> int:
        """Residues of all ciphertexts of a vector."""
        return self.blocks * self.ring.keys.words

    @property
    def size(self) -> int:
        """Bytes of all ciphertexts of a vector on the wire."""
        return (self.words * self.ring.keys.bits + 7) // 8

    @property
    def spare_bits(self) -> int:
        """Where combinations are opened: 2^spare_bits times one of honest blocks still decrypts.

        What passes that has noise of 1/(4 n) of what decrypts at most, so n of it sum exactly.
        """
        return spare_bits(self.clients)

    @property
    def _middle(self) -> np.uint64:
        """The residue that stands for the least signed integer."""
        return np.uint64(1 << (self.width - 1))

    def padded_vector(self, vector: Words) -> Words:
        """(length,) -> (padded,): the coordinates block by block, each block ending in zeros."""
        out = np.zeros((self.blocks, self.room), word(self.width))
        for block, part in zip(out, self._parts(vector), strict=True):
            block[: part.size] = part
        return out.reshape(-1)

    def vector(self, padded: Words) -> Words | None:
        """(padded,) -> (length,); None where a zero at the end of a block is none.

        What fills the last block up is not looked at: no client can end a round by it.
        """
        blocks = padded.reshape(self.blocks, self.room)
        if np.any(blocks[:, self.room - self.zeros :]):
            return None
        data = blocks[:, : self.room - self.zeros].reshape(-1)
        return data[: self.length].copy()

    def slots(self, padded: Words) -> Slots:
        """(padded,) residues -> plaintexts.

        A limb holds the signed reading of a residue, plus 2^(width - 1): sums in which nothing
        wraps then say no more in their carries than they say modulo 2^width.
        """
        signed = padded.astype("<u8").reshape(self.blocks, self.room) ^ self._middle
        limbs = self._limbs(signed)
        degree = self.ring.keys.degree
        flat = np.zeros((self.blocks, self.lanes * degree), "<u8")
        flat[:, : limbs.shape[1]] = limbs
        lanes = flat.reshape(self.blocks, self.lanes, degree)
        out = lanes[:, 0].copy()
        for at in range(1, self.lanes):
            out |= lanes[:, at] << np.uint64(at * self.lane_bits)
        return out

    def opened(self, slots: Slots, summands: int) -> Words | None:
        """Sums of so many plaintexts -> (length,); None for what is no such sum."""
        if np.any(slots >> np.uint64(self.lanes * self.lane_bits)):
            return None
        return self.vector(self.summed(slots, summands))

    def summed(self, slots: Slots, summands: int) -> Words:
        """Sums of so many plaintexts -> (padded,) sums of coordinates modulo 2^width."""
        mask = np.uint64((1 << self.lane_bits) - 1)
        shifts = [np.uint64(at * self.lane_bits) for at in range(self.lanes)]
        lanes = np.concatenate([(slots >> shift) & mask for shift in shifts], axis=1)
        limbs = lanes[:, : self.room * self.limbs]
        total = limbs[:, : self.room].copy()
        if self.limbs == 2:
            total += limbs[:, self.room :] << np.uint64(self.limb_bits)
        total -= np.uint64(summands * int(self._middle) % (1 << 64))
        total = reduce(total, self.width)
        return total.reshape(-1).astype(word(self.width))

    def _limbs(self, coordinates: Slots) -> Slots:
        if self.limbs == 1:
            return coordinates
        low = coordinates & np.uint64((1 << self.limb_bits) - 1)
        return np.concatenate([low, coordinates >> np.uint64(self.limb_bits)], axis=1)

    def _parts(self, vector: Words) -> Iterator[Words]:
        step = self.room - self.zeros
        return (vector[start : start + step] for start in range(0, self.length, step))


@lru_cache(maxsize=64)
def layout(clients: int, length: int, width: int, plain_bits: int = 0) -> Layout:
    """The cheapest layout, by bytes first: see `_price`.

    plain_bits: 0, or what plaintexts must hold where combinations of blocks are opened. A slot then
    has one coordinate, and 2^spare_bits times the sum of all blocks of a client is exact too.

    Raises `ParameterError` where no ring holds `clients` times the largest value.
    """
    if plain_bits:
        found = list(_combinable(clients, length, width, plain_bits))
    else:
        found = list(_layouts(clients, length, width))
    if not found and plain_bits:
        needed = max(width + (clients - 1).bit_length(), plain_bits)
        raise ParameterError(
            f"width + log2(clients) <= {MOST_PLAIN_BITS}, and so many bits for combinations, must "
            f"hold, got {needed}"
        )
    if not found:
        raise ParameterError(
            f"clients * 2**(width / 2) <= 2**{MOST_PLAIN_BITS} must hold, got {clients} clients "
            f"and a width of {width}"
        )
    return min(found, key=_price)


def _price(shape: Layout) -> tuple[int, int]:
    """Bytes, of which a second prime must save an eighth to be worth its time; then the degree."""
    return shape.size * (7 + shape.ring.keys.count), shape.ring.keys.degree


def _layouts(clients: int, length: int, width: int) -> Iterator[Layout]:
    carry = (clients - 1).bit_length()
    limbs = 1 if width + carry <= MOST_PLAIN_BITS else 2  # the carries of low halves tell of them
    lane_bits = -(-width // limbs) + carry
    for lanes in range(1, MOST_PLAIN_BITS // lane_bits + 1):
        for degree in MOST_BITS:
            ring = _ring(degree, lanes * lane_bits, clients)
            if ring is not None:
                sizes: dict[str, Any] = {"clients": clients, "length": length, "width": width}
                yield Layout(**sizes, limbs=limbs, lanes=lanes, ring=ring)


def spare_bits(clients: int) -> int:
    """The least b with 4 * clients <= 2^b."""
    return (4 * clients - 1).bit_length()


def _combinable(clients: int, length: int, width: int, plain_bits: int) -> Iterator[Layout]:
    """One lane to a slot; noise for as many summands as there are blocks and one, and to spare."""
    sizes: dict[str, Any] = {"clients": clients, "length": length, "width": width}
    bits = max(width + (clients - 1).bit_length(), plain_bits)
    for degree in MOST_BITS if bits <= MOST_PLAIN_BITS else ():
        blocks = -(-length // (degree - -(-CHECK_BITS // width)))
        ring = _ring(degree, bits, (blocks + 1) << spare_bits(clients))
        if ring is not None:
            yield Layout(**sizes, limbs=1, lanes=1, ring=ring)


@lru_cache(maxsize=1024)
def _ring(degree: int, bits: int, summands: int) -> PlainRing | None:
    """The smallest ring of this degree whose plaintexts hold `bits` bits; None if there is none."""
    plain = next_prime(1 << bits, 2 * degree)
    noise = degree  # no more than a starting point: PlainRing checks the bound itself
    least = (4 * plain * summands * noise // 2).bit_length()
    for total in range(max(least, SPECIAL_BITS + 2), MOST_BITS[degree] - SPECIAL_BITS + 1):
        count = -(-total // MOST_PRIME_BITS)
        if total % count:
            continue
        try:
            keys = KeyRing(degree=degree, bits=total // count, count=count)
            return PlainRing(keys=keys, plain=plain, summands=summands)
        except ParameterError:
            continue
    return None
