"""The circuits of [VDAF, §7.4] that the published Prio3 functions use."""

from __future__ import annotations

import numpy as np

from secagg.errors import InputRefused, ParameterError
from secagg.primitives.field import Elements, Field
from secagg.vdaf.circuit import Circuit, calls_for, from_bits
from secagg.vdaf.gadget import Boolean, Products

__all__ = ["Count", "Histogram", "Measured", "Sum", "SumVec"]


class Measured(Circuit):
    """A circuit with the encoding of what it checks.

    width: elements of an output share.
    """

    width: int

    def encode(self, measurement: object) -> Elements:
        """(length,): the encoded measurement. `InputRefused` if it is not valid."""
        raise NotImplementedError

    def truncate(self, meas: Elements) -> Elements:
        """(length,) -> (width,): what is added up; linear."""
        return meas


class Count(Measured):
    """0 or 1."""

    def __init__(self, field: Field) -> None:
        self.field, self.gadget, self.calls = field, Products(1), 1
        self.length = self.width = 1

    def encode(self, measurement: object) -> Elements:
        return self.field.array([_whole(measurement, 1)])

    def wires(self, meas: Elements, joint: Elements, shares: int) -> Elements:
        return np.repeat(meas, 2)[None]

    def check(self, meas: Elements, called: Elements, joint: Elements, shares: int) -> Elements:
        return self.field.sub(called, meas)


class Sum(Measured):
    """An integer in [0, most], as bits of which the last weighs what is left to `most`."""

    def __init__(self, field: Field, most: int) -> None:
        _check_most(field, most)
        self.field, self.gadget, self.most = field, Boolean(), most
        self.length = self.calls = self.outputs = most.bit_length()  # type: ignore[misc]
        self.width = 1

    def encode(self, measurement: object) -> Elements:
        return self.field.array(_weighed_bits(_whole(measurement, self.most), self.most))

    def truncate(self, meas: Elements) -> Elements:
        return _weigh(self.field, meas[None], self.most)

    def wires(self, meas: Elements, joint: Elements, shares: int) -> Elements:
        return meas[:, None]

    def check(self, meas: Elements, called: Elements, joint: Elements, shares: int) -> Elements:
        return called


class _Chunked(Measured):
    """Bits, checked in chunks: r b (b - 1) for powers of one r a chunk."""

    def __init__(self, field: Field, length: int, chunk: int) -> None:
        self.calls = self.joint = calls_for(length, chunk)
        self.field, self.gadget, self.length, self._chunk = field, Products(chunk), length, chunk

    def wires(self, meas: Elements, joint: Elements, shares: int) -> Elements:
        field = self.field
        padded = field.zeros(self.calls * self._chunk)
        padded[: self.length] = meas
        powers = np.stack([field.powers(int(r), self._chunk + 1)[1:] for r in joint])
        found = field.zeros(self.calls, self._chunk, 2)
        rows = padded.reshape(self.calls, self._chunk)
        found[..., 0] = field.mul(powers, rows)
        found[..., 1] = field.sub(rows, field.array([field.inverse(shares)]))
        return found.reshape(self.calls, -1)

    def check(self, meas: Elements, called: Elements, joint: Elements, shares: int) -> Elements:
        return self.field.total(called[None])


class SumVec(_Chunked):
    """`entries` integers in [0, most]."""

    def __init__(self, field: Field, entries: int, most: int, chunk: int) -> None:
        _check_most(field, most)
        super().__init__(field, entries * most.bit_length(), chunk)
        self.width, self.most = entries, most

    def encode(self, measurement: object) -> Elements:
        values = _listed(measurement, self.width)
        bits = [_weighed_bits(_whole(value, self.most), self.most) for value in values]
        return self.field.array([bit for row in bits for bit in row])

    def truncate(self, meas: Elements) -> Elements:
        return _weigh(self.field, meas.reshape(self.width, -1), self.most)


class Histogram(_Chunked):
    """One bucket of `buckets`."""

    outputs = 2

    def __init__(self, field: Field, buckets: int, chunk: int) -> None:
        super().__init__(field, buckets, chunk)
        self.width = buckets

    def encode(self, measurement: object) -> Elements:
        encoded = self.field.zeros(self.length)
        encoded[_whole(measurement, self.length - 1)] = 1
        return encoded

    def check(self, meas: Elements, called: Elements, joint: Elements, shares: int) -> Elements:
        one = self.field.array([self.field.inverse(shares)])
        buckets = self.field.sub(self.field.total(meas[None]), one)
        return np.concatenate([super().check(meas, called, joint, shares), buckets])


def _check_most(field: Field, most: int) -> None:
    if not most >= 1 or 1 << most.bit_length() >= field.modulus:
        raise ParameterError(f"1 <= most < {field.modulus} / 2 must hold, got {most}")


def _whole(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InputRefused(f"a measurement must be an integer in [0, {most}]")
    return value


def _listed(values: object, length: int) -> list[object]:
    if not isinstance(values, list | tuple) or len(values) != length:
        raise InputRefused(f"a measurement must be a list of {length} integers")
    return list(values)


def _weighed_bits(value: int, most: int) -> list[int]:
    bits, last = most.bit_length() - 1, _last_weight(most)
    top = value >= 1 << bits
    rest = value - last if top else value
    return [*(rest >> at & 1 for at in range(bits)), int(top)]


def _last_weight(most: int) -> int:
    return most - ((1 << most.bit_length() - 1) - 1)


def _weigh(field: Field, rows: Elements, most: int) -> Elements:
    """(n, bits) -> (n,)."""
    last = field.scale(rows[:, -1], _last_weight(most))
    return field.add(from_bits(field, rows[:, :-1]), last) if rows.shape[1] > 1 else last
