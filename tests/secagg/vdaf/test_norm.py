"""What PINE refuses: liars who know the protocol, and parameters that cannot be sound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import DecodeError, InputRefused, ParameterError, ReportRefused
from secagg.primitives.field import FIELD128, BigField, Elements
from secagg.primitives.field64 import MODULUS, Field64, field64
from secagg.testing import SeededRand
from secagg.vdaf.circuit import to_bits
from secagg.vdaf.claim import claim, encode_floats, report, squared_norm
from secagg.vdaf.norm import NormBound
from secagg.vdaf.pine import Pine
from secagg.vdaf.share import HelperShare, LeaderShare, VerifierShare
from secagg.vdaf.suite import Production

D, BOUND = 80, 1 << 20
KEY = bytes(range(32))


def pine(context: bytes = bytes(32), **changes: Any) -> Pine:
    limits = NormBound(field=field64(), dimension=D, bound=BOUND)
    fields = {"limits": limits, "suite": Production(context=context), "chunk": 52, "norm_chunk": 9}
    return Pine(**{**fields, **changes})


PINE = pine()
Sharing = tuple[bytes, tuple[bytes, ...], list[Any]]


def honest(vector: np.ndarray, rand: SeededRand, function: Pine = PINE) -> Sharing:
    nonce = rand(16)
    return nonce, *function.shard(vector, nonce, rand(function.rand_size))


def verified(sharing: Sharing, function: Pine = PINE, key: bytes = KEY) -> list[Elements]:
    nonce, public, shares = sharing
    pairs = [function.verify_init(key, at, nonce, public, s) for at, s in enumerate(shares)]
    message = function.verifier_shares_to_message([verifier for _, verifier in pairs])
    return [function.verify_next(state, message) for state, _ in pairs]


def spike(value: int, *places: int) -> np.ndarray:
    vector = np.zeros(D, np.int64)
    vector[list(places or (3,))] = value
    return vector


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), scale=st.floats(0, 1))
def test_what_is_within_the_bound_is_summed_exactly(seed: int, scale: float) -> None:
    drawn = np.random.default_rng(seed).normal(size=D)
    vector = np.trunc(drawn / np.linalg.norm(drawn) * scale * (BOUND - D)).astype(np.int64)
    assert PINE.unshard(verified(honest(vector, SeededRand(str(seed))))).tolist() == vector.tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_bound_itself_is_allowed(sign: int) -> None:
    vector = spike(sign * BOUND)
    assert PINE.unshard(verified(honest(vector, SeededRand("edge")))).tolist() == vector.tolist()


@pytest.mark.parametrize("vector", [spike(BOUND + 1), spike(-BOUND - 1), spike(BOUND, 1, 2)])
def test_an_honest_client_does_not_shard_more(vector: np.ndarray) -> None:
    with pytest.raises(InputRefused, match="norm <= 1048576"):
        honest(vector, SeededRand("over"))
    with pytest.raises(InputRefused, match="shape"):
        honest(vector[:-1], SeededRand("over"))


def lie(values: list[int], claimed: int | None = None) -> Elements:
    """An encoding of `values` mod p, with the claimed squared norm, or the true one mod p."""
    field, limits = PINE.field, PINE.limits
    vector = field.array(values + [0] * (D - len(values)))
    norm = field.dot(vector, vector) if claimed is None else claimed
    rest = (BOUND**2 - norm) % MODULUS
    pair = [to_bits(field, value, limits.norm_bits) for value in (norm, rest)]
    return np.concatenate([vector, *pair])


BLOCK = (MODULUS + 1) // 2
LIES = {
    "over by one unit": lie([BOUND + 1]),
    "over, with the bound claimed": lie([BOUND + 1], BOUND**2),
    "over, with nothing claimed": lie([BOUND + 1], 0),
    "zero, with more claimed": lie([0], 1),
    "squares wrap to nearly nothing": lie([math.isqrt(MODULUS) + 1]),
    "half the modulus": lie([BLOCK, MODULUS - BLOCK]),
    "the other half": lie([(MODULUS - 1) // 2] * 2),
    "a third of the modulus": lie([MODULUS // 3] * 3),
    "a constant block": lie([BLOCK] * D),
    "a third everywhere": lie([MODULUS // 3] * D),
    "64 spikes": lie([MODULUS // 2] * 64),
    "64 alternating spikes": lie([MODULUS // 2, -(MODULUS // 2)] * 32),
    "zero norm by a square root of -1": lie([1 << 24, 1 << 72]),
}


def shameless(limits: NormBound, results: Elements) -> Elements:
    """`report` of a liar: checks that fail are said to have succeeded with another result."""
    try:
        return report(limits, results)
    except InputRefused:
        return report(limits, np.zeros_like(results))


@pytest.mark.parametrize("name", LIES)
def test_liars_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg.vdaf.pine.report", shameless)
    rand = SeededRand(name)
    for _ in range(3):
        nonce = rand(16)
        sharing = nonce, *PINE.shard_claim(LIES[name], nonce, rand(PINE.rand_size))
        with pytest.raises(ReportRefused, match="does not verify"):
            verified(sharing)


residue = st.one_of(
    st.sampled_from([0, 1, BOUND, BOUND + 1, BLOCK, MODULUS // 3, 1 << 24, MODULUS - 1]),
    st.integers(-3 * BOUND, 3 * BOUND),
    st.integers(0, MODULUS - 1),
)


@settings(max_examples=40)
@given(values=st.lists(residue, min_size=1, max_size=6), over=st.booleans())
def test_a_vector_is_accepted_if_and_only_if_its_norm_is_within_the_bound(
    values: list[int], over: bool
) -> None:
    if over:
        values = [values[0] % BOUND + BOUND + 1, *values[1:]]
    signed = [(value + MODULUS // 2) % MODULUS - MODULUS // 2 for value in values]
    within = sum(value * value for value in signed) <= BOUND**2
    nonce, rand = bytes(16), SeededRand(repr(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secagg.vdaf.pine.report", shameless)
        sharing = nonce, *PINE.shard_claim(lie(values), nonce, rand(PINE.rand_size))
    if within:
        assert PINE.unshard(verified(sharing)).tolist()[: len(signed)] == signed
    else:
        with pytest.raises(ReportRefused, match="does not verify"):
            verified(sharing)


def test_a_root_of_minus_one_gives_a_zero_norm() -> None:
    """The last lie is one that only the wrap-around checks see: its norm is right and in range."""
    values = PINE.field.array([1 << 24, 1 << 72])
    assert PINE.field.dot(values, values) == 0


def test_the_same_way_accepts_the_truth() -> None:
    vector = spike(BOUND - 1)
    rand = SeededRand("truth")
    nonce = rand(16)
    sharing = nonce, *PINE.shard_claim(claim(PINE.limits, vector), nonce, rand(PINE.rand_size))
    assert PINE.unshard(verified(sharing)).tolist() == vector.tolist()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@settings(max_examples=40)
@given(at=st.integers(0), which=st.sampled_from([0, 1, "public", "nonce"]))
def test_any_flipped_bit_is_refused(at: int, which: Any) -> None:
    nonce, public, shares = honest(spike(5), SeededRand("flip"))
    if which == "nonce":
        nonce = flipped(nonce, at % 16)
    elif which == "public":
        data = b"".join(public)
        public = PINE.decode_public_share(flipped(data, at % len(data)))
    else:
        data = PINE.encode_input_share(shares[which])
        shares[which] = PINE.decode_input_share(which, flipped(data, at % len(data)))
    with pytest.raises(ReportRefused):
        verified((nonce, public, shares))


def test_shares_of_two_reports_do_not_mix() -> None:
    rand = SeededRand("mix")
    first, second = honest(spike(5), rand), honest(spike(5), rand)
    verified(first)
    with pytest.raises(ReportRefused):
        verified((first[0], first[1], [first[2][0], second[2][1]]))
    with pytest.raises(ReportRefused):
        verified((second[0], *first[1:]))
    pairs = [[PINE.verify_init(KEY, at, s[0], s[1], s[2][at])[1] for at in (0, 1)]
             for s in (first, second)]  # fmt: skip
    with pytest.raises(ReportRefused):
        PINE.verifier_shares_to_message([pairs[0][0], pairs[1][1]])


def test_verifier_shares_have_an_order() -> None:
    nonce, public, shares = honest(spike(5), SeededRand("order"))
    pairs = [PINE.verify_init(KEY, at, nonce, public, share) for at, share in enumerate(shares)]
    verifiers = [verifier for _, verifier in pairs]
    message = PINE.verifier_shares_to_message(verifiers)
    swapped = PINE.verifier_shares_to_message(verifiers[::-1])
    for state, _ in pairs:
        PINE.verify_next(state, message)
        with pytest.raises(ReportRefused, match="joint randomness"):
            PINE.verify_next(state, swapped)


def test_input_shares_have_an_order() -> None:
    nonce, public, shares = honest(spike(5), SeededRand("roles"))
    leader, helper = (PINE.encode_input_share(share) for share in shares)
    with pytest.raises(DecodeError):
        PINE.decode_input_share(0, helper)
    with pytest.raises(DecodeError):
        PINE.decode_input_share(1, leader)
    with pytest.raises(ReportRefused):
        verified((nonce, public[::-1], shares))


def test_the_helper_is_sent_the_same_whatever_the_vector() -> None:
    first, second = (honest(vector, SeededRand("same")) for vector in (spike(0), spike(BOUND)))
    assert first[0] == second[0]
    assert PINE.encode_input_share(first[2][1]) == PINE.encode_input_share(second[2][1])
    assert PINE.encode_input_share(first[2][0]) != PINE.encode_input_share(second[2][0])


def test_the_leaders_share_of_a_constant_looks_uniform() -> None:
    """Chi-squared over the 256 values of each byte; beyond 420 by chance once in 10**9."""
    rand = SeededRand("uniform")
    shares = [honest(spike(0), rand)[2][0].meas for _ in range(3)]
    counts = np.bincount(np.concatenate(shares).view(np.uint8), minlength=256)
    expected = counts.sum() / 256
    assert expected > 100
    assert ((counts - expected) ** 2 / expected).sum() < 420


def test_a_report_of_another_context_or_other_parameters_does_not_verify() -> None:
    sharing = honest(spike(5), SeededRand("context"))
    verified(sharing)
    with pytest.raises(ReportRefused):
        verified(sharing, pine(bytes([1] * 32)))


def test_both_aggregators_need_one_verify_key() -> None:
    nonce, public, shares = honest(spike(5), SeededRand("key"))
    ours = PINE.verify_init(KEY, 0, nonce, public, shares[0])[1]
    theirs = PINE.verify_init(bytes(32), 1, nonce, public, shares[1])[1]
    with pytest.raises(ReportRefused):
        PINE.verifier_shares_to_message([ours, theirs])


def test_the_message_must_be_that_of_the_state() -> None:
    nonce, public, shares = honest(spike(5), SeededRand("message"))
    state, _ = PINE.verify_init(KEY, 0, nonce, public, shares[0])
    assert PINE.verify_next(state, state.seeds) is state.output
    with pytest.raises(ReportRefused, match="joint randomness"):
        PINE.verify_next(state, (bytes(32), state.seeds[1]))


def test_every_length_but_the_right_one_is_refused() -> None:
    nonce, public, shares = honest(spike(5), SeededRand("length"))
    verifier = PINE.verify_init(KEY, 0, nonce, public, shares[0])[1]
    cases: list[tuple[Callable[[bytes], Any], bytes]] = [
        (lambda data: PINE.decode_input_share(0, data), PINE.encode_input_share(shares[0])),
        (lambda data: PINE.decode_input_share(1, data), PINE.encode_input_share(shares[1])),
        (PINE.decode_public_share, b"".join(public)),
        (PINE.decode_verifier_share, PINE.encode_verifier_share(verifier)),
    ]
    assert [len(data) for _, data in cases[:2]] == list(PINE.input_sizes)
    assert len(cases[3][1]) == PINE.verifier_size
    for decode, data in cases:
        decode(data)
        for wrong in (data[:-1], data + b"\0", b""):
            with pytest.raises(DecodeError):
                decode(wrong)
    with pytest.raises(DecodeError, match="canonical"):
        cases[0][0](b"\xff" * 8 + cases[0][1][8:])


def test_secrets_stay_out_of_reprs() -> None:
    nonce, public, shares = honest(spike(5), SeededRand("repr"))
    state, verifier = PINE.verify_init(KEY, 0, nonce, public, shares[0])
    leader, helper = shares
    assert isinstance(leader, LeaderShare)
    assert isinstance(helper, HelperShare)
    assert isinstance(verifier, VerifierShare)
    for shown in map(repr, (leader, helper, state, verifier)):
        assert "array" not in shown
        assert "blinds" not in shown
        assert "seeds=(b" not in shown or "output" not in shown
    assert repr(helper) == "HelperShare()"


@pytest.mark.parametrize(
    ("field", "changes", "says"),
    [
        (Field64(), {"dimension": 0}, "1 <= dimension"),
        (Field64(), {"bound": 0}, "1 <= bound"),
        (Field64(), {"bound": 1 << 31}, "1 <= bound < 2"),
        (FIELD128, {"bound": 1 << 31}, "1 <= bound < 2"),
        (Field64(), {"checks": 0, "successes": 0}, "1 <= successes"),
        (Field64(), {"checks": 5, "successes": 6}, "1 <= successes"),
        (Field64(), {"bound": 1.5}, "bound is an int"),
        (Field64(), {"dimension": True}, "dimension is an int"),
    ],
)
def test_parameters_state_their_inequality(field: Any, changes: Any, says: str) -> None:
    fields = {"field": field, "dimension": 4, "bound": 8}
    NormBound(**fields)
    with pytest.raises(ParameterError, match=says):
        NormBound(**{**fields, **changes})


LARGEST = 30_854_650
"""The bound beyond which the reach of a check is 2**29, and 80 * 2**58 exceeds the modulus."""


def test_the_largest_bound_of_a_field() -> None:
    assert NormBound(field=Field64(), dimension=4, bound=LARGEST).reach == 1 << 28
    for bound in (LARGEST + 1, 1 << 29, (1 << 31) - 1):
        with pytest.raises(ParameterError, match=r"modulus >= 80 \* \d+\*\*2"):
            NormBound(field=Field64(), dimension=4, bound=bound)
    NormBound(field=FIELD128, dimension=4, bound=(1 << 31) - 1)
    small = BigField(modulus=4293918721, size=4, generator=3925978153, order=1 << 20)
    NormBound(field=small, dimension=4, bound=400)
    with pytest.raises(ParameterError, match="modulus >= 80"):
        NormBound(field=small, dimension=4, bound=1 << 14)
    with pytest.raises(ParameterError, match=r"3 bound\*\*2"):
        NormBound(field=small, dimension=4, bound=1 << 16)
    tiny = BigField(modulus=65537, size=3, generator=3, order=1 << 16)
    with pytest.raises(ParameterError, match="modulus >= 80"):
        NormBound(field=tiny, dimension=4, bound=16)


def passing(entries: int, reach: int) -> float:
    """The fraction of checks that a vector of so many equal entries passes, and wraps around."""
    field, rng = field64(), np.random.default_rng(entries)
    vector = field.array([math.isqrt(MODULUS // entries) + 1] * entries)
    draws = rng.integers(0, 256, (4000, -(-entries // 4)), np.uint8)
    shifted = field.add(field.ternary(vector, draws), field.array([reach - 1]))
    return float(np.mean(shifted < 2 * reach))


@pytest.mark.parametrize("entries", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 256, 1000])
def test_a_vector_that_wraps_around_fails_half_of_the_checks(entries: int) -> None:
    """At the largest bound. A bound of 2**29 would have a reach of 2**33, and let it pass."""
    assert passing(entries, NormBound(field=Field64(), dimension=1, bound=LARGEST).reach) < 0.54
    assert passing(entries, 1 << 33) > 0.9


@pytest.mark.parametrize("changes", [{"shares": 1}, {"proofs": 0}, {"norm_proofs": 256}])
def test_numbers_of_shares_and_proofs(changes: Any) -> None:
    with pytest.raises(ParameterError, match="must hold"):
        pine(**changes)


def test_floats_round_to_even_and_nothing_odd_is_encoded() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.25, 0.0])
    assert encode_floats(values, 0).tolist() == [0, 2, 2, 0, -1, 0]
    assert encode_floats(values, 2).tolist() == [2, 6, 10, -2, -5, 0]
    for bad in (math.nan, math.inf, -math.inf, 5e-324, 1e300):
        with pytest.raises(InputRefused):
            encode_floats(np.array([bad]), 0)


@given(values=st.lists(st.integers(-(1 << 31) + 1, (1 << 31) - 1), min_size=1, max_size=50))
def test_the_squared_norm_is_exact(values: list[int]) -> None:
    assert squared_norm(np.array(values)) == sum(value * value for value in values)
