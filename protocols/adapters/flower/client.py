"""The client's side: a mod around the user's ordinary `@app.train()`.

    hello  -> the client's id on the roster
    deal   -> a deal                                                   exchange 1, first round only
    train  -> user's function runs; its update, masked, and the deal of the next round    exchange 2
    unmask -> shares that remove the masks of the sum                                     exchange 3

A refusal is an error reply that carries no data and nothing of this node, see `refusal`: the server
counts the client as lost in this round, and the next round finds the client able to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict

from dp.errors import BudgetExceeded, DPError
from protocols.adapters.flower.call import (
    CALL,
    FRAMES,
    Call,
    frames_of,
    invitation,
    is_call,
    numpy_arrays,
    payload,
)
from protocols.adapters.flower.refusal import (
    BUDGET,
    CONFIGURATION,
    INTERNAL,
    LEDGER,
    TRAINING,
    Withheld,
    refusal,
    withholding,
)
from protocols.adapters.flower.settings import ClientSettings, is_required
from protocols.adapters.flower.state import DEALT, MASKED, STATE, Store
from protocols.adapters.flower.terms import Layout
from protocols.round import ClientRound, Invitation
from secagg.errors import (
    Aborted,
    DecodeError,
    InputRefused,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
    SecAggError,
)
from secagg.identity import SERVER

__all__ = ["mod_from", "secure_aggregation_mod"]

App = Callable[[Message, Context], Message]
Mod = Callable[[Message, Context, App], Message]
T = TypeVar("T")

_log = logging.getLogger("flwr")


def secure_aggregation_mod(message: Message, context: Context, call_next: App) -> Message:
    """Flower mod: `ClientApp(mods=[secure_aggregation_mod])`.

    Settings come from the node configuration; see `ClientSettings.from_node_config`. Messages
    without the protocol's record pass untouched, unless they ask for training and the node
    configuration says `secagg-required=true`.
    """
    return _by_node_config(message, context, call_next)


def mod_from(settings: Callable[[Context], ClientSettings]) -> Mod:
    """The same mod with settings from code, such as a simulation that has no node configuration.

    `settings` is called for every message that asks for training. In a deployment it must be code
    of the client's own, not of the app that a server's operator submits.
    """
    return _mod(settings, lambda context: settings(context).required)


def _mod(settings: Callable[[Context], ClientSettings], required: Callable[[Context], bool]) -> Mod:
    def mod(message: Message, context: Context, call_next: App) -> Message:
        if message.metadata.message_type.partition(".")[0] != "train":
            return _unseen(message, context, call_next)
        try:
            with withholding(INTERNAL, passing=SecAggError):
                if is_call(message):
                    return _answered(message, context, _local(settings, context), call_next)
                if _local(required, context):
                    raise LocalProtocolError("this node trains under secure aggregation only")
        except SecAggError as error:
            return refusal(message, error)
        return _unseen(message, context, call_next)

    return mod


def _local(configured: Callable[[Context], T], context: Context) -> T:
    """What this node's own configuration says. Its errors name files and keys of the node."""
    with withholding(CONFIGURATION):
        return configured(context)


def _unseen(message: Message, context: Context, call_next: App) -> Message:
    """The user's function, which does not meet our state: it holds secrets."""
    kept = context.state.pop(STATE, None)
    try:
        return call_next(message, context)
    finally:
        if kept is not None:
            context.state[STATE] = kept


_by_node_config = _mod(
    lambda context: ClientSettings.from_node_config(context.node_config),
    lambda context: is_required(context.node_config),
)


def _answered(
    message: Message, context: Context, settings: ClientSettings, call_next: App
) -> Message:
    store = Store(context.state, settings.journal)
    try:
        return _Answer(message, context, settings, store).give(call_next)
    finally:
        store.save(context.state)  # nothing is sent before this returns


