"""The client of the plain scheme: one message."""

from __future__ import annotations

from typing import Any

from secagg.errors import Aborted
from secagg.frame import Endpoint, Signed
from secagg.identity import PartyId
from secagg.machine import Finished, Over, Send, Step, Transitions
from secagg.primitives.ring import check_vector, pack
from secagg.rand import Rand
from secagg.scheme import Scheme
from secagg.schemes.plain import states
from secagg.schemes.plain.messages import Update
from secagg.schemes.plain.states import Waiting

__all__ = ["PlainClient"]


class PlainClient:
    """Sends its vector as soon as it has one."""

    phases = ("update",)
    tolerant = False
    transitions: Transitions = states.CLIENT

    def __init__(self, params: Scheme, endpoint: Endpoint) -> None:
        self.me = endpoint.me
        self._params = params

    def start(self, rand: Rand) -> Step[Waiting]:
        return Step(Waiting())

    def on_input(self, state: Waiting, value: Any, rand: Rand) -> Step[Waiting]:
        vector = check_vector(value, self._params.length, self._params.width)
        update = Update(vector=pack(vector, self._params.width))
        return Step(Over(), (Send.to_server(update),), (Finished(),))

    def on_message(self, state: Waiting, signed: Signed[Any], rand: Rand) -> Step[Waiting]:
        raise AssertionError("the transition table allows no message")

    def on_deadline(self, state: Waiting, rand: Rand) -> Step[Waiting]:
        raise Aborted("update", "no input was submitted in time", {self.me})

    def on_lost(self, state: Waiting, peer: PartyId, rand: Rand) -> Step[Waiting]:
        raise AssertionError("a client has no peers to lose")

    def expected(self, state: Waiting) -> frozenset[PartyId]:
        return frozenset()

    def satisfied(self, state: Waiting) -> bool:
        return False
