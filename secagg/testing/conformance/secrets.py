"""Secrets stay in machines: not in a repr, an exception or a pickle, and not on the wire."""

from __future__ import annotations

import base64
import copy
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from secagg import wire
from secagg.errors import SecAggError
from secagg.frame import HEADER_SIZE, SIGNATURE_SIZE
from secagg.identity import SERVER, PartyId
from secagg.machine import Failed, Machine
from secagg.primitives.ring import pack
from secagg.testing.adversaries import CLIENT_LIES, Lie
from secagg.testing.conformance.harness import Harness, state_of
from secagg.testing.faults import Fault, Tardy, Vanish
from secagg.testing.network import RunResult, run
from secagg.testing.node import Node
from secagg.testing.parties import Parties
from secagg.testing.rand import SeededRand
from secagg.wire import Packed, Record, Table

__all__ = ["Secrets", "secret_bytes"]

LEAST = 12
"""Bytes of a secret that is looked for; shorter ones occur by chance."""


class Secrets(Harness):
    def test_states_and_machines_show_no_secret(self) -> None:
        """Every state that a round reaches, with inputs at once and at the last moment."""
        parties = self.usual()
        seen: set[type[Record]] = set()

        def watch(node: Node) -> None:
            if node.error is None and not node.gone and isinstance(node.peer, Machine):
                state = state_of(node.peer)
                seen.add(type(state))
                hidden = [*secret_bytes(state), parties.identities[node.me].to_bytes()]
                shown = (repr(state), str(state), repr(node.peer), str(node.peer))
                _absent(hidden, *shown, *_innards(node.peer))

        self.play(parties, faults=[Tardy(party) for party in parties.everybody], watch=watch)
        for lies in self.casts(parties):
            self.play(parties, hostile=lies, watch=watch)
        assert len(seen) >= 3, "hardly any state was looked at"

    def test_what_a_client_shows_is_known_to_the_server(self) -> None:
        """A field that is not declared secret holds what travelled or what the server holds too:
        whoever forgets to declare a secret fails here.
        """
        parties = self.usual()
        shown: list[bytes] = []
        known: list[bytes] = [parties.endpoint(SERVER).context]

        def watch(node: Node) -> None:
            if node.error is None and not node.gone and isinstance(node.peer, Machine):
                state = state_of(node.peer)
                if node.me == SERVER:
                    known.append(wire.encode(state))
                else:
                    shown.extend(_shown_bytes(state))

        results = [self.play(parties, hostile=lies, watch=watch) for lies in self.casts(parties)]
        tardy = [Tardy(party) for party in parties.everybody]
        results.append(self.play(parties, faults=tardy, watch=watch))
        known += [frame.data for result in results for frame in result.frames]
        everything = b"\0".join(known)
        for value in shown:
            assert len(value) < LEAST or value in everything, "a repr shows what nobody else knows"

    def test_what_a_machine_draws_is_never_shown(self) -> None:
        """No key or seed that came out of a client's randomness is in a repr or on the wire."""
        parties = self.usual()
        hoard: list[bytes] = []

        class Hoarding(SeededRand):
            def fork(self, *name: object) -> SeededRand:
                return Hoarding(repr((self._seed, name)))

            def __call__(self, size: int) -> bytes:
                drawn = super().__call__(size)
                hoard.append(drawn)
                return drawn

        def watch(node: Node) -> None:
            if node.me != SERVER:
                _absent(hoard, repr(node.peer), repr(state_of(node.peer)))

        result = run(
            parties.scheme,
            self.given(self.inputs(parties)),
            parties=parties,
            rand=Hoarding("hoard"),
            watch=watch,
        )
        sent = b"".join(frame.data for frame in result.frames)
        for secret in hoard:
            assert len(secret) < LEAST or secret not in sent

    def test_inputs_do_not_travel(self) -> None:
        """No frame holds an input, packed or as words; a scheme that hides nothing says so."""
        parties = self.usual()
        whole = parties.scheme.length * parties.scheme.width // 8  # the last byte may be shared
        result = self.play(parties)
        for party, value in self.inputs(parties).items():
            sent = b"".join(frame.data for frame in result.frames_of(party))
            packed = pack(value, parties.scheme.width)[:whole]
            visible = value.tobytes() in sent or packed in sent
            assert visible is not self.hides_inputs

    def test_equal_inputs_look_different(self) -> None:
        """Two clients with one input, and one client in two rounds, send unlike messages."""
        if not self.hides_inputs:
            pytest.skip("this scheme hides nothing")
        parties = self.usual()
        value = self.inputs(parties)[parties.clients[0]]
        inputs = dict.fromkeys(parties.clients, value)
        rounds = (parties, parties.again(number=2))
        vectors = [
            vector
            for each in rounds
            for result in [self.play(each, inputs)]
            for party in parties.clients
            for vector in _vectors(result, party)
        ]
        if not vectors:
            pytest.skip("no message carries a packed vector")
        for one, other in itertools.combinations(vectors, 2):
            alike = np.mean(np.frombuffer(one, np.uint8) == np.frombuffer(other, np.uint8))
            assert alike < 0.3, "two vectors agree in far more than one byte of 256"

    def test_exceptions_and_events_show_no_secret(self) -> None:
        """Whatever goes wrong: adapters forward these texts to the server."""
        parties = self.usual()
        liar = parties.clients[0]
        hostile: list[Mapping[PartyId, Lie]] = [{liar: lie} for lie in CLIENT_LIES]
        gone = parties.clients[: self.allowed(parties.scheme) + 1]
        faults: list[list[Fault]] = [
            [Vanish(party, kind) for party in gone]
            for kind in (*parties.scheme.server_messages, None)
        ]
        for lies in (*hostile, *self.provocations(parties)):
            self._check_texts(parties, [], lies)
        for schedule in faults:
            self._check_texts(parties, schedule, {})

    def test_machines_and_identities_are_not_copied_or_pickled(self) -> None:
        """A copy of a machine would mask a second input with the masks of the first."""
        parties = self.usual()
        things: list[object] = list(parties.identities.values())
        rand = SeededRand("machine")
        things += [parties.machine(party, rand) for party in (SERVER, parties.clients[0])]
        for thing in things:
            for protocol in range(6):
                with pytest.raises(TypeError):
                    thing.__reduce_ex__(protocol)  # what pickle calls
            with pytest.raises(TypeError):
                copy.copy(thing)
            with pytest.raises(TypeError):
                copy.deepcopy(thing)

    def _check_texts(
        self, parties: Parties, faults: list[Fault], hostile: Mapping[PartyId, Lie]
    ) -> None:
        hidden = [identity.to_bytes() for identity in parties.identities.values()]
        hidden += [value.tobytes() for value in self.inputs(parties).values()]

        def watch(node: Node) -> None:
            if node.me not in hostile and node.error is None:
                hidden.extend(secret_bytes(state_of(node.peer)))

        result = self.play(parties, faults=faults, hostile=hostile, watch=watch)
        _absent(hidden, *_texts(result))


