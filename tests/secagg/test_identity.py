"""`secagg.identity`: who may be on a roster, and what a signature is good for."""

from __future__ import annotations

import copy
import pickle
import random
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import DecodeError, ParameterError, RemoteProtocolError
from secagg.identity import AUTHORITY, BROADCAST, SERVER, FirstUseRoster, Identity, Roster
from secagg.primitives.digest import Label, digest

IDENTITIES = [Identity.generate(random.Random(seed).randbytes) for seed in range(6)]
KEYS = [identity.public for identity in IDENTITIES]
PRIME = 2**255 - 19
ORDER_8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def roster() -> Roster:
    return Roster(KEYS[0], {7: KEYS[1], 2: KEYS[2], 2**32 - 2: KEYS[3]})


# -- identities --------------------------------------------------------------------------------


def test_an_identity_comes_back_from_its_bytes() -> None:
    identity = IDENTITIES[0]
    again = Identity.from_bytes(identity.to_bytes())
    assert again.public == identity.public
    assert again.sign(Label.FRAME, b"x") == identity.sign(Label.FRAME, b"x")
    assert len(identity.to_bytes()) == len(identity.public) == 32


def test_generate_takes_32_bytes_of_its_source() -> None:
    asked: list[int] = []

    def rand(size: int) -> bytes:
        asked.append(size)
        return bytes(range(size))

    assert Identity.generate(rand).to_bytes() == bytes(range(32))
    assert asked == [32]


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_private_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ParameterError, match=f"32 bytes, got {size}"):
        Identity.from_bytes(bytes(size))


def test_no_private_byte_is_shown() -> None:
    identity = IDENTITIES[0]
    for text in (repr(identity), str(identity), f"{identity!s}", repr([identity])):
        assert identity.to_bytes().hex()[:8] not in text
        assert identity.public.hex()[:16] in text


def test_an_identity_does_not_leave_by_pickle_or_copy() -> None:
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="does not pickle"):
            leave(IDENTITIES[0])


# -- signatures --------------------------------------------------------------------------------


@given(st.sampled_from(list(Label)), st.lists(st.binary(max_size=30), max_size=3))
@settings(deadline=None, max_examples=30)
def test_a_signature_covers_a_label_and_the_digest_of_its_parts(
    label: Label, parts: list[bytes]
) -> None:
    signature = IDENTITIES[1].sign(label, *parts)
    roster().verify(7, signature, label, *parts)
    roster().verify(7, signature, label, *(memoryview(part) for part in parts))
    Ed25519PublicKey.from_public_bytes(KEYS[1]).verify(
        signature, label.value + digest(label, *parts)
    )


@pytest.mark.parametrize("label", [label for label in Label if label is not Label.FRAME])
def test_a_signature_for_one_purpose_is_none_for_another(label: Label) -> None:
    signature = IDENTITIES[1].sign(Label.FRAME, b"x")
    roster().verify(7, signature, Label.FRAME, b"x")
    with pytest.raises(DecodeError, match="signature of party 7 does not verify"):
        roster().verify(7, signature, label, b"x")


@pytest.mark.parametrize("parts", [(b"ab",), (b"", b"ab"), (b"ab", b""), (b"b", b"a"), ()])
def test_a_signature_is_bound_to_the_division_into_parts(parts: tuple[bytes, ...]) -> None:
    signature = IDENTITIES[1].sign(Label.FRAME, b"a", b"b")
    with pytest.raises(DecodeError):
        roster().verify(7, signature, Label.FRAME, *parts)


def test_every_changed_bit_of_a_signature_is_refused() -> None:
    signature, accepted = IDENTITIES[1].sign(Label.FRAME, b"x"), []
    for bit in range(512):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            roster().verify(7, bytes(changed), Label.FRAME, b"x")
        except DecodeError:
            continue
        accepted.append(bit)
    assert accepted == []


def test_a_signature_has_one_form() -> None:
    """S + L is refused [RFC 8032, §5.1.7]; else one message would have two frames."""
    signature = IDENTITIES[1].sign(Label.FRAME, b"x")
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    with pytest.raises(DecodeError):
        roster().verify(7, signature[:32] + scalar.to_bytes(32, "little"), Label.FRAME, b"x")


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    signature = (IDENTITIES[1].sign(Label.FRAME, b"x") + b"\0")[:size]
    with pytest.raises(DecodeError):
        roster().verify(7, signature, Label.FRAME, b"x")


def test_each_party_is_checked_against_its_own_key() -> None:
    listed = roster()
    for party, identity in ((SERVER, 0), (7, 1), (2, 2), (2**32 - 2, 3)):
        signature = IDENTITIES[identity].sign(Label.FRAME, b"x")
        listed.verify(party, signature, Label.FRAME, b"x")
        for other in {SERVER, 7, 2, 2**32 - 2} - {party}:
            with pytest.raises(DecodeError, match=f"party {other} does not verify"):
                listed.verify(other, signature, Label.FRAME, b"x")


