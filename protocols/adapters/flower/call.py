"""What travels in a Flower message: a `Call` to a client, and frames both ways.

A call is JSON in a ConfigRecord, so that the plan of the round is there to be read; nothing in it
is trusted. Frames are the scheme's own, signed; they travel as arrays, which Flower cuts into
chunks. A call leaves as an ordinary train message: Flower refuses actions that no app registered.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from protocols.adapters.flower.privacy import privacy_document, privacy_of
from protocols.adapters.flower.screen import audit_of, screen_document, screen_of
from protocols.adapters.flower.terms import SecurePlan
from protocols.round import Invitation
from protocols.weighing import PublicWeights
from secagg.errors import DecodeError, InputRefused, ParameterError, SecAggError
from secagg.identity import PartyId, Roster
from secagg.quantize import Clip, NormClip, RangeClip

__all__ = [
    "CALL",
    "FRAMES",
    "Call",
    "arrays_record",
    "frames_of",
    "frames_record",
    "invitation",
    "is_call",
    "numpy_arrays",
    "payload",
]

CALL = "secagg"
FRAMES = "secagg.frames"
_STYPE = "secagg.frame"

_STAGES = ("hello", "deal", "train", "unmask")
_BEFORE, _AFTER = ("adverts", "shares"), ("screen", "dispute", "consent", "unmask", "strike")
_SCREENED = ("hello", *_BEFORE, "train", *_AFTER)
_CLIPS: dict[str, type[NormClip] | type[RangeClip]] = {"norm": NormClip, "range": RangeClip}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request to a client.

    stage: "hello" asks who the client is, "deal" for its deal, "train" for its masked update and,
    if `ahead`, the deal of the next round, "unmask" for its shares. Where the plan has a screen, a
    stage is the scheme's phase, and "train" asks for the masked update. sizes: of update and side.
    model: digest of what the clients will train, `Layout.digest`, in a plan with a screen only.
    weights: the public weights of the cohort, there too; None where everybody counts as it is.
    """

    stage: str
    session: bytes
    number: int
    cohort: tuple[PartyId, ...]
    plan: SecurePlan
    sizes: tuple[int, int]
    weighted_by: str
    ahead: bool = True
    model: bytes = b""
    weights: PublicWeights | None = None

    def record(self) -> ConfigRecord:
        """The record to send."""
        document = {
            "session": self.session.hex(),
            "number": self.number,
            "cohort": list(self.cohort),
            "plan": _plan_document(self.plan),
            "sizes": list(self.sizes),
            "weighted_by": self.weighted_by,
            "ahead": self.ahead,
        }
        if self.plan.screen is not None:
            document["model"] = self.model.hex()
        if self.weights is not None:
            document["weights"] = _weights_document(self.weights)
        return ConfigRecord({"stage": self.stage, "call": json.dumps(document)})

    @classmethod
    def of(cls, message: Message) -> Self:
        """The call in a message; `DecodeError`, or `ParameterError` for an impossible plan."""
        record = message.content.config_records[CALL]
        try:
            return cls._parse(record["stage"], json.loads(str(record["call"])))
        except SecAggError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise DecodeError("not a call of this adapter") from None

    @classmethod
    def _parse(cls, stage: Any, document: Any) -> Self:
        screened = "screen" in document["plan"]
        keys = _KEYS | {"model"} if screened else _KEYS
        if stage not in (_SCREENED if screened else _STAGES):
            raise ValueError
        if document.keys() not in (keys, keys | {"weights"} if screened else keys):
            raise ValueError
        update, side = document["sizes"]
        cohort = tuple(document["cohort"])
        whole = (document["number"], update, side, *cohort)
        if any(type(value) is not int or not 0 <= value < 1 << 31 for value in whole):
            raise ValueError
        if type(document["ahead"]) is not bool or type(document["weighted_by"]) is not str:
            raise ValueError
        return cls(
            stage=stage,
            session=bytes.fromhex(document["session"]),
            number=document["number"],
            cohort=cohort,
            plan=_plan_of(json.dumps(document["plan"])),
            sizes=(update, side),
            weighted_by=document["weighted_by"],
            ahead=document["ahead"],
            model=bytes.fromhex(document.get("model", "")),
            weights=_weights_of(document["weights"], cohort) if "weights" in document else None,
        )


_KEYS = {"session", "number", "cohort", "plan", "sizes", "weighted_by", "ahead"}


