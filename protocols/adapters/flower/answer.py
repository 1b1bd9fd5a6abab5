"""One call to a client and its reply: what all rounds have in common.

What a round sends, and in which order, is in `answer_brief` and, where the plan has a screen, in
`answer_screened`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict

from dp.errors import BudgetExceeded, DPError
from protocols.adapters.flower.call import (
    CALL,
    FRAMES,
    Call,
    frames_of,
    invitation,
    numpy_arrays,
    payload,
)
from protocols.adapters.flower.refusal import BUDGET, LEDGER, TRAINING, Withheld, withholding
from protocols.adapters.flower.settings import ClientSettings
from protocols.adapters.flower.state import Store
from protocols.adapters.flower.terms import Layout
from protocols.round import ClientRound, Invitation
from secagg.errors import (
    Aborted,
    DecodeError,
    InputRefused,
    ParameterError,
    RemoteProtocolError,
)
from secagg.identity import SERVER

__all__ = ["Answer", "App", "Trained", "charging"]

App = Callable[[Message, Context], Message]

_log = logging.getLogger("flwr")


class Answer(ABC):
    """One call, what this node knows, and the reply. A subclass for each kind of round."""

    def __init__(
        self,
        call: Call,
        message: Message,
        context: Context,
        settings: ClientSettings,
        store: Store,
    ) -> None:
        self._call = call
        self._message = message
        self._context = context
        self._settings = settings
        self._store = store
        self._frames = frames_of(message.content)

    def give(self, call_next: App) -> Message:
        """The reply; `call_next` is the user's training."""
        # in a call for a cohort without it, the server takes this node for whom it was before
        if self._call.stage == "hello" or self._settings.me not in self._call.cohort:
            record = ConfigRecord({"stage": "hello", "party": self._settings.me})
            return Message(RecordDict({CALL: record}), reply_to=self._message)
        return Message(payload(self._call.stage, self._answered(call_next)), reply_to=self._message)

    @abstractmethod
    def _answered(self, call_next: App) -> Mapping[str, bytes]:
        """The frames of the reply, by name."""

    def _layout(self) -> Layout:
        """Of the model that came with the message, whose sizes a call must not invent."""
        layout = Layout.of(self._call.plan, _only_arrays(self._message.content, but=FRAMES))
        if layout.sizes != self._call.sizes:
            raise ParameterError(
                f"the call says sizes {self._call.sizes}, the model has {layout.sizes}"
            )
        return layout

    def _require_own_weight(self) -> None:
        self._settings.check_weighted_by(self._call.plan, self._call.weighted_by)

    def _trained(self, call_next: App) -> Trained:
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
        return Trained.of(reply.content, self._call)

    def _advanced(self, stage: str, name: str) -> ClientRound:
        """The round as it was in that stage, after the frame of that name."""
        client = self._restored(stage, self._call.number)
        client.to_send()  # what it sent last, which the server has
        try:
            client.receive(SERVER, self._frames.get(name, b""))
        except (RemoteProtocolError, Aborted):
            self._store.drop(stage)  # this client is finished with the round
            raise
        while client.next_event() is not None:
            pass
        return client

    def _restored(self, stage: str, number: int) -> ClientRound:
        snapshot = self._store.get(stage, self._call.session, number)
        return ClientRound.restore(
            snapshot, self._invitation(number), journal=self._store.journal, **self._party()
        )

    def _invitation(self, number: int) -> Invitation:
        self._settings.check(self._call.plan, self._call.sizes)
        return invitation(self._call, self._settings.roster, number)

    def _party(self) -> dict[str, Any]:
        mine = self._settings
        return {
            "identity": mine.identity,
            "me": mine.me,
            "ledger": mine.ledger,
            "floors": mine.floors,
        }


@dataclass(frozen=True)
class Trained:
    """What the user's training returned."""

    arrays: Mapping[str, Any]
    metrics: Mapping[str, Any]
    weight: int

    @classmethod
    def of(cls, content: RecordDict, call: Call) -> Trained:
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
def charging() -> Iterator[None]:
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