def _shown_bytes(record: Record) -> Iterator[bytes]:
    """The content of every field that is not declared secret."""
    for item in dataclasses.fields(record):  # type: ignore[arg-type]
        if item.repr:
            yield from _leaves(getattr(record, item.name), True)


def secret_bytes(record: Record, *, all_of_it: bool = False) -> Iterator[bytes]:
    """The content of every field that is declared secret, and of everything inside it."""
    for item in dataclasses.fields(record):  # type: ignore[arg-type]
        yield from _leaves(getattr(record, item.name), all_of_it or not item.repr)


def _leaves(value: Any, secret: bool) -> Iterator[bytes]:
    match value:
        case bytes() if secret:
            yield value
        case np.ndarray() if secret:
            yield value.tobytes()
        case Table() if secret:
            for name in value.rows.dtype.names or ():
                yield from (value.column(name) if name != "peer" else ())
        case Record():
            yield from secret_bytes(value, all_of_it=secret)
        case dict():
            for each in value.values():
                yield from _leaves(each, secret)
        case tuple():
            for each in value:
                yield from _leaves(each, secret)


def _innards(machine: Any) -> Iterator[str]:
    """What `vars` of a machine would print, and of what it holds."""
    yield repr(machine._role)
    yield repr(machine._endpoint)
    yield repr(machine._endpoint.identity)
    yield repr(machine._queue)
    yield repr(machine._last)
    yield repr(list(machine._events))


def _texts(result: RunResult) -> Iterator[str]:
    errors: list[SecAggError] = [*result.errors.values()]
    errors += [error for refused in result.refused.values() for error in refused]
    for events in result.events.values():
        for event in events:
            if isinstance(event, Failed):
                errors.append(event.error)
            yield getattr(event, "reason", "")
    for error in errors:
        yield str(error)
        yield repr(error)


def _absent(hidden: list[bytes], *texts: str) -> None:
    """Assert that no secret is in any text, raw, in hexadecimal, base 64, or as numbers."""
    text = "\n".join(texts)
    for secret in hidden:
        if len(secret) >= LEAST:
            for form in _forms(secret):
                assert form not in text, "a secret is shown"


def _forms(secret: bytes) -> Iterator[str]:
    yield repr(secret)[2:-1]
    yield secret.hex()
    yield secret.hex().upper()
    yield base64.b64encode(secret).decode()[: len(secret)]
    for size in (1, 2, 4, 8):
        if len(secret) % size == 0:
            numbers = np.frombuffer(secret, f"<u{size}").tolist()
            yield ", ".join(map(str, numbers))
            yield " ".join(map(str, numbers))


def _vectors(result: RunResult, party: PartyId) -> Iterator[bytes]:
    """The packed vectors in the messages of `party`."""
    limits = result.parties.scheme.limits
    for frame in result.frames_of(party):
        assert frame.kind is not None
        message = wire.decode(frame.kind, frame.data[HEADER_SIZE:-SIGNATURE_SIZE], limits)
        for name, codec in message.codecs():
            if isinstance(codec, Packed):
                yield getattr(message, name)