class _Answer:
    """One call and its reply."""

    def __init__(
        self, message: Message, context: Context, settings: ClientSettings, store: Store
    ) -> None:
        self._message = message
        self._context = context
        self._settings = settings
        self._store = store
        self._call = Call.of(message)
        self._frames = frames_of(message.content)

    def give(self, call_next: App) -> Message:
        match self._call.stage:
            case "hello":
                record = ConfigRecord({"stage": "hello", "party": self._settings.me})
                return Message(RecordDict({CALL: record}), reply_to=self._message)
            case "deal":
                return self._reply({"deal": self._deal(self._call.number)})
            case "train":
                return self._train(call_next)
        return self._reply({"unmask": self._unmask()})

    # -- stages -----------------------------------------------------------------------------

    def _deal(self, number: int) -> bytes:
        """A fresh deal; or the very one that was made before, where it has not arrived."""
        if self._store.has(DEALT, self._call.session, number):
            return _last_frame(self._restored(DEALT, number))
        invited = self._invitation(number)
        self._store.claim("deal", self._call.session, number)
        client = ClientRound(invited, journal=self._store.journal, **self._party())
        self._store.deal(self._call.session, number, client.snapshot())
        return _last_frame(client)

    def _train(self, call_next: App) -> Message:
        number = self._call.number
        layout = self._layout()
        client = self._restored(DEALT, number)
        client.to_send()  # the deal, which the server has
        self._receive(client, DEALT, "delivery")
        self._require_budget(client)
        digest = layout.digest(self._call.weighted_by)
        result = _Result.of(self._trained(call_next), self._call)
        vector = client.encode(layout.encode(result.arrays, result.metrics), result.weight)
        with _charging():  # the update is not in any frame, nor is the step claimed, before this
            client.submit_encoded(vector, model=digest)
        self._store.claim("mask", self._call.session, number)
        self._store.mask(self._call.session, number, client.snapshot())
        frames = {"masked": _last_frame(client)}
        if self._call.ahead:
            frames["deal"] = self._deal(number + 1)
        return self._reply(frames)

    def _unmask(self) -> bytes:
        client = self._restored(MASKED, self._call.number)
        client.to_send()  # the masked update, which the server has
        self._receive(client, MASKED, "survivors")
        self._store.claim("unmask", self._call.session, self._call.number)
        client.snapshot()  # the machine asks for it; nothing of the round is kept
        self._store.drop(MASKED)
        return _last_frame(client)

    # -- parts ------------------------------------------------------------------------------

    def _require_budget(self, client: ClientRound) -> None:
        """Before the hours that training may take; what counts is the charge at their end."""
        ledger, event = self._settings.ledger, client.plan.event
        with _charging():
            if ledger is not None and event is not None:
                ledger.require(event, client.invitation.name)

    def _layout(self) -> Layout:
        """Of the model that came with the message, whose sizes a call must not invent."""
        layout = Layout.of(self._call.plan, _only_arrays(self._message.content, but=FRAMES))
        if layout.sizes != self._call.sizes:
            raise ParameterError(
                f"the call says sizes {self._call.sizes}, the model has {layout.sizes}"
            )
        return layout

    def _trained(self, call_next: App) -> RecordDict:
        """What the user's function makes of the message without our records."""
        content = self._message.content
        kept = {name: record for name, record in content.items() if name not in (CALL, FRAMES)}
        self._message.content = RecordDict(kept)
        with withholding(TRAINING):
            reply = call_next(self._message, self._context)
            failed = reply.has_error()
        if failed:
            _log.error("secagg: the app's reply is an error: %s", reply.error.reason)
            raise Withheld(TRAINING)
        return reply.content

    def _receive(self, client: ClientRound, stage: str, name: str) -> None:
        try:
            client.receive(SERVER, self._frames.get(name, b""))
        except (RemoteProtocolError, Aborted):
            self._store.drop(stage)  # this client is finished with the round
            raise
        while client.next_event() is not None:
            pass

    def _restored(self, stage: str, number: int) -> ClientRound:
        snapshot = self._store.get(stage, self._call.session, number)
        return ClientRound.restore(
            snapshot, self._invitation(number), journal=self._store.journal, **self._party()
        )

    def _invitation(self, number: int) -> Invitation:
        self._settings.check(self._call.plan, self._call.sizes)
        if self._settings.me not in self._call.cohort:
            raise ParameterError("this client is not in the cohort that it was asked to join")
        return invitation(self._call, self._settings.roster, number)

    def _party(self) -> dict[str, Any]:
        mine = self._settings
        return {
            "identity": mine.identity,
            "me": mine.me,
            "ledger": mine.ledger,
            "floors": mine.floors,
        }

    def _reply(self, frames: Mapping[str, bytes]) -> Message:
        return Message(payload(self._call.stage, frames), reply_to=self._message)


@dataclass(frozen=True)
class _Result:
    """What the user's training returned."""

    arrays: Mapping[str, Any]
    metrics: Mapping[str, Any]
    weight: int

    @classmethod
    def of(cls, content: RecordDict, call: Call) -> _Result:
        """With noise every client counts as one: what the reply says of a weight is dropped."""
        metrics: dict[str, Any] = {}
        for record in content.metric_records.values():
            metrics.update(_as_dict(record))
        weight = metrics.pop(call.weighted_by, None)
        whole = 1 if call.plan.privacy is not None else _whole(weight, call.weighted_by)
        return cls(_only_arrays(content), metrics, whole)


def _whole(weight: Any, name: str) -> int:
    if isinstance(weight, float) and weight.is_integer():
        weight = int(weight)
    if type(weight) is not int:
        raise InputRefused(f"the reply has no whole number {name!r} as its weight")
    return weight


@contextmanager
def _charging() -> Iterator[None]:
    """A ledger's own errors stay here: they name its path, and what was spent."""
    try:
        yield
    except BudgetExceeded as error:
        _log.warning("secagg: no update leaves: %s", error)
        raise Withheld(BUDGET) from None
    except (DPError, DecodeError, ImportError, OSError) as error:
        _log.error("secagg: %s", LEDGER, exc_info=error)
        raise Withheld(LEDGER) from None


def _as_dict(record: MetricRecord) -> dict[str, Any]:
    return dict(record.items())


def _only_arrays(content: RecordDict, but: str | None = None) -> dict[str, Any]:
    records = [record for name, record in content.array_records.items() if name != but]
    if len(records) != 1:
        raise InputRefused(f"exactly one ArrayRecord is averaged, got {len(records)}")
    return numpy_arrays(records[0])


def _last_frame(client: ClientRound) -> bytes:
    return client.to_send()[-1][1]
