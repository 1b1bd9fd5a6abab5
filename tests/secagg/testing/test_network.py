"""The simulated network does what each fault says, and nothing without one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import secagg.testing as kit
from secagg.errors import Aborted, DecodeError, InputRefused, ParameterError
from secagg.identity import SERVER
from secagg.machine import Discarded
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.plain.messages import Update
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.schemes.secagg_plus.messages import Advert, Cohort, Masked, Unmask
from secagg.testing import (
    Corrupt,
    Crash,
    Delay,
    Drop,
    Duplicate,
    Late,
    Moment,
    Network,
    Partition,
    Reorder,
    SeededRand,
    Tardy,
    Truncate,
    Vanish,
    make_round,
    plain_sum,
    run,
)
from secagg.testing.faults import Flight, LinkFault

PLAIN = PlainInsecure(clients=4, length=3, width=16)
MASKED = SecAggPlus(clients=4, length=3, width=16)
ONES = np.ones((4, 3), np.uint16)


def flight(**changes: Any) -> Flight:
    usual = Flight(sender=1, receiver=SERVER, kind=Update, data=bytes(50), sent=3, due=4)
    return replace(usual, **changes)


def strike(fault: LinkFault, **changes: Any) -> list[Flight]:
    return fault.apply(flight(**changes), SeededRand(1))


# -- the story of a round -------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [PLAIN, MASKED])
def test_run_tells_the_whole_story(scheme: Any) -> None:
    result = run(scheme, ONES)
    assert result.aggregate is not None
    assert result.aggregate.total.tolist() == [4, 4, 4]
    assert result.error is None
    assert result.errors == {}
    assert {frame.sender for frame in result.frames} >= {1, 2, 3, 4}
    assert sum(result.sent.values()) == sum(len(frame.data) for frame in result.frames)
    assert sum(result.received.values()) == sum(result.sent.values())
    assert len(result.frames_of(1)) == len(scheme.server_messages)
    assert [frame.kind for frame in result.frames_of(1, Masked)] in ([], [Masked])


def test_inputs_may_come_by_id_or_in_order() -> None:
    by_id = dict(zip((1, 2, 3, 4), ONES, strict=True))
    for inputs in (ONES, list(ONES), by_id):
        result = run(PLAIN, inputs)
        assert result.aggregate is not None
        assert result.aggregate.total.tolist() == [4, 4, 4]
    with pytest.raises(ParameterError, match="3 inputs for 4 clients"):
        run(PLAIN, ONES[:3])


def test_a_bad_input_is_the_callers_fault_and_is_raised() -> None:
    with pytest.raises(InputRefused):
        run(PLAIN, np.ones((4, 3)))


def test_a_round_without_a_sum_tells_why() -> None:
    result = run(MASKED, ONES, faults=[Vanish(party, Masked) for party in (1, 2, 3, 4)])
    assert result.aggregate is None
    assert isinstance(result.error, Aborted)
    assert result.error.phase == "masked"


def test_the_same_arguments_give_the_same_round() -> None:
    faults = [Delay(chance=0.5), Reorder(chance=0.5), Drop(chance=0.05)]
    shapes = [run(MASKED, ONES, faults=faults, rand=SeededRand(5)).shape for _ in range(2)]
    assert shapes[0] == shapes[1]
    assert run(MASKED, ONES, faults=faults, rand=SeededRand(6)).shape != shapes[0]


def test_plain_sum_wraps_at_the_width() -> None:
    scheme = PlainInsecure(clients=3, length=1, width=5)
    inputs = {party: np.array([31], np.uint16) for party in (1, 2, 3)}
    assert plain_sum(scheme, inputs, frozenset({1, 2, 3})).tolist() == [93 % 32]


def test_make_round_is_the_same_round_unless_told_otherwise() -> None:
    assert make_round(PLAIN).round == make_round(PLAIN).round
    assert make_round(PLAIN, SeededRand(1)).round != make_round(PLAIN).round
    assert make_round(PLAIN, ids=[4, 900, 2, 7]).clients == (2, 4, 7, 900)
    again = make_round(PLAIN).again(number=2)
    assert again.round.number == 2
    assert again.round.roster == make_round(PLAIN).round.roster


# -- what links do --------------------------------------------------------------------------------


def test_a_fault_strikes_what_it_names_only() -> None:
    assert strike(Drop()) == []
    assert strike(Drop(sender=1, receiver=SERVER, message=Update)) == []
    for miss in (Drop(sender=2), Drop(receiver=1), Drop(message=Masked), Drop(chance=0.0)):
        assert strike(miss) == [flight()]


def test_delay_keeps_the_frame_and_its_deadline() -> None:
    dues = {
        out.due for seed in range(50) for out in Delay(most=3).apply(flight(), SeededRand(seed))
    }
    assert dues == {4, 5, 6, 7}


def test_duplicate_adds_copies() -> None:
    (first, *copies) = strike(Duplicate(copies=3))
    assert first == flight()
    assert [copy.data for copy in copies] == [flight().data] * 3
    assert all(copy.due >= 4 for copy in copies)


def test_corrupt_flips_one_bit() -> None:
    (out,) = strike(Corrupt())
    flipped = int.from_bytes(out.data, "big") ^ int.from_bytes(flight().data, "big")
    assert flipped.bit_count() == 1
    assert strike(Corrupt(), data=b"") == [flight(data=b"")]


def test_truncate_leaves_a_proper_prefix() -> None:
    data = bytes(range(50))
    for seed in range(30):
        (out,) = Truncate().apply(flight(data=data), SeededRand(seed))
        assert data.startswith(out.data)
        assert len(out.data) < 50


def test_late_and_reorder_only_mark() -> None:
    assert strike(Late(deadlines=2)) == [flight(held=2)]
    (out,) = strike(Reorder())
    assert out == flight(rank=out.rank)


def test_partition_cuts_what_crosses_while_it_lasts() -> None:
    cut = Partition(group={1, 2}, since=2, until=5)
    assert strike(cut, sender=1, receiver=SERVER, sent=3) == []
    assert strike(cut, sender=SERVER, receiver=2, sent=2) == []
    assert strike(cut, sender=1, receiver=2, sent=3) != []
    assert strike(cut, sender=1, receiver=SERVER, sent=5) != []
    assert strike(cut, sender=3, receiver=SERVER, sent=3) != []


def test_frames_arrive_in_order_and_once() -> None:
    seen: list[tuple[int, int]] = []
    network = Network(
        make_round(PLAIN), ahead=lambda _, flight: seen.append((flight.sender, flight.receiver))
    )
    for party in (3, 1, 4, 2):
        network.submit(party, ONES[0])
    network.settle()
    assert seen == [(3, 0), (1, 0), (4, 0), (2, 0)]
    assert network.step() is False


def test_a_late_frame_arrives_after_the_deadline() -> None:
    result = run(PLAIN, ONES, faults=[Late(sender=2)])
    assert result.aggregate is not None
    assert result.aggregate.included == {1, 3, 4}
    assert any(isinstance(e, Discarded) and e.sender == 2 for e in result.events[SERVER])


# -- what parties do ------------------------------------------------------------------------------


def test_who_vanishes_says_nothing_from_then_on() -> None:
    result = run(MASKED, ONES, faults=[Vanish(3, Masked)])
    kinds = {frame.kind for frame in result.frames_of(3)}
    assert Advert in kinds
    assert Masked not in kinds
    assert Unmask not in kinds
    assert run(MASKED, ONES, faults=[Vanish(3)]).frames_of(3) == []


def test_the_server_may_vanish_too() -> None:
    result = run(MASKED, ONES, faults=[Vanish(SERVER, Cohort)])
    assert result.aggregate is None
    assert result.error is None
    assert {error.missing for error in result.errors.values() if isinstance(error, Aborted)} == {
        frozenset({SERVER})
    }


@pytest.mark.parametrize("moment", Moment)
def test_a_crash_is_invisible_in_the_sum_and_visible_in_the_frames(moment: Moment) -> None:
    result = run(MASKED, ONES, faults=[Crash(4, Masked, moment)])
    assert result.aggregate is not None
    assert result.aggregate.included == {1, 2, 3, 4}
    sent = result.frames_of(4, Masked)
    assert len(sent) == (2 if moment is Moment.SENT else 1)
    assert len({frame.data for frame in sent}) == 1


def test_a_crash_really_replaces_the_machine() -> None:
    seen: set[int] = set()
    peers: list[Any] = []  # kept alive, so that no two share an id

    def watch(node: Any) -> None:
        if node.me == 4:
            peers.append(node.peer)
            seen.add(id(node.peer))

    run(MASKED, ONES, faults=[Crash(4)], watch=watch)
    assert len(seen) > 3
    seen.clear()
    run(MASKED, ONES, watch=watch)
    assert len(seen) == 1


def test_a_tardy_client_submits_when_all_wait_for_it() -> None:
    phases: list[str] = []
    network = Network(make_round(MASKED), faults=[Tardy(2)])
    for party in (1, 3, 4):
        network.submit(party, ONES[0])
    network.settle()
    phases.append(network.nodes[2].peer.phase)  # type: ignore[attr-defined]
    network.finish({2: ONES[0]})
    assert phases == ["masked"]
    aggregate = network.result().aggregate
    assert aggregate is not None
    assert aggregate.included == {1, 2, 3, 4}


def test_who_is_astray_is_in_another_round() -> None:
    parties = make_round(MASKED)
    result = run(MASKED, ONES, parties=parties, astray={1: parties.again(number=2)})
    assert result.aggregate is not None
    assert result.aggregate.included == {2, 3, 4}


def test_refusals_of_clients_are_kept() -> None:
    result = run(MASKED, ONES, faults=[Corrupt(receiver=1, message=Cohort)])
    assert [type(error) for error in result.refused[1]] == [DecodeError]


def test_a_node_that_keeps_no_snapshots_cannot_crash() -> None:
    network = Network(make_round(PLAIN))
    with pytest.raises(ValueError, match="keeps no snapshots"):
        network.nodes[1].crash()


def test_the_kit_needs_neither_pytest_nor_hypothesis() -> None:
    """`run` is for everybody: only the suite and the strategies need the tools of tests."""
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None; "
        "import secagg.testing, secagg.testing.secagg_plus"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(kit.__all__) <= set(dir(kit))
