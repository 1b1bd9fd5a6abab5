"""Strategies cover every declared record, and what they draw is valid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import wire
from secagg.machine import Over
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.plain import states as plain_states
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.schemes.secagg_plus import messages as masked_messages
from secagg.schemes.secagg_plus import states as masked_states
from secagg.testing import Vanish, strategies
from secagg.wire import Limits, Record

LIMITS = Limits(parties=5, near=4, vector=11, blob=10_000)
RECORDS = [
    found
    for module in (plain_states, masked_states, masked_messages)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, Record) and hasattr(found, "code")
]


@pytest.mark.parametrize("kind", [Over, *RECORDS], ids=lambda kind: kind.__name__)
def test_any_record_survives_its_encoding(kind: type[Record]) -> None:
    @given(strategies.records(kind, LIMITS))
    def check(record: Record) -> None:
        data = wire.encode(record)
        assert wire.encode(wire.decode(kind, data, LIMITS)) == data

    check()


def test_an_unknown_codec_is_an_error() -> None:
    class Odd(wire.Codec[int]):
        spec = "odd"

        def write(self, value: int, out: bytearray) -> None:
            out.append(value | 1)

        def read(self, reader: wire.Reader) -> int:
            return reader.uint(1)

        def most(self, limits: Limits) -> int:
            return 1

    @wire.declare(code=1, phase="odd")
    class Strange(Record):
        number: int = wire.field(Odd())

    with pytest.raises(TypeError, match="no strategy for Odd"):
        strategies.records(Strange, LIMITS)


@given(st.data(), st.integers(2, 64))
def test_vectors_are_inputs_of_their_width(data: st.DataObject, width: int) -> None:
    vector = data.draw(strategies.vectors(4, width))
    assert wire_width(vector) <= width
    assert vector.shape == (4,)


def wire_width(vector: object) -> int:
    return max((int(value).bit_length() for value in vector), default=0)  # type: ignore[attr-defined]


@given(strategies.schemes(SecAggPlus, corrupt=st.floats(0, 0.5), dropout=st.floats(0, 0.5)))
def test_schemes_are_valid(scheme: SecAggPlus) -> None:
    assert scheme.survivors - scheme.corrupt_count >= 2


@given(st.data())
def test_dropouts_stay_within_what_is_allowed(data: st.DataObject) -> None:
    scheme = PlainInsecure(clients=10, length=1, width=8, dropout=0.3)
    drawn = data.draw(strategies.dropouts(scheme, range(1, 11)))
    assert all(isinstance(fault, Vanish) for fault in drawn)
    assert len({fault.party for fault in drawn}) == len(drawn) <= 3


@given(st.binary(max_size=30), st.data())
def test_twisted_stays_close(data: bytes, draw: st.DataObject) -> None:
    twisted = draw.draw(strategies.twisted(data))
    assert abs(len(twisted) - len(data)) <= 8
