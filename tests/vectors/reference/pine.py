"""PINE with two aggregators on Python integers, written from docs/spec/pine.md.

Polynomials are interpolated by the sums that define it, without transforms. With a context the
streams are those of a round; without one, those of the draft, so that its published vectors hold
this module to account.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from math import ceil

from reference.aes import encrypt_block
from reference.refused import require

__all__ = ["P", "Setting", "Stream", "shard", "verify"]

P = 2**64 - 2**32 + 1
ALGORITHM = 0xFFFF1004
MEAS, PROOF, JOINT, PROVE, QUERY, SEED, PART, WRAP, WRAP_SEED, WRAP_PART = range(1, 11)


@dataclass(frozen=True)
class Setting:
    """The parameters of one function; `context` is empty for the draft.

    Entries in a range follow the vector with a norm: `count` of `entry_bits` each. A dimension of
    zero is for no norm at all, and then there are no checks.
    """

    dimension: int
    bound: int
    checks: int
    successes: int
    chunk: int
    norm_chunk: int
    proofs: int
    norm_proofs: int
    context: bytes
    count: int = 0
    entry_bits: int = 1
    entry_chunk: int = 1

    @property
    def full(self) -> int:
        return self.length + self.count * self.entry_bits

    @property
    def norm_bits(self) -> int:
        return (self.bound**2).bit_length()

    @property
    def reach(self) -> int:
        return power_above(ceil(8.7 * self.bound) + 1)

    @property
    def result_bits(self) -> int:
        return (2 * self.reach - 1).bit_length()

    @property
    def claimed(self) -> int:
        return self.dimension + 2 * self.norm_bits

    @property
    def length(self) -> int:
        return self.claimed + self.checks * (self.result_bits + 1)

    def tag(self, usage: int) -> bytes:
        if self.context:
            return b"secagg/1/vdaf\0" + bytes([usage]) + self.context
        return bytes([1]) + ALGORITHM.to_bytes(4, "big") + usage.to_bytes(2, "big")

    def absorbed(self, agg_id: int, seed: bytes, share: list[int], kind: int) -> bytes:
        """What a part absorbs: kind 0 for the checks, 1 for the proofs."""
        if not self.context:
            return encode(share[: self.claimed] if kind == 0 else share)
        if agg_id:
            return seed
        first = hashed(encode(share[: self.claimed]))
        return first if kind == 0 else hashed(first, encode(share[self.claimed :]))


class Stream:
    """AES-128-CTR under what HMAC-SHA256 makes of seed, tag and binder."""

    def __init__(self, seed: bytes, tag: bytes, binder: bytes) -> None:
        mac = hmac.new(seed, bytes([len(tag)]) + tag + binder, sha256).digest()
        self._bytes = self._keystream(mac[:16], mac[16:24], int.from_bytes(mac[24:], "big"))

    def _keystream(self, key: bytes, nonce: bytes, counter: int) -> Iterator[int]:
        while True:
            yield from encrypt_block(key, nonce + (counter % 2**64).to_bytes(8, "big"))
            counter += 1

    def read(self, size: int) -> bytes:
        return bytes(next(self._bytes) for _ in range(size))

    def elements(self, count: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            word = int.from_bytes(self.read(8), "little")
            if word < P:
                found.append(word)
        return found


def power_above(least: int) -> int:
    power = 1
    while power < least:
        power *= 2
    return power


def encode(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


def decode(data: bytes) -> list[int]:
    values = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
    require(all(value < P for value in values), "a field element is not canonical")
    return values


def hashed(*parts: bytes) -> bytes:
    state = blake2b(b"secagg/1/share-vdaf\0", digest_size=32)
    for part in parts:
        state.update(len(part).to_bytes(8, "little") + part)
    return state.digest()


def number(bits: list[int]) -> int:
    return sum(bit << at for at, bit in enumerate(bits))


def bits_of(value: int, size: int) -> list[int]:
    require(0 <= value < 1 << size, "a value has more bits than its field")
    return [value >> at & 1 for at in range(size)]


# -- circuits ------------------------------------------------------------------------------------

Calls = list[list[int]]


def chunks(values: list[int], size: int) -> Calls:
    padded = values + [0] * (-len(values) % size)
    return [padded[at : at + size] for at in range(0, len(padded), size)]


class Equality:
    """The squared norm is the claimed one."""

    joint = 0

    def __init__(self, setting: Setting) -> None:
        self.s, self.arity = setting, setting.norm_chunk

    def calls(self, meas: list[int], joint: list[int], shares: int) -> Calls:
        return chunks(meas[: self.s.dimension], self.arity)

    def gadget(self, wires: list[int]) -> int:
        return sum(wire * wire for wire in wires) % P

    def compose(self, wires: Calls) -> list[int]:
        return total([product(wire, wire) for wire in wires])

    def output(self, meas: list[int], called: list[int], joint: list[int], shares: int) -> int:
        claimed = number(meas[self.s.dimension :][: self.s.norm_bits])
        return (claimed - sum(called)) % P


class Checks:
    """Bits are bits, the norm is in range, the checks are as reported, and enough succeeded."""

    joint = 3

    def __init__(self, setting: Setting) -> None:
        self.s, self.arity = setting, 2 * setting.chunk

    def reported(self, meas: list[int]) -> list[tuple[int, int, int]]:
        """Of each check the reported value, whether it succeeded, and the computed result."""
        size, found = self.s.result_bits + 1, []
        for at, row in enumerate(chunks(meas[self.s.claimed : self.s.length], size)):
            found.append((number(row[:-1]), row[-1], meas[self.s.length + at]))
        return found

    def calls(self, meas: list[int], joint: list[int], shares: int) -> Calls:
        part = pow(shares, -1, P)
        first: list[int] = []
        for at, bit in enumerate(meas[self.s.dimension : self.s.length]):
            first += [pow(joint[0], at, P) * bit % P, (bit - part) % P]
        second: list[int] = []
        for at, (value, succeeded, result) in enumerate(self.reported(meas)):
            shifted = value - (self.s.reach - 1) * part
            second += [pow(joint[1], at, P) * (result - shifted) % P, succeeded]
        return chunks(first, self.arity) + chunks(second, self.arity)

    def gadget(self, wires: list[int]) -> int:
        return sum(a * b for a, b in zip(wires[::2], wires[1::2], strict=True)) % P

    def compose(self, wires: Calls) -> list[int]:
        return total([product(a, b) for a, b in zip(wires[::2], wires[1::2], strict=True)])

    def output(self, meas: list[int], called: list[int], joint: list[int], shares: int) -> int:
        part, size = pow(shares, -1, P), self.s.norm_bits
        split = -(-(self.s.length - self.s.dimension) // self.s.chunk)
        rest = meas[self.s.dimension :]
        in_range = number(rest[:size]) + number(rest[size : 2 * size]) - self.s.bound**2 * part
        succeeded = sum(one for _, one, _ in self.reported(meas)) - self.s.successes * part
        r = joint[2]
        terms = [sum(called[:split]), in_range, sum(called[split:]), succeeded]
        return sum(term * r**at for at, term in enumerate(terms)) % P


class Entries:
    """Bits of entries are bits."""

    def __init__(self, setting: Setting) -> None:
        self.s, self.arity = setting, setting.entry_chunk
        self.joint = len(chunks([0] * (setting.full - setting.length), self.arity)) + 1

    def bits(self, meas: list[int]) -> Calls:
        return chunks(meas[self.s.length + self.s.checks :], self.arity)

    def calls(self, meas: list[int], joint: list[int], shares: int) -> Calls:
        r = joint[-1]
        return [[pow(r, at, P) * b % P for at, b in enumerate(row)] for row in self.bits(meas)]

    def gadget(self, wires: list[int]) -> int:
        return sum(wire * wire for wire in wires) % P

    def compose(self, wires: Calls) -> list[int]:
        return total([product(wire, wire) for wire in wires])

    def output(self, meas: list[int], called: list[int], joint: list[int], shares: int) -> int:
        r, found = joint[-1], 0
        for s, value, row in zip(joint[:-1], called, self.bits(meas), strict=True):
            found += s * (value - sum(pow(r, 2 * at, P) * b for at, b in enumerate(row)))
        return found % P


# -- polynomials ---------------------------------------------------------------------------------


def root(size: int) -> int:
    return pow(7, (P - 1) // size, P)


def points(size: int) -> list[int]:
    return [pow(root(size), at, P) for at in range(size)]


def interpolated(values: list[int]) -> list[int]:
    """Coefficients from values at all roots of unity, by the inverse sum."""
    size = len(values)
    powers, scale = points(size), pow(size, -1, P)
    return [
        scale * sum(v * powers[-k * j % size] for k, v in enumerate(values)) % P
        for j in range(size)
    ]


def product(left: list[int], right: list[int]) -> list[int]:
    found = [0] * (len(left) + len(right) - 1)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            found[i + j] += a * b
    return [value % P for value in found]


def total(polys: Calls) -> list[int]:
    return [sum(column) % P for column in zip(*polys, strict=True)]


def evaluated(poly: list[int], point: int) -> int:
    value = 0
    for coefficient in reversed(poly):
        value = (value * point + coefficient) % P
    return value


def weights(nodes: list[int], point: int) -> list[int]:
    """Lagrange's, for a value at `point` from those at `nodes`."""
    found = []
    for k, node in enumerate(nodes):
        above = below = 1
        for j, other in enumerate(nodes):
            if j != k:
                above, below = above * (point - other) % P, below * (node - other) % P
        found.append(above * pow(below, -1, P) % P)
    return found


