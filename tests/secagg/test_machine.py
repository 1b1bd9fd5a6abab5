"""`secagg.machine`: every rule of the shell, shown on a two-phase toy.

Clients say Hello with a number; the server tells everybody who came (Ack); they say Bye; the
server tells each (Close) and releases the sum of the numbers. 200 … 255 provoke the roles.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from secagg.errors import (
    Aborted,
    DecodeError,
    InputRefused,
    IntegrityError,
    LocalProtocolError,
    RemoteProtocolError,
)
from secagg.frame import HEADER_SIZE, Endpoint, Signed
from secagg.identity import BROADCAST, SERVER, Identity, Roster
from secagg.machine import (
    Aggregate,
    Discarded,
    Failed,
    Finished,
    Machine,
    Over,
    PeerRejected,
    Send,
    Side,
    Signal,
    State,
    Step,
    Transitions,
)
from secagg.primitives.digest import Label, digest
from secagg.wire import IDS, Fixed, Limits, Map, Message, Rows, Table, Uint, declare, field, ids

CONTEXT = bytes(range(32))
CLIENTS = (1, 2, 3)
IDENTITIES = {party: Identity.generate(random.Random(party).randbytes) for party in range(4)}
ROSTER = Roster(IDENTITIES[SERVER].public, {p: IDENTITIES[p].public for p in CLIENTS})

FAULTY, HOPELESS, TORN = 255, 254, 253
"""Numbers at which the server blames the sender, aborts, and withholds the sum."""


# -- the toy -----------------------------------------------------------------------------------


@declare(code=1, phase="first")
class Hello(Message):
    number: int = field(Uint(1))
    pad: bytes = field(Fixed(3))


@declare(code=2, phase="second")
class Bye(Message):
    token: bytes = field(Fixed(4))


@declare(code=3, phase="second")
class Ack(Message):
    who: Table = field(Rows(IDS))


@declare(code=4, phase="third")
class Close(Message):
    number: int = field(Uint(1))


@declare(code=1, phase="first")
class Idle(State):
    token: bytes = field(Fixed(4), secret=True)


@declare(code=2, phase="first")
class Asked(State):
    token: bytes = field(Fixed(4), secret=True)


@declare(code=3, phase="second")
class Parted(State):
    """Bye is out."""


@declare(code=4, phase="first")
class Gathering(State):
    numbers: dict[int, int] = field(Map(Uint(1)), secret=True)
    lost: dict[int, int] = field(Map(Uint(1)))


@declare(code=5, phase="second")
class Parting(State):
    numbers: dict[int, int] = field(Map(Uint(1)), secret=True)
    gone: dict[int, int] = field(Map(Uint(1)))


class ToyClient:
    phases = ("first", "second", "third")
    side = Side.CLIENT
    transitions: ClassVar[Transitions] = {
        Idle: {Signal.INPUT: (Idle, Asked), Signal.DEADLINE: (Over,)},
        Asked: {Ack: (Parted,), Signal.DEADLINE: (Over,)},
        Parted: {Close: (Over,)},
    }

    def __init__(self, me: int) -> None:
        self.me = me

    def start(self, rand: Any) -> Step[State]:
        return Step(Idle(token=rand(4)))

    def on_input(self, state: Any, value: Any, rand: Any) -> Step[State]:
        if value == "bad":
            raise InputRefused("not a number")
        if value == "astray":
            return Step(Parted())
        hello = Hello(number=value, pad=bytes(3))
        return Step(Asked(token=state.token), (Send(hello, (SERVER,)),))

    def on_message(self, state: Any, signed: Signed[Any], rand: Any) -> Step[State]:
        if isinstance(signed.message, Close):
            return Step(Over(), events=(Finished(),))
        if self.me not in signed.message.who.peers:
            raise RemoteProtocolError("left out")
        if len(signed.message.who) < 2:
            raise Aborted("second", "too few", {9})
        return Step(Parted(), (Send(Bye(token=state.token), (SERVER,)),))

    def on_deadline(self, state: Any, rand: Any) -> Step[State]:
        raise Aborted(state.phase, "the server was silent", {SERVER})

    def on_lost(self, state: Any, peer: int, rand: Any) -> Step[State]:
        raise AssertionError("a client loses nobody")

    def expected(self, state: Any) -> frozenset[int]:
        return frozenset() if isinstance(state, Idle) else frozenset({SERVER})

    def satisfied(self, state: Any) -> bool:
        return False


class ToyServer:
    phases = ("first", "second", "third")
    side = Side.SERVER
    transitions: ClassVar[Transitions] = {
        Gathering: {
            Hello: (Gathering, Parting),
            Signal.LOST: (Gathering, Parting),
            Signal.DEADLINE: (Parting, Over),
        },
        Parting: {Bye: (Parting, Over), Signal.DEADLINE: (Over,)},
    }

    def __init__(self) -> None:
        self.me = SERVER
        self.lost_calls: list[int] = []

    def start(self, rand: Any) -> Step[State]:
        return Step(Gathering(numbers={}, lost={}))

    def on_input(self, state: Any, value: Any, rand: Any) -> Step[State]:
        raise AssertionError("the table allows no input")

    def on_message(self, state: Any, signed: Signed[Any], rand: Any) -> Step[State]:
        match signed.message:
            case Hello(number=n):
                self._judge(n)
                state.numbers[signed.sender] = n
                return self._proceed(state)
            case Bye():
                if signed.sender not in state.numbers:
                    raise RemoteProtocolError("never said hello")
                state.gone[signed.sender] = 1
                return self._finish(state) if not self.expected(state) else Step(state)
        raise AssertionError("the table allows no other pair")

    def _judge(self, number: int) -> None:
        if number == FAULTY:
            raise RemoteProtocolError("a faulty number")
        if number == HOPELESS:
            raise Aborted("first", "hopeless")
        if number == TORN:
            raise IntegrityError("torn")

    def on_lost(self, state: Any, peer: int, rand: Any) -> Step[State]:
        self.lost_calls.append(peer)
        state.lost[peer] = 1
        return self._proceed(state)

    def on_deadline(self, state: Any, rand: Any) -> Step[State]:
        return self._part(state) if isinstance(state, Gathering) else self._finish(state)

    def expected(self, state: Any) -> frozenset[int]:
        if isinstance(state, Gathering):
            return frozenset(CLIENTS) - state.numbers.keys() - state.lost.keys()
        return frozenset(party for party in state.numbers if party not in state.gone)

    def satisfied(self, state: Any) -> bool:
        return False

    def _proceed(self, state: Gathering) -> Step[State]:
        return Step(state) if self.expected(state) else self._part(state)

    def _part(self, state: Gathering) -> Step[State]:
        if len(state.numbers) < 2:
            raise Aborted("first", "too few", self.expected(state))
        ack = Send(Ack(who=ids(state.numbers)), tuple(sorted(state.numbers)), broadcast=True)
        return Step(Parting(numbers=state.numbers, gone={}), (ack,))

    def _finish(self, state: Parting) -> Step[State]:
        total = np.array([sum(state.numbers.values())], "<u2")
        included = frozenset(state.numbers)
        aggregate = Aggregate(total=total, included=included, dropped={})
        sends = tuple(Send(Close(number=p), (p,)) for p in sorted(state.gone))
        return Step(Over(), sends, (Finished(aggregate),))


def endpoint(me: int, **changes: Any) -> Endpoint:
    down: Mapping[int, type[Message]] = {3: Ack, 4: Close}
    up: Mapping[int, type[Message]] = {1: Hello, 2: Bye}
    fields: dict[str, Any] = {
        "scheme": 9,
        "context": CONTEXT,
        "me": me,
        "identity": IDENTITIES[me],
        "roster": ROSTER,
        "accepts": up if me == SERVER else down,
        "limits": Limits(parties=3),
    }
    return Endpoint(**{**fields, **changes})


def a_server(role: Any = None) -> Machine[Any]:
    return Machine(role or ToyServer(), endpoint(SERVER), random.Random(0).randbytes)


def a_client(me: int = 1, role: Any = None) -> Machine[Any]:
    return Machine(role or ToyClient(me), endpoint(me), random.Random(me).randbytes)


def hello(party: int, number: int | None = None, pad: bytes = bytes(3)) -> bytes:
    message = Hello(number=party if number is None else number, pad=pad)
    return endpoint(party).seal(SERVER, message)


def bye(party: int, token: bytes = b"bye!") -> bytes:
    return endpoint(party).seal(SERVER, Bye(token=token))


def ack(*who: int, to: int = BROADCAST) -> bytes:
    return endpoint(SERVER).seal(to, Ack(who=ids(who)))


def close(party: int) -> bytes:
    return endpoint(SERVER).seal(party, Close(number=party))


def malformed(kind: type[Message], sender: int, receiver: int) -> bytes:
    header = endpoint(sender)._header(sender, receiver, kind).encode()
    return header + b"\1" + IDENTITIES[sender].sign(Label.FRAME, header, b"\1")


def events(machine: Machine[Any]) -> list[Any]:
    return list(iter(machine.next_event, None))


def parting() -> Machine[Any]:
    """A server in its second phase, with clients 1 and 2; 3 was silent."""
    server = a_server()
    for party in (1, 2):
        server.receive(party, hello(party))
    server.deadline()
    server.to_send()
    return server


def asked() -> Machine[Any]:
    client = a_client()
    client.submit(7)
    client.to_send()
    return client


def token_of(client: Machine[Any]) -> bytes:
    """The client's one secret."""
    assert isinstance(client._state, Idle | Asked)
    return client._state.token


