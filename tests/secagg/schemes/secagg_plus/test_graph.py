"""`secagg_plus.graph`: regular, symmetric, and connected where the rule on windows holds."""

from __future__ import annotations

import random
from collections.abc import Collection
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from secagg.schemes.secagg_plus.graph import Graph


@st.composite
def rings(draw: st.DrawFn, most: int = 25) -> Graph:
    count = draw(st.integers(2, most))
    clients = sorted(draw(st.sets(st.integers(1, 2**32 - 2), min_size=count, max_size=count)))
    reach = draw(st.integers(1, count))
    return Graph.drawn(clients, reach, draw(st.binary(min_size=32, max_size=32)))


def connected(graph: Graph, members: Collection[int]) -> bool:
    """Breadth-first search among `members` alone."""
    left, front = set(members), set(list(members)[:1])
    while front:
        left -= front
        front = {other for one in front for other in graph.neighbours(one)} & left
    return not left


def weakest_by_hand(graph: Graph, included: Collection[int]) -> int:
    count = len(graph.order)
    return min(
        sum(graph.order[(start + step) % count] in included for step in range(graph.reach))
        for start in range(count)
    )


# -- shape -------------------------------------------------------------------------------------


@given(rings())
@settings(deadline=None)
def test_neighbours_are_symmetric_ascending_and_never_oneself(graph: Graph) -> None:
    neighbours = {client: graph.neighbours(client) for client in graph.order}
    for client, others in neighbours.items():
        assert client not in others
        assert list(others) == sorted(set(others))
        assert set(others) <= set(graph.order)
        assert all(client in neighbours[other] for other in others)


@given(rings())
@settings(deadline=None)
def test_the_graph_is_regular_of_twice_the_reach_or_complete(graph: Graph) -> None:
    degree = min(2 * graph.reach, len(graph.order) - 1)
    assert {len(graph.neighbours(client)) for client in graph.order} == {degree}