def is_call(message: Message) -> bool:
    """Whether a message is one of ours."""
    return message.has_content() and CALL in message.content.config_records


def invitation(call: Call, roster: Roster, number: int) -> Invitation:
    """The round `number` of a call, as a party with this roster sees it."""
    invited = _invited(roster, call.cohort)
    plan = call.plan.round_plan(len(invited), *call.sizes)
    model = call.model if plan.screen is not None else None
    if call.weights is not None:
        call.weights.check(plan)
        model = call.weights.bind(call.model)
    return Invitation(plan=plan, session=call.session, number=number, model=model, roster=invited)


def payload(stage: str, frames: Mapping[str, bytes]) -> RecordDict:
    """The content of a reply: all that may ever leave a client."""
    return RecordDict({CALL: ConfigRecord({"stage": stage}), FRAMES: frames_record(frames)})


def arrays_record(arrays: Mapping[str, Any]) -> ArrayRecord:
    """Arrays by name, as Flower's apps have them."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def frames_record(frames: Mapping[str, bytes]) -> ArrayRecord:
    """Frames by name, as arrays that Flower does not look into."""
    return ArrayRecord(
        {name: Array("uint8", (len(frame),), _STYPE, frame) for name, frame in frames.items()}
    )


def frames_of(content: RecordDict) -> dict[str, bytes]:
    """The frames by name, as they came: they are checked where their signatures are."""
    record = content.array_records.get(FRAMES) or ArrayRecord()
    # Not `Array.numpy`: it would let the sender choose a shape, and with it an allocation.
    return {name: array.data for name, array in record.items()}


def numpy_arrays(record: ArrayRecord) -> dict[str, Any]:
    """The arrays of a record; `InputRefused` for what is no numpy array."""
    try:
        return {name: array.numpy() for name, array in record.items()}
    except (TypeError, ValueError, EOFError):
        raise InputRefused("an Array of the record is not serialized as a numpy array") from None


def _invited(roster: Roster, cohort: tuple[PartyId, ...]) -> Roster:
    if list(cohort) != sorted(set(cohort)):
        raise ParameterError("the cohort is not in ascending order")
    if strangers := set(cohort) - roster.clients.keys():
        raise ParameterError(f"not on the roster: {sorted(strangers)[:5]}")
    return dataclasses.replace(
        roster,
        clients={party: roster.clients[party] for party in cohort},
        share_keys={party: roster.share_keys[party] for party in cohort},
    )


def _plan_document(plan: SecurePlan) -> dict[str, Any]:
    document = {
        "clip": _clip_document(plan.clip),
        "max_weight": plan.max_weight,
        "corrupt": plan.corrupt,
        "dropout": plan.dropout,
        "metrics": dict(plan.metrics),
        "integers": plan.integers,
        "least_clients": plan.least_clients,
        "privacy": privacy_document(plan.privacy),
    }
    if plan.screen is not None:
        document["screen"] = screen_document(plan.screen)
    if plan.audit is not None:
        document["audit"] = dataclasses.asdict(plan.audit)
    return document


def _weights_document(weights: PublicWeights) -> dict[str, Any]:
    return {"values": weights.values, "most": weights.most, "examples": weights.examples}


def _weights_of(document: Any, cohort: tuple[PartyId, ...]) -> PublicWeights:
    """One for each of the cohort. Raises `ParameterError`, or what `Call.of` calls no call."""
    if document.keys() != {"values", "most", "examples"}:
        raise ValueError
    return PublicWeights(clients=cohort, **{**document, "values": tuple(document["values"])})


def _clip_document(clip: Clip) -> dict[str, float]:
    (name,) = (name for name, kind in _CLIPS.items() if type(clip) is kind)
    return {name: clip.bound}


@lru_cache(maxsize=4)
def _plan_of(text: str) -> SecurePlan:
    """One object for one text, as it remembers the plans of its rounds, which take a while."""
    document = json.loads(text)
    ((name, bound),) = document["clip"].items()
    privacy = privacy_of(document["privacy"])
    screen = screen_of(document["screen"]) if "screen" in document else None
    audit = audit_of(document["audit"]) if "audit" in document else None
    terms = {"clip": _CLIPS[name](bound), "privacy": privacy, "screen": screen, "audit": audit}
    return SecurePlan(**{**document, **terms})