# -- a round without faults --------------------------------------------------------------------


def test_a_whole_round() -> None:
    server, clients = a_server(), {party: a_client(party) for party in CLIENTS}
    for party, client in clients.items():
        client.submit(10 * party)
    for _ in range(3):
        for party, client in clients.items():
            for to, frame in client.to_send():
                assert to == SERVER
                server.receive(party, frame)
        for to, frame in server.to_send():
            clients[to].receive(SERVER, frame)
    (finished,) = events(server)
    assert finished.aggregate.total.tolist() == [60]
    assert finished.aggregate.included == {1, 2, 3}
    assert [events(client) for client in clients.values()] == [[Finished()]] * 3
    assert server.ended
    assert all(client.ended for client in clients.values())


def test_what_a_machine_tells_of_itself() -> None:
    server = a_server()
    assert (server.me, server.context, server.phase) == (SERVER, CONTEXT, "first")
    assert server.expected == {1, 2, 3}
    assert not server.ended
    server.receive(1, hello(1))
    assert server.expected == {2, 3}
    server.receive(2, hello(2))
    server.receive(3, hello(3))
    assert server.phase == "second"
    assert server.expected == {1, 2, 3}
    server.deadline()
    assert (server.phase, server.expected, server.ended) == ("over", frozenset(), True)


