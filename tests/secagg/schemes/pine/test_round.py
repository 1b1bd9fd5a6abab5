"""Whole rounds with two aggregators: exact sums, drop-outs, and each hostile party's refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from secagg import wire
from secagg.context import Round
from secagg.errors import (
    Aborted,
    DecodeError,
    InputRefused,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.event import Aggregate, Discarded, Failed, Finished, PeerRejected
from secagg.frame import parse_header
from secagg.identity import SERVER, Identity, PartyId, Roster
from secagg.machine import Machine
from secagg.primitives.digest import Label
from secagg.primitives.seal import seal
from secagg.scheme import Floors
from secagg.schemes.pine import HELPER, TwoAggregators
from secagg.schemes.pine.messages import Collect, Relay, Reply, Report, Sum
from secagg.schemes.pine.report import bound_nonce, covered, relay_of, seal_info
from secagg.testing import SeededRand
from secagg.vdaf.circuit import to_bits

D, BOUND, WIDTH = 40, 1 << 16, 32
CLIENTS = (1, 2, 3, 7)


@dataclass
class World:
    """Every party's machine, and what is in flight."""

    identities: dict[PartyId, Identity]
    scheme: TwoAggregators
    round: Round
    rand: SeededRand
    machines: dict[PartyId, Machine[Any]] = field(default_factory=dict)
    flight: list[tuple[PartyId, PartyId, bytes]] = field(default_factory=list)
    events: list[tuple[PartyId, Any]] = field(default_factory=list)

    def start(self) -> World:
        self.machines[SERVER] = self.scheme.server(
            self.round, self.identities[SERVER], rand=self.rand
        )
        self.machines[HELPER] = self.scheme.helper(
            self.round, self.identities[HELPER], rand=self.rand
        )
        for client in CLIENTS:
            self.machines[client] = self.scheme.client(
                self.round, self.identities[client], client, rand=self.rand
            )
        return self

    def submit(self, client: PartyId, vector: np.ndarray) -> None:
        self.machines[client].submit(residues(vector))
        self.take(client)

    def take(self, party: PartyId) -> None:
        machine = self.machines[party]
        self.flight += [(party, to, data) for to, data in machine.to_send()]
        while (event := machine.next_event()) is not None:
            self.events.append((party, event))

    def deliver(self, sender: PartyId, receiver: PartyId, data: bytes) -> None:
        self.machines[receiver].receive(sender, data)
        self.take(receiver)

    def run(self) -> None:
        while self.flight:
            self.deliver(*self.flight.pop(0))

    def forge(self, party: PartyId, receiver: PartyId, message: Any) -> bytes:
        endpoint = self.scheme._endpoint(self.round, self.identities[party], party)
        return endpoint.seal(receiver, message)

    def opened(self, kind: type[Any], data: bytes) -> Any:
        return wire.decode(kind, data[45:-64], self.scheme.limits)

    def reported(self, party: PartyId, kind: type[Any]) -> list[Any]:
        return [event for who, event in self.events if who == party and isinstance(event, kind)]

    @property
    def aggregate(self) -> Aggregate:
        (finished,) = self.reported(SERVER, Finished)
        assert finished.aggregate is not None
        return finished.aggregate


def residues(vector: np.ndarray) -> np.ndarray:
    return (vector & ((1 << WIDTH) - 1)).astype(np.uint32)


def world(name: str = "world", **changes: Any) -> World:
    rand = SeededRand(name)
    identities = {p: Identity.generate(rand) for p in (SERVER, HELPER, *CLIENTS)}
    listed = {party: who for party, who in identities.items() if party != SERVER}
    roster = Roster(
        server=identities[SERVER].public,
        clients={party: who.public for party, who in listed.items()},
        share_keys={party: who.share_key for party, who in listed.items()},
        server_share_key=identities[SERVER].share_key,
    )
    fields = {"clients": len(CLIENTS), "length": D, "width": WIDTH, "bound": BOUND, "minimum": 2}
    scheme = TwoAggregators(**{**fields, "corrupt": 0.0, **changes})
    agreed = Round(session=rand(16), number=1, model=rand(32), roster=roster)
    return World(identities, scheme, agreed, rand).start()


