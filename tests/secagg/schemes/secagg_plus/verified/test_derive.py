"""Everything that a derived value must depend on changes it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from secagg.identity import SERVER
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus.messages import ADVERTS, Masked
from secagg.schemes.secagg_plus.verified import derive
from secagg.schemes.secagg_plus.verified.messages import DIGESTS
from secagg.testing import make_round
from secagg.wire import Columns

ONE, OTHER = bytes(32), bytes([1]) * 32
ADVERT = {1: (ONE, ONE, bytes(64))}
MASKED = Masked(attestation=bytes(64), vector=b"\1\2")


def rows(*digests: bytes) -> Any:
    return DIGESTS.table({at: (text,) for at, text in enumerate(digests, start=1)})


CASES: dict[str, tuple[Callable[..., bytes], list[list[Any]]]] = {
    "commitment": (derive.nonce_commitment, [[ONE, OTHER], [ONE, OTHER]]),
    "cohort": (
        derive.cohort_transcript,
        [
            [ONE, OTHER],
            [ADVERTS.table(ADVERT), ADVERTS.table({2: ADVERT[1]})],
            [ONE, OTHER],
        ],
    ),
    "upload": (
        derive.upload_digest,
        [
            [1, 2],
            [
                MASKED,
                Masked(attestation=bytes(64), vector=b"\1\3"),
                Masked(attestation=b"\1" * 64, vector=b"\1\2"),
            ],
        ],
    ),
    "screen": (
        derive.screen_transcript,
        [[ONE, OTHER], [ONE, OTHER], [ONE, OTHER], [rows(ONE), rows(OTHER), rows(ONE, ONE)]],
    ),
    "seed": (derive.sketch_seed, [[ONE, OTHER]]),
    "root": (derive.root, [[rows(ONE), rows(OTHER), rows(ONE, ONE)]]),
}


@pytest.mark.parametrize("name", CASES)
def test_every_part_counts(name: str) -> None:
    function, parts = CASES[name]
    chosen = list(itertools.product(*parts))
    found = [function(*choice) for choice in chosen]
    assert len(set(found)) == len(chosen)
    assert found == [function(*choice) for choice in chosen]


def test_values_are_known_by_their_digests() -> None:
    values = Columns(value=3).table({1: (b"abc",), 2: (b"abc",), 5: (b"abd",)})
    found = derive.value_digests(values).by_peer("digest")
    assert found.keys() == {1, 2, 5}
    assert found[1] == found[2] != found[5]


def test_nonces_are_of_one_server_and_one_round() -> None:
    parties = make_round(PlainInsecure(clients=3, length=1, width=8))
    endpoints = [each.endpoint(SERVER) for each in (parties, parties.again(number=2))]
    assert len({derive.server_nonce(endpoint) for endpoint in endpoints}) == 2
