"""A helper takes part in a context once: a second machine would give a second sum."""

from __future__ import annotations

import dataclasses

import pytest

from protocols.helper import HelperKeeper
from protocols.journal import ClientJournal
from secagg.context import Round
from secagg.errors import DecodeError, LocalProtocolError, ParameterError
from secagg.identity import SERVER, Identity, Roster
from secagg.schemes.pine import HELPER, TwoAggregators
from secagg.schemes.plain import PlainInsecure
from secagg.testing import SeededRand

RAND = SeededRand("helper")
WHO = {party: Identity.generate(RAND) for party in (SERVER, 1, 2, HELPER)}
LISTED = {party: who for party, who in WHO.items() if party != SERVER}
ROUND = Round(
    session=RAND(16),
    number=5,
    model=bytes(32),
    roster=Roster(
        server=WHO[SERVER].public,
        clients={party: who.public for party, who in LISTED.items()},
        share_keys={party: who.share_key for party, who in LISTED.items()},
        server_share_key=WHO[SERVER].share_key,
    ),
)
SCHEME = TwoAggregators(clients=2, length=3, width=16, bound=9, minimum=2, corrupt=0.0)


def later(number: int) -> Round:
    return dataclasses.replace(ROUND, number=number)


def test_a_context_has_one_machine_across_restarts() -> None:
    keeper = HelperKeeper(WHO[HELPER])
    assert keeper.join(SCHEME, ROUND).me == HELPER
    stored = ClientJournal.from_bytes(keeper.journal.to_bytes())
    for restarted in (keeper, HelperKeeper(WHO[HELPER], journal=stored)):
        for number in (4, 5):
            with pytest.raises(LocalProtocolError, match="not after round 5"):
                restarted.join(SCHEME, later(number))
    assert keeper.join(SCHEME, later(6)).me == HELPER


def test_a_machine_goes_on_until_it_is_finished() -> None:
    keeper = HelperKeeper(WHO[HELPER])
    with pytest.raises(LocalProtocolError, match="not running"):
        keeper.resume(b"", SCHEME, ROUND)
    saved = keeper.join(SCHEME, ROUND).snapshot()
    assert keeper.resume(saved, SCHEME, ROUND).expected == {SERVER}
    with pytest.raises(DecodeError):
        keeper.resume(saved[:-1], SCHEME, ROUND)
    keeper.finish(ROUND)
    with pytest.raises(LocalProtocolError, match="not running"):
        keeper.resume(saved, SCHEME, ROUND)


def test_what_cannot_be_joined_is_not_in_the_journal() -> None:
    keeper = HelperKeeper(WHO[HELPER])
    with pytest.raises(ParameterError, match="has no helper"):
        keeper.join(PlainInsecure(clients=3, length=3, width=16), ROUND)
    with pytest.raises(ParameterError, match="does not list this identity"):
        HelperKeeper(WHO[1]).join(SCHEME, ROUND)
    assert keeper.join(SCHEME, ROUND)
    assert WHO[HELPER].to_bytes().hex()[:16] not in repr(keeper)
