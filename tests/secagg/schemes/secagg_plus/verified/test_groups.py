"""Groups of which only sums are opened: they are exact, and those of what was committed to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import Aborted, InputRefused, IntegrityError, ParameterError
from secagg.event import GroupStatistics
from secagg.groups import Groups
from secagg.identity import SERVER, PartyId
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, centered, reduce, word
from secagg.schemes.secagg_plus.messages import Consent, Masked, Shares, Unmask
from secagg.schemes.secagg_plus.verified import Reference, Screen, SecAggPlusVerified
from secagg.schemes.secagg_plus.verified.messages import Edges, Sketches
from secagg.testing import Hostile, Lie, Parties, SeededRand, Vanish, make_round, run
from secagg.testing.conformance.harness import state_of
from secagg.testing.faults import Fault
from secagg.testing.network import Network, RunResult, plain_sum
from secagg.testing.secagg_plus.courtroom import (
    accused,
    convicted,
    group_statistics,
    statistics,
)
from secagg.testing.secagg_plus.toy import FixedGroups, ToyScreen
from secagg.testing.secagg_plus.verified import (
    Values,
    about,
    about_all_edges,
    chained,
    saying,
    shifted,
    silent_at,
)

BOUND = 1 << 12
HALF = 1 << 31
LIAR, MATE, PEER, OTHER = 3, 6, 4, 8
"""In rounds of `FixedGroups` the first two are in one group, and the others in one each."""


def scheme(kind: type[SecAggPlusVerified] = FixedGroups, **changes: Any) -> SecAggPlusVerified:
    """Twelve clients in three groups of four; one is corrupt, so three are left in a sum."""
    screen = {"bound": BOUND, "rows": 16, "buckets": 32, "group": 4, **changes.pop("screen", {})}
    plan: dict[str, Any] = {
        "clients": 12,
        "length": 20,
        "width": 32,
        "corrupt": 1 / 12,
        "dropout": 1 / 3,
        "screen": ToyScreen(**screen),
    }
    return kind(**{**plan, **changes})


def inputs_of(parties: Parties) -> dict[PartyId, Words]:
    dtype, length = word(parties.scheme.width), parties.scheme.length
    return {p: np.arange(1, length + 1).astype(dtype) * dtype.type(p) for p in parties.clients}


def play(
    parties: Parties,
    lies: Mapping[PartyId, Lie],
    *faults: Fault,
    inputs: Mapping[PartyId, Words] | None = None,
) -> RunResult:
    """A round. Nobody honest is blamed; a sum is exact, and so is what is opened of its groups."""
    given = {**inputs_of(parties), **(inputs or {})}
    result = run(parties.scheme, given, parties=parties, hostile=lies, faults=faults)
    assert accused(result) | convicted(result).keys() <= lies.keys()
    if result.aggregate is not None:
        included = result.aggregate.included
        exact = plain_sum(parties.scheme, given, included)
        assert result.aggregate.total.tolist() == exact.tolist()
        found = group_statistics(result)
        assert {peer for group in found.groups for peer in group} == included
        assert min(map(len, found.groups)) >= 3
    return result


def true_rows(result: RunResult, inputs: Mapping[PartyId, Words]) -> list[list[int]]:
    """What the map makes of the sum of the inputs of each group that was opened."""
    plan, found = result.parties.scheme, group_statistics(result)
    assert isinstance(plan, SecAggPlusVerified)
    sums = [plain_sum(plan, inputs, frozenset(group)) for group in found.groups]
    opened = plan.opened_map(found.seed).of_words(sums)
    return centered(opened.reshape(-1), plan.width).reshape(opened.shape).tolist()


def opened_rows(result: RunResult) -> list[list[int]]:
    found = group_statistics(result)
    head = [] if found.weights is None else [found.weights[:, None]]
    return np.concatenate([*head, found.products, found.rows], axis=1).tolist()


@pytest.fixture
def parties() -> Parties:
    return make_round(scheme())


# -- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"screen": {"group": 1}}, "group = 0, or group >= 2"),
        ({"screen": {"group": -4}}, "0 <= group"),
        ({"screen": {"group": 4.0}}, "an int"),
        ({"screen": {"group": 2}}, r"group >= corrupt \+ 2 = 3 must hold, got 2"),
        ({"corrupt": 1 / 4}, r"group >= corrupt \+ 2 = 5 must hold, got 4"),
        ({"screen": {"group": 5}}, "survivors >= 2 \\* group must hold, got 8 and 5"),
        ({"screen": {"bound": BOUND << 10}}, r"row_bound < 2\*\*\(width - 3\)"),
    ],
)
def test_plans_without_enough_honest_members_are_refused(changes: Any, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        scheme(**changes)
    assert scheme().group_floor == 3


def test_a_sparse_graph_is_refused() -> None:
    """A client could have no neighbour in its group, and nothing that hides it."""
    plan = {"clients": 300, "screen": {"group": 40}}
    with pytest.raises(ParameterError, match="degree = clients - 1 must hold"):
        scheme(**plan)
    assert not scheme(clients=300, screen={"group": 0}).is_complete


def test_groups_are_of_the_plan() -> None:
    assert len({scheme(screen={"group": g}).encoded() for g in (0, 3, 4)}) == 3


@given(st.integers(2, 9), st.integers(0, 40), st.binary(min_size=32, max_size=32))
def test_drawn_groups_are_a_balanced_partition(size: int, more: int, seed: bytes) -> None:
    clients = range(5, 5 + 3 * (2 * size + more), 3)
    groups = Groups.drawn(clients, size, 2, seed)
    sizes = [len(group) for group in groups.members]
    assert sorted(peer for group in groups.members for peer in group) == list(clients)
    assert all(list(group) == sorted(group) for group in groups.members)
    assert (
        size <= min(sizes) <= max(sizes) <= min(min(sizes) + 1, Screen(bound=1, group=size).largest)
    )
    assert groups == Groups.drawn(clients, size, 2, seed)
    assert groups != Groups.drawn(clients, size, 2, digest(Label.GROUPS, seed)) or more + size < 6
    for client in clients:
        (own,) = (set(group) for group in groups.members if client in group)
        assert groups.beyond(client) == set(clients) - own


def test_drawn_groups_are_uniform() -> None:
    """Each of six clients meets each other one in the same group with chance 2/5."""
    draws = [
        Groups.drawn(range(6), 3, 2, digest(Label.GROUPS, bytes([n % 251, n // 251])))
        for n in range(3000)
    ]
    together = np.zeros((6, 6))
    for groups in draws:
        for group in groups.members:
            together[np.ix_(group, group)] += 1
    met = together[np.triu_indices(6, 1)] / len(draws)
    assert np.abs(met - 0.4).max() < 0.05, "5.6 standard deviations"


# -- nobody lies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SecAggPlusVerified, FixedGroups])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"width": 24, "screen": {"bound": 1 << 5}},
        {"width": 64, "screen": {"bound": 1 << 38}},
        {"length": 36, "screen": {"noise": 100.0}},
        {"screen": {"max_weight": 12}},
        {"length": 64, "screen": {"reference": Reference(np.ones(64, np.int64))}},
    ],
    ids=["plain", "24 bits", "64 bits", "noise", "weights", "reference"],
)
def test_what_is_opened_is_that_of_the_sum_of_each_group(
    kind: type[SecAggPlusVerified], changes: dict[str, Any]
) -> None:
    parties = make_round(scheme(kind, **changes))
    dtype = word(parties.scheme.width)
    inputs = {p: np.full(parties.scheme.length, p % 4 + 1, dtype) for p in parties.clients}
    inputs[5][1:] = reduce(dtype.type(0) - inputs[5][1:], parties.scheme.width)
    result = play(parties, {}, inputs=inputs)
    assert result.aggregate is not None, result.error
    found = group_statistics(result)
    assert [len(group) for group in found.groups] == [4, 4, 4]
    assert found.within.all()
    assert (found.weights is not None) == ("max_weight" in changes.get("screen", {}))
    assert opened_rows(result) == true_rows(result, inputs)


def test_nothing_is_opened_before_the_sum(parties: Parties) -> None:
    result = play(parties, {}, *(Vanish(p, Consent) for p in range(1, 7)))
    assert isinstance(result.error, Aborted)
    early = statistics(result)
    assert early.clients == parties.clients
    assert early.eligible == set(parties.clients)
    assert early.weights is None
    assert early.rows.shape == early.products.shape == (12, 0)
    assert not any(isinstance(event, GroupStatistics) for event in result.events[SERVER])


def test_nothing_is_said_inside_a_group_or_of_oneself() -> None:
    plan = scheme(SecAggPlusVerified)
    parties = make_round(plan)
    said: dict[PartyId, list[PartyId]] = {}

    def listen(liar: Hostile, values: Values) -> None:
        said[liar.me] = sorted(values)

    result = play(parties, {p: saying(listen) for p in parties.clients})
    for group in group_statistics(result).groups:
        for client in group:
            assert said[client] == sorted(set(parties.clients) - set(group))


# -- liars ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lie",
    [about(PEER), about(PEER, OTHER), about_all_edges, chained(about(PEER), silent_at(Edges))],
    ids=["one edge", "two edges", "all edges", "silent in the dispute"],
)
def test_a_lone_liar_is_convicted_before_the_sum(lie: Lie, parties: Parties) -> None:
    result = play(parties, {LIAR: lie})
    assert result.aggregate is not None, result.error
    assert result.aggregate.included == set(parties.clients) - {LIAR}
    assert convicted(result) == {LIAR: "dispute"}
    assert opened_rows(result) == true_rows(result, inputs_of(parties))


@pytest.mark.parametrize("left_at", [Masked, Sketches])
def test_what_is_said_of_an_edge_to_an_absent_client_does_not_count(
    left_at: type, parties: Parties
) -> None:
    """The server rebuilds that mask: there is nothing to convict anybody of."""
    lie = saying(lambda _, values: values.update(lied(values)))
    result = play(parties, {LIAR: lie}, Vanish(PEER, left_at))
    assert result.aggregate is not None, result.error
    assert result.aggregate.included == set(parties.clients) - {PEER}
    assert convicted(result) == {}
    assert opened_rows(result) == true_rows(result, inputs_of(parties))


def lied(values: Values) -> Values:
    return {PEER: bytes(len(values[PEER]))} if PEER in values else {}


@pytest.mark.parametrize("peer", [LIAR, MATE, 99])
def test_values_that_are_not_due_are_refused(peer: PartyId, parties: Parties) -> None:
    """Of its own mask, of one inside its group, of a stranger."""
    more = saying(lambda _, values: values.update({peer: values[PEER]}))
    result = play(parties, {LIAR: more})
    assert result.aggregate is not None, result.error
    assert LIAR not in result.aggregate.included
    assert accused(result) == {LIAR}


UPLOADS: dict[str, Lie] = {
    "a spike": shifted({4: HALF}),
    "two spikes": shifted({4: HALF, 9: HALF}),
    "spikes everywhere": shifted(dict.fromkeys(range(20), HALF)),
    "thirty times the norm": shifted({7: 30 * BOUND}),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_a_sum_with_a_group_beyond_the_bounds_is_withheld(name: str, parties: Parties) -> None:
    """The group is known, and no client."""
    result = play(parties, {LIAR: UPLOADS[name]})
    assert isinstance(result.error, IntegrityError)
    assert "1 of 3 groups are beyond the bounds: the sum is withheld" in str(result.error)
    found = group_statistics(result)
    beyond = [g for g, within in zip(found.groups, found.within, strict=True) if not within]
    assert beyond == [(3, 6, 9, 12)]
    assert convicted(result) == {}


def test_another_input_within_the_bounds_is_summed(parties: Parties) -> None:
    """The positive twin."""
    result = run(
        parties.scheme, inputs_of(parties), parties=parties, hostile={LIAR: shifted({7: 9})}
    )
    assert result.aggregate is not None
    exact = plain_sum(parties.scheme, inputs_of(parties), frozenset(parties.clients))
    exact[7] += np.uint32(9)
    assert result.aggregate.total.tolist() == exact.tolist()


@pytest.mark.parametrize(("by", "within"), [(0, True), (8, True), (9, False), (-37, False)])
def test_weights_are_bounded_by_the_group(by: int, within: bool) -> None:
    """Four clients of weight 10 of 12 each have room for 8 more, whoever claims them."""
    parties = make_round(scheme(screen={"max_weight": 12}))
    inputs = {p: np.full(20, 10, np.uint32) for p in parties.clients}
    result = run(parties.scheme, inputs, parties=parties, hostile={LIAR: shifted({0: by})})
    assert (result.aggregate is not None) == within
    found = group_statistics(result)
    assert found.weights is not None
    assert found.weights.tolist() == [40 + by, 40, 40]


def colluding(coalition: set[PartyId], seed: int) -> Lie:
    """Values of common edges are off by what both ends agreed on."""

    def change(liar: Hostile, values: Values) -> None:
        for peer in (coalition - {liar.me}) & values.keys():
            edge = b"%d %d %d" % (min(liar.me, peer), max(liar.me, peer), seed)
            rng = np.random.default_rng(list(digest(Label.SKETCH, edge)))
            cell = np.frombuffer(values[peer], np.uint32)
            delta = rng.integers(-5, 6, cell.size).astype(np.uint32)
            values[peer] = (cell + delta).tobytes()

    return saying(change)


@settings(deadline=None, max_examples=12)
@given(st.sets(st.integers(1, 12), min_size=2, max_size=9), st.integers(0, 999))
def test_colluders_move_statistics_between_their_groups_and_no_more(
    coalition: set[PartyId], seed: int
) -> None:
    """Whatever they agree on: the total over their groups is exact, and all other groups are."""
    parties = make_round(scheme())
    result = play(parties, dict.fromkeys(coalition, colluding(coalition, seed)))
    assert convicted(result) == {}
    found, inputs = group_statistics(result), inputs_of(parties)
    off = np.array(opened_rows(result)) - np.array(true_rows(result, inputs))
    assert off.sum(axis=0).tolist() == [0] * 16
    theirs = np.array([bool(coalition & set(group)) for group in found.groups])
    assert not off[~theirs].any()
    assert off.any() == (theirs.sum() > 1), "two of one group have nothing to lie about"


# -- drop-outs ------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(
    st.dictionaries(
        st.integers(1, 12),
        st.sampled_from([Shares, Masked, Sketches, Consent, Unmask]),
        max_size=5,
    )
)
def test_whoever_leaves_whenever_the_sums_of_groups_are_exact(gone: dict[PartyId, type]) -> None:
    parties = make_round(scheme(SecAggPlusVerified))
    result = play(parties, {}, *(Vanish(peer, kind) for peer, kind in gone.items()))
    early = {peer for peer, kind in gone.items() if kind in (Shares, Masked, Sketches)}
    if result.aggregate is None:
        assert isinstance(result.error, Aborted)
        assert len(gone) > 1, "one lost client of twelve stops nobody"
        return
    assert not result.aggregate.included & early
    assert opened_rows(result) == true_rows(result, inputs_of(parties))


def test_a_group_of_which_too_few_are_left_is_left_out_whole(parties: Parties) -> None:
    """Two left are one honest client, if the other one is corrupt."""
    result = play(parties, {}, Vanish(LIAR, Sketches), Vanish(MATE, Sketches))
    assert result.aggregate is not None, result.error
    assert result.aggregate.included == set(parties.clients) - {3, 6, 9, 12}
    assert result.aggregate.refused == {9, 12}
    assert statistics(result).clients == tuple(sorted(set(parties.clients) - {3, 6}))
    assert [len(group) for group in group_statistics(result).groups] == [4, 4]


def test_a_group_of_which_enough_are_left_is_opened(parties: Parties) -> None:
    result = play(parties, {}, Vanish(LIAR, Sketches))
    assert result.aggregate is not None, result.error
    assert result.aggregate.included == set(parties.clients) - {LIAR}
    assert group_statistics(result).groups[0] == (6, 9, 12)


# -- the caller's decision ------------------------------------------------------------------------


@pytest.fixture
def network(parties: Parties) -> Network:
    """A round whose server waits for a decision."""
    network = Network(parties, durable=True, rand=SeededRand("decide"))
    for party, value in inputs_of(parties).items():
        network.submit(party, value)
    network.settle()
    assert state_of(network.server.peer).phase == "decide"
    return network


@pytest.mark.parametrize("without", [set(), {3}, {3, 4}, {3, 4, 5}, {3, 6, 9, 12}])
def test_the_caller_may_leave_out_clients(without: set[PartyId], network: Network) -> None:
    """By what earlier rounds showed."""
    accepted = set(network.parties.clients) - without
    network.submit(SERVER, accepted)
    network.finish({})
    result = network.result()
    assert result.aggregate is not None, result.error
    assert result.aggregate.included == accepted
    assert opened_rows(result) == true_rows(result, inputs_of(network.parties))


@pytest.mark.parametrize("without", [{3, 6}, {3, 6, 9}])
def test_who_is_left_of_a_group_with_too_few_accepted_is_left_out(
    without: set[PartyId], network: Network
) -> None:
    """The caller does not know the groups."""
    accepted = set(network.parties.clients) - without
    network.submit(SERVER, accepted)
    network.finish({})
    result = network.result()
    assert result.aggregate is not None, result.error
    assert result.aggregate.included == accepted - {3, 6, 9, 12}
    assert result.aggregate.refused == without | {3, 6, 9, 12}
    assert opened_rows(result) == true_rows(result, inputs_of(network.parties))


def test_too_few_are_refused_and_another_set_may_do(network: Network) -> None:
    """Two of each of two groups leave one group, of eight who must remain."""
    machine: Any = network.server.peer
    everybody = set(network.parties.clients)
    with pytest.raises(InputRefused, match="4 clients accepted, at least 8 are needed"):
        machine.submit(everybody - {3, 6, 4, 7})
    machine.submit(everybody - {3, 6})


def test_a_client_rejected_late_takes_a_small_group_with_it(network: Network) -> None:
    """What it said was taken before; it is not trusted to be in the sum."""
    for client in (LIAR, MATE):
        endpoint = network.parties.endpoint(client)
        network.post(client, SERVER, endpoint.seal(SERVER, Consent(transcript=bytes(32))))
    network.settle()
    network.finish({})
    result = network.result()
    assert result.aggregate is not None, result.error
    assert result.aggregate.included == set(network.parties.clients) - {3, 6, 9, 12}