def dot(left: list[int], right: list[int]) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True)) % P


# -- proofs --------------------------------------------------------------------------------------

Circuit = Equality | Checks | Entries


def circuits(setting: Setting) -> list[Circuit]:
    found: list[Circuit] = []
    if setting.dimension:
        found += [Equality(setting)] * setting.norm_proofs + [Checks(setting)] * setting.proofs
    if setting.count:
        found += [Entries(setting)] * setting.proofs
    return found


def size_of(circuit: Circuit) -> int:
    s = circuit.s
    joint, meas = [0] * circuit.joint, [0] * (s.full + s.checks)
    return power_above(1 + len(circuit.calls(meas, joint, 2)))


def proof_size(circuit: Circuit) -> int:
    return circuit.arity + 2 * size_of(circuit) - 1


def columns(circuit: Circuit, seeds: list[int], calls: Calls) -> Calls:
    size = size_of(circuit)
    padding = [0] * (size - 1 - len(calls))
    return [[seed, *(call[j] for call in calls), *padding] for j, seed in enumerate(seeds)]


def prove(circuit: Circuit, meas: list[int], rand: list[int], joint: list[int]) -> list[int]:
    wires = columns(circuit, rand, circuit.calls(meas, joint, 1))
    poly = circuit.compose([interpolated(wire) for wire in wires])
    if circuit.s.context:
        poly = [evaluated(poly, point) for point in points(2 * size_of(circuit))[:-1]]
    return rand + poly