def update(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=D)
    return np.trunc(drawn / np.linalg.norm(drawn) * (BOUND - D)).astype(np.int64)


def spike(value: int) -> np.ndarray:
    return np.array([value] + [0] * (D - 1))


def summed(updates: Iterable[np.ndarray]) -> list[int]:
    return residues(np.sum(list(updates), axis=0)).tolist()


def test_the_sum_is_exact() -> None:
    here = world()
    for client in CLIENTS:
        here.submit(client, update(client))
    here.run()
    assert here.aggregate.total.tolist() == summed(update(client) for client in CLIENTS)
    assert here.aggregate.total.dtype == np.uint32
    assert here.aggregate.included == set(CLIENTS)
    assert here.aggregate.refused == frozenset()
    assert [event.included for event in here.reported(HELPER, Finished)] == [set(CLIENTS)]
    assert all(machine.ended for machine in here.machines.values())


def test_the_extremes_of_the_bound_add_up() -> None:
    here = world()
    for client, sign in zip(CLIENTS, (1, 1, 1, -1), strict=True):
        here.submit(client, spike(sign * BOUND))
    here.run()
    assert here.aggregate.total.tolist() == summed([spike(2 * BOUND)])


def test_any_order_of_frames_gives_the_same_sum() -> None:
    for seed in range(5):
        here = world(f"order {seed}")
        rng = np.random.default_rng(seed)
        for client in CLIENTS:
            here.submit(client, update(client))
        while here.flight:
            frame = here.flight.pop(int(rng.integers(len(here.flight))))
            here.deliver(*frame)
            here.deliver(*frame)  # the network repeats itself
        assert here.aggregate.total.tolist() == summed(update(client) for client in CLIENTS)


def test_drop_outs_cost_nothing() -> None:
    here = world()
    for client in CLIENTS[:2]:
        here.submit(client, update(client))
    here.run()
    assert here.machines[SERVER].expected == set(CLIENTS[2:])
    here.machines[SERVER].deadline()
    here.take(SERVER)
    here.run()
    assert here.aggregate.total.tolist() == summed(update(client) for client in CLIENTS[:2])
    assert here.aggregate.dropped == {"reports": set(CLIENTS[2:])}


def test_below_the_minimum_nothing_is_opened() -> None:
    here = world()
    here.submit(1, update(1))
    here.run()
    here.machines[SERVER].deadline()
    here.take(SERVER)
    (failed,) = here.reported(SERVER, Failed)
    assert isinstance(failed.error, Aborted)
    assert "1 valid reports, at least 2" in str(failed.error)
    assert not here.flight


def test_every_machine_goes_on_after_a_crash() -> None:
    here = world()
    for client in CLIENTS:
        here.submit(client, update(client))
    resume = {SERVER: here.scheme.resume_server, HELPER: here.scheme.resume_helper}
    delivered = set()
    while here.flight:
        sender, receiver, data = here.flight.pop(0)
        if data in delivered:
            continue  # a resumed machine sends again what may have been lost
        delivered.add(data)
        machine = here.machines[receiver]
        machine.receive(sender, data)
        while (event := machine.next_event()) is not None:
            here.events.append((receiver, event))
        saved = machine.snapshot()
        here.machines[receiver] = resume[receiver](saved, here.round, here.identities[receiver])
        here.take(receiver)
    assert here.aggregate.total.tolist() == summed(update(client) for client in CLIENTS)


def test_the_leader_keeps_one_vector_where_replies_are_prompt() -> None:
    here = world()
    sizes = []
    for client in CLIENTS[:3]:
        here.submit(client, update(client))
        here.run()
        sizes.append(len(wire.encode(here.machines[SERVER]._state)))
    assert max(sizes) - min(sizes) < 8 * D


# -- clients -------------------------------------------------------------------------------------


def refusals(here: World) -> list[tuple[PartyId, str]]:
    return [(event.peer, event.reason) for event in here.reported(SERVER, PeerRejected)]


def finish(here: World, dishonest: PartyId = 7) -> None:
    """Everybody else reports, and the round ends without the dishonest client."""
    others = [client for client in CLIENTS if client != dishonest]
    for client in others:
        here.submit(client, update(client))
    here.run()
    assert here.aggregate.included == set(others)
    assert here.aggregate.refused == {dishonest}
    assert here.aggregate.total.tolist() == summed(update(client) for client in others)


