"""Frames that must be refused: by the library with the named error, and by the reference too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drawn import rounds
from drawn.replay import Player, RecordedSuite
from reference.verify import verify

from secagg import (
    SERVER,
    Aborted,
    DecodeError,
    Discarded,
    Event,
    Failed,
    Finished,
    IntegrityError,
    LocalProtocolError,
    PeerRejected,
    RemoteProtocolError,
    SecAggError,
)
from secagg.primitives import seal

FOLDER = Path(__file__).parent / "secagg_plus"
Json = dict[str, Any]


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


STORED = {case.name: load(case.name) for case in rounds.CASES}
CASES: list[Json] = load("refusals")["cases"]


def some(side: str, error: str) -> pytest.MarkDecorator:
    """The cases of one side and one error, as parameters."""
    chosen = [c for c in CASES if (c["to"] == SERVER) == (side == "server") and c["error"] == error]
    return pytest.mark.parametrize("case", chosen, ids=[c["name"] for c in chosen])


def before(case: Json, monkeypatch: pytest.MonkeyPatch) -> Player:
    """The round as it stood when the frame came."""
    vector = STORED[case["round"]]
    monkeypatch.setattr(seal, "_SUITE", RecordedSuite(vector))
    player = Player(vector)
    player.play(until=case["at"])
    return player


def deliver(player: Player, case: Json) -> None:
    player.parties[case["to"]].receive(case["from"], bytes.fromhex(case["frame"]))


def events(player: Player) -> list[Event]:
    server = player.parties[SERVER]
    found = []
    while (event := server.next_event()) is not None:
        found.append(event)
    return found


@some("client", "DecodeError")
def test_a_client_refuses_a_frame_and_goes_on(case: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    player = before(case, monkeypatch)
    with pytest.raises(DecodeError, match=case["says"]):
        deliver(player, case)
    player.play()
    assert isinstance(events(player)[-1], Finished)


@some("client", "RemoteProtocolError")
def test_a_client_refuses_the_server_and_is_finished(
    case: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(case, RemoteProtocolError, monkeypatch)


@some("client", "Aborted")
def test_a_client_that_missed_a_frame_is_finished(
    case: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(case, Aborted, monkeypatch)


def end(case: Json, error: type[SecAggError], monkeypatch: pytest.MonkeyPatch) -> None:
    player = before(case, monkeypatch)
    client = player.parties[case["to"]]
    assert not client.ended
    with pytest.raises(error, match=case["says"]):
        deliver(player, case)
    assert client.ended
    assert client.to_send() == []
    with pytest.raises(LocalProtocolError, match="has failed"):
        deliver(player, case)


@some("server", "DecodeError")
def test_a_server_discards_a_frame_and_goes_on(case: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    player = before(case, monkeypatch)
    deliver(player, case)
    (event,) = events(player)
    assert isinstance(event, Discarded)
    assert event.sender == case["from"]
    assert case["says"] in event.reason
    player.play()
    assert isinstance(events(player)[-1], Finished)


@some("server", "RemoteProtocolError")
def test_a_server_rejects_the_peer(case: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    player = before(case, monkeypatch)
    deliver(player, case)
    event = events(player)[0]
    assert isinstance(event, PeerRejected)
    assert event.peer == case["from"]
    assert case["says"] in event.reason


@some("server", "IntegrityError")
def test_a_server_withholds_the_sum(case: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    player = before(case, monkeypatch)
    player.step(instead=bytes.fromhex(case["frame"]))
    player.play()
    (event,) = events(player)
    assert isinstance(event, Failed)
    assert isinstance(event.error, IntegrityError)
    assert case["says"] in str(event.error)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_reference_refuses_the_round_with_that_frame(case: Json) -> None:
    vector = STORED[case["round"]]
    frames = list(vector["frames"])
    frames[case["at"]] = {**frames[case["at"]], "from": case["from"], "frame": case["frame"]}
    assert verify({**vector, "frames": frames}).problem is not None


def test_every_kind_of_error_and_every_message_is_among_the_cases() -> None:
    assert {case["error"] for case in CASES} == {
        "DecodeError",
        "RemoteProtocolError",
        "Aborted",
        "IntegrityError",
    }
    assert {bytes.fromhex(case["frame"])[4] for case in CASES if case["frame"]} >= set(range(1, 10))