def test_every_frame_is_handed_out_once_and_a_broadcast_is_one_frame() -> None:
    server = a_server()
    assert server.to_send() == []
    for party in CLIENTS:
        server.receive(party, hello(party))
    sent = server.to_send()
    assert [to for to, _ in sent] == [1, 2, 3]
    assert len({frame for _, frame in sent}) == 1
    assert server.to_send() == []
    for party in CLIENTS:
        server.receive(party, bye(party))
    sent = server.to_send()
    assert [to for to, _ in sent] == [1, 2, 3]
    assert len({frame for _, frame in sent}) == 3, "signed for one receiver each"


def test_events_come_oldest_first_and_discards_behind_them() -> None:
    server = a_server()
    server.receive(9, b"junk")
    server.receive(1, hello(1, FAULTY))
    server.receive(2, hello(2))
    server.receive(3, hello(3))
    server.deadline()
    assert [type(event) for event in events(server)] == [PeerRejected, Finished, Discarded]
    assert server.next_event() is None


def test_a_flood_is_one_event_per_sender() -> None:
    server = a_server()
    for _ in range(1000):
        server.receive(9, b"junk")
        server.receive(1, b"")
    found = events(server)
    assert [(event.sender, event.count) for event in found] == [(9, 1000), (1, 1000)]
    server.receive(9, b"junk")
    assert [(event.sender, event.count) for event in events(server)] == [(9, 1)]


