"""Encrypted sums up to the ciphertexts, from docs/spec/ckks.md, on integers.

What native code draws is not here: layouts, plaintexts, masks, sealed seeds, signatures of
contributors, packings of residues and the map of a screened round are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reference import ed25519
from reference.hashing import digest, text
from reference.hpke import open_base
from reference.ring import stream

__all__ = ["Shape", "coefficients", "contributor", "masked", "opened_seed", "plaintext", "shape"]

MOST = {4096: 101, 8192: 202, 16384: 411}
SPECIAL = 17


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A layout, as the specification computes it."""

    degree: int
    primes: tuple[int, ...]
    plain: int
    limbs: int
    lanes: int
    lane_bits: int
    zeros: int
    room: int
    blocks: int
    size: int


def shape(clients: int, length: int, width: int) -> Shape:
    """The cheapest layout: fewest bytes, of which a second prime must save an eighth."""
    carry = (clients - 1).bit_length()
    limbs = 1 if width + carry <= 59 else 2
    lane_bits = -(-width // limbs) + carry
    found = []
    for lanes, degree in itertools.product(range(1, 59 // lane_bits + 1), MOST):
        plain = next(p for p in _from(1 << lanes * lane_bits, 2 * degree) if _is_prime(p))
        primes = _primes(degree, plain, clients)
        if primes is None:
            continue
        room, zeros = degree * lanes // limbs, -(-64 // width)
        blocks = -(-length // (room - zeros))
        words, bits = 2 * (len(primes) - 1) * degree * blocks, primes[0].bit_length()
        made = Shape(
            degree=degree, primes=primes, plain=plain, limbs=limbs, lanes=lanes,
            lane_bits=lane_bits, zeros=zeros, room=room, blocks=blocks, size=-(-words * bits // 8),
        )  # fmt: skip
        found.append(((made.size * (7 + len(primes) - 1), degree), made))
    return min(found, key=lambda row: row[0])[1]


def plaintext(given: Shape, vector: Sequence[int], width: int) -> list[list[int]]:
    """The slots of each block: signed readings, raised by 2^(width - 1), in lanes."""
    out = []
    for block in range(given.blocks):
        step = given.room - given.zeros
        part = list(vector[block * step : (block + 1) * step])
        part += [0] * (given.room - len(part))
        raised = [(value + (1 << width - 1)) % (1 << width) for value in part]
        low = -(-width // given.limbs)
        halves = [[value % (1 << low) for value in raised], [value >> low for value in raised]]
        limbs = raised if given.limbs == 1 else halves[0] + halves[1]
        limbs += [0] * (given.lanes * given.degree - len(limbs))
        out.append(
            [
                sum(limbs[lane * given.degree + slot] << lane * given.lane_bits
                    for lane in range(given.lanes))
                for slot in range(given.degree)
            ]
        )  # fmt: skip
    return out


def masked(given: Shape, slots: list[list[int]], seed: bytes) -> list[list[int]]:
    """Each slot and the next word of the stream that is below a multiple of the prime."""
    count = sum(map(len, slots))
    most = (1 << 64) // given.plain * given.plain
    size = 8 * (count + 2000)  # more than are refused
    data = stream(seed, size)
    words = (int.from_bytes(data[at : at + 8], "little") for at in range(0, size, 8))
    kept = (word for word in words if word < most)
    return [[(slot + next(kept)) % given.plain for slot in block] for block in slots]


def opened_seed(private: bytes, sealed: bytes, context: bytes, client: int) -> bytes:
    """What a client sealed to the authority."""
    info = text("binding") + context + client.to_bytes(4, "little")
    return open_base(private, sealed, info)


def contributor(private: bytes, context: bytes, sealed: bytes) -> bytes:
    """The signature of a row of the list."""
    return ed25519.sign(private, text("contributor") + digest("contributor", context, sealed))


def coefficients(context: bytes, nonce: bytes, purpose: str, count: int) -> list[int]:
    """The first coefficients of the map of a screened round."""
    seed = digest("sketch_seed", context, nonce)
    data = stream(digest("sketch_map", seed, purpose.encode()), -(-2 * count // 8))
    bits = [byte >> at & 1 for byte in data for at in range(8)]
    return [bits[2 * at] - bits[2 * at + 1] for at in range(count)]


def _primes(degree: int, plain: int, clients: int) -> tuple[int, ...] | None:
    """The primes of q, ascending, then the special one; of the fewest bits that are enough."""
    special = next(p for p in _below(SPECIAL, 2 * degree) if _is_prime(p))
    noise = -(-21 * (2 * degree + 1) // special) + degree // 2 + 2
    needed = 4 * plain * clients * noise
    for total in range(needed.bit_length() - 1, MOST[degree] - SPECIAL + 1):
        count = -(-total // 60)
        if total % count or total // count <= SPECIAL:
            continue
        candidates = (p for p in _below(total // count, 2 * degree) if _is_prime(p))
        found = sorted(itertools.islice(candidates, count))
        product = 1
        for prime in found:
            product *= prime
        if product >= needed and plain not in (*found, special):
            return (*found, special)
    return None


def _from(least: int, step: int) -> Iterator[int]:
    return itertools.count(least + (1 - least) % step, step)


def _below(bits: int, step: int) -> Iterator[int]:
    return iter(range((1 << bits) - step + 1, 1 << bits - 1, -step))


def _is_prime(number: int) -> bool:
    """Fermat's test to the first bases, and no small divisor: enough for candidates below 2^60
    that the library has proven, and another answer would be seen.
    """
    if number < 2 or any(number % p == 0 for p in range(2, min(1000, number))):
        return False
    return all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11, 13))