def test_an_honest_client_refuses_what_is_over_the_bound_by_one_unit() -> None:
    here = world()
    here.machines[1].submit(residues(spike(BOUND)))
    for vector in (spike(BOUND + 1), np.full(D, BOUND)):
        with pytest.raises(InputRefused, match="norm <= 65536"):
            here.machines[2].submit(residues(vector))
    here.submit(2, update(2))
    with pytest.raises(LocalProtocolError):
        here.submit(2, update(2))


def crafted(here: World, client: PartyId, value: int) -> Report:
    """The report of a client that shares `value` in one place, whatever the bound."""
    vdaf = here.scheme.vdaf(here.machines[client].context)
    limits, endpoint = (
        vdaf.limits,
        here.scheme._endpoint(here.round, here.identities[client], client),
    )
    norm = value * value % vdaf.field.modulus
    rest = (limits.bound**2 - norm) % vdaf.field.modulus
    bits = [to_bits(vdaf.field, each, limits.norm_bits) for each in (norm, rest)]
    vector = vdaf.field.array([value] + [0] * (D - 1))
    nonce = here.rand(16)
    public, shares = vdaf.shard_claim(
        np.concatenate([vector, *bits]), bound_nonce(client, nonce), here.rand(vdaf.rand_size)
    )
    keys = {to: here.round.roster.share_key(to) for to in (SERVER, HELPER)}
    sealed = [
        seal(vdaf.encode_input_share(share), key, seal_info(endpoint.context, client, to, nonce))
        for share, (to, key) in zip(shares, keys.items(), strict=True)
    ]
    bare = Report(nonce=nonce, public=b"".join(public), for_leader=sealed[0],
                  for_helper=sealed[1], attested=bytes(64))  # fmt: skip
    return signed(here, client, bare)


def signed(here: World, client: PartyId, report: Report) -> Report:
    endpoint = here.scheme._endpoint(here.round, here.identities[client], client)
    attested = endpoint.attest(Label.REPORT, endpoint.context, *covered(relay_of(client, report)))
    return replace(report, attested=attested)


def test_the_crafted_report_of_an_honest_value_is_accepted() -> None:
    here = world()
    here.deliver(7, SERVER, here.forge(7, SERVER, crafted(here, 7, BOUND)))
    for client in CLIENTS[:3]:
        here.submit(client, update(client))
    here.run()
    assert here.aggregate.included == set(CLIENTS)


@pytest.mark.parametrize("value", [BOUND + 1, -BOUND - 1])
def test_over_the_bound_by_one_unit_is_refused(value: int) -> None:
    here = world()
    here.deliver(7, SERVER, here.forge(7, SERVER, crafted(here, 7, value)))
    here.run()
    ((peer, reason),) = refusals(here)
    assert (peer, reason[:44]) == (7, "a proof does not verify: the norm is out of ")
    finish(here)


def honest(here: World, client: PartyId) -> Report:
    here.submit(client, update(client))
    (frame,) = [data for sender, _, data in here.flight if sender == client]
    here.flight.clear()
    report: Report = here.opened(Report, frame)
    return report


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


