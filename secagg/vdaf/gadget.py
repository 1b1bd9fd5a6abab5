"""The only non-linear step of a circuit: a polynomial of degree two in its input wires."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from secagg.primitives.field import Elements, Field

__all__ = ["Boolean", "Gadget", "Products", "Squares"]


class Gadget(ABC):
    """arity: how many wires a call reads."""

    arity: int

    @abstractmethod
    def outputs(self, field: Field, wires: Elements) -> Elements:
        """(n, arity) -> (n,): the value of each of n calls."""


@dataclass(frozen=True)
class Products(Gadget):
    """Sum of `count` products of neighbouring wires: ParallelSum(Mul) of the specification."""

    count: int

    @property
    def arity(self) -> int:  # type: ignore[override]
        return 2 * self.count

    def outputs(self, field: Field, wires: Elements) -> Elements:
        return field.inner(wires[:, ::2], wires[:, 1::2])


@dataclass(frozen=True)
class Squares(Gadget):
    """Sum of the squares of `arity` wires: ParallelSum(PolyEval(x**2))."""

    arity: int

    def outputs(self, field: Field, wires: Elements) -> Elements:
        return field.inner(wires, wires)


@dataclass(frozen=True)
class Boolean(Gadget):
    """x**2 - x, which is zero for 0 and 1 only: PolyEval([0, -1, 1])."""

    arity: int = 1

    def outputs(self, field: Field, wires: Elements) -> Elements:
        return field.sub(field.inner(wires, wires), wires[:, 0])