@pytest.mark.parametrize("party", [1, 3, BROADCAST, -1])
def test_a_stranger_is_refused(party: int) -> None:
    signature = IDENTITIES[4].sign(Label.FRAME, b"x")
    with pytest.raises(DecodeError, match="not on the roster"):
        roster().verify(party, signature, Label.FRAME, b"x")


# -- rosters -----------------------------------------------------------------------------------


def test_a_roster_lists_its_clients_ascending() -> None:
    listed = roster()
    assert listed.ids == tuple(listed) == (2, 7, 2**32 - 2)
    assert len(listed) == 3


@given(st.permutations([(7, 1), (2, 2), (2**32 - 2, 3)]))
def test_the_order_in_which_clients_were_listed_does_not_matter(order: Any) -> None:
    again = Roster(KEYS[0], {party: KEYS[at] for party, at in order})
    assert again == roster()
    assert again.digest == roster().digest
    assert hash(again) == hash(roster())


def test_any_change_changes_the_digest() -> None:
    clients = dict(roster().clients)
    rosters = [
        roster(),
        Roster(KEYS[4], clients),
        Roster(KEYS[0], {**clients, 7: KEYS[4]}),
        Roster(KEYS[0], {**clients, 8: KEYS[4]}),
        Roster(KEYS[0], {party: key for party, key in clients.items() if party != 7}),
        Roster(KEYS[0], {party + (party == 7): key for party, key in clients.items()}),
        Roster(KEYS[0], {**clients, 7: clients[2], 2: clients[7]}),
        Roster(KEYS[1], {**clients, 7: KEYS[0]}),
        Roster(KEYS[0], {}),
    ]
    assert len({listed.digest for listed in rosters}) == len(rosters)
    assert len({len(listed.digest) for listed in rosters} | {32}) == 1


def test_a_roster_cannot_be_changed_from_outside() -> None:
    clients = {7: KEYS[1], 2: KEYS[2]}
    listed = Roster(KEYS[0], clients)
    before = listed.digest
    clients[9] = KEYS[3]
    assert 9 not in listed.clients
    with pytest.raises(TypeError):
        listed.clients[9] = KEYS[3]  # type: ignore[index]
    assert Roster(KEYS[0], listed.clients).digest == before


@pytest.mark.parametrize("party", [SERVER, BROADCAST, -1, 1 << 32, 1 << 40])
def test_ids_outside_the_range_of_clients_are_refused(party: int) -> None:
    Roster(KEYS[0], {1: KEYS[1]})
    Roster(KEYS[0], {BROADCAST - 1: KEYS[1]})
    with pytest.raises(ParameterError, match=f"0 < client id < {BROADCAST} must hold"):
        Roster(KEYS[0], {party: KEYS[1]})


@pytest.mark.parametrize("party", [True, 1.0, "1", b"1", None, np.int64(1)], ids=repr)
def test_ids_of_another_type_are_refused(party: Any) -> None:
    with pytest.raises(ParameterError, match="a client id is an int"):
        Roster(KEYS[0], {party: KEYS[1]})


@pytest.mark.parametrize("key", [b"", KEYS[1][:-1], KEYS[1] + b"\0", KEYS[1].hex(), None])
def test_keys_of_another_length_or_type_are_refused(key: Any) -> None:
    with pytest.raises(ParameterError, match="32 bytes"):
        Roster(KEYS[0], {1: key})
    with pytest.raises(ParameterError, match="32 bytes"):
        Roster(key, {1: KEYS[1]})


def test_one_key_under_two_ids_is_refused() -> None:
    with pytest.raises(ParameterError, match="share one public key"):
        Roster(KEYS[0], {1: KEYS[1], 2: KEYS[1]})
    with pytest.raises(ParameterError, match="share one public key"):
        Roster(KEYS[0], {1: KEYS[0]})


def test_a_key_that_is_no_point_signs_nothing() -> None:
    """No point of the curve has the y coordinate 2."""
    listed = Roster(KEYS[0], {1: (2).to_bytes(32, "little")})
    with pytest.raises(DecodeError):
        listed.verify(1, bytes(64), Label.FRAME, b"x")


@pytest.mark.parametrize("y", [PRIME + 3, (1 << 255) - 1])
def test_a_key_is_written_in_one_way(y: int) -> None:
    """Else one key could stand under two ids: PRIME + 3 is the point whose y is 3."""
    Roster(KEYS[0], {1: (y - PRIME).to_bytes(32, "little")})
    for sign in (0, 1 << 255):
        with pytest.raises(ParameterError, match="not canonical"):
            Roster(KEYS[0], {1: (y + sign).to_bytes(32, "little")})


SMALL_ORDER = [
    (y + shift).to_bytes(32, "little")
    for root in (0, 1, PRIME - 1, ORDER_8, PRIME - ORDER_8)
    for y in (root, root + PRIME)
    for shift in (0, 1 << 255)
    if y < 1 << 255
]


