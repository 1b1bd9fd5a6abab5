"""What the server reads in Flower's messages: the model that goes out, and what comes back."""

from __future__ import annotations

import logging
from typing import Any

from flwr.app import Message, RecordDict

from protocols.adapters.flower.call import CALL, frames_of, numpy_arrays
from protocols.adapters.flower.coordinator import Asked
from secagg.errors import InputRefused

__all__ = ["answer_of", "one_model"]

_log = logging.getLogger("flwr")


def one_model(messages: list[Message]) -> dict[str, Any]:
    """The model that all messages carry; `InputRefused` if they differ or carry several."""
    models = []
    for message in messages:
        records = list(message.content.array_records.values())
        if len(records) != 1:
            raise InputRefused(f"exactly one ArrayRecord is averaged, got {len(records)}")
        models.append(records[0])
    if any(model is not models[0] and model != models[0] for model in models):
        raise InputRefused("the strategy sends different models to different nodes")
    return numpy_arrays(models[0])


def answer_of(reply: Message) -> Asked | None:
    """What a reply says; None for an error. Whoever sent one, or nothing, is lost by not being
    here: an error may come from the SuperLink in the place of its node.
    """
    if reply.has_error():
        # as a literal and cut: the text is the client's, and one line of this log is ours
        _log.warning("secagg: a client is lost: %.200r", reply.error.reason)
        return None
    return Asked(reply.metadata.src_node_id, frames_of(reply.content), _party(reply.content))


def _party(content: RecordDict) -> int | None:
    record = content.config_records.get(CALL)
    party = None if record is None else record.get("party")
    return party if type(party) is int else None
