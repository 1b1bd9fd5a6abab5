"""The library plays the recorded rounds again, and sends the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drawn import rounds
from drawn.replay import Player, RecordedSuite
from drawn.rounds import Tape

from secagg import SERVER, Event, Finished, Machine, PartyId, RemoteProtocolError
from secagg.primitives import seal
from secagg.schemes.secagg_plus.messages import Shares
from secagg.wire import Limits, decode

FOLDER = Path(__file__).parent / "secagg_plus"
ROUNDS = [case.name for case in rounds.CASES]

Json = dict[str, Any]


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.fixture(params=ROUNDS)
def vector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stored round, while the library seals what was sealed in it."""
    loaded = load(request.param)
    monkeypatch.setattr(seal, "_SUITE", RecordedSuite(loaded))
    return loaded


def test_every_party_sends_the_recorded_bytes(vector: Json) -> None:
    player = Player(vector)
    player.play()
    event = player.parties[SERVER].next_event()
    assert isinstance(event, Finished)
    assert event.aggregate is not None
    outcome = vector["outcome"]
    dropped = {phase: sorted(lost) for phase, lost in event.aggregate.dropped.items()}
    assert event.aggregate.total.tolist() == outcome["total"]
    assert sorted(event.aggregate.included) == outcome["included"]
    assert dropped == outcome["dropped"]


def test_clients_draw_exactly_what_is_recorded_and_finish(vector: Json) -> None:
    player = Player(vector)
    player.play()
    done = {sender for sender, _, data in player.frames if data[4] == 9}
    assert done
    finished = Finished(included=frozenset(vector["outcome"]["included"]))
    for client in done:
        assert player.parties[client].next_event() == finished
    assert all(tape.at == len(tape.data) for tape in player.tapes.values())


class Crashing(Player):
    """Every party is stored, lost and restored each time before it sends."""

    def __init__(self, vector: Json) -> None:
        super().__init__(vector)
        self.vector = vector
        self.events: list[Event] = []

    def new(self, party: PartyId) -> list[tuple[PartyId, bytes]]:
        while (event := self.parties[party].next_event()) is not None:
            self.events.append(event)
        self.parties[party] = self.resumed(party, self.parties[party].snapshot())
        return super().new(party)

    def resumed(self, party: PartyId, stored: bytes) -> Machine[Any]:
        scheme, names = rounds.scheme_of(self.vector["plan"]), rounds.names(self.vector)
        identity = rounds.identity(self.vector, party)
        if party == SERVER:
            return scheme.resume_server(stored, names, identity, rand=Tape(b""))
        rand = self.tapes[party]
        return scheme.resume_client(stored, names, identity, party, rand=rand)


def test_parties_that_crash_before_they_send_send_the_recorded_bytes(vector: Json) -> None:
    player = Crashing(vector)
    player.play()
    event = player.parties[SERVER].next_event() or player.events[-1]
    assert isinstance(event, Finished)
    assert event.aggregate is not None
    assert event.aggregate.total.tolist() == vector["outcome"]["total"]


@pytest.mark.parametrize("name", ROUNDS)
def test_with_fresh_hpke_randomness_all_but_the_sealed_bytes_is_the_same(name: str) -> None:
    loaded = load(name)
    player = Player(loaded)
    first = next(n for n, (_, _, data) in enumerate(player.frames) if data[4] == Shares.code)
    player.play(until=first)
    sender, _, recorded = player.frames[first]
    ((_, fresh),) = player.parties[sender].to_send()
    assert fresh[:45] == recorded[:45]
    limits = rounds.scheme_of(loaded["plan"]).limits
    mine, stored = shares(fresh, limits), shares(recorded, limits)
    assert mine.commitment == stored.commitment
    assert mine.parcels.peers == stored.parcels.peers
    for column in ("edge_tag", "self_tag", "key_tag"):
        assert mine.parcels.column(column) == stored.parcels.column(column)
    assert not set(mine.parcels.column("sealed")) & set(stored.parcels.column("sealed"))


def shares(data: bytes, limits: Limits) -> Shares:
    return decode(Shares, data[45:-64], limits)


def test_a_client_that_sealed_anew_refuses_the_recorded_inbox() -> None:
    """Which is why a replay takes the recorded parcels: the digest of its own shares differs."""
    player = Player(load("round_width_20"))
    inbox = next(n for n, (_, _, data) in enumerate(player.frames) if data[4] == 4)
    first = next(n for n, (_, _, data) in enumerate(player.frames) if data[4] == 3)
    player.play(until=first)
    _, (client,), data = player.frames[inbox]
    with pytest.raises(RemoteProtocolError, match="replaced this client's shares"):
        player.parties[client].receive(SERVER, data)
