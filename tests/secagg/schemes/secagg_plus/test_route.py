"""`secagg_plus.route` against dictionaries of dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.schemes.secagg_plus.messages import PARCELS
from secagg.schemes.secagg_plus.route import agreeing, deliver
from secagg.wire import Table

Edge = frozenset[int]


@dataclass
class Town:
    """Dealers, edges (also to clients that dealt nothing), and the edges that somebody lies on."""

    dealers: set[int]
    edges: set[Edge]
    lies: set[Edge] = field(default_factory=set)

    def holders(self, dealer: int) -> set[int]:
        return {other for edge in self.edges if dealer in edge for other in edge - {dealer}}

    def parcels(self) -> dict[int, Table]:
        return {dealer: PARCELS.table(self._rows(dealer)) for dealer in sorted(self.dealers)}

    def _rows(self, dealer: int) -> dict[int, tuple[bytes, ...]]:
        return {holder: self.cells(dealer, holder) for holder in self.holders(dealer)}

    def cells(self, dealer: int, holder: int) -> tuple[bytes, ...]:
        """The edge's tag, alike on both ends unless somebody lies; the rest is the dealer's own."""
        edge = frozenset((dealer, holder))
        low, high = sorted(edge)
        liar = edge in self.lies and dealer == low
        name = dealer.to_bytes(4, "big") + holder.to_bytes(4, "big")
        return (
            low.to_bytes(4, "big") + high.to_bytes(4, "big") + bytes(7) + bytes((liar,)),
            b"self" + name + bytes(4),
            b"key!" + name + bytes(4),
            (b"seal" + name) * 9 + bytes(4),
        )


def towns(lying: bool) -> st.SearchStrategy[Town]:
    @st.composite
    def draw_town(draw: st.DrawFn) -> Town:
        ids = st.integers(1, 12) | st.integers(2**32 - 6, 2**32 - 2)
        clients = sorted(draw(st.sets(ids, min_size=2, max_size=9)))
        pairs = [frozenset((a, b)) for a in clients for b in clients if a < b]
        edges = draw(st.sets(st.sampled_from(pairs)))
        dealers = draw(st.sets(st.sampled_from(clients), min_size=1))
        among = sorted((e for e in edges if e <= dealers), key=sorted)
        lies = draw(st.sets(st.sampled_from(among))) if among and lying else set()
        return Town(dealers, edges, lies)

    return draw_town()


def core_by_hand(town: Town, left: set[int], least: int) -> set[int]:
    while poor := {one for one in left if len(town.holders(one) & left) < least}:
        left = left - poor
    return left


def settled_by_hand(town: Town, corrupt: int) -> set[int]:
    """Who is left once every quarrel is settled, in Python sets."""
    quarrels = {one: {o for e in town.lies if one in e for o in e - {one}} for one in town.dealers}
    left = {one for one, others in quarrels.items() if len(others) <= corrupt}
    for one in sorted(left):
        rivals = sorted(quarrels[one] & left)
        if one in left and rivals:
            left -= {one, rivals[0]}
    return left


# -- who agrees --------------------------------------------------------------------------------


@given(towns(lying=True), st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=80, deadline=None)
def test_agreeing_is_the_rule_by_hand(town: Town, least: int, corrupt: int) -> None:
    agreed, reasons = agreeing(town.parcels(), least, corrupt)
    settled = settled_by_hand(town, corrupt)
    assert reasons.keys() == town.dealers - settled
    assert agreed == core_by_hand(town, settled, least)


@given(towns(lying=True), st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=80, deadline=None)
def test_no_quarrel_and_no_lonely_client_is_left(town: Town, least: int, corrupt: int) -> None:
    left, reasons = agreeing(town.parcels(), least, corrupt)
    assert left <= town.dealers - reasons.keys()
    assert not any(edge <= left for edge in town.lies)
    assert all(len(town.holders(one) & left) >= least for one in left)


@given(towns(lying=False), st.sets(st.integers(0, 8), max_size=3), st.data())
@settings(max_examples=80, deadline=None)
def test_no_more_honest_clients_go_than_liars(
    town: Town, places: set[int], data: st.DataObject
) -> None:
    """Liars may lie on any edge of theirs; within the bound, each takes at most one along."""
    dealers = sorted(town.dealers)
    liars = {dealers[place] for place in places if place < len(dealers)}
    theirs = sorted((e for e in town.edges if e <= town.dealers and e & liars), key=sorted)
    town.lies = data.draw(st.sets(st.sampled_from(theirs))) if theirs else set()
    _, reasons = agreeing(town.parcels(), 0, corrupt=len(liars))
    assert len(reasons.keys() - liars) <= len(reasons.keys() & liars)


@given(towns(lying=False), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_without_lies_the_largest_set_with_enough_holders_is_left(town: Town, least: int) -> None:
    assert agreeing(town.parcels(), least, 1) == (core_by_hand(town, town.dealers, least), {})


@given(towns(lying=True))
@settings(max_examples=40, deadline=None)
def test_agreement_changes_nothing_of_the_parcels(town: Town) -> None:
    parcels = town.parcels()
    agreeing(parcels, 2, 1)
    assert parcels == town.parcels()


def clique(count: int, *lies: tuple[int, int]) -> Town:
    clients = range(1, count + 1)
    edges = {frozenset((a, b)) for a in clients for b in clients if a < b}
    return Town(set(clients), edges, {frozenset(pair) for pair in lies})


def test_all_stay_where_nobody_lies() -> None:
    assert agreeing(clique(5).parcels(), 4, 0) == ({1, 2, 3, 4, 5}, {})


def test_a_liar_in_more_quarrels_than_may_collude_goes_alone() -> None:
    town = clique(6, (3, 1), (3, 2), (3, 6))
    left, reasons = agreeing(town.parcels(), 2, 2)
    assert left == {1, 2, 4, 5, 6}
    assert reasons.keys() == {3}
    assert "3 neighbours, where 2 may collude" in reasons[3]


def test_two_that_quarrel_within_the_bound_both_go() -> None:
    left, reasons = agreeing(clique(6, (1, 2)).parcels(), 2, 1)
    assert left == {3, 4, 5, 6}
    assert reasons.keys() == {1, 2}
    assert "client 2" in reasons[1]
    assert "client 1" in reasons[2]
    assert agreeing(clique(6, (1, 2), (3, 4)).parcels(), 1, 1)[0] == {5, 6}


def test_many_liars_cannot_drive_out_one_honest_client_and_stay() -> None:
    """Three that all lie to client 1: it goes, as one of a pair, and takes a liar along."""
    left, reasons = agreeing(clique(8, (1, 6), (1, 7), (1, 8)).parcels(), 1, 3)
    assert left == {2, 3, 4, 5, 7, 8}
    assert reasons.keys() == {1, 6}


def test_losing_one_may_leave_others_with_too_few_holders() -> None:
    path = Town({1, 2, 3, 4}, {frozenset(pair) for pair in ((1, 2), (2, 3), (3, 4))})
    assert agreeing(path.parcels(), 1, 0) == ({1, 2, 3, 4}, {})
    assert agreeing(path.parcels(), 2, 0) == (set(), {}), "the ends go, then the middle"


def test_parcels_for_absent_clients_are_neither_quarrels_nor_holders() -> None:
    town = Town({1, 2}, {frozenset((1, 2)), frozenset((1, 3)), frozenset((2, 3))})
    assert agreeing(town.parcels(), 1, 0) == ({1, 2}, {})
    assert agreeing(town.parcels(), 2, 0) == (set(), {})


def test_nobody_agrees_where_nobody_dealt() -> None:
    assert agreeing({}, 0, 0) == (set(), {})


# -- who gets what -----------------------------------------------------------------------------


@given(towns(lying=True))
@settings(max_examples=60, deadline=None)
def test_every_parcel_reaches_its_holder_and_every_tag_its_dealer(town: Town) -> None:
    inboxes, tags = deliver(town.parcels())
    expected_inboxes: dict[int, dict[int, tuple[bytes, ...]]] = {}
    expected_tags: dict[int, dict[int, tuple[bytes, ...]]] = {}
    for dealer in town.dealers:
        for holder in town.holders(dealer) & town.dealers:
            cells = town.cells(dealer, holder)
            expected_inboxes.setdefault(holder, {})[dealer] = cells
            expected_tags.setdefault(dealer, {})[holder] = cells[1:3]
    assert {p: by_row(table, PARCELS.sizes) for p, table in inboxes.items()} == expected_inboxes
    assert {p: by_row(table, ("self_tag", "key_tag")) for p, table in tags.items()} == expected_tags


def by_row(table: Table, names: object) -> dict[int, tuple[bytes, ...]]:
    assert table.peers == sorted(set(table.peers))
    columns = [table.column(name) for name in names]  # type: ignore[attr-defined]
    return dict(zip(table.peers, zip(*columns, strict=True), strict=True))


def test_nothing_is_delivered_where_nobody_dealt() -> None:
    assert deliver({}) == ({}, {})


def test_a_lonely_dealer_gets_nothing() -> None:
    assert deliver(Town({1}, {frozenset((1, 2))}).parcels()) == ({}, {})
