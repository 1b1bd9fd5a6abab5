"""One encoding per message, and nothing but it is taken."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from secagg import wire
from secagg.errors import DecodeError
from secagg.frame import HEADER_SIZE, OVERHEAD, SIGNATURE_SIZE, parse_header
from secagg.identity import BROADCAST, SERVER, PartyId
from secagg.scheme import Scheme
from secagg.testing import strategies
from secagg.testing.conformance.harness import Harness
from secagg.testing.faults import Flight
from secagg.testing.network import Frame, Network
from secagg.testing.parties import Parties
from secagg.testing.rand import SeededRand
from secagg.wire import Message

__all__ = ["Encoding"]

_SCHEME, _CODE, _CONTEXT, _SENDER, _RECEIVER = 3, 4, 5, 37, 41  # where the header keeps them

_any_size = settings(deadline=None, suppress_health_check=[HealthCheck.large_base_example])
"""Messages of some schemes have no small form: their proofs are as long as the bound says."""


class Encoding(Harness):
    def test_types_have_codes_of_their_own(self) -> None:
        scheme = self.usual().scheme
        for kinds in (scheme.client_messages, scheme.server_messages):
            assert len({kind.code for kind in kinds}) == len(kinds)
            assert all(kind.phase for kind in kinds)

    def test_frames_of_a_round_are_canonical(self) -> None:
        """Decoded and encoded again, every body and every signature is the same bytes."""
        parties = self.usual()
        for frame in self._frames(parties):
            assert frame.kind is not None
            body = frame.data[HEADER_SIZE:-SIGNATURE_SIZE]
            message = wire.decode(frame.kind, body, parties.scheme.limits)
            assert wire.encode(message) == body
            assert len(body) <= wire.size_bound(frame.kind, parties.scheme.limits)
            receiver = parse_header(frame.data).receiver
            assert parties.endpoint(frame.sender).seal(receiver, message) == frame.data

    def test_any_message_survives_the_wire(self) -> None:
        scheme = self.usual().scheme

        @_any_size
        @given(_messages(scheme))
        def check(message: Message) -> None:
            body = wire.encode(message)
            again = wire.decode(type(message), body, scheme.limits)
            assert again == message
            assert wire.encode(again) == body

        check()

    def test_decoding_raises_nothing_but_decode_error(self) -> None:
        """Any bytes are refused, or are the one encoding of what they decode to."""
        scheme = self.usual().scheme

        @_any_size
        @given(_messages(scheme), st.data())
        def check(message: Message, data: st.DataObject) -> None:
            near = strategies.twisted(wire.encode(message))
            twisted = data.draw(st.binary(max_size=600) | near)
            try:
                decoded = wire.decode(type(message), twisted, scheme.limits)
            except DecodeError:
                return
            assert wire.encode(decoded) == twisted

        check()

    def test_shorter_and_longer_bodies_are_refused(self) -> None:
        scheme = self.usual().scheme
        for frame in self._frames(self.usual()):
            assert frame.kind is not None
            body = frame.data[HEADER_SIZE:-SIGNATURE_SIZE]
            for wrong in (body[:-1], body[: len(body) // 2], body + b"\0", body + body):
                _refused(frame.kind, wrong, scheme)

    def test_tampered_frames_leave_no_trace(self) -> None:
        """Before every frame, forgeries of it: all are refused, then the honest one is taken."""
        parties = self.usual()

        def ahead(network: Network, flight: Flight) -> None:
            for forged in _forgeries(parties, flight):
                self.intrude(network, flight.receiver, flight.sender, forged)

        for lies in self.casts(parties):
            result = self.network(parties, ahead, hostile=lies)
            self.check_exact(result, self.inputs(parties), set(parties.clients) - lies.keys())

    def test_frames_in_a_strangers_name_leave_no_trace(self) -> None:
        """A genuine frame that the transport attributes to somebody else is refused."""
        parties = self.usual()

        def ahead(network: Network, flight: Flight) -> None:
            stranger = next(p for p in parties.everybody if p != flight.sender)
            self.intrude(network, flight.receiver, stranger, flight.data)

        result = self.network(parties, ahead)
        self.check_exact(result, self.inputs(parties), set(parties.clients))

    def test_frames_for_others_leave_no_trace(self) -> None:
        """The same message, genuinely signed by the same sender, but for somebody else."""
        parties = self.usual()

        def ahead(network: Network, flight: Flight) -> None:
            assert flight.kind is not None
            body = flight.data[HEADER_SIZE:-SIGNATURE_SIZE]
            message = wire.decode(flight.kind, body, parties.scheme.limits)
            others = set(parties.everybody) - {flight.sender, flight.receiver}
            everybody = {BROADCAST} if flight.sender != SERVER else set()  # for servers only
            for other in others | everybody:
                frame = parties.endpoint(flight.sender).seal(other, message)
                self.intrude(network, flight.receiver, flight.sender, frame)

        result = self.network(parties, ahead)
        self.check_exact(result, self.inputs(parties), set(parties.clients))

    def test_frames_of_peers_leave_no_trace(self) -> None:
        """The same message, genuinely signed for this receiver, by one that is not its server."""
        parties = self.usual()

        def ahead(network: Network, flight: Flight) -> None:
            if flight.sender != SERVER:
                return
            assert flight.kind is not None
            body = flight.data[HEADER_SIZE:-SIGNATURE_SIZE]
            message = wire.decode(flight.kind, body, parties.scheme.limits)
            for peer in set(parties.clients) - {flight.receiver}:
                frame = parties.endpoint(peer).seal(flight.receiver, message)
                self.intrude(network, flight.receiver, peer, frame)
                self.intrude(network, flight.receiver, SERVER, frame)

        result = self.network(parties, ahead)
        self.check_exact(result, self.inputs(parties), set(parties.clients))

    def test_frames_of_other_rounds_leave_no_trace(self) -> None:
        """Another number, model or session, same parties: refused before every honest frame."""
        parties = self.usual()
        changes = ({"number": 2}, {"model": bytes(32)}, {"session": bytes(16)})
        others = [self.play(parties.again(**change)).frames for change in changes]

        def ahead(network: Network, flight: Flight) -> None:
            for frames in others:
                for frame in frames:
                    if (frame.sender, frame.receiver) == (flight.sender, flight.receiver):
                        self.intrude(network, flight.receiver, flight.sender, frame.data)

        result = self.network(parties, ahead)
        self.check_exact(result, self.inputs(parties), set(parties.clients))

    def _frames(self, parties: Parties) -> Iterator[Frame]:
        for lies in self.casts(parties):
            yield from self.play(parties, hostile=lies).frames


def _messages(scheme: Scheme) -> SearchStrategy[Message]:
    kinds = (*scheme.server_messages, *scheme.client_messages)
    return st.sampled_from(kinds).flatmap(lambda kind: strategies.records(kind, scheme.limits))


def _refused(kind: type[Message], body: bytes, scheme: Scheme) -> None:
    try:
        wire.decode(kind, body, scheme.limits)
    except DecodeError:
        return
    raise AssertionError(f"{len(body)} bytes are taken for a {kind.__name__}")


def _forgeries(parties: Parties, flight: Flight) -> Iterator[bytes]:
    """What somebody on the wire can make of a frame without its sender's key."""
    data = flight.data
    rand = SeededRand(data)
    for size in (0, 1, HEADER_SIZE, OVERHEAD - 1, OVERHEAD, len(data) // 2, len(data) - 1):
        if size < len(data):
            yield data[:size]
    for tail in (b"\0", bytes(10_000), data):
        yield data + tail
    for at in (0, 1, 2, _SCHEME, _CODE, _CONTEXT, _SENDER, _RECEIVER, HEADER_SIZE, len(data) - 1):
        if at < len(data):
            yield _flip(data, at, rand)
    for _ in range(4):
        yield _flip(data, rand.below(len(data)), rand)
    for party in (*parties.everybody, BROADCAST):
        yield from _renamed(data, party)
    yield rand(len(data))


def _flip(data: bytes, at: int, rand: SeededRand) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << rand.below(8)]) + data[at + 1 :]


def _renamed(data: bytes, party: PartyId) -> Iterator[bytes]:
    """The frame with another sender or another receiver written into its header."""
    name = party.to_bytes(4, "little")
    for at in (_SENDER, _RECEIVER):
        if data[at : at + 4] != name:
            yield data[:at] + name + data[at + 4 :]
