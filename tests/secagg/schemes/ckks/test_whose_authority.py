"""Whose key authority a plan has: a server that is its own one reads every update."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("tenseal")

from secagg.errors import ParameterError
from secagg.scheme import Floors
from secagg.schemes.ckks import EncryptedExact, KeyAuthority
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.testing.parties import make_round
from secagg.testing.rand import SeededRand

OURS, OTHER = (KeyAuthority.generate(SeededRand(name)) for name in ("ours", "the server's"))
TRUSTED = OURS.identity.public


def scheme_of(keeper: KeyAuthority) -> EncryptedExact:
    scheme = keeper.scheme(clients=5, length=9, width=24)
    assert isinstance(scheme, EncryptedExact)
    return scheme


def test_a_client_takes_plans_of_the_authority_that_its_floors_name() -> None:
    """A new round, or one that it resumes."""
    floors, astray_floors = (Floors(authority=each.identity.public) for each in (OURS, OTHER))
    ours, other = (scheme_of(keeper) for keeper in (OURS, OTHER))
    who, astray = (make_round(each, SeededRand("who")) for each in (ours, other))
    mine = who.identities[1]
    assert ours.client(who.round, mine, 1, floors=floors)
    stored = ours.client(who.round, mine, 1, floors=floors).snapshot()
    assert ours.resume_client(stored, who.round, mine, 1, floors=floors)
    stored = other.client(astray.round, mine, 1, floors=astray_floors).snapshot()
    with pytest.raises(ParameterError, match="not the one that this client trusts"):
        other.client(astray.round, mine, 1, floors=floors)
    with pytest.raises(ParameterError, match="not the one that this client trusts"):
        other.resume_client(stored, astray.round, mine, 1, floors=floors)


@pytest.mark.parametrize("floors", [None, Floors()])
def test_a_client_that_names_no_authority_takes_no_plan_that_has_one(floors: Floors | None) -> None:
    """It took whichever the plan had, and who gives it the plan may be the server."""
    scheme = scheme_of(OURS)
    who = make_round(scheme, SeededRand("who"))
    mine, named = who.identities[1], Floors(authority=TRUSTED)
    stored = scheme.client(who.round, mine, 1, floors=named).snapshot()
    with pytest.raises(ParameterError, match="must be named by this client too"):
        scheme.client(who.round, mine, 1, floors=floors)
    with pytest.raises(ParameterError, match="must be named by this client too"):
        scheme.resume_client(stored, who.round, mine, 1, floors=floors)


def test_a_plan_without_an_authority_is_not_that_of_the_one_named() -> None:
    scheme = SecAggPlus(clients=5, length=9, width=24)
    Floors().check(scheme)
    with pytest.raises(ParameterError, match="not the one that this client trusts"):
        Floors(authority=TRUSTED).check(scheme)


def test_a_roster_that_names_an_authority_is_for_plans_of_that_one() -> None:
    """It was overwritten by what the plan says."""
    scheme = scheme_of(OURS)
    who = make_round(scheme, SeededRand("who"), authority=OURS)
    ours = replace(who.round, roster=replace(who.round.roster, authority=TRUSTED))
    assert scheme.client(ours, who.identities[1], 1)
    with pytest.raises(ParameterError, match="another key authority than the plan"):
        scheme_of(OTHER).client(ours, who.identities[1], 1)