@given(rings())
@settings(deadline=None)
def test_neighbours_are_the_nearest_places_of_the_ring(graph: Graph) -> None:
    count = len(graph.order)
    for place, client in enumerate(graph.order):
        near = {
            other
            for at, other in enumerate(graph.order)
            if other != client and min((at - place) % count, (place - at) % count) <= graph.reach
        }
        assert set(graph.neighbours(client)) == near


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_the_complete_graph_joins_everybody_in_id_order(count: int) -> None:
    clients = tuple(range(5, 5 + count))
    graph = Graph.complete(clients)
    for client in clients:
        assert graph.neighbours(client) == tuple(c for c in clients if c != client)
    for reach in range(count // 2, count + 1):  # a ring that reaches around is complete too
        ring = Graph.drawn(clients, reach, bytes(32))
        if 2 * reach >= count - 1:
            assert all(ring.neighbours(c) == graph.neighbours(c) for c in clients)


def test_two_ends_that_meet_are_joined_once() -> None:
    """With 2 reach = n the farthest place is the same on both sides."""
    graph = Graph((1, 2, 3, 4), 2)
    assert graph.neighbours(1) == (2, 3, 4)


# -- the draw ----------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.integers(2, 40))
@settings(deadline=None)
def test_a_seed_fixes_the_graph_and_only_permutes(seed: bytes, count: int) -> None:
    clients = tuple(range(1, count + 1))
    graph = Graph.drawn(clients, 1, seed)
    assert graph == Graph.drawn(clients, 1, seed)
    assert sorted(graph.order) == list(clients)
    moved = Graph.drawn(tuple(c + 100 for c in clients), 1, seed)
    assert moved.order == tuple(c + 100 for c in graph.order), "the draw is of places, not of ids"


def test_every_bit_of_the_seed_moves_clients() -> None:
    clients = tuple(range(1, 41))
    seeds = [bytes(32)] + [bytes(at) + b"\1" + bytes(31 - at) for at in range(32)]
    assert len({Graph.drawn(clients, 2, seed).order for seed in seeds}) == len(seeds)


def test_all_orders_are_equally_likely() -> None:
    """6 orders of three clients, 600 seeds: each count within five deviations of 100."""
    rand = random.Random(0)
    orders = [Graph.drawn((1, 2, 3), 1, rand.randbytes(32)).order for _ in range(600)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert all(abs(count - 100) < 46 for count in counts)


# -- windows -----------------------------------------------------------------------------------


@given(rings(), st.data())
@settings(deadline=None)
def test_the_weakest_window_is_that_of_a_count_by_hand(graph: Graph, data: st.DataObject) -> None:
    included = data.draw(st.sets(st.sampled_from(graph.order)))
    weakest = weakest_by_hand(graph, included)
    for form in (included, sorted(included), dict.fromkeys(included, 1), frozenset(included)):
        assert graph.weakest_window(form) == weakest


def test_windows_wrap_around_the_ring() -> None:
    graph = Graph((1, 2, 3, 4, 5, 6), 2)
    assert graph.weakest_window([2, 3, 4, 5]) == 0, "places 6 and 1 are one window"
    assert graph.weakest_window([1, 3, 5]) == 1
    assert graph.weakest_window(range(1, 7)) == 2
    assert graph.weakest_window([]) == 0


def test_strangers_do_not_fill_a_window() -> None:
    graph = Graph((1, 2, 3, 4), 1)
    assert graph.weakest_window([1, 2, 3, 99]) == 0
    assert graph.weakest_window([1, 2, 3, 4, 99]) == 1


def most_of(graph: Graph, data: st.DataObject) -> set[int]:
    """All clients of the ring but a few; sets drawn freely would rarely fill every window."""
    few = st.sets(st.sampled_from(graph.order), max_size=1 + len(graph.order) // 3)
    return set(graph.order) - data.draw(few)


@given(rings(12), st.data())
@settings(max_examples=150, deadline=None)
def test_honest_survivors_in_every_window_are_connected(graph: Graph, data: st.DataObject) -> None:
    """What `parameters.neighbours_malicious` rests on: an honest survivor finds another among the
    `reach` places after it, which is a neighbour; so a cycle joins all of them."""
    honest = most_of(graph, data)
    assume(graph.weakest_window(honest) >= 1)
    assert connected(graph, honest)


@given(rings(12), st.data())
@settings(max_examples=120, deadline=None)
def test_a_window_rule_over_the_corrupt_is_enough(graph: Graph, data: st.DataObject) -> None:
    """If no window holds more than c corrupt and each holds more than c of the survivors, the
    honest survivors are connected, and every client keeps 2(c + 1) surviving neighbours."""
    survivors, corrupt = most_of(graph, data), set(graph.order) - most_of(graph, data)
    count = len(graph.order)
    windows = [
        [graph.order[(start + step) % count] for step in range(graph.reach)]
        for start in range(count)
    ]
    c = max(len(corrupt.intersection(window)) for window in windows)
    assume(graph.weakest_window(survivors) > c)
    assert connected(graph, survivors - corrupt)
    if 2 * graph.reach < count:
        least = min(len(survivors & set(graph.neighbours(client))) for client in graph.order)
        assert least >= 2 * (c + 1)


@given(st.integers(6, 20), st.integers(1, 3))
@example(20, 2)
def test_two_empty_windows_cut_the_ring(count: int, reach: int) -> None:
    """The converse that shows why the rule is there."""
    assume(count > 2 * reach + 2)
    graph = Graph(tuple(range(count)), reach)
    gap = {*range(1, reach + 1), *range(reach + 2, 2 * reach + 2)}
    survivors = set(range(count)) - gap
    assert graph.weakest_window(survivors) == 0
    assert not connected(graph, survivors)


def test_the_oracle_knows_a_path_from_two_pieces() -> None:
    graph = Graph(tuple(range(8)), 1)
    assert all(connected(graph, pair) for pair in pairwise(range(8)))
    assert connected(graph, {0, 7})
    assert not connected(graph, {0, 2})