TAMPERED: dict[str, Callable[[Report], dict[str, bytes]]] = {
    "nonce": lambda report: {"nonce": flip(report.nonce, 3)},
    "public": lambda report: {"public": flip(report.public, 70)},
    "for_leader": lambda report: {"for_leader": flip(report.for_leader, 99)},
    "for_helper": lambda report: {"for_helper": flip(report.for_helper, 99)},
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_report_is_refused_even_with_a_fresh_signature(name: str) -> None:
    here = world()
    report = honest(here, 7)
    changed = signed(here, 7, replace(report, **TAMPERED[name](report)))
    here.deliver(7, SERVER, here.forge(7, SERVER, changed))
    here.run()
    ((peer, _),) = refusals(here)
    assert peer == 7
    finish(here)


@pytest.mark.parametrize("name", TAMPERED)
def test_without_its_clients_signature_it_does_not_get_as_far(name: str) -> None:
    here = world()
    report = honest(here, 7)
    changed = replace(report, **TAMPERED[name](report))
    here.deliver(7, SERVER, here.forge(7, SERVER, changed))
    assert [reason for _, reason in refusals(here)] == [
        "malformed report: the signature of party 7 does not verify"
    ]
    assert not here.flight
    finish(here)


def test_the_report_of_another_client_is_refused() -> None:
    here = world()
    here.deliver(7, SERVER, here.forge(7, SERVER, signed(here, 7, honest(here, 1))))
    assert "does not open" in refusals(here)[0][1]


def test_a_second_report_rejects_its_client_and_the_first_one_counts_once() -> None:
    here = world()
    first = honest(here, 7)
    here.deliver(7, SERVER, here.forge(7, SERVER, first))
    here.deliver(7, SERVER, here.forge(7, SERVER, first))  # identical: the network repeats itself
    assert refusals(here) == []
    here.deliver(7, SERVER, here.forge(7, SERVER, crafted(here, 7, 1)))
    assert refusals(here) == [(7, "a second, different Report")]
    for client in CLIENTS[:3]:
        here.submit(client, update(client))
    here.run()
    assert here.aggregate.total.tolist() == summed(update(client) for client in CLIENTS)


def test_a_report_of_another_round_is_not_of_this_one() -> None:
    here = world()
    there = World(here.identities, here.scheme, replace(here.round, number=2), here.rand).start()
    report = honest(there, 7)
    here.deliver(7, SERVER, there.forge(7, SERVER, report))
    (event,) = here.reported(SERVER, Discarded)
    assert "another round" in event.reason
    here.deliver(7, SERVER, here.forge(7, SERVER, signed(here, 7, report)))
    assert "does not open" in refusals(here)[0][1]
    finish(here)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + bytes(1)])
def test_truncated_and_oversized_frames_are_discarded(change: Any) -> None:
    here = world()
    report = honest(here, 7)
    here.deliver(7, SERVER, change(here.forge(7, SERVER, report)))
    assert len(here.reported(SERVER, Discarded)) == 1
    short = signed(here, 7, replace(report, for_leader=change(report.for_leader)))
    here.deliver(7, SERVER, here.forge(7, SERVER, short))
    assert len(refusals(here)) + len(here.reported(SERVER, Discarded)) == 2


# -- aggregators ---------------------------------------------------------------------------------


def relayed(here: World, client: PartyId) -> Relay:
    here.submit(client, update(client))
    here.deliver(*here.flight.pop())
    relay: Relay = here.opened(Relay, here.flight.pop()[2])
    return relay


def test_a_helper_serves_one_accepted_set() -> None:
    here = world()
    for client in CLIENTS:
        here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, relayed(here, client)))
    here.flight.clear()
    first = here.forge(SERVER, HELPER, Collect(accepted=wire.ids([1, 2, 3])))
    here.deliver(SERVER, HELPER, first)
    ((_, _, data),) = here.flight
    assert len(here.opened(Sum, data).share) == 8 * D
    here.deliver(SERVER, HELPER, first)  # the network repeats itself
    with pytest.raises(RemoteProtocolError, match="a second, different Collect"):
        here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, Collect(accepted=wire.ids([1, 2]))))
    assert len(here.flight) == 1


@pytest.mark.parametrize(
    ("accepted", "says"), [([1], "at least 2"), ([1, 2, 7], "not valid here"), ([], "at least 2")]
)
def test_a_helper_refuses_other_sets(accepted: list[int], says: str) -> None:
    here = world()
    for client in CLIENTS[:3]:
        here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, relayed(here, client)))
    here.flight.clear()
    with pytest.raises(RemoteProtocolError, match=says):
        here.deliver(
            SERVER, HELPER, here.forge(SERVER, HELPER, Collect(accepted=wire.ids(accepted)))
        )
    assert not here.flight


def test_a_leader_may_leave_out_what_came_too_late() -> None:
    here = world()
    shares = []
    for client in CLIENTS:
        here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, relayed(here, client)))
    here.flight.clear()
    vdaf, leader = here.scheme.vdaf(here.machines[SERVER].context), here.machines[SERVER]
    here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, Collect(accepted=wire.ids([1, 3]))))
    shares.append(vdaf.field.decode(here.opened(Sum, here.flight.pop()[2]).share))
    shares += [leader._state.pending[client].output for client in (1, 3)]  # type: ignore[union-attr]
    assert vdaf.unshard(shares).tolist() == (update(1) + update(3)).tolist()


