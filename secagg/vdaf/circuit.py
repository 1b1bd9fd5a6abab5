"""Validity circuits: one gadget, called on affine functions of the input, then an affine check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from secagg.errors import ParameterError
from secagg.primitives.field import Elements, Field
from secagg.vdaf.gadget import Gadget

__all__ = ["Circuit", "Scaled", "calls_for", "from_bits", "to_bits"]


class Circuit(ABC):
    """What is proved: every output is zero for a valid measurement.

    gadget, calls: the gadget, and how often it is called. length: elements of an encoded
    measurement. joint: elements of joint randomness that one proof consumes. outputs: of the
    circuit; more than one are reduced by query randomness. All of it is linear over shares but
    for constants, which each of `shares` aggregators divides by their number.
    """

    field: Field
    gadget: Gadget
    calls: int
    length: int
    joint: int = 0
    outputs: ClassVar[int] = 1

    @abstractmethod
    def wires(self, meas: Elements, joint: Elements, shares: int) -> Elements:
        """(calls, gadget.arity): the inputs of each call."""

    @abstractmethod
    def check(self, meas: Elements, called: Elements, joint: Elements, shares: int) -> Elements:
        """(outputs,): what must be zero, from what the calls returned (calls,)."""


class Scaled(Circuit):
    """A circuit whose joint randomness enters its wires as a factor of each place in a call."""

    @abstractmethod
    def rows(self, meas: Elements) -> Elements:
        """(calls, gadget.arity): the inputs of each call, without the factors."""

    @abstractmethod
    def scales(self, joint: Elements) -> Elements:
        """(gadget.arity,): the factors."""

    def wires(self, meas: Elements, joint: Elements, shares: int) -> Elements:
        return self.field.mul(self.rows(meas), self.scales(joint)[None])


def calls_for(length: int, chunk: int) -> int:
    """How many chunks cover `length`. `ParameterError` unless both are at least 1."""
    if length < 1 or chunk < 1:
        raise ParameterError(f"length >= 1 and chunk >= 1 must hold, got {length} and {chunk}")
    return -(-length // chunk)


def from_bits(field: Field, bits: Elements) -> Elements:
    """(n, b) -> (n,): each row is a number, the lowest bit first."""
    return field.combine(field.powers(2, bits.shape[1]), np.ascontiguousarray(bits.T))


def to_bits(field: Field, value: int, size: int) -> Elements:
    """(size,): the bits of `value`, the lowest first."""
    return field.array([value >> at & 1 for at in range(size)])
