"""`secagg.scheme`: what every scheme refuses before a round starts, and what it binds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from secagg.context import Round
from secagg.errors import DecodeError, ParameterError
from secagg.identity import SERVER, Identity, Roster
from secagg.machine import Machine
from secagg.scheme import MAX_CLIENTS, MAX_LENGTH, Floors, Scheme
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest
from secagg.testing.parties import make_round

SCHEMES: list[type[Scheme]] = [PlainInsecure, SecAggPlus, SecAggPlusSemiHonest]
IDENTITIES = {party: Identity.generate(random.Random(party).randbytes) for party in range(7)}


def make(kind: type[Scheme] = SecAggPlus, **changes: Any) -> Scheme:
    return kind(**{"clients": 5, "length": 4, "width": 20, **changes})


def a_round(clients: int = 5, number: int = 1) -> Round:
    listed = {party: IDENTITIES[party].public for party in range(1, clients + 1)}
    roster = Roster(IDENTITIES[SERVER].public, listed)
    return Round(session=bytes(16), number=number, model=bytes(32), roster=roster)


# -- parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SCHEMES)
@pytest.mark.parametrize(
    ("changes", "inequality"),
    [
        ({"clients": 1}, f"2 <= clients <= {MAX_CLIENTS} must hold, got 1"),
        ({"clients": 0}, "clients"),
        ({"clients": MAX_CLIENTS + 1}, f"2 <= clients <= {MAX_CLIENTS}"),
        ({"clients": 5.0}, "clients must be an int, got float"),
        ({"clients": True}, "clients must be an int, got bool"),
        ({"clients": "5"}, "clients must be an int, got str"),
        ({"length": 0}, f"1 <= length <= {MAX_LENGTH} must hold, got 0"),
        ({"length": MAX_LENGTH + 1}, "length"),
        ({"length": 1.0}, "length must be an int"),
        ({"length": True}, "length must be an int"),
        ({"width": 1}, "2 <= width <= 64"),
        ({"width": 65}, "2 <= width <= 64"),
        ({"width": 20.0}, "2 <= width <= 64"),
        ({"dropout": 1.0}, "0 <= dropout < 1"),
        ({"dropout": -0.1}, "0 <= dropout < 1"),
        ({"dropout": float("nan")}, "0 <= dropout < 1"),
        ({"dropout": "0.1"}, "0 <= dropout < 1"),
        ({"dropout": True}, "0 <= dropout < 1"),
    ],
    ids=str,
)
def test_sizes_and_fractions_out_of_range_are_refused(
    kind: type[Scheme], changes: dict[str, Any], inequality: str
) -> None:
    make(kind)
    with pytest.raises(ParameterError, match=inequality):
        make(kind, **changes)


@pytest.mark.parametrize("kind", SCHEMES)
def test_the_edges_of_the_ranges_are_accepted(kind: type[Scheme]) -> None:
    for changes in ({"length": 1}, {"length": MAX_LENGTH}, {"width": 2}, {"width": 64}):
        make(kind, **changes)
    make(PlainInsecure, clients=2)
    make(PlainInsecure, clients=MAX_CLIENTS)


def test_an_unknown_keyword_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        make(be_secure=True)
    with pytest.raises(TypeError, match="positional"):
        SecAggPlus(5, 4, 20)  # type: ignore[call-arg, unused-ignore]


@pytest.mark.parametrize("kind", SCHEMES)
def test_codes_and_names_are_the_schemes_own(kind: type[Scheme]) -> None:
    assert len({other.code for other in SCHEMES}) == len({other.name for other in SCHEMES}) == 3
    assert 0 < kind.code < 256


def test_the_insecure_scheme_says_so() -> None:
    assert "INSECURE" in PlainInsecure.name
    assert "insecure" in PlainInsecure.__name__.lower()


# -- one encoding per parameter set ------------------------------------------------------------


@pytest.mark.parametrize("kind", SCHEMES)
def test_every_parameter_changes_the_encoding(kind: type[Scheme]) -> None:
    base = make(kind, clients=20)
    changed: list[Scheme] = [
        base,
        replace(base, clients=21),
        replace(base, length=5),
        replace(base, width=21),
        replace(base, dropout=0.31),  # type: ignore[call-arg]
        make(PlainInsecure, clients=20) if kind is not PlainInsecure else make(clients=20),
    ]
    if kind is not PlainInsecure:
        changed += [replace(base, corrupt=0.21), replace(base, threshold=12)]  # type: ignore[call-arg]
    assert len({scheme.encoded() for scheme in changed}) == len(changed)
    contexts = {a_round().context(s.code, s.encoded()) for s in changed}
    assert len(contexts) == len(changed)


def test_two_schemes_with_equal_fields_have_two_encodings() -> None:
    assert make(SecAggPlus).encoded() != make(SecAggPlusSemiHonest).encoded()


@dataclass(frozen=True, kw_only=True)
class Deriving(PlainInsecure):
    """INSECURE. A library that computes another number from the same fields."""

    computed: ClassVar[int] = 0

    @property
    def derived(self) -> Mapping[str, object]:
        return {"computed": self.computed}


class DerivingElse(Deriving):
    computed: ClassVar[int] = 1


class Renamed(Deriving):
    name: ClassVar[str] = "another-INSECURE"


def test_the_name_is_bound() -> None:
    assert make(Deriving).encoded() != make(Renamed).encoded()


def test_what_is_derived_is_bound_too() -> None:
    assert make(Deriving).encoded() != make(DerivingElse).encoded()
    text = make().encoded().decode()
    for name in ("degree", "threshold", "window", "survivors", "quorum", "check_count"):
        assert f"\n{name}=" in text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"dropout": 0}, {"dropout": 0.0}),
        ({"dropout": -0.0}, {"dropout": 0.0}),
        ({"dropout": np.float64(0.25)}, {"dropout": 0.25}),
        ({"corrupt": 0}, {"corrupt": 0.0}),
    ],
    ids=["int", "negative zero", "numpy", "corrupt"],
)
def test_equal_parameters_have_one_encoding(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two parties that write one number in two ways must not end up in two rounds."""
    assert make(**one) == make(**other)
    assert make(**one).encoded() == make(**other).encoded()