def test_a_helper_relays_nothing_that_its_client_did_not_sign() -> None:
    here = world()
    relay = relayed(here, 1)
    with pytest.raises(RemoteProtocolError, match="not its client's"):
        here.deliver(
            SERVER, HELPER, here.forge(SERVER, HELPER, replace(relay, nonce=flip(relay.nonce, 0)))
        )


@pytest.mark.parametrize("client", [9, HELPER, SERVER])
def test_a_relay_is_for_a_client_of_the_round(client: PartyId) -> None:
    here = world()
    relay = replace(relayed(here, 1), client=client)
    with pytest.raises(RemoteProtocolError, match="not a client"):
        here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, relay))


def test_a_helper_takes_one_relay_for_each_client() -> None:
    here = world()
    relay = relayed(here, 1)
    here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, relay))
    here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, relayed(here, 2)))
    with pytest.raises(RemoteProtocolError, match="a second, different Relay"):
        here.deliver(
            SERVER,
            HELPER,
            here.forge(SERVER, HELPER, replace(relay, verifier=flip(relay.verifier, 0))),
        )


def test_a_helper_does_not_accept_by_the_share_of_another_report() -> None:
    here = world()
    first, second = relayed(here, 1), relayed(here, 2)
    mixed = replace(first, verifier=second.verifier)
    for relay in (mixed, second, relayed(here, 3)):
        here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, relay))
    with pytest.raises(RemoteProtocolError, match="not valid here"):
        here.deliver(
            SERVER, HELPER, here.forge(SERVER, HELPER, Collect(accepted=wire.ids([1, 2, 3])))
        )


def test_a_leader_does_not_accept_by_the_share_of_another_report() -> None:
    here = world()
    replies = []
    for client in (1, 7):
        here.deliver(SERVER, HELPER, here.forge(SERVER, HELPER, relayed(here, client)))
        replies.append(here.opened(Reply, here.flight.pop()[2]))
    mixed = replace(replies[1], verifier=replies[0].verifier)
    here.deliver(HELPER, SERVER, here.forge(HELPER, SERVER, mixed))
    ((peer, reason),) = refusals(here)
    assert (peer, reason[:23]) == (7, "a proof does not verify")
    here.deliver(HELPER, SERVER, here.forge(HELPER, SERVER, replies[0]))
    assert [client for _, client in refusals(here)] == [reason]


@pytest.mark.parametrize("data", [b"", bytes(8)])
def test_a_leader_shows_a_verifier_share(data: bytes) -> None:
    here = world()
    with pytest.raises(RemoteProtocolError, match="the leader's verifier share"):
        here.deliver(
            SERVER, HELPER, here.forge(SERVER, HELPER, replace(relayed(here, 1), verifier=data))
        )


def test_a_verdict_must_be_on_a_relayed_report() -> None:
    here = world()
    here.deliver(HELPER, SERVER, here.forge(HELPER, SERVER, Reply(client=1, verifier=b"")))
    (rejected,) = here.reported(SERVER, PeerRejected)
    assert rejected.peer == HELPER
    (failed,) = here.reported(SERVER, Failed)
    assert isinstance(failed.error, Aborted)
    assert failed.error.culprits == {HELPER}


def test_only_the_helper_gives_verdicts_and_no_report() -> None:
    here = world()
    report = honest(here, 1)
    here.deliver(2, SERVER, here.forge(2, SERVER, Reply(client=1, verifier=b"")))
    assert refusals(here) == [(2, "only the helper sends this")]
    here.deliver(HELPER, SERVER, here.forge(HELPER, SERVER, report))
    assert refusals(here)[-1] == (HELPER, "the helper has no input")


def test_a_helper_that_answers_for_another_round_is_not_heard() -> None:
    here = world()
    there = World(here.identities, here.scheme, replace(here.round, number=2), here.rand).start()
    here.submit(1, update(1))
    here.deliver(*here.flight.pop(0))
    here.deliver(HELPER, SERVER, there.forge(HELPER, SERVER, Reply(client=1, verifier=b"")))
    (event,) = here.reported(SERVER, Discarded)
    assert "another round" in event.reason
    here.run()
    assert here.machines[SERVER].expected == set(CLIENTS[1:])


