"""The server of the plain scheme: adds what arrives."""

from __future__ import annotations

from typing import Any

import numpy as np

from secagg.errors import Aborted, DecodeError, RemoteProtocolError
from secagg.frame import Endpoint, Signed
from secagg.identity import PartyId
from secagg.machine import Aggregate, Finished, Over, Side, Step, Transitions
from secagg.primitives.ring import reduce, unpack, word
from secagg.rand import Rand
from secagg.scheme import Scheme
from secagg.schemes.plain import states
from secagg.schemes.plain.messages import Update
from secagg.schemes.plain.states import Summing

__all__ = ["PlainServer"]


class PlainServer:
    """Streams: one vector in memory, however many clients."""

    phases = ("update",)
    side = Side.SERVER
    transitions: Transitions = states.SERVER

    def __init__(self, params: Scheme, endpoint: Endpoint) -> None:
        self.me = endpoint.me
        self._params = params
        self._invited = frozenset(endpoint.roster.ids)

    def start(self, rand: Rand) -> Step[Summing]:
        total = np.zeros(self._params.length, word(self._params.width))
        return Step(Summing(total=total, arrived={}, lost={}))

    def on_message(self, state: Summing, signed: Signed[Update], rand: Rand) -> Step[Summing]:
        try:
            vector = unpack(signed.message.vector, self._params.length, self._params.width)
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        np.add(state.total, vector, out=state.total)
        state.arrived[signed.sender] = 1
        return self._proceed(state)

    def on_lost(self, state: Summing, peer: PartyId, rand: Rand) -> Step[Summing]:
        state.lost[peer] = 1
        return self._proceed(state)

    def on_deadline(self, state: Summing, rand: Rand) -> Step[Summing]:
        return self._close(state)

    def on_input(self, state: Summing, value: Any, rand: Rand) -> Step[Summing]:
        raise AssertionError("the transition table allows no input")

    def expected(self, state: Summing) -> frozenset[PartyId]:
        return self._invited - state.arrived.keys() - state.lost.keys()

    def satisfied(self, state: Summing) -> bool:
        return False  # whoever is awaited would be in the sum

    def _proceed(self, state: Summing) -> Step[Summing]:
        return Step(state) if self.expected(state) else self._close(state)

    def _close(self, state: Summing) -> Step[Summing]:
        missing = self._invited.difference(state.arrived)
        if len(state.arrived) < self._params.survivors:
            raise Aborted(
                "update",
                f"{len(state.arrived)} inputs, at least {self._params.survivors} are needed",
                missing,
            )
        aggregate = Aggregate(
            total=reduce(state.total, self._params.width),
            included=frozenset(state.arrived),
            dropped={"update": missing},
        )
        return Step(Over(), events=(Finished(aggregate),))
