"""A client's replies in a round whose plan has a screen. A stage is a phase of the scheme.

    adverts -> keys of this round
    shares  -> shares for the neighbors
    train   -> user's function runs; its update, masked
    screen  -> what is opened of its masks
    dispute -> secrets of edges, where a neighbor signed another value
    consent -> a signature on whose updates are summed
    unmask  -> shares that remove the masks of the sum
    strike  -> shares that take out a neighbor that is proven to have lied

The round is bound to its model from the first message on, and to the public weights if it has any:
the model that comes for training is the very one, or the client refuses before it trains. In an
audit round it trains from that model and the perturbation, which it computes itself.

Whatever the stage says, the machine decides what is due, and a frame leaves only in the stage of
its own phase and only once: each is claimed, so that no state that was rolled back or is in two
processes at a time masks two inputs alike, answers two draws, signs two sets or opens two kinds of
shares. Nothing is sent again; a reply that was lost is the loss of this client in that round.

Between messages the round is one snapshot. After "unmask" that is the shares that it holds of its
neighbors, for a "strike": a round in which nobody lied tells no client that it is over. The first
message of the next round deletes it; that of the last round stays with the state of the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from protocols.adapters.flower.answer import Answer, App
from protocols.adapters.flower.call import FRAMES, arrays_record
from protocols.adapters.flower.refusal import LEAKAGE, OPENED, SPENT, Withheld
from protocols.adapters.flower.state import SCREENED
from protocols.adapters.flower.terms import Layout
from protocols.plan import RoundPlan
from protocols.round import ClientRound, Invitation
from secagg.errors import DecodeError, LeakageExceeded, LocalProtocolError, ParameterError
from secagg.frame import parse_header

__all__ = ["ScreenedAnswer"]

_log = logging.getLogger("flwr")


class ScreenedAnswer(Answer):
    """One call of such a round."""

    def _answered(self, call_next: App) -> Mapping[str, bytes]:
        match self._call.stage:
            case "adverts":
                client = self._joined()
            case "train":
                client = self._train(call_next)
            case _:
                client = self._advanced(SCREENED, "frame")
        return {"frame": self._sent(client)}

    def _joined(self) -> ClientRound:
        if not self._store.has(SCREENED, self._call.session, self._call.number):
            self._store.drop(SCREENED)  # whatever comes of this call: the round before is over
        self._require_own_weight()
        invited = self._invitation(self._call.number)
        self._require_opened(invited)
        return ClientRound(invited, journal=self._store.journal, **self._party())

    def _train(self, call_next: App) -> ClientRound:
        layout = self._layout()
        if layout.digest(self._call.weighted_by) != self._call.model:
            raise ParameterError("the model is not the one that this round was opened for")
        self._require_own_weight()
        client = self._advanced(SCREENED, "delivery")
        if client.phase != "masked":  # the machine ignores a delivery that is repeated
            raise LocalProtocolError(f"no update is due in round {self._call.number}")
        self._require_opened(client.invitation)  # before the hours that training may take
        layout = self._audited(layout)
        result = self._trained(call_next)
        weight = self._public_weight(result.weight)
        vector = client.encode(layout.encode(result.arrays, result.metrics), weight)
        self._charge(client.invitation)
        client.submit_encoded(vector)
        return client

    def _audited(self, layout: Layout) -> Layout:
        """Of the model that is trained; in an audit round the message has the moved one then."""
        added = layout.perturbation(self._call.session, self._call.number)
        if added is None:
            return layout
        moved = layout.moved(added)
        (name,) = (name for name in self._message.content.array_records if name != FRAMES)
        self._message.content[name] = arrays_record(moved.arrays)
        return moved

    def _public_weight(self, examples: int) -> int:
        weights = self._call.weights
        return examples if weights is None else weights.weight(self._settings.me, examples)

    def _invitation(self, number: int) -> Invitation:
        self._settings.check_terms(self._call.plan, self._call.weights)
        return super()._invitation(number)

    def _sent(self, client: ClientRound) -> bytes:
        """The one frame that is due now, once it is claimed and the snapshot kept."""
        session, number = self._call.session, self._call.number
        snapshot = client.snapshot()
        frames = [frame for _, frame in client.to_send()]
        if client.ended:
            self._store.drop(SCREENED)
        phase = "masked" if self._call.stage == "train" else self._call.stage
        if [_phase(client.plan, frame) for frame in frames] != [phase]:
            raise LocalProtocolError(f"nothing is due in {self._call.stage!r} of round {number}")
        self._store.claim(phase, session, number)
        if not client.ended:
            self._store.keep(session, number, snapshot)
        return frames[0]

    # -- what may be opened -----------------------------------------------------------------

    def _require_opened(self, invited: Invitation) -> None:
        opened, most = invited.plan.scheme.opened, self._settings.floors.opened
        if opened > most:
            _log.warning("secagg: a plan opens %d numbers of each update, %d allowed", opened, most)
            raise Withheld(OPENED)
        of, least = invited.plan.scheme.opened_of, self._settings.floors.opened_of
        if of < least:
            _log.warning("secagg: a plan opens sums over %d clients, %d allowed", of, least)
            raise Withheld(OPENED)
        with _counting():
            if self._settings.leakage is not None:
                self._settings.leakage.require(invited.name, opened)

    def _charge(self, invited: Invitation) -> None:
        """On the disk before the update is in any frame."""
        with _counting():
            if self._settings.leakage is not None:
                self._settings.leakage.charge(invited.name, invited.plan.scheme.opened)


@contextmanager
def _counting() -> Iterator[None]:
    """The ledger's own errors stay here: they name its path, and what was opened."""
    try:
        yield
    except LeakageExceeded as error:
        _log.warning("secagg: no update leaves: %s", error)
        raise Withheld(SPENT) from None
    except (DecodeError, ParameterError, OSError) as error:
        _log.error("secagg: %s", LEAKAGE, exc_info=error)
        raise Withheld(LEAKAGE) from None


def _phase(plan: RoundPlan, frame: bytes) -> str:
    """The phase in which the server awaits this frame."""
    code = parse_header(frame).code
    (phase,) = (kind.phase for kind in plan.scheme.server_messages if kind.code == code)
    return phase
