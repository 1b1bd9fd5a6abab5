"""`secagg.context`: every public fact of a round reaches its 32 bytes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.context import Round
from secagg.errors import ParameterError
from secagg.identity import Identity, Roster

KEYS = [Identity.generate(random.Random(seed).randbytes).public for seed in range(4)]
ROSTER = Roster(KEYS[0], {1: KEYS[1], 2: KEYS[2]})


def a_round(**changes: Any) -> Round:
    fields: dict[str, Any] = {
        "session": bytes(16),
        "number": 1,
        "model": bytes(32),
        "roster": ROSTER,
    }
    return Round(**{**fields, **changes})


def test_equal_rounds_have_equal_contexts_of_32_bytes() -> None:
    context = a_round().context(2, b"parameters")
    assert context == a_round().context(2, b"parameters")
    assert len(context) == 32


def test_every_field_changes_the_context() -> None:
    contexts = [
        a_round().context(2, b"p"),
        a_round().context(3, b"p"),
        a_round().context(2, b"q"),
        a_round().context(2, b""),
        a_round(session=bytes(15) + b"\1").context(2, b"p"),
        a_round(session=bytes(17)).context(2, b"p"),
        a_round(number=0).context(2, b"p"),
        a_round(number=(1 << 64) - 1).context(2, b"p"),
        a_round(model=b"\1" + bytes(31)).context(2, b"p"),
        a_round(roster=Roster(KEYS[3], {1: KEYS[1], 2: KEYS[2]})).context(2, b"p"),
        a_round(roster=Roster(KEYS[0], {1: KEYS[1]})).context(2, b"p"),
        a_round(roster=Roster(KEYS[0], {1: KEYS[1], 3: KEYS[2]})).context(2, b"p"),
    ]
    assert len(set(contexts)) == len(contexts)


@pytest.mark.parametrize("name", ["session", "model"])
def test_every_byte_of_a_field_counts(name: str) -> None:
    changed = [{}, *({name: bytes(at) + b"\1" + bytes(31 - at)} for at in range(32))]
    fixed = {"session": bytes(32), "model": bytes(32)}
    contexts = {a_round(**{**fixed, **change}).context(2, b"p") for change in changed}
    assert len(contexts) == 33


@given(st.binary(max_size=40), st.binary(min_size=16, max_size=64), st.integers(0, 40))
def test_bytes_cannot_wander_from_one_field_to_the_next(
    parameters: bytes, session: bytes, shift: int
) -> None:
    """Fields carry their lengths: the same bytes, cut elsewhere, are another context."""
    joined = parameters + session
    cut = len(parameters) - shift
    if cut < 0 or shift == 0 or len(joined[cut:]) > 64:
        return
    moved = a_round(session=joined[cut:]).context(2, joined[:cut])
    assert moved != a_round(session=session).context(2, parameters)


@pytest.mark.parametrize("session", [b"", bytes(15), bytes(65), bytearray(16), "x" * 16, None])
def test_a_session_is_16_to_64_bytes(session: Any) -> None:
    for size in (16, 64):
        a_round(session=bytes(size))
    with pytest.raises(ParameterError, match=r"16 <= len\(session\) <= 64"):
        a_round(session=session)


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_a_number_fits_64_bits(number: int) -> None:
    a_round(number=0)
    a_round(number=(1 << 64) - 1)
    with pytest.raises(ParameterError, match=r"0 <= number < 2\*\*64"):
        a_round(number=number)


@pytest.mark.parametrize("number", [True, 1.0, "1", None])
def test_a_number_is_an_int(number: Any) -> None:
    with pytest.raises(ParameterError, match="must be an int"):
        a_round(number=number)


@pytest.mark.parametrize("model", [b"", bytes(31), bytes(33), bytearray(32), "x" * 32])
def test_a_model_is_a_digest_of_32_bytes(model: Any) -> None:
    with pytest.raises(ParameterError, match="32 bytes"):
        a_round(model=model)
