"""The client's side: a mod around the user's ordinary `@app.train()`.

What it answers to each call of a round is in `answer_brief`, and in `answer_screened` where the
plan has a screen.

A refusal is an error reply that carries no data and nothing of this node, see `refusal`: the server
counts the client as lost in this round, and the next round finds the client able to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flwr.app import Context, Message

from protocols.adapters.flower.answer import Answer, App
from protocols.adapters.flower.answer_brief import BriefAnswer
from protocols.adapters.flower.answer_screened import ScreenedAnswer
from protocols.adapters.flower.call import Call, is_call
from protocols.adapters.flower.refusal import CONFIGURATION, INTERNAL, refusal, withholding
from protocols.adapters.flower.settings import ClientSettings, is_required
from protocols.adapters.flower.state import STATE, Store
from secagg.errors import LocalProtocolError, SecAggError

__all__ = ["mod_from", "secure_aggregation_mod"]

Mod = Callable[[Message, Context, App], Message]
T = TypeVar("T")


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
        call = Call.of(message)
        kind: type[Answer] = BriefAnswer if call.plan.screen is None else ScreenedAnswer
        return kind(call, message, context, settings, store).give(call_next)
    finally:
        store.save(context.state)  # nothing is sent before this returns
