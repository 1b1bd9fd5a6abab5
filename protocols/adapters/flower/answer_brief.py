"""A client's replies in a round without a screen.

deal   -> a deal                                                   exchange 1, first round only
train  -> user's function runs; its update, masked, and the deal of the next round    exchange 2
unmask -> shares that remove the masks of the sum                                     exchange 3

Only a deal that has not arrived is sent again, as it was; every other step is taken once.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.adapters.flower.answer import Answer, App, charging
from protocols.adapters.flower.state import DEALT, MASKED
from protocols.round import ClientRound

__all__ = ["BriefAnswer"]


class BriefAnswer(Answer):
    """One call of such a round."""

    def _answered(self, call_next: App) -> Mapping[str, bytes]:
        match self._call.stage:
            case "deal":
                return {"deal": self._deal(self._call.number)}
            case "train":
                return self._train(call_next)
        return {"unmask": self._unmask()}

    def _deal(self, number: int) -> bytes:
        """A fresh deal; or the very one that was made before, where it has not arrived."""
        if self._store.has(DEALT, self._call.session, number):
            return _last_frame(self._restored(DEALT, number))
        invited = self._invitation(number)
        self._store.claim("deal", self._call.session, number)
        client = ClientRound(invited, journal=self._store.journal, **self._party())
        self._store.deal(self._call.session, number, client.snapshot())
        return _last_frame(client)

    def _train(self, call_next: App) -> Mapping[str, bytes]:
        number = self._call.number
        self._require_own_weight()
        layout = self._layout()
        client = self._advanced(DEALT, "delivery")
        self._require_budget(client)
        digest = layout.digest(self._call.weighted_by)
        result = self._trained(call_next)
        vector = client.encode(layout.encode(result.arrays, result.metrics), result.weight)
        with charging():  # the update is not in any frame, nor is the step claimed, before this
            client.submit_encoded(vector, model=digest)
        self._store.claim("mask", self._call.session, number)
        self._store.mask(self._call.session, number, client.snapshot())
        frames = {"masked": _last_frame(client)}
        if self._call.ahead:
            frames["deal"] = self._deal(number + 1)
        return frames

    def _unmask(self) -> bytes:
        client = self._advanced(MASKED, "survivors")
        self._store.claim("unmask", self._call.session, self._call.number)
        client.snapshot()  # the machine asks for it; nothing of the round is kept
        self._store.drop(MASKED)
        return _last_frame(client)

    def _require_budget(self, client: ClientRound) -> None:
        """Before the hours that training may take; what counts is the charge at their end."""
        ledger, event = self._settings.ledger, client.plan.event
        with charging():
            if ledger is not None and event is not None:
                ledger.require(event, client.invitation.name)


def _last_frame(client: ClientRound) -> bytes:
    return client.to_send()[-1][1]