def opening(here: World) -> bytes:
    """The round up to the helper's share of the sum, which is returned."""
    for client in CLIENTS:
        here.submit(client, update(client))
    while len(here.flight) > 1 or here.flight[0][0] != HELPER or not here.machines[HELPER].ended:
        here.deliver(*here.flight.pop(0))
    (frame,) = here.flight
    here.flight.clear()
    share: bytes = here.opened(Sum, frame[2]).share
    return share


def test_a_sum_beyond_the_bounds_is_withheld() -> None:
    here = world()
    share = opening(here)
    wrong = share[:7] + bytes([share[7] ^ 64]) + share[8:]
    here.deliver(HELPER, SERVER, here.forge(HELPER, SERVER, Sum(share=wrong)))
    (failed,) = here.reported(SERVER, Failed)
    assert "beyond what the accepted inputs" in str(failed.error)


@pytest.mark.parametrize("change", [lambda s: s[:-8], lambda s: s[:-1], lambda s: b"\xff" * len(s)])
def test_a_malformed_sum_aborts(change: Any) -> None:
    here = world()
    share = opening(here)
    here.deliver(HELPER, SERVER, here.forge(HELPER, SERVER, Sum(share=change(share))))
    (failed,) = here.reported(SERVER, Failed)
    assert isinstance(failed.error, Aborted)
    assert failed.error.culprits == {HELPER}


def test_silence_of_the_other_aggregator_aborts() -> None:
    here = world()
    opening(here)
    here.machines[SERVER].deadline()
    here.take(SERVER)
    (failed,) = here.reported(SERVER, Failed)
    assert "the helper was silent" in str(failed.error)
    with pytest.raises(Aborted, match="the leader was silent"):
        world().machines[HELPER].deadline()


# -- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bound": 1 << 29}, "clients \\* bound < 2"),
        ({"bound": 0}, "1 <= bound"),
        ({"bound": 1.5}, "must be an int"),
        ({"minimum": 1}, "2 <= minimum"),
        ({"minimum": 5}, "minimum <= clients"),
        ({"minimum": True}, "must be an int"),
        ({"corrupt": "x"}, "0 <= corrupt < 1"),
        ({"corrupt": 0.5}, "corrupt \\* clients >= 2"),
        ({"clients": 5, "bound": 1 << 8}, "roster"),
    ],
)
def test_parameters_state_their_inequality(changes: Any, says: str) -> None:
    world()
    with pytest.raises(ParameterError, match=says):
        world(**changes)


def test_the_roster_must_list_the_helper() -> None:
    here = world()
    keyless = replace(here.round.roster, server_share_key=b"")
    with pytest.raises(ParameterError, match="share key of its server"):
        here.scheme.server(replace(here.round, roster=keyless), here.identities[SERVER])
    assert keyless.digest != here.round.roster.digest
    with pytest.raises(ParameterError, match="of the server is not its own"):
        replace(keyless, server_share_key=here.identities[HELPER].share_key)
    without = Roster(
        server=here.round.roster.server,
        clients={p: key for p, key in here.round.roster.clients.items() if p != HELPER},
    )
    with pytest.raises(ParameterError, match="must list the helper"):
        here.scheme.server(replace(here.round, roster=without), here.identities[SERVER])
    with pytest.raises(ParameterError, match="not a client"):
        here.scheme.client(here.round, here.identities[HELPER], HELPER)


def test_a_client_holds_the_plan_to_its_floors() -> None:
    here = world()
    here.scheme.client(here.round, here.identities[1], 1, floors=Floors(survivors=2))
    with pytest.raises(ParameterError, match="survivors >= 3"):
        here.scheme.client(here.round, here.identities[1], 1, floors=Floors(survivors=3))


def test_no_repr_shows_a_secret() -> None:
    here = world()
    relay = relayed(here, 1)
    state = here.machines[SERVER]._state
    assert "pending" not in repr(state)
    assert "verifier" not in repr(relay)
    with pytest.raises(DecodeError):
        parse_header(repr(here.machines[SERVER]).encode())