def test_randomness_comes_from_the_source_given() -> None:
    client = Machine(ToyClient(1), endpoint(1), lambda size: b"\x07" * size)
    client.submit(1)
    client.to_send()
    client.receive(SERVER, ack(1, 2))
    ((_, frame),) = client.to_send()
    assert frame[HEADER_SIZE : HEADER_SIZE + 4] == b"\x07" * 4


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_frames_may_be_any_bytes(wrap: Any) -> None:
    server = a_server()
    server.receive(1, wrap(hello(1)))
    server.receive(1, hello(1))
    assert server.expected == {2, 3}
    assert events(server) == []


# -- duplicates --------------------------------------------------------------------------------


def test_an_identical_duplicate_is_ignored_in_every_phase() -> None:
    server, client = parting(), asked()
    server.receive(1, hello(1))
    server.receive(1, bye(1))
    server.receive(1, bye(1))
    assert events(server) == []
    assert server.expected == {2}
    for frame in (ack(1, 2), ack(1, 2)):
        client.receive(SERVER, frame)
    assert client.phase == "second"
    client.receive(SERVER, close(1))
    for frame in (close(1), ack(1, 2)):
        client.receive(SERVER, frame)
    assert events(client) == [Finished()]


def test_a_different_second_message_rejects_its_sender() -> None:
    server = a_server()
    server.receive(1, hello(1, 5))
    server.receive(1, hello(1, 6))
    (event,) = events(server)
    assert (event.peer, event.phase) == (1, "first")
    assert "second, different Hello" in event.reason
    server.receive(2, hello(2))
    server.receive(3, hello(3))
    assert server.phase == "second"


def test_a_different_second_message_is_noticed_phases_later_too() -> None:
    server = parting()
    server.receive(1, hello(1, 99))
    assert [type(event) for event in events(server)] == [PeerRejected]


def test_a_second_message_of_the_server_finishes_a_client() -> None:
    client = asked()
    client.receive(SERVER, ack(1, 2))
    with pytest.raises(RemoteProtocolError, match="a second, different Ack"):
        client.receive(SERVER, ack(1, 2, 3))
    assert client.ended
    with pytest.raises(LocalProtocolError, match="has failed"):
        client.receive(SERVER, ack(1, 2))


# -- early, late, malformed, unauthentic -------------------------------------------------------


def test_a_message_of_a_later_phase_rejects_its_sender() -> None:
    server = a_server()
    server.receive(1, bye(1))
    assert events(server) == [PeerRejected(1, "first", "Bye is not due in phase 'first'")]
    assert server.expected == {2, 3}


class Deaf(ToyServer):
    """Takes no Bye in the phase of Byes."""

    transitions: ClassVar[Transitions] = {
        **ToyServer.transitions,
        Parting: {Signal.DEADLINE: (Over,)},
    }


def test_a_message_of_this_phase_that_the_state_does_not_take_is_not_late() -> None:
    server = a_server(Deaf())
    for party in CLIENTS:
        server.receive(party, hello(party))
    server.receive(1, bye(1))
    assert events(server) == [PeerRejected(1, "second", "Bye is not due in phase 'second'")]