# -- floors ------------------------------------------------------------------------------------


def test_a_client_takes_a_plan_at_its_floors() -> None:
    scheme = make(clients=5, corrupt=0.2, dropout=0.2)
    at_the_floor = Floors(clients=5, survivors=4, corrupt=0.2)
    scheme.client(a_round(), IDENTITIES[1], 1, floors=at_the_floor)


@pytest.mark.parametrize(
    ("floors", "inequality"),
    [
        (Floors(clients=6), "clients >= 6 must hold by this client's floor, the plan has 5"),
        (Floors(survivors=5), "survivors >= 5 must hold by this client's floor, the plan has 4"),
        (
            Floors(corrupt=0.21),
            "corrupt >= 0.21 must hold by this client's floor, the plan has 0.2",
        ),
    ],
    ids=["clients", "survivors", "corrupt"],
)
def test_a_plan_below_a_floor_is_refused(floors: Floors, inequality: str) -> None:
    scheme = make(clients=5, corrupt=0.2, dropout=0.2)
    stored = scheme.client(a_round(), IDENTITIES[1], 1).snapshot()
    with pytest.raises(ParameterError, match=inequality):
        scheme.client(a_round(), IDENTITIES[1], 1, floors=floors)
    with pytest.raises(ParameterError, match=inequality):
        scheme.resume_client(stored, a_round(), IDENTITIES[1], 1, floors=floors)


def test_the_default_floors_hold_without_being_asked_for() -> None:
    pair = make(PlainInsecure, clients=2, dropout=0)
    with pytest.raises(ParameterError, match="clients >= 3"):
        pair.client(a_round(2), IDENTITIES[1], 1)
    lonely = make(PlainInsecure, clients=5, dropout=0.8)
    with pytest.raises(ParameterError, match="survivors >= 2"):
        lonely.client(a_round(), IDENTITIES[1], 1)
    pair.client(a_round(2), IDENTITIES[1], 1, floors=Floors(clients=2))


def test_no_floor_concerns_the_server() -> None:
    make(PlainInsecure, clients=2, dropout=0).server(a_round(2), IDENTITIES[SERVER])


# -- endpoints ---------------------------------------------------------------------------------