def query(
    circuit: Circuit, meas: list[int], proof: list[int], point: int, joint: list[int]
) -> list[int]:
    size, calls = size_of(circuit), circuit.calls(meas, joint, 2)
    seeds, poly = proof[: circuit.arity], proof[circuit.arity :]
    nodes = points(2 * size)[:-1]
    value: Callable[[int], int] = (
        (lambda x: dot(weights(nodes, x), poly))
        if circuit.s.context
        else (lambda x: evaluated(poly, x))
    )
    called = (
        poly[2 : 2 * len(calls) + 1 : 2]
        if circuit.s.context
        else [value(node) for node in points(size)[1 : 1 + len(calls)]]
    )
    at_point = weights(points(size), point)
    wires = [dot(at_point, wire) for wire in columns(circuit, seeds, calls)]
    return [circuit.output(meas, called, joint, 2), *wires, value(point)]


def holds(circuit: Circuit, verifier: list[int]) -> bool:
    return verifier[0] == 0 and circuit.gadget(verifier[1:-1]) == verifier[-1]


# -- parties -------------------------------------------------------------------------------------


def expand(s: Setting, seed: bytes, usage: int, binder: bytes, count: int) -> list[int]:
    return Stream(seed, s.tag(usage), binder).elements(count)


def pieces(vector: list[int], sizes: list[int]) -> Calls:
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    return [vector[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def drawn(s: Setting, seed: bytes, usage: int, binder: bytes, sizes: list[int]) -> Calls:
    return pieces(expand(s, seed, usage, binder, sum(sizes)), sizes)


def part(s: Setting, kind: int, agg_id: int, blind: bytes, nonce: bytes, absorbed: bytes) -> bytes:
    if kind == 0 and not s.dimension:
        return bytes(32)
    usage = (WRAP_PART, PART)[kind]
    return Stream(blind, s.tag(usage), bytes([agg_id]) + nonce + absorbed).read(32)


def seed_of(s: Setting, kind: int, parts: list[bytes]) -> bytes:
    usage = (WRAP_SEED, SEED)[kind]
    return Stream(bytes(32), s.tag(usage), b"".join(parts)).read(32)


def joints(s: Setting, seed: bytes) -> Calls:
    sizes = [circuit.joint for circuit in circuits(s)]
    return drawn(s, seed, JOINT, bytes([s.proofs]), sizes)


def results(s: Setting, vector: list[int], seed: bytes) -> list[int]:
    stream, found = Stream(seed, s.tag(WRAP), b""), []
    for _ in range(s.checks):
        row = stream.read(-(-s.dimension // 4))
        sign = {0: -1, 1: 0, 2: 0, 3: 1}
        signs = [sign[row[at // 4] >> 2 * (at % 4) & 3] for at in range(s.dimension)]
        found.append(sum(a * b for a, b in zip(signs, vector, strict=True)) % P)
    return found


def said(s: Setting, computed: list[int]) -> list[int]:
    bits: list[int] = []
    left = s.successes
    for result in computed:
        value = (result + s.reach - 1) % P
        good = value < 2 * s.reach
        bits += [*bits_of(value if good else 0, s.result_bits), int(good and left > 0)]
        left -= good and left > 0
    require(left == 0, "too few checks succeeded")
    return bits


def shard(s: Setting, vector: list[int], nonce: bytes, rand: bytes) -> tuple[bytes, bytes, bytes]:
    """The public share, the leader's input share and the helper's."""
    seeds = [rand[at : at + 32] for at in range(0, 7 * 32, 32)]
    meas_seed, proof_seed, blinds, prove_seed = seeds[0], seeds[1], seeds[2:6], seeds[6]
    vector, entries = vector[: s.dimension], vector[s.dimension :]
    norm = sum(value * value for value in vector)
    bits = bits_of(norm, s.norm_bits) + bits_of(s.bound**2 - norm, s.norm_bits)
    claimed = [value % P for value in vector] + bits
    helper = expand(s, meas_seed, MEAS, b"\1", s.full)

    def parts(kind: int, meas: list[int]) -> list[bytes]:
        leader = [(a - b) % P for a, b in zip(meas, helper, strict=False)]
        shares = [(leader, blinds[2 + kind]), (helper[: len(meas)], blinds[kind])]
        return [
            part(s, kind, at, blind, nonce, s.absorbed(at, meas_seed, share, kind))
            for at, (share, blind) in enumerate(shares)
        ]

    wrap_parts = parts(0, claimed)
    computed = results(s, claimed[: s.dimension], seed_of(s, 0, wrap_parts))
    meas = claimed + said(s, computed)
    meas += [bit for entry in entries for bit in bits_of(entry, s.entry_bits)]
    other_parts = parts(1, meas)
    joint = joints(s, seed_of(s, 1, other_parts))
    numbers = bytes([s.norm_proofs, s.proofs])
    arities = [circuit.arity for circuit in circuits(s)]
    rands = drawn(s, prove_seed, PROVE, numbers, arities)
    proofs: list[int] = []
    for circuit, prove_rand, joint_rand in zip(circuits(s), rands, joint, strict=True):
        proofs += prove(circuit, whole_of(s, meas, computed), prove_rand, joint_rand)
    hidden = expand(s, proof_seed, PROOF, numbers + b"\1", len(proofs))
    leader = [(a - b) % P for a, b in zip(meas + proofs, helper + hidden, strict=True)]
    public = b"".join(wrap_parts + other_parts)
    return public, encode(leader) + blinds[2] + blinds[3], b"".join(seeds[:4])


def whole_of(s: Setting, meas: list[int], computed: list[int]) -> list[int]:
    """What circuits read: the results of the checks stand before the bits of entries."""
    return meas[: s.length] + computed + meas[s.length :]


def output_of(s: Setting, meas: list[int]) -> list[int]:
    entries = meas[s.length :]
    starts = range(0, len(entries), s.entry_bits)
    numbers = [number(entries[at : at + s.entry_bits]) % P for at in starts]
    return meas[: s.dimension] + numbers


def half(
    s: Setting, key: bytes, agg_id: int, nonce: bytes, public: bytes, share: bytes
) -> tuple[list[int], list[int], list[bytes], list[bytes]]:
    """An aggregator's vector, its verifiers, its parts, and the seeds as it computed them."""
    sizes = [proof_size(circuit) for circuit in circuits(s)]
    numbers = bytes([s.norm_proofs, s.proofs])
    blinds, meas_seed = [share[-64:-32], share[-32:]], share[:32]
    if agg_id:
        meas = expand(s, meas_seed, MEAS, b"\1", s.full)
        proofs = expand(s, share[32:64], PROOF, numbers + b"\1", sum(sizes))
    else:
        both = decode(share[:-64])
        meas, proofs = both[: s.full], both[s.full :]
    claimed = [public[at : at + 32] for at in range(0, 128, 32)]
    own = [
        part(s, kind, agg_id, blinds[kind], nonce, s.absorbed(agg_id, meas_seed, meas, kind))
        for kind in (0, 1)
    ]
    for kind in (0, 1):
        claimed[2 * kind + agg_id] = own[kind]
    seeds = [seed_of(s, kind, claimed[2 * kind : 2 * kind + 2]) for kind in (0, 1)]
    whole = whole_of(s, meas, results(s, meas[: s.dimension], seeds[0]))
    queries = expand(s, key, QUERY, numbers + nonce, len(sizes))
    found: list[int] = []
    each = zip(circuits(s), pieces(proofs, sizes), queries, joints(s, seeds[1]), strict=True)
    for circuit, proof, point, joint in each:
        found += query(circuit, whole, proof, point, joint)
    return output_of(s, meas), found, own, seeds


def verify(
    s: Setting, key: bytes, nonce: bytes, public: bytes, shares: list[bytes]
) -> tuple[list[bytes], bytes, list[bytes]]:
    """Both verifier shares, the message and both output shares; `Refused` if anything fails."""
    halves = [half(s, key, at, nonce, public, share) for at, share in enumerate(shares)]
    verifier = [(a + b) % P for a, b in zip(halves[0][1], halves[1][1], strict=True)]
    for circuit in circuits(s):
        require(holds(circuit, verifier[: circuit.arity + 2]), "a proof does not verify")
        verifier = verifier[circuit.arity + 2 :]
    message = b"".join(seed_of(s, kind, [one[2][kind] for one in halves]) for kind in (0, 1))
    for one in halves:
        require(b"".join(one[3]) == message, "the joint randomness differs")
    shown = [encode(one[1]) + b"".join(one[2]) for one in halves]
    return shown, message, [encode(one[0]) for one in halves]