def test_a_late_message_is_discarded_without_blame() -> None:
    server = parting()
    server.receive(3, hello(3))
    assert events(server) == [Discarded(3, "Hello came too late")]
    server.deadline()
    server.receive(2, bye(2))
    found = events(server)
    assert [type(event) for event in found] == [Finished, Discarded]


def test_whoever_was_late_may_still_be_told_off_by_the_role() -> None:
    server = parting()
    server.receive(3, bye(3))
    assert events(server) == [PeerRejected(3, "second", "never said hello")]


def test_a_client_that_missed_a_frame_ends_and_blames_nobody() -> None:
    client = asked()
    with pytest.raises(Aborted, match="Close came too early: a frame or a state before") as caught:
        client.receive(SERVER, close(1))
    assert (caught.value.phase, caught.value.missing) == ("first", {SERVER})
    assert not caught.value.culprits
    assert client.ended
    assert client.to_send() == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        bytes(200),
        hello(1)[:-1],
        hello(1)[:-1] + b"\0",
        ack(1),
        endpoint(1, context=bytes(32)).seal(SERVER, Hello(number=1, pad=bytes(3))),
        endpoint(1, scheme=8).seal(SERVER, Hello(number=1, pad=bytes(3))),
        endpoint(1).seal(2, Hello(number=1, pad=bytes(3))),
        endpoint(1, identity=IDENTITIES[2]).seal(SERVER, Hello(number=1, pad=bytes(3))),
    ],
    ids=["empty", "junk", "zeros", "cut", "forged", "own", "round", "scheme", "receiver", "key"],
)
def test_what_is_not_authentic_is_discarded_and_blames_nobody(data: bytes) -> None:
    server = a_server()
    server.receive(1, data)
    (event,) = events(server)
    assert isinstance(event, Discarded)
    assert event.sender == 1
    server.receive(1, hello(1))
    assert server.expected == {2, 3}, "the honest frame still counts"


def test_what_is_not_authentic_leaves_a_client_as_it_was() -> None:
    client = asked()
    for data in (b"", b"junk", ack(1, 2)[:-1], ack(1, 2, to=2), hello(1)):
        with pytest.raises(DecodeError):
            client.receive(SERVER, data)
    assert client.phase == "first"
    client.receive(SERVER, ack(1, 2))
    assert client.phase == "second"


def test_a_frame_delivered_as_somebody_elses_is_discarded() -> None:
    server, client = a_server(), asked()
    server.receive(2, hello(1))
    assert events(server) == [Discarded(2, "party 2 delivered a frame of party 1")]
    assert server.expected == {1, 2, 3}
    with pytest.raises(DecodeError, match="party 2 delivered"):
        client.receive(2, ack(1, 2))
    client.receive(SERVER, ack(1, 2))


def test_no_client_can_end_another_clients_round() -> None:
    """A frame of a fellow client is not the server's fault, and not this client's end."""
    client = asked()
    for forged in (endpoint(2).seal(1, Ack(who=ids([1, 2]))), endpoint(2).seal(1, Close(number=1))):
        with pytest.raises(DecodeError):
            client.receive(2, forged)
    client.receive(SERVER, ack(1, 2))
    assert client.phase == "second"


def test_a_signed_body_that_does_not_decode_rejects_its_sender() -> None:
    server = a_server()
    server.receive(1, malformed(Hello, 1, SERVER))
    (event,) = events(server)
    assert isinstance(event, PeerRejected)
    assert "malformed Hello" in event.reason
    client = asked()
    with pytest.raises(RemoteProtocolError, match="party 0: malformed Ack"):
        client.receive(SERVER, malformed(Ack, SERVER, 1))
    assert client.ended


# -- rejected peers ----------------------------------------------------------------------------


def test_a_blamed_peer_is_lost_and_no_longer_heard() -> None:
    role = ToyServer()
    server = a_server(role)
    server.receive(1, hello(1, FAULTY))
    assert events(server) == [PeerRejected(1, "first", "a faulty number")]
    assert role.lost_calls == [1]
    server.receive(1, hello(1))
    server.receive(1, bye(1))
    assert events(server) == []
    assert server.expected == {2, 3}
    server.receive(2, hello(2))
    server.receive(3, hello(3))
    assert [to for to, _ in server.to_send()] == [2, 3]