Start = Callable[[Scheme, Round, Identity], Machine[Any]]
STARTS: list[tuple[str, int, Start]] = [
    ("client", 1, lambda scheme, of, identity: scheme.client(of, identity, 1)),
    ("server", SERVER, lambda scheme, of, identity: scheme.server(of, identity)),
    (
        "resumed client",
        1,
        lambda scheme, of, identity: scheme.resume_client(
            make().client(a_round(), IDENTITIES[1], 1).snapshot(), of, identity, 1
        ),
    ),
    (
        "resumed server",
        SERVER,
        lambda scheme, of, identity: scheme.resume_server(
            make().server(a_round(), IDENTITIES[SERVER]).snapshot(), of, identity
        ),
    ),
]
each_start = pytest.mark.parametrize(
    ("me", "start"), [row[1:] for row in STARTS], ids=[row[0] for row in STARTS]
)


@each_start
def test_a_machine_starts_for_its_own_identity(me: int, start: Start) -> None:
    machine = start(make(), a_round(), IDENTITIES[me])
    assert machine.me == me
    assert machine.context == a_round().context(SecAggPlus.code, make().encoded())


@each_start
def test_a_roster_of_another_size_is_refused(me: int, start: Start) -> None:
    for clients in (4, 6):
        inequality = f"the roster invites {clients} clients, the parameters are for 5"
        with pytest.raises(ParameterError, match=inequality):
            start(make(), a_round(clients), IDENTITIES[me])


@each_start
def test_an_identity_the_roster_does_not_list_is_refused(me: int, start: Start) -> None:
    for other in (6, 2, SERVER if me else 1):
        with pytest.raises(ParameterError, match=f"does not list this identity as party {me}"):
            start(make(), a_round(), IDENTITIES[other])


@pytest.mark.parametrize("me", [6, -1, 2**32 - 1])
def test_an_id_the_roster_does_not_list_is_refused(me: int) -> None:
    with pytest.raises(ParameterError, match="does not list this identity"):
        make().client(a_round(), IDENTITIES[1], me)


@pytest.mark.parametrize("changes", [{"width": 21}, {"dropout": 0.35}, {"threshold": 2}])
def test_a_snapshot_is_bound_to_the_parameters(changes: dict[str, Any]) -> None:
    base = make(clients=5, dropout=0.39)
    stored = base.client(a_round(), IDENTITIES[1], 1).snapshot()
    base.resume_client(stored, a_round(), IDENTITIES[1], 1)
    with pytest.raises(DecodeError, match="another party, round or scheme"):
        replace(base, **changes).resume_client(stored, a_round(), IDENTITIES[1], 1)
    with pytest.raises(DecodeError, match="another party, round or scheme"):
        base.resume_client(stored, a_round(number=2), IDENTITIES[1], 1)


def test_the_server_id_is_not_a_clients() -> None:
    """`client(…, me=0)` with the server's own identity would mix the two sides."""
    with pytest.raises(ParameterError):
        make().client(a_round(), IDENTITIES[SERVER], SERVER)


@pytest.mark.parametrize("kind", SCHEMES)
def test_each_side_accepts_only_the_other_sides_messages(kind: type[Scheme]) -> None:
    scheme = make(kind)
    down, up = scheme.client_messages, scheme.server_messages
    assert not set(down) & set(up)
    codes = [message.code for message in (*down, *up)]
    assert len(set(codes)) == len(codes)
    server = scheme.server(a_round(), IDENTITIES[SERVER])
    client = scheme.client(a_round(), IDENTITIES[1], 1)
    assert set(server._endpoint.accepts.values()) == set(up)
    assert set(client._endpoint.accepts.values()) == set(down)


def test_a_scheme_without_a_helper_has_no_machine_for_one() -> None:
    parties = make_round(PlainInsecure(clients=3, length=1, width=8))
    parties.scheme.server(parties.round, parties.identities[SERVER])
    for attempt in (
        lambda: parties.scheme.helper(parties.round, parties.identities[SERVER]),
        lambda: parties.scheme.resume_helper(b"", parties.round, parties.identities[SERVER]),
        lambda: parties.scheme.helper_role(parties.endpoint(SERVER)),
    ):
        with pytest.raises(ParameterError, match="has no helper"):
            attempt()
