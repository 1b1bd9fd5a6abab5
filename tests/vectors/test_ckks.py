"""The library and the reference make the same bytes of an encrypted round, up to ciphertexts."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from generate_ckks import CASES, stored, vector
from reference.ckks import opened_seed
from reference.refused import Refused

from secagg.errors import DecodeError
from secagg.identity import Identity
from secagg.primitives.digest import Label, digest
from secagg.primitives.prg import stream
from secagg.primitives.ring import word
from secagg.primitives.seal import open_sealed
from secagg.schemes.ckks.layout import Layout, Slots, layout
from secagg.schemes.ckks.masks import add_masks
from secagg.schemes.ckks.residues import pack_residues
from secagg.schemes.ckks.screened import SlotMap, SlotScreen

unhex = bytes.fromhex
every_case = pytest.mark.parametrize("name", CASES)


def shape_of(given: dict[str, Any]) -> Layout:
    return layout(given["clients"], given["length"], given["width"])


def slots_of(given: dict[str, Any]) -> Slots:
    shape = shape_of(given)
    count, width = given["length"], given["width"]
    values = [(at * 2654435761 + 12345) % 2**width for at in range(count)]
    assert values[:8] == given["first"]
    return shape.slots(shape.padded_vector(np.array(values, word(width))))


def same(slots: Slots, shown: dict[str, Any]) -> bool:
    ends = slots[0, :4].tolist(), slots[-1, -4:].tolist()
    digests = sha256(slots.astype("<u8").tobytes()).hexdigest()
    return (*ends, digests) == (shown["first"], shown["last"], shown["sha256"])


@every_case
def test_layouts_are_those_of_the_specification(name: str) -> None:
    given = stored(name)
    shape, stated = shape_of(given), given["layout"]
    assert list(shape.ring.keys.primes) == stated["primes"]
    assert shape.ring.keys.degree == stated["degree"]
    assert shape.ring.plain == stated["plain"]
    names = ("limbs", "lanes", "lane_bits", "zeros", "room", "blocks", "size")
    assert {each: getattr(shape, each) for each in names} == {each: stated[each] for each in names}


@every_case
def test_plaintexts_and_masks_are_the_stored_ones(name: str) -> None:
    given = stored(name)
    slots = slots_of(given)
    assert same(slots, given["slots"])
    add_masks(slots, given["layout"]["plain"], plus=[unhex(given["seed"])])
    assert same(slots, given["masked"])
    assert not same(slots, given["slots"])


@every_case
def test_residues_are_packed_to_the_bit(name: str) -> None:
    given = stored(name)
    keys = shape_of(given).ring.keys
    packed = pack_residues(np.array(given["residues"], "<u8"), keys)
    assert packed.hex() == given["packed"]


@every_case
def test_seeds_open_for_their_client_and_signatures_are_of_their_context(name: str) -> None:
    given = stored(name)
    context, sealed, client = unhex(given["context"]), unhex(given["sealed"]), given["client"]
    private = X25519PrivateKey.from_private_bytes(unhex(given["share_private"]))
    info = Label.BINDING.value + context + client.to_bytes(4, "little")
    assert open_sealed(sealed, private, info).hex() == given["seed"]
    assert (
        opened_seed(unhex(given["share_private"]), sealed, context, client).hex() == (given["seed"])
    )
    identity = Identity.from_bytes(unhex(given["client_private"]))
    assert identity.public.hex() == given["client_public"]
    assert identity.sign(Label.CONTRIBUTOR, context, sealed).hex() == given["signature"]
    other = Label.BINDING.value + context + (client + 1).to_bytes(4, "little")
    with pytest.raises(DecodeError):
        open_sealed(sealed, private, other)
    with pytest.raises(Refused):
        opened_seed(unhex(given["share_private"]), sealed, context, client + 1)


@every_case
def test_maps_of_screened_rounds_are_drawn_alike(name: str) -> None:
    given = stored(name)
    seed = digest(Label.SKETCH_SEED, unhex(given["context"]), unhex(given["nonce"]))
    screen = SlotScreen(bound=100)
    shape = layout(given["clients"], 5000, 32, screen.plain_bits)
    slot_map = SlotMap(screen, seed, shape)
    blocks = slot_map._blocks[:-1].reshape(-1)[:64].tolist()
    assert shape.blocks > 1
    assert blocks == given["blocks_map"]
    assert slot_map._slots.reshape(-1)[:64].tolist() == given["slots_map"]
    assert stream(digest(Label.SKETCH_MAP, seed, b"blocks"), 4) != bytes(4)


@every_case
def test_the_reference_makes_them_too(name: str) -> None:
    given = stored(name)
    assert vector(name, unhex(given["sealed"])) == given