def test_losing_the_last_peer_moves_the_phase_on() -> None:
    server = a_server()
    server.receive(1, hello(1))
    server.receive(2, hello(2))
    server.receive(3, hello(3, FAULTY))
    assert server.phase == "second"
    assert len(server.to_send()) == 2


def test_losing_too_many_fails_the_round() -> None:
    server = a_server()
    for party in CLIENTS:
        server.receive(party, hello(party, FAULTY))
    found = events(server)
    assert [type(event) for event in found] == [PeerRejected] * 3 + [Failed]
    assert found[-1].error.phase == "first"


def test_a_state_without_a_way_to_lose_a_peer_is_not_asked() -> None:
    """Parting has no LOST: the peer is rejected, its contribution stays, the deadline decides."""
    role = ToyServer()
    server = a_server(role)
    for party in CLIENTS:
        server.receive(party, hello(party))
    server.receive(1, hello(1, 99))
    assert [type(event) for event in events(server)] == [PeerRejected]
    assert role.lost_calls == []
    assert server.expected == {2, 3}
    server.deadline()
    (finished,) = events(server)
    assert 1 in finished.aggregate.included


# -- inputs and deadlines ----------------------------------------------------------------------


def test_an_input_is_taken_where_the_table_allows_it_and_once() -> None:
    client = a_client()
    client.submit(7)
    assert client.phase == "first"
    with pytest.raises(LocalProtocolError, match="no input is accepted in phase 'first'"):
        client.submit(7)
    with pytest.raises(LocalProtocolError, match="no input"):
        a_server().submit(7)


def test_a_refused_input_changes_nothing() -> None:
    client = a_client()
    with pytest.raises(InputRefused, match="not a number"):
        client.submit("bad")
    assert client.to_send() == []
    client.submit(7)
    assert len(client.to_send()) == 1


def test_a_deadline_ends_a_servers_phase() -> None:
    server = parting()
    assert server.phase == "second"
    server.receive(1, bye(1))
    server.deadline()
    (finished,) = events(server)
    assert finished.aggregate.included == {1, 2}
    assert [to for to, _ in server.to_send()] == [1]
    server.deadline()
    assert events(server) == [], "after the end a deadline does nothing"


def test_a_deadline_fails_a_client() -> None:
    client = asked()
    with pytest.raises(Aborted, match="the server was silent; missing: 0"):
        client.deadline()
    assert client.ended
    client.deadline()


def test_a_deadline_that_the_table_does_not_know_does_nothing() -> None:
    client = asked()
    client.receive(SERVER, ack(1, 2))
    client.deadline()
    assert client.phase == "second"


# -- failing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "kind"), [(HOPELESS, Aborted), (TORN, IntegrityError)])
def test_a_server_that_cannot_go_on_reports_it(number: int, kind: type[Exception]) -> None:
    server = a_server()
    server.receive(1, hello(1, number))
    (event,) = events(server)
    assert isinstance(event, Failed)
    assert isinstance(event.error, kind)
    assert (server.phase, server.ended, server.to_send()) == ("over", True, [])
    server.receive(2, hello(2))
    assert [type(event) for event in events(server)] == [Discarded]
    server.deadline()
    assert events(server) == []


@pytest.mark.parametrize(
    ("frame", "kind"), [(ack(2, 3), RemoteProtocolError), (ack(1), Aborted)], ids=["blame", "abort"]
)
def test_a_client_that_cannot_go_on_raises_and_is_finished(
    frame: bytes, kind: type[Exception]
) -> None:
    client = a_client()
    client.submit(7)  # its Hello still waits in the queue
    with pytest.raises(kind):
        client.receive(SERVER, frame)
    assert (client.phase, client.ended, client.expected) == ("over", True, frozenset())
    assert client.to_send() == [], "nothing leaves a failed party"
    assert client.next_event() is None
    client.deadline()
    uses: list[Callable[[], object]] = [
        lambda: client.receive(SERVER, ack(1, 2)),
        lambda: client.submit(7),
        client.snapshot,
    ]
    for use in uses:
        with pytest.raises(LocalProtocolError):
            use()


