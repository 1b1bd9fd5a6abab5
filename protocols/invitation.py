"""What all parties of a round start from: the plan, and what names the round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from protocols.plan import RoundPlan
from secagg.context import Round
from secagg.errors import ParameterError
from secagg.identity import Roster

__all__ = ["Invitation", "round_name"]


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """One round of a plan: all that is public about it, and the same for every party.

    Attributes
    ----------
    plan: what was agreed on, from the party's own configuration.
    session: 16 to 64 bytes that never repeat, such as `os.urandom(16)` once per training run.
    number: the round within the session.
    model: `model_digest` of the model that *this* party holds; None where the plan binds it last.
    roster: the server and the invited clients.

    Raises `ParameterError` with the inequality that fails.
    """

    plan: RoundPlan
    session: bytes
    number: int
    model: bytes | None = None
    roster: Roster

    def __post_init__(self) -> None:
        if self.plan.binds_model_last and self.model is not None:
            raise ParameterError(
                f"{self.plan.scheme.name} binds the model last: give it to submit, not here"
            )
        if not self.plan.binds_model_last:
            _check_model(self.model)
        self.round  # noqa: B018  checks the rest

    @cached_property
    def round(self) -> Round:
        """The scheme's view: plan and model are one digest, bound into every message."""
        return Round(
            session=self.session,
            number=self.number,
            model=self.plan.digest if self.model is None else self.plan.bind(self.model),
            roster=self.roster,
        )

    @property
    def name(self) -> bytes:
        """Session and number: what ledgers know the round by."""
        return round_name(self.session, self.number)

    def statement(self, model: bytes | None) -> bytes | None:
        """What a party says of the model that it was given after the start; None where it must
        not be given one. Raises `ParameterError` for a model too many, or none.
        """
        if self.plan.binds_model_last:
            return self.plan.bind(_check_model(model))
        if model is not None:
            raise ParameterError(
                f"{self.plan.scheme.name} binds the model first: give it to Invitation, not here"
            )
        return None


def round_name(session: bytes, number: int) -> bytes:
    """One name for one round of one session."""
    return session + number.to_bytes(8, "little")


def _check_model(model: bytes | None) -> bytes:
    if not isinstance(model, bytes) or len(model) != 32:
        raise ParameterError("model must be a digest of 32 bytes: see model_digest")
    return model
