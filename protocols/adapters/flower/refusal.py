"""What a client says when it cannot go on: why, and nothing that is its own.

Flower sends the text of an exception that leaves an app to the server, in a simulation the whole
traceback. Under a call of this adapter none leaves: the server gets

    the text of an error about its own message        `_PUBLIC`
    the type alone of any other error of ours         InputRefused is about the client's own update
    a fixed text for everything else                  the user's functions, settings, bugs of ours

and the log of the node, logger "flwr", has the rest. Flower does not send that log anywhere.
"""

from __future__ import annotations

import logging
from types import TracebackType

from flwr.app import Error, Message

from secagg.errors import (
    Aborted,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
    SecAggError,
)

__all__ = [
    "BUDGET",
    "CONFIGURATION",
    "INTERNAL",
    "LEAKAGE",
    "LEDGER",
    "OPENED",
    "SPENT",
    "TRAINING",
    "Withheld",
    "refusal",
    "withholding",
]

TRAINING = "the client's training function failed: see its log"
CONFIGURATION = "the client's configuration is unusable: see its log"
BUDGET = "the client's privacy budget does not afford this round: see its log"
LEDGER = "the client's privacy ledger is unusable: see its log"
OPENED = "the client does not let a round open so much of its update: see its log"
SPENT = "the client has opened as much of its updates as it ever will: see its log"
LEAKAGE = "the client's leakage ledger is unusable: see its log"
INTERNAL = "the client failed: see its log"

# Exactly these, not what is derived from them: a new type of error says nothing until it is listed.
_PUBLIC = {Aborted, DecodeError, LocalProtocolError, ParameterError, RemoteProtocolError}
_PRECONDITION_FAILED = 6  # Flower's code for a mod that cannot go on
_log = logging.getLogger("flwr")


class Withheld(SecAggError):
    """Something failed on this node whose text stays here; the message is one of the fixed ones."""


def refusal(message: Message, error: SecAggError) -> Message:
    """The error reply to `message`; the whole error is logged."""
    _log.warning("secagg: refused: %s: %s", type(error).__name__, error)
    return Message(Error(code=_PRECONDITION_FAILED, reason=_reason(error)), reply_to=message)


def _reason(error: SecAggError) -> str:
    if isinstance(error, Withheld):
        return str(error)
    name = type(error).__name__
    return f"{name}: {error}" if type(error) in _PUBLIC else f"{name}: see the client's log"


class withholding:  # noqa: N801  a verb, used as `with withholding(TRAINING):`
    """Raise `Withheld(text)` in the place of any exception but `passing`, which is logged.

    It names no type: what the user's code raises is the user's. Nothing is hidden that Flower
    would show, other than from the server.
    """

    def __init__(self, text: str, passing: type[Exception] | tuple[()] = ()) -> None:
        self._text = text
        self._passing = passing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An exit or an interrupt is none of ours.
        if isinstance(error, Exception) and not isinstance(error, self._passing):
            _log.error("secagg: %s", self._text, exc_info=error)
            raise Withheld(self._text) from None