def test_a_failed_client_forgets_its_secrets() -> None:
    client = a_client()
    token = token_of(client)
    with pytest.raises(Aborted):
        client.deadline()
    assert token not in pickle.dumps([vars(client._state), client._queue, client._last])


class Astray(ToyServer):
    transitions: ClassVar[Transitions] = {
        **ToyServer.transitions,
        Gathering: {**ToyServer.transitions[Gathering], Hello: (Parting,)},
    }


def test_a_role_that_leaves_its_table_is_a_bug_not_a_fault() -> None:
    server = a_server(Astray())
    with pytest.raises(AssertionError, match=r"Hello.* led to Gathering: not in the table"):
        server.receive(1, hello(1))
    client = a_client()
    with pytest.raises(AssertionError, match="led to Parted: not in the table"):
        client.submit("astray")
    assert client.phase == "first"


# -- snapshots ---------------------------------------------------------------------------------


def again(machine: Machine[Any], stored: bytes | None = None) -> Machine[Any]:
    role = ToyServer() if machine.me == SERVER else ToyClient(machine.me)
    data = machine.snapshot() if stored is None else stored
    return Machine.restore(role, endpoint(machine.me), data, random.Random(99).randbytes)


def test_without_snapshots_frames_leave_freely() -> None:
    client = a_client()
    client.submit(7)
    assert len(client.to_send()) == 1


def test_once_snapshotted_nothing_leaves_uncovered() -> None:
    client = a_client()
    client.snapshot()
    assert client.to_send() == [], "nothing to send needs no cover"
    client.submit(7)
    with pytest.raises(LocalProtocolError, match=r"call snapshot\(\) and store it"):
        client.to_send()
    client.snapshot()
    assert len(client.to_send()) == 1
    client.receive(SERVER, ack(1, 2))
    with pytest.raises(LocalProtocolError, match="snapshot"):
        client.to_send()
    client.snapshot()
    assert len(client.to_send()) == 1


def test_a_restored_machine_is_bound_by_the_same_rule() -> None:
    client = again(a_client())
    client.submit(7)
    with pytest.raises(LocalProtocolError, match="snapshot"):
        client.to_send()
    client.snapshot()
    assert len(client.to_send()) == 1


@pytest.mark.parametrize("sent", [False, True], ids=["before sending", "after sending"])
def test_a_restored_machine_sends_its_last_frames_again(sent: bool) -> None:
    client = a_client()
    client.submit(7)
    stored = client.snapshot()
    frames = client.to_send()
    if sent:
        stored = client.snapshot()
    assert again(client, stored).to_send() == frames


def test_a_server_resends_even_after_steps_that_sent_nothing() -> None:
    server = a_server()
    for party in CLIENTS:
        server.receive(party, hello(party))
    server.snapshot()
    frames = server.to_send()
    server.receive(1, bye(1))
    restored = again(server)
    assert restored.to_send() == frames
    assert restored.expected == {2, 3}


@pytest.mark.parametrize(
    "make", [a_server, parting, a_client, asked], ids=lambda make: make.__name__
)
def test_a_snapshot_of_what_was_restored_is_the_same(make: Any) -> None:
    machine = make()
    stored = machine.snapshot()
    restored = again(machine)
    assert restored.snapshot() == stored
    assert (restored.phase, restored.me, restored.expected) == (
        machine.phase,
        machine.me,
        machine.expected,
    )