@pytest.mark.parametrize("key", SMALL_ORDER, ids=bytes.hex)
def test_a_key_of_small_order_is_refused(key: bytes) -> None:
    """Under the neutral element as key, R = it and S = 0 verify for every text; the sign bit and
    coordinates from the prime on give such a point several encodings."""
    with pytest.raises(ParameterError, match="small order"):
        Roster(KEYS[0], {1: key})
    with pytest.raises(ParameterError, match="small order"):
        Roster(key, {1: KEYS[1]})


def test_the_points_of_order_8_are_on_the_curve_and_of_that_order() -> None:
    """-x^2 + y^2 = 1 + d x^2 y^2, and doubling thrice gives the neutral element (0, 1)."""
    d = -121665 * pow(121666, -1, PRIME) % PRIME
    square = (ORDER_8**2 - 1) * pow(d * ORDER_8**2 + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    x = x if x * x % PRIME == square else x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    assert x * x % PRIME == square
    point = (x, ORDER_8)
    for doubled in (False, False, True):
        (x, y), product = point, d * (point[0] * point[1]) ** 2
        point = (
            2 * x * y * pow(1 + product, -1, PRIME) % PRIME,
            (y * y + x * x) * pow(1 - product, -1, PRIME) % PRIME,
        )
        assert (point == (0, 1)) == doubled


# -- trust on first use ------------------------------------------------------------------------


def test_the_first_keys_are_pinned_and_known_again() -> None:
    pins = FirstUseRoster()
    pins.roster(roster())
    pins.roster(roster())
    again = FirstUseRoster(pins.pinned)
    assert dict(again.pinned) == dict(pins.pinned)
    again.roster(roster())


def test_a_roster_that_agrees_with_the_pins_is_handed_back() -> None:
    pins = FirstUseRoster()
    listed = roster()
    assert pins.roster(listed) is listed
    assert dict(pins.pinned) == {SERVER: KEYS[0], **listed.clients}
    larger = Roster(KEYS[0], {**listed.clients, 9: KEYS[4]})
    assert pins.roster(larger) is larger
    assert pins.pinned[9] == KEYS[4]


@pytest.mark.parametrize(
    "other",
    [
        Roster(KEYS[4], dict(roster().clients)),
        Roster(KEYS[0], {**roster().clients, 7: KEYS[4]}),
    ],
    ids=["server", "client"],
)
def test_a_replaced_key_in_a_roster_is_refused(other: Roster) -> None:
    pins = FirstUseRoster()
    pins.roster(roster())
    before = dict(pins.pinned)
    with pytest.raises(RemoteProtocolError, match="shows another identity key"):
        pins.roster(other)
    assert dict(pins.pinned) == before


def test_a_refused_roster_pins_nothing() -> None:
    """Else a server plants its keys under new ids beside one wrong key, and they stay."""
    pins = FirstUseRoster({SERVER: KEYS[0], 5: KEYS[1]})
    before = dict(pins.pinned)
    with pytest.raises(RemoteProtocolError):
        pins.roster(Roster(KEYS[0], {4: KEYS[2], 5: KEYS[3], 6: KEYS[4]}))
    assert dict(pins.pinned) == before


def test_pins_are_read_only_outside_and_copied_in() -> None:
    stored = {3: KEYS[1]}
    pins = FirstUseRoster(stored)
    stored[4] = KEYS[2]
    assert dict(pins.pinned) == {3: KEYS[1]}
    with pytest.raises(TypeError):
        pins.pinned[4] = KEYS[2]  # type: ignore[index]


def test_a_key_authority_is_on_the_roster_beside_clients_and_server() -> None:
    server, client, authority = IDENTITIES[:3]
    clients = {7: client.public}
    without = Roster(server=server.public, clients=clients)
    whole = Roster(server=server.public, clients=clients, authority=authority.public)
    assert whole.digest != without.digest
    assert whole.public(AUTHORITY) == authority.public
    assert without.public(AUTHORITY) is None
    assert (whole.public(7), whole.public(0), whole.public(8)) == (
        client.public,
        server.public,
        None,
    )
    signature = authority.sign(Label.FRAME, b"x")
    whole.verify(AUTHORITY, signature, Label.FRAME, b"x")
    with pytest.raises(DecodeError, match="not on the roster"):
        without.verify(AUTHORITY, signature, Label.FRAME, b"x")


def test_an_authority_is_nobody_else() -> None:
    server, client, authority = IDENTITIES[:3]
    assert Roster(server=server.public, clients={AUTHORITY: client.public}).public(AUTHORITY)
    with pytest.raises(ParameterError, match="must hold beside a key authority"):
        Roster(server=server.public, clients={AUTHORITY: client.public}, authority=authority.public)
    for taken in (server.public, client.public):
        with pytest.raises(ParameterError, match="share one public key"):
            Roster(server=server.public, clients={1: client.public}, authority=taken)
    with pytest.raises(ParameterError, match="32 bytes"):
        Roster(server=server.public, clients={1: client.public}, authority=b"short")
