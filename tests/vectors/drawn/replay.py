"""Play a recorded round into fresh machines of the library, and compare every byte they send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from drawn.codes import Code
from drawn.rounds import Tape, machines, scheme_of, tape

from secagg import SERVER, Machine, PartyId
from secagg.primitives import seal
from secagg.schemes.secagg_plus.messages import Shares
from secagg.wire import decode

__all__ = ["Player", "RecordedSuite"]

Json = dict[str, Any]


class RecordedSuite:
    """Takes the place of the HPKE suite and returns the parcels of a vector.

    Each is first opened, under the same `info`, and must contain what was to be sealed. So a
    replay depends on no fresh randomness, and still checks what a client seals, and how.
    """

    def __init__(self, vector: Json) -> None:
        self._real = seal._SUITE
        limits = scheme_of(vector["plan"]).limits
        self._secrets = vector["secrets"]
        self._parcels: dict[PartyId, Mapping[PartyId, bytes]] = {}
        for data in (bytes.fromhex(entry["frame"]) for entry in vector["frames"]):
            if data[4] == Code.SHARES:
                dealer = int.from_bytes(data[37:41], "little")
                shares = decode(Shares, data[45:-64], limits)
                self._parcels[dealer] = shares.parcels.by_peer("sealed")

    def encrypt(self, plaintext: bytes, recipient: X25519PublicKey, info: bytes) -> bytes:
        """The recorded box from the dealer to the holder that `info` names."""
        dealer, holder = (int.from_bytes(info[at : at + 4], "little") for at in (-40, -36))
        private = X25519PrivateKey.from_private_bytes(
            bytes.fromhex(self._secrets[str(holder)]["share_private"])
        )
        assert private.public_key() == recipient
        sealed = self._parcels[dealer][holder]
        assert self.decrypt(sealed, private, info) == plaintext
        return sealed

    def decrypt(self, ciphertext: bytes, private: X25519PrivateKey, info: bytes) -> bytes:
        """As the real suite."""
        return self._real.decrypt(ciphertext, private, info)


class Player:
    """The machines of one vector. `frames` is the tape they are held against."""

    def __init__(self, vector: Json) -> None:
        self.frames = [
            (entry["from"], entry["to"], bytes.fromhex(entry["frame"]))
            for entry in vector["frames"]
        ]
        self.tapes: dict[PartyId, Tape] = {
            int(client): tape(vector, int(client)) for client in vector["secrets"]
        }
        self.parties: dict[PartyId, Machine[Any]] = machines(vector, self.tapes)
        self._unsent: dict[PartyId, list[tuple[PartyId, bytes]]] = {p: [] for p in self.parties}
        self._last = {sender: place for place, (sender, _, _) in enumerate(self.frames)}
        self.at = 0

    def play(self, until: int | None = None) -> None:
        """Go on to frame `until`, exclusive, or to the end with its last deadline."""
        while self.at < (len(self.frames) if until is None else until):
            self.step()
        if until is None and not self.parties[SERVER].ended:
            self.parties[SERVER].deadline()
        if until is None:
            assert not any(self._unsent.values())

    def step(self, instead: bytes | None = None) -> None:
        """Compare the next frame with what its sender sends, and deliver it, or `instead`."""
        sender, receivers, data = self.frames[self.at]
        self._sent_by(sender, receivers, data)
        for to in receivers:
            self.deliver(to, sender, data if instead is None else instead)
        self.at += 1

    def deliver(self, to: PartyId, sender: PartyId, data: bytes) -> None:
        """Hand a frame to a party that the vector hears of again, or to the server."""
        if to == SERVER or self._last.get(to, -1) > self.at:
            self.parties[to].receive(sender, data)

    def _sent_by(self, sender: PartyId, receivers: list[PartyId], data: bytes) -> None:
        unsent = self._unsent[sender]
        unsent += self.new(sender)
        if sender == SERVER and not unsent:
            self.parties[SERVER].deadline()
            unsent += self.new(sender)
        for to in receivers:
            assert (to, data) in unsent, f"frame {self.at}: party {sender} sends other bytes"
            unsent.remove((to, data))

    def new(self, party: PartyId) -> list[tuple[PartyId, bytes]]:
        """What a party sends, but for what it repeats after it was resumed."""
        past = {data for _, _, data in self.frames[: self.at]}
        sent, waiting = self.parties[party].to_send(), self._unsent[party]
        return [item for item in sent if item[1] not in past and item not in waiting]