def test_a_round_survives_a_crash_of_everybody_after_every_step() -> None:
    server, clients = a_server(), {party: a_client(party) for party in CLIENTS}
    released: list[Any] = []
    for party in CLIENTS:
        clients[party].submit(10 * party)
    for _ in range(3):
        for party in CLIENTS:
            clients[party] = again(clients[party])
            for _, frame in clients[party].to_send():
                server.receive(party, frame)
                released += events(server)
                server = again(server)
        for to, frame in server.to_send():
            clients[to].receive(SERVER, frame)
            events(clients[to])
    (finished,) = released
    assert finished.aggregate.total.tolist() == [60]


def test_what_was_seen_and_who_was_rejected_survive() -> None:
    server = a_server()
    server.receive(1, hello(1))
    server.receive(2, hello(2, FAULTY))
    with pytest.raises(LocalProtocolError, match="drain next_event"):
        server.snapshot()
    events(server)
    restored = again(server)
    restored.receive(1, hello(1))
    restored.receive(2, hello(2))
    assert events(restored) == []
    assert restored.expected == {3}
    restored.receive(1, hello(1, 99))
    assert [type(event) for event in events(restored)] == [PeerRejected]


def test_the_end_survives_too() -> None:
    server = parting()
    server.deadline()
    events(server)
    restored = again(server)
    assert restored.ended
    restored.receive(1, bye(1))
    assert [type(event) for event in events(restored)] == [Discarded]


def test_every_damaged_byte_of_a_snapshot_is_refused() -> None:
    client = asked()
    stored = client.snapshot()
    again(client, stored)
    for at in range(len(stored)):
        changed = stored[:at] + bytes((stored[at] ^ 1,)) + stored[at + 1 :]
        with pytest.raises(DecodeError, match="damaged"):
            again(client, changed)
    for size in (0, 1, 31, 32, len(stored) - 1):
        with pytest.raises(DecodeError, match="damaged"):
            again(client, stored[:size])
    with pytest.raises(DecodeError, match="damaged"):
        again(client, stored + b"\0")


@pytest.mark.parametrize(
    "end",
    [
        endpoint(2),
        endpoint(1, context=bytes(32)),
        endpoint(1, scheme=8),
        endpoint(SERVER),
    ],
    ids=["party", "round", "scheme", "side"],
)
def test_a_snapshot_of_another_party_round_or_scheme_is_refused(end: Endpoint) -> None:
    stored = a_client().snapshot()
    with pytest.raises(DecodeError, match="another party, round or scheme"):
        Machine.restore(ToyClient(end.me), end, stored)


def test_a_snapshot_of_another_side_has_no_such_state() -> None:
    stored = a_client().snapshot()
    with pytest.raises(DecodeError, match="no state has code 1"):
        Machine.restore(ToyServer(), endpoint(1), stored)


def test_a_snapshot_that_claims_too_much_is_refused_unallocated() -> None:
    """Sizes inside a snapshot are bounded by its own length, even with a correct checksum."""
    body = a_client().snapshot()[:-32]
    for at in range(len(body) - 8):
        claimed = body[:at] + b"\xff" * 8 + body[at + 8 :]
        try:
            again(a_client(), claimed + digest(Label.SNAPSHOT, claimed))
        except DecodeError:
            continue


# -- nothing leaks -----------------------------------------------------------------------------


def test_a_repr_shows_party_and_phase_only() -> None:
    client = a_client()
    assert repr(client) == "<ToyClient machine of party 1, phase 'first'>"
    assert token_of(client).hex() not in repr(client._state)
    assert str(token_of(client))[2:-1] not in repr(client._state)


def test_a_machine_does_not_leave_by_pickle_or_copy() -> None:
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"does not pickle; use snapshot\(\)"):
            leave(a_client())


def test_states_are_frozen() -> None:
    state = Asked(token=b"abcd")
    with pytest.raises(AttributeError):
        state.token = b"else"  # type: ignore[misc]
    assert replace(state, token=b"else").token == b"else"
