"""Fully linear proofs [BBCGGI19, §4], [VDAF, §7.3]: prove, query, decide.

The inputs of a gadget's calls define one polynomial for each wire, by values at the p-th roots of
unity; the first value is a random seed. The proof is the seeds and the gadget of those
polynomials, itself a polynomial. Who holds shares of it and of the measurement reads the calls'
results off the second, evaluates everything at a random point, and compares in `decide`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from secagg.errors import ReportRefused
from secagg.primitives import ntt
from secagg.primitives.field import Elements, Field
from secagg.vdaf.circuit import Circuit, Scaled
from secagg.vdaf.gadget import Gadget

__all__ = ["Basis", "Flp", "FlpOfScaled", "Lagrange", "Monomial"]


class Basis(ABC):
    """How a gadget polynomial of degree 2p - 2 is written: 2p - 1 elements."""

    def compose(self, field: Field, gadget: Gadget, wires: Elements) -> Elements:
        """(p, arity) -> (2p - 1,): the gadget of the wire polynomials."""
        return self.joined(field, gadget, wires, ntt.double(field, wires))

    def joined(self, field: Field, gadget: Gadget, wires: Elements, between: Elements) -> Elements:
        """The same of wires by their values at the p-th roots, and between them."""
        values = field.zeros(2 * len(wires))
        values[::2] = gadget.outputs(field, wires)
        values[1::2] = gadget.outputs(field, between)
        return self._from_values(field, values)[:-1]

    @abstractmethod
    def called(self, field: Field, poly: Elements) -> Elements:
        """(2p - 1,) -> (p,): its values at the p-th roots of unity."""

    @abstractmethod
    def at(self, field: Field, poly: Elements, point: int) -> int:
        """Its value at a point."""

    @abstractmethod
    def _from_values(self, field: Field, values: Elements) -> Elements: ...


class Lagrange(Basis):
    """By values at the first 2p - 1 of the 2p-th roots [VDAF, draft 20]."""

    def called(self, field: Field, poly: Elements) -> Elements:
        return poly[::2]

    def at(self, field: Field, poly: Elements, point: int) -> int:
        size = len(poly) + 1
        return field.dot(ntt.lagrange(field, point, size), self._completed(field, poly))

    def _completed(self, field: Field, poly: Elements) -> Elements:
        # the coefficient of degree 2p - 1 is sum_k value_k root**k / 2p, and must be zero
        root = field.root(len(poly) + 1)
        rest = field.dot(poly, field.powers(root, len(poly)))
        return np.concatenate([poly, field.array([-root * rest])])

    def _from_values(self, field: Field, values: Elements) -> Elements:
        return values


class Monomial(Basis):
    """By coefficients [VDAF, draft 11]."""

    def called(self, field: Field, poly: Elements) -> Elements:
        size = (len(poly) + 1) // 2
        folded = np.concatenate([poly[size:], field.zeros(1)])  # modulo x**p - 1
        return ntt.evaluate(field, field.add(poly[:size], folded))

    def at(self, field: Field, poly: Elements, point: int) -> int:
        return field.dot(field.powers(point, len(poly)), poly)

    def _from_values(self, field: Field, values: Elements) -> Elements:
        return ntt.coefficients(field, values)


class Flp:
    """The proof system of one circuit.

    prove_rand, query_rand, proof, verifier: lengths, in elements.
    """

    def __init__(self, circuit: Circuit, basis: Basis) -> None:
        self.circuit = circuit
        self.field = circuit.field
        self._basis = basis
        self._arity = circuit.gadget.arity
        self._size = ntt.next_power(1 + circuit.calls)
        self._reduced = circuit.outputs if circuit.outputs > 1 else 0
        self.prove_rand = self._arity
        self.query_rand = self._reduced + 1
        self.proof = self._arity + 2 * self._size - 1
        self.verifier = 1 + self._arity + 1

    def prove(self, meas: Elements, rand: Elements, joint: Elements) -> Elements:
        """(proof,): that `meas` (circuit.length,) is valid, with fresh `rand` (prove_rand,)."""
        wires = self._wires(rand, self.circuit.wires(meas, joint, 1))
        poly = self._basis.compose(self.field, self.circuit.gadget, wires)
        return np.concatenate([rand, poly])

    def prove_each(
        self, meas: Elements, rands: Sequence[Elements], joints: Sequence[Elements]
    ) -> list[Elements]:
        """`prove` once for each of these, independent of each other."""
        return [self.prove(meas, *drawn) for drawn in zip(rands, joints, strict=True)]

    def query(
        self, meas: Elements, proof: Elements, rand: Elements, joint: Elements, shares: int
    ) -> Elements:
        """(verifier,): one share of the verifier, from one of `shares` shares of meas and proof.

        Raises `ReportRefused` where `rand` (query_rand,) happens on a root of unity, where the
        verifier would show a call's result.
        """
        field, point = self.field, int(rand[-1])
        if pow(point, self._size, field.modulus) == 1:
            raise ReportRefused("the query point is a root of unity")
        seeds, poly = proof[: self._arity], proof[self._arity :]
        called = self._basis.called(field, poly)[1 : 1 + self.circuit.calls]
        checked = self.circuit.check(meas, called, joint, shares)
        if self._reduced:
            checked = field.array([field.dot(rand[: self._reduced], checked)])
        wires = self._wires(seeds, self.circuit.wires(meas, joint, shares))
        at_point = field.combine(ntt.lagrange(field, point, self._size), wires)
        return np.concatenate(
            [checked, at_point, field.array([self._basis.at(field, poly, point)])]
        )

    def decide(self, verifier: Elements) -> bool:
        """Whether the sum of all verifier shares is that of a valid measurement."""
        expected = self.circuit.gadget.outputs(self.field, verifier[None, 1:-1])[0]
        return int(verifier[0]) == 0 and int(expected) == int(verifier[-1])

    def _wires(self, seeds: Elements, calls: Elements) -> Elements:
        """(p, arity): the seeds, the calls, zeros."""
        wires = self.field.zeros(self._size, self._arity)
        wires[0] = seeds
        wires[1 : 1 + len(calls)] = calls
        return wires


class FlpOfScaled(Flp):
    """The same proofs for a `Scaled` circuit: all that are made at once share their transforms."""

    circuit: Scaled

    def prove_each(
        self, meas: Elements, rands: Sequence[Elements], joints: Sequence[Elements]
    ) -> list[Elements]:
        field, gadget = self.field, self.circuit.gadget
        wires = self._wires(field.zeros(self._arity), self.circuit.rows(meas))
        first, found = field.zeros(len(wires)), []
        first[0] = 1  # a seed is a wire's value there, and every other value is the circuit's
        between, seeded = ntt.double(field, wires), ntt.double(field, first)
        for rand, joint in zip(rands, joints, strict=True):
            scales = self.circuit.scales(joint)[None]
            at = field.mul(wires, scales)
            at[0] = rand
            others = field.add(field.mul(between, scales), field.mul(seeded[:, None], rand[None]))
            found.append(np.concatenate([rand, self._basis.joined(field, gadget, at, others)]))
        return found
