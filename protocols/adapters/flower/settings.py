"""What a client brings itself: who it is, whom it trusts, and what it insists on.

All of it comes from the client's own node configuration, `flower-supernode --node-config`, or from
code of the client's own. Messages, the run configuration and the app come from whoever runs
`flwr run`, and say nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from protocols.adapters.flower.enrollment import load_identity, load_roster
from protocols.adapters.flower.terms import SecurePlan
from secagg.errors import ParameterError
from secagg.identity import Identity, PartyId, Roster
from secagg.scheme import Floors

__all__ = ["ClientSettings"]

_PREFIX = "secagg-"
_FLOORS = {"clients": int, "survivors": int, "honest_inputs": int, "corrupt": float}


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """The local configuration of one client.

    Attributes
    ----------
    identity, roster: its key, and who is who. Its party id is the roster's for this key.
    journal: file that remembers the rounds it joined; None keeps them in Flower's state only, which
        a SuperNode that starts again has lost. For simulations.
    floors: what the parameters of a round must at least offer.
    most_clip: the largest clip bound it accepts.
    required: refuse train messages that come without the protocol, which otherwise pass untouched.
    """

    identity: Identity
    roster: Roster
    journal: Path | None = None
    floors: Floors = field(default_factory=Floors)
    most_clip: float = math.inf
    required: bool = False

    @classmethod
    def from_node_config(cls, config: Mapping[str, Any]) -> Self:
        """Settings from `secagg-identity` and `secagg-roster`, paths, and the optional
        `secagg-journal`, a path too, by default beside the identity; `secagg-floor-clients`,
        `secagg-floor-survivors`, `secagg-floor-honest-inputs`, `secagg-floor-corrupt`;
        `secagg-most-clip`; `secagg-required`.

        Raises `ParameterError` for a key that is absent, unknown or of another type: a floor with
        a misspelled name would be no floor.
        """
        given = {key[len(_PREFIX) :]: v for key, v in config.items() if key.startswith(_PREFIX)}
        floors = {
            name: _number(given, f"floor-{name.replace('_', '-')}", kind)
            for name, kind in _FLOORS.items()
        }
        identity = _path(given, "identity")
        settings = cls(
            identity=load_identity(identity),
            roster=load_roster(_path(given, "roster")),
            journal=Path(_path(given, "journal", f"{identity}.journal")),
            floors=Floors(**{name: value for name, value in floors.items() if value is not None}),
            most_clip=_most_clip(given),
            required=is_required(config),
        )
        given.pop("required", None)
        if given:
            raise ParameterError(f"unknown keys in the node configuration: {_shown(given)}")
        return settings

    @cached_property
    def me(self) -> PartyId:
        """This client's id on the roster; `ParameterError` if it is not there."""
        for party, public in self.roster.clients.items():
            if public == self.identity.public:
                return party
        raise ParameterError("the roster does not list this client's key")

    def check(self, plan: SecurePlan) -> None:
        """Raise `ParameterError` for a plan over `most_clip`; `Floors` checks the rest."""
        if not plan.clip.bound <= self.most_clip:
            raise ParameterError(
                f"clip <= {self.most_clip} must hold by this client's setting, "
                f"the plan has {plan.clip.bound}"
            )


def _most_clip(given: dict[str, Any]) -> float:
    bound = _number(given, "most-clip", float)
    if bound is None:
        return math.inf
    if not bound > 0:
        raise ParameterError(f"{_PREFIX}most-clip > 0 must hold, got {bound}")
    return float(bound)


def is_required(config: Mapping[str, Any]) -> bool:
    """Whether the node configuration refuses training without the protocol."""
    configured = any(key.startswith(_PREFIX) for key in config)
    value = config.get(f"{_PREFIX}required", configured)
    if not isinstance(value, bool):
        raise ParameterError(f"{_PREFIX}required must be true or false")
    return value


def _path(given: dict[str, Any], name: str, default: str | None = None) -> str:
    value = given.pop(name, default)
    if not isinstance(value, str):
        raise ParameterError(f"the node configuration lacks a path {_PREFIX}{name}")
    return value


def _number(given: dict[str, Any], name: str, kind: type[int] | type[float]) -> Any:
    value = given.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise ParameterError(f"{_PREFIX}{name} must be a number ({kind.__name__})")
    return kind(value)


def _shown(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{_PREFIX}{name}" for name in sorted(given))
