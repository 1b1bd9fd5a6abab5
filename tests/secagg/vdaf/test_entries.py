"""Every entry is in its range: whole ranges pass and add up, a step beyond an end does not."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import InputRefused, ParameterError, ReportRefused
from secagg.primitives.field import FIELD128, BigField, Elements, Field
from secagg.primitives.field64 import MODULUS, Field64, field64
from secagg.testing import SeededRand
from secagg.vdaf.claim import claim
from secagg.vdaf.entries import Bits, EntryBound
from secagg.vdaf.flp import Basis, Flp, FlpOfScaled, Lagrange, Monomial
from secagg.vdaf.norm import NormBound, best_chunks
from secagg.vdaf.pine import Pine
from secagg.vdaf.suite import Production

D, KEY = 50, bytes(range(32))
FIELD = field64()


@cache
def function(
    bits: int = 1,
    normed: int = 0,
    context: bytes = bytes(32),
    field: Field = FIELD,
    shares: int = 2,
) -> Pine:
    """D entries, behind a vector of `normed` with a norm of 1000 at most."""
    limits = NormBound(field=field, dimension=normed, bound=1000) if normed else None
    chunk, norm_chunk = best_chunks(limits) if limits else (1, 1)
    return Pine(
        limits=limits,
        suite=Production(context=context),
        chunk=chunk,
        norm_chunk=norm_chunk,
        shares=shares,
        entries=EntryBound(field=field, count=D, bits=bits),
    )


Sharing = tuple[bytes, tuple[bytes, ...], list[Any]]


def honest(vector: np.ndarray, made: Pine, name: object = 0) -> Sharing:
    rand = SeededRand(("entries", name))
    nonce = rand(16)
    return nonce, *made.shard(vector, nonce, rand(made.rand_size))


def lied(elements: list[int], made: Pine, name: object = 0) -> Sharing:
    """What is shared instead of bits: any elements of the field, the rest zeros."""
    rand = SeededRand(("lies", name))
    nonce, bits = rand(16), made.field.zeros(made.entries.length)  # type: ignore[union-attr]
    bits[: len(elements)] = made.field.array(elements)
    claimed = made.field.zeros(0)
    if made.limits is not None:
        claimed = claim(made.limits, np.zeros(made.limits.dimension, np.int64))
    return nonce, *made.shard_claim(claimed, nonce, rand(made.rand_size), bits)


def verified(sharing: Sharing, made: Pine, key: bytes = KEY) -> list[Elements]:
    nonce, public, shares = sharing
    pairs = [made.verify_init(key, at, nonce, public, share) for at, share in enumerate(shares)]
    message = made.verifier_shares_to_message([shown for _, shown in pairs])
    return [made.verify_next(state, message) for state, _ in pairs]


def passes(sharing: Sharing, made: Pine) -> bool:
    try:
        verified(sharing, made)
    except ReportRefused:
        return False
    return True


# -- honest vectors ------------------------------------------------------------------------------


@settings(max_examples=12)
@given(data=st.data(), bits=st.sampled_from([1, 2, 3, 8, 31]), normed=st.sampled_from([0, 7]))
def test_what_is_in_range_is_summed_exactly(data: st.DataObject, bits: int, normed: int) -> None:
    made, seed = function(bits, normed), data.draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    vectors = [
        np.concatenate([rng.integers(-300, 301, normed), rng.integers(0, 1 << bits, D)])
        for _ in range(2)
    ]
    outputs = [verified(honest(each, made, (seed, at)), made) for at, each in enumerate(vectors)]
    sums = [made.aggregate(shares) for shares in zip(*outputs, strict=True)]
    assert made.unshard(sums).tolist() == sum(vectors).tolist()  # type: ignore[attr-defined]


@pytest.mark.parametrize("field", [Field64(), FIELD128], ids=["numpy", "128"])
@pytest.mark.parametrize("shares", [2, 3])
def test_any_field_and_number_of_aggregators(field: Field, shares: int) -> None:
    made = function(2, 0, bytes(32), field, shares)
    vector = np.arange(D) % 4
    assert made.unshard(verified(honest(vector, made), made)).tolist() == vector.tolist()
    assert not passes(lied([2], made), made)


def test_a_seed_gives_the_output_share_again() -> None:
    for made in (function(), function(3), function(1, 7)):
        vector = np.zeros(made.sizes.output, np.int64)
        sharing = honest(vector, made)
        again = made.output_of_seed(1, sharing[2][1].seeds[0])
        assert again.tolist() == verified(sharing, made)[1].tolist()


@pytest.mark.parametrize("vector", [[0] * (D - 1) + [2], [-1] + [0] * (D - 1)])
def test_an_honest_client_does_not_shard_more(vector: list[int]) -> None:
    assert passes(honest(np.abs(np.sign(vector)), function()), function())
    with pytest.raises(InputRefused, match="0 <= entry <= 1 must hold"):
        honest(np.array(vector), function())
    with pytest.raises(InputRefused, match="shape"):
        honest(np.zeros(D + 1, np.int64), function())


# -- liars ---------------------------------------------------------------------------------------

LIES = {
    "two": [2],
    "minus one": [-1],
    "the largest of the field": [MODULUS - 1],
    "half": [(MODULUS + 1) // 2],
    "a root of unity": [FIELD.root(2)],
    "two and minus one, that sum to one": [2, -1],
    "two times one half, that sum to one": [(MODULUS + 1) // 2] * 2,
    "squares that cancel their sum": [2, -1, -1, 2],
    "the support of five sites": [5],
    "everywhere": [3] * D,
}


@pytest.mark.parametrize("normed", [0, 7])
@pytest.mark.parametrize("name", LIES)
def test_liars_are_refused(name: str, normed: int) -> None:
    made = function(1, normed)
    assert passes(lied([abs(x) % 2 for x in LIES[name]], made, name), made)
    for tried in range(3):
        with pytest.raises(ReportRefused, match="an entry is out of its range"):
            verified(lied(LIES[name], made, (name, tried)), made)


@settings(max_examples=25)
@given(
    places=st.sets(st.integers(0, D - 1), min_size=1, max_size=4),
    values=st.lists(st.integers(2, MODULUS - 1), min_size=4, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_no_element_but_a_bit_passes(places: set[int], values: list[int], seed: int) -> None:
    made = function()
    elements = np.random.default_rng(seed).integers(0, 2, D).tolist()
    assert passes(lied(elements, made, seed), made)
    for place, value in zip(sorted(places), values, strict=False):
        elements[place] = value
    assert not passes(lied(elements, made, (seed, "lie")), made)


def test_a_bit_that_is_none_is_refused_though_its_entry_is_in_range() -> None:
    """4 as twice the second bit of three; and 3 as three times the first."""
    made = function(3)
    assert passes(lied([0, 0, 1], made), made)
    for bits in ([0, 2, 0], [3, 0, 0]):
        assert not passes(lied(bits, made, str(bits)), made)


def test_a_norm_out_of_bounds_is_refused_beside_entries_in_range() -> None:
    made, vector = function(1, 7), np.zeros(7 + D, np.int64)
    vector[3] = 1000
    assert passes(honest(vector, made), made)
    vector[3] = 1001
    with pytest.raises(InputRefused, match="norm <= 1000"):
        honest(vector, made)


def test_halves_that_add_up_to_bits_are_refused() -> None:
    """The sum of what two clients share would be right; what each shares is not."""
    made = function()
    for name, elements in (("more", [2, 0]), ("less", [-1, 1])):
        assert not passes(lied(elements, made, name), made)


@pytest.mark.parametrize("kind", ["meas", "proofs", "blinds", "public", "nonce", "key", "context"])
def test_what_was_tampered_with_is_refused(kind: str) -> None:
    made = function()
    nonce, public, (leader, helper) = honest(np.arange(D) % 2, made)
    assert passes((nonce, public, [leader, helper]), made)
    change: dict[str, Any] = {}
    if kind in ("meas", "proofs"):
        changed = getattr(leader, kind).copy()
        changed[7] = (int(changed[7]) + 1) % MODULUS
        change = {kind: changed}
    elif kind == "blinds":
        change = {kind: leader.blinds[::-1]}
    leader = type(leader)(**{**vars(leader), **change})
    if kind == "public":
        public = (*public[:3], bytes(32))
    shares = [leader, helper]
    elsewhere = function(1, 0, b"\1" * 32) if kind == "context" else made
    if kind == "key":
        pairs = [
            made.verify_init(bytes([at]) * 32, at, nonce, public, share)
            for at, share in enumerate(shares)
        ]
        with pytest.raises(ReportRefused):
            made.verifier_shares_to_message([shown for _, shown in pairs])
        return
    assert not passes((bytes(16) if kind == "nonce" else nonce, public, shares), elsewhere)


def test_shares_of_two_reports_do_not_verify_together() -> None:
    made = function()
    first, second = (honest(np.arange(D) % 2, made, name) for name in "ab")
    assert passes(first, made)
    mixed = first[0], first[1], [first[2][0], second[2][1]]
    assert not passes(mixed, made)


@pytest.mark.parametrize("basis", [Lagrange(), Monomial()], ids=["values", "coefficients"])
@pytest.mark.parametrize("field", [FIELD, FIELD128], ids=["64", "128"])
def test_proofs_made_at_once_are_those_made_one_by_one(field: Field, basis: Basis) -> None:
    limits, rng = EntryBound(field=field, count=11, bits=3), np.random.default_rng(3)
    meas = limits.encode(rng.integers(0, 8, 11))
    flp = FlpOfScaled(Bits(limits), basis)
    rands, joints = (
        [field.array(rng.integers(0, 1 << 62, size).tolist()) for _ in range(3)]
        for size in (flp.prove_rand, flp.circuit.joint)
    )
    at_once = flp.prove_each(meas, rands, joints)
    for proof, rand, joint in zip(at_once, rands, joints, strict=True):
        assert proof.tolist() == Flp(Bits(limits), basis).prove(meas, rand, joint).tolist()
    assert at_once[0].tolist() != at_once[1].tolist()


def test_no_more_lies_pass_than_is_stated() -> None:
    """In a field so small that some do."""
    field = BigField(modulus=257, size=2, generator=3, order=256)
    limits = EntryBound(field=field, count=9)
    flp, rng = Flp(Bits(limits), Lagrange()), np.random.default_rng(5)
    lie, trials, passed = field.array([0, 1, 2, 1, 0, 256, 1, 0, 1]), 1000, 0
    for _ in range(trials):
        prove, joint = (
            field.array(rng.integers(0, 257, size).tolist())
            for size in (flp.prove_rand, flp.circuit.joint)
        )
        proof = flp.prove(lie, prove, joint)
        point = field.array([int(rng.integers(0, 257))])
        if pow(int(point[0]), 4, 257) != 1:
            passed += flp.decide(flp.query(lie, proof, point, joint, 1))
    most = 2 ** -limits.soundness(1)
    assert 0 < passed / trials < most
    assert most < 0.06


# -- parameters ----------------------------------------------------------------------------------


def test_the_chunk_makes_the_shortest_proof() -> None:
    for length in (1, 2, 3, 10, 1000, 65_536):
        limits = EntryBound(field=FIELD, count=length)
        best = limits._proof(limits.chunk)
        assert best == min(map(limits._proof, range(1, min(length, 1000) + 1)))
        assert Flp(Bits(limits), Lagrange()).proof == best - 1


@pytest.mark.parametrize("length", [1, 65_536, 1_000_000, 1 << 24])
def test_three_proofs_are_sound_to_128_bits(length: int) -> None:
    limits = EntryBound(field=FIELD, count=length)
    assert limits.soundness(3) > 128
    assert limits.soundness(3) == pytest.approx(3 * limits.soundness(1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"count": 0}, "1 <= count"),
        ({"count": True}, "1 <= count"),
        ({"count": 1 << 31}, "count <= 2147483647"),
        ({"bits": 0}, "1 <= bits <= 31"),
        ({"bits": 32}, "1 <= bits <= 31"),
        ({"count": 1 << 30, "bits": 2}, r"count \* bits < 2\*\*31"),
        ({"field": BigField(modulus=257, size=2, generator=3, order=256), "bits": 9}, "< modulus"),
    ],
)
def test_parameters_without_a_proof_are_refused(changes: dict[str, Any], reason: str) -> None:
    assert EntryBound(field=FIELD, count=3, bits=2).most == 3
    with pytest.raises(ParameterError, match=reason):
        EntryBound(**{"field": FIELD, "count": 3, **changes})


def test_a_norm_and_entries_are_of_one_field() -> None:
    limits = NormBound(field=FIELD, dimension=3, bound=5)
    for field, fits in ((Field64(), True), (FIELD128, False)):
        parts = {"limits": limits, "entries": EntryBound(field=field, count=2)}
        if fits:
            assert Pine(**parts, suite=Production(context=bytes(32))).sizes.output == 5
        else:
            with pytest.raises(ParameterError, match="must have one field"):
                Pine(**parts, suite=Production(context=bytes(32)))


def test_a_function_that_proves_nothing_is_none() -> None:
    assert function().entries is not None
    with pytest.raises(ParameterError, match="limits or entries"):
        Pine(limits=None, suite=Production(context=bytes(32)))
