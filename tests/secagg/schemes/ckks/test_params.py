"""Parameters of the encrypted scheme: what is refused, and by which inequality."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("tenseal")

from secagg.errors import ParameterError
from secagg.schemes.ckks import KeyAuthority
from secagg.testing.rand import SeededRand

KEEPER = KeyAuthority.generate(SeededRand("keeper"))
STRANGER = KeyAuthority.generate(SeededRand("stranger"))
SIZES: dict[str, Any] = {"clients": 5, "length": 9, "width": 24}
SCHEME = KEEPER.scheme(**SIZES, corrupt=0.0, dropout=0.4)


def test_zero_is_one_plan_however_it_is_written() -> None:
    for zero in (0, 0.0, -0.0):
        same = KEEPER.scheme(**SIZES, corrupt=zero, dropout=0.4)
        assert same.encoded() == SCHEME.encoded()
    assert KEEPER.scheme(**SIZES, corrupt=0.2, dropout=0.4).encoded() != SCHEME.encoded()


@pytest.mark.parametrize("name", ["corrupt", "dropout"])
@pytest.mark.parametrize(
    "value", ["x", None, [1], True, float("nan"), -0.1, 1, float("inf"), 10**400], ids=repr
)
def test_fractions_that_are_none_are_refused_by_name(name: str, value: Any) -> None:
    fractions = {"corrupt": 0.0, "dropout": 0.4, name: value}
    with pytest.raises(ParameterError, match=f"0 <= {name} < 1 must hold"):
        KEEPER.scheme(**SIZES, **fractions)


def test_a_sum_with_one_honest_client_is_refused() -> None:
    assert KEEPER.scheme(**SIZES, corrupt=0.2, dropout=0.4).honest_inputs == 2
    with pytest.raises(ParameterError, match="survivors - corrupt >= 2 must hold, got 1"):
        KEEPER.scheme(**SIZES, corrupt=0.4, dropout=0.4)


@pytest.mark.parametrize("name", ["authority_identity", "share_key", "public_key"])
@pytest.mark.parametrize("value", [None, "text", 7, bytearray(32)], ids=repr)
def test_keys_that_are_no_bytes_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=f"{name} must be bytes"):
        replace(SCHEME, **{name: value})


def test_keys_of_others_are_refused() -> None:
    """Of another project, of another parameter set, cut short."""
    other = STRANGER.scheme(**SIZES)
    assert replace(SCHEME, public_key=other.public_key) != SCHEME
    with pytest.raises(ParameterError, match="share_key is not the authority's own"):
        replace(SCHEME, share_key=other.share_key)
    with pytest.raises(ParameterError, match="share_key is not the authority's own"):
        replace(SCHEME, authority_identity=other.authority_identity)
    wider = KEEPER.scheme(clients=5, length=9, width=40)
    for key in (wider.public_key, SCHEME.public_key[:-1], SCHEME.public_key + b"\0", b""):
        with pytest.raises(ParameterError, match="public_key is not of these parameters"):
            replace(SCHEME, public_key=key)
    with pytest.raises(ParameterError, match="public_key is not of these parameters"):
        replace(SCHEME, public_key=b"\xff" * len(SCHEME.public_key))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clients": "5"}, "clients must be an int"),
        ({"clients": 1}, "2 <= clients"),
        ({"length": 0}, "1 <= length"),
        ({"length": 2.0}, "length must be an int"),
        ({"width": 1}, "2 <= width <= 64"),
        ({"width": 65}, "2 <= width <= 64"),
    ],
    ids=repr,
)
def test_sizes_that_no_vector_has_are_refused_before_a_key_is_made(
    changes: dict[str, Any], says: str
) -> None:
    keeper = KeyAuthority.generate(SeededRand("fresh"))
    with pytest.raises(ParameterError, match=says):
        keeper.scheme(**{**SIZES, **changes})
    assert not keeper._pairs
